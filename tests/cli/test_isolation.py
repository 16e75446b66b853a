"""What commands do on hosts that isolate more, less, or too little: features are taken away for real, by a filter around the command."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import ROPEWALK, Cli, Done
from tests.harness.forbidding import without

TELLING = """
import os
from ropewalk import Twist

PID = os.getpid()

class Telling(Twist):
    async def tell(self) -> dict:
        await self.set("told", True)
        try:
            os.listdir("/etc")
        except OSError as error:
            return {"etc": error.strerror, "imported_here": PID == os.getpid()}
        return {"etc": "listed", "imported_here": PID == os.getpid()}
"""

LANDLOCK_ONLY = ("namespaces",)
NOTHING = ("namespaces", "landlock")


@pytest.fixture(scope="module")
def activated(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A database with an active instance of `Telling`, to be copied."""
    cli = Cli(tmp_path_factory.mktemp("activated"))
    cli.json("deploy", cli.write(TELLING, "telling.py"))
    cli.json("activate", "telling", "--wait")
    return cli


@pytest.fixture
def telling(activated: Cli, tmp_path: Path) -> Cli:
    """Commands on a copy of it."""
    return activated.copied(tmp_path)


def run(cli: Cli, lacking: tuple[str, ...], *arguments: str) -> Done:
    """Run a command on a host that lacks something."""
    command = without(lacking, [str(ROPEWALK), *arguments])
    done = subprocess.run(command, cwd=cli.folder, env=cli.environment, capture_output=True, text=True, timeout=60, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def findings(document: Any) -> dict[str, str]:
    """Return the state of each means of isolation."""
    return {one["means"]: one["state"] for one in document["isolation"]["findings"]}


def test_doctor_holds_the_whole_profile(telling: Cli) -> None:
    profile = telling.json("doctor")["profile"]
    assert {"name", "namespaces", "identity", "mounts", "twist", "landlock", "limits"} < set(profile)
    assert list(profile["seccomp"]) == [str(number) for number in range(len(profile["seccomp"]))]
    assert (profile["seccomp"]["0"], profile["seccomp"]["101"], profile["seccomp_x32"]) == ("allow", "EPERM", "kill")
    assert set(profile["seccomp_rules"]) == {number for number, verdict in profile["seccomp"].items() if verdict == "arguments"}


def test_without_namespaces_landlock_stands_in(telling: Cli) -> None:
    examined = run(telling, LANDLOCK_ONLY, "doctor", "--json")
    assert examined.code == 0, examined
    states = findings(examined.value)
    assert (examined.value["profile"]["name"], states["namespaces"], states["trial"]) == ("landlock", "absent", "enforced")
    invoked = run(telling, LANDLOCK_ONLY, "invoke", "telling", "tell", "--json")
    assert invoked.value["result"] == {"etc": "Permission denied", "imported_here": False}


def test_people_are_told_what_is_missing_and_what_stands_in(telling: Cli) -> None:
    said = run(telling, LANDLOCK_ONLY, "doctor").out
    assert "sandbox   landlock" in said
    assert "landlock stands in for mounts, seccomp for the rest" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--port", "0"),
        ("drain",),
        ("invoke", "telling", "tell"),
        ("deploy", "telling.py"),
        ("activate", "telling", "--wait"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_below_the_floor_nothing_runs_guests(telling: Cli, arguments: tuple[str, ...]) -> None:
    done = run(telling, NOTHING, *arguments)
    assert done.code == 1
    for said in ("namespaces", "sysctl", "landlock 4", "--unsafe-no-sandbox"):
        assert said in done.err
    assert "Traceback" not in done.err


def test_below_the_floor_doctor_says_what_to_do(telling: Cli) -> None:
    done = run(telling, NOTHING, "doctor", "--json")
    assert (done.code, done.value["profile"], findings(done.value)["namespaces"]) == (1, None, "below_floor")
    assert "cannot be made here" in run(telling, NOTHING, "doctor").out


def test_below_the_floor_what_runs_no_guest_goes_on(telling: Cli) -> None:
    assert run(telling, NOTHING, "store", "keys", "telling").code == 0


def test_without_a_sandbox_it_runs_anywhere_and_says_so_each_time(telling: Cli) -> None:
    for _ in range(2):
        done = run(telling, NOTHING, "invoke", "telling", "tell", "--json", "--unsafe-no-sandbox")
        assert done.value["result"]["etc"] == "listed"
        assert "flag --unsafe-no-sandbox: twists run WITHOUT A SANDBOX" in done.err
    telling.environment["ROPEWALK_UNSAFE_NO_SANDBOX"] = "1"
    assert "variable ROPEWALK_UNSAFE_NO_SANDBOX: twists run WITHOUT A SANDBOX" in telling.run("drain").err


def test_doctor_counts_a_sandbox_that_is_switched_off_as_none(telling: Cli) -> None:
    telling.environment["ROPEWALK_UNSAFE_NO_SANDBOX"] = "1"
    done = telling.run("doctor", "--json")
    assert (done.code, findings(done.value)["sandbox"], done.value["profile"]["name"]) == (1, "off", "unsafe")
    assert done.value["profile"]["seccomp"] is None


def test_isolation_is_a_setting(telling: Cli) -> None:
    assert telling.json("invoke", "telling", "tell")["result"]["imported_here"] is False
    assert telling.json("invoke", "telling", "tell", "--isolation", "strict")["result"]["imported_here"] is True
    wrong = telling.run("invoke", "telling", "tell", "--isolation", "lax")
    assert (wrong.code, "neither standard nor strict" in wrong.err) == (2, True)


def test_a_project_may_ask_for_strict_isolation(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    project = tmp_path / "telling"
    project.mkdir()
    (project / "twist.py").write_text(TELLING)
    (project / "pyproject.toml").write_text('[tool.ropewalk]\nisolation = "lax"\n')
    assert "isolation 'lax' is none: it is standard or strict" in cli.refused("deploy", str(project)).message
    (project / "pyproject.toml").write_text('[tool.ropewalk]\nisolation = "strict"\n')
    cli.json("deploy", str(project))
    cli.json("activate", "telling", "--wait")
    assert cli.json("invoke", "telling", "tell")["result"]["imported_here"] is True
