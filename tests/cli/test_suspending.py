"""Suspending and resuming by command, and what other commands say of a suspended instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli

LOOPER = '''
    """Loops."""
    from ropewalk import Twist


    class Looper(Twist):
        """Loops, when it is asked to."""

        async def begin(self) -> None:
            await self.run_task(self.page)

        async def page(self) -> None:
            await self.run_task(self.page)

        async def hello(self) -> str:
            return "hello"
'''


@pytest.fixture(scope="module")
def activated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, str]:
    """A database with an instance of the looper, to be copied, and that instance."""
    cli = Cli(tmp_path_factory.mktemp("activated"), ROPEWALK_LIMIT_CHAIN="10")
    cli.json("deploy", cli.write(LOOPER, "looper.py"))
    return cli, cli.json("activate", "looper", "--wait")["instance"]


@pytest.fixture
def cli(activated: tuple[Cli, str], tmp_path: Path) -> Cli:
    """Commands on a database with an instance of the looper, whose chains may be ten deep."""
    return activated[0].copied(tmp_path)


@pytest.fixture
def looper(activated: tuple[Cli, str]) -> str:
    """The instance."""
    return activated[1]


def row(cli: Cli) -> dict[str, Any]:
    """Return the only instance as it is listed."""
    (found,) = cli.json("instances")
    return dict(found)


def test_suspend_and_resume(cli: Cli, looper: str) -> None:
    suspended = cli.json("suspend", "looper", "--reason", "to look into it")
    assert (suspended["instance"], suspended["status"]) == (looper, "suspended")
    assert suspended["suspension"]["by"] == "operator"
    assert row(cli)["status"] == "suspended"
    assert row(cli)["suspension"] == suspended["suspension"]
    assert cli.json("resume", "looper") == {"instance": looper, "status": "active", "resumed": True}
    assert (row(cli)["status"], row(cli)["suspension"]) == ("active", None)
    assert cli.json("invoke", "looper", "hello")["result"] == "hello"


def test_people_are_told(cli: Cli, looper: str) -> None:
    assert "`ropewalk resume` lifts that" in cli.run("suspend", "looper").err
    assert "suspended: an operator suspended it" in cli.run("instances").out
    assert "is active again; its budgets begin anew" in cli.run("resume", "looper").err
    assert "was not suspended but active" in cli.run("resume", "looper").err


def test_invoke_says_why_and_what_lifts_it(cli: Cli, looper: str) -> None:
    cli.json("suspend", "looper", "--reason", "to look into it")
    refused = cli.refused("invoke", "looper", "hello")
    assert refused.code == 1
    assert "suspended: to look into it" in refused.message
    assert f"`ropewalk resume {looper}`" in refused.message


def test_a_loop_is_listed_with_its_chain(cli: Cli, looper: str) -> None:
    cli.json("invoke", looper, "begin")
    assert cli.json("drain", "--until-idle")["idle"]
    found = row(cli)
    assert found["status"] == "suspended"
    assert found["budgets"]["chain"] == {"used": 10, "limit": 10}
    suspension = found["suspension"]
    assert (suspension["by"], suspension["budget"]) == ("budget", "chain")
    assert "page → page" in suspension["reason"]
    assert "new version of looper" in cli.refused("invoke", "looper", "hello").message
    assert "looper is suspended: a chain of tasks 11 deep, and the limit is 10" in {
        one["title"] for one in cli.json("activities")
    }


def test_doctor_knows_what_is_held(cli: Cli, looper: str) -> None:
    cli.json("suspend", "looper")
    examined = cli.json("doctor")["database"]
    assert (examined["healthy"], examined["problems"]) == (True, [])
    (held,) = examined["held"]
    assert f"`ropewalk resume {looper}`" in held


def test_drain_is_idle_whatever_a_suspended_instance_has_to_do(cli: Cli, looper: str) -> None:
    cli.json("invoke", "looper", "begin")
    cli.json("drain", "--until-idle")
    drained = cli.json("drain", "--until-idle")
    assert (drained["idle"], drained["executions"], drained["ready"]) == (True, 0, 0)
    assert row(cli)["budgets"]["pending"]["used"] == 1
    cli.json("resume", "looper")
    assert cli.json("drain", "--until-idle")["succeeded"] == 11


def test_an_invocation_that_is_over_a_budget_says_so(cli: Cli, looper: str) -> None:
    cli.environment["ROPEWALK_LIMIT_DAILY"] = "2"
    assert cli.json("invoke", "looper", "hello")["result"] == "hello"
    refused = cli.refused("invoke", "looper", "hello")
    assert (refused.code, refused.type) == (1, "Suspended")
    assert "2 executions in 24 hours, and the limit is 2" in refused.message
    assert "`ropewalk cancel" in refused.message


def test_deploying_waits_for_no_suspended_instance(cli: Cli, looper: str) -> None:
    cli.json("suspend", "looper")
    deployed = cli.json("deploy", cli.write(LOOPER + "    # again", "looper.py"), "--wait")
    assert (deployed["version"], len(deployed["upgrading"])) == (2, 1)
    assert (row(cli)["version"], row(cli)["status"]) == (1, "suspended")
    cli.json("resume", "looper")
    cli.json("drain")
    assert (row(cli)["version"], row(cli)["status"]) == (2, "active")


def test_a_node_that_serves_goes_on_with_what_is_resumed(cli: Cli, looper: str) -> None:
    cli.json("suspend", "looper")
    with cli.serving():
        cli.json("resume", "looper")
        assert cli.json("invoke", "looper", "hello")["result"] == "hello"


@pytest.mark.parametrize("command", ["suspend", "resume"])
def test_an_instance_that_is_not_there(cli: Cli, looper: str, command: str) -> None:
    refused = cli.refused(command, "nobody")
    assert (refused.code, refused.type) == (1, "NotFound")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_reason_is_text(cli: Cli, looper: str, reason: str) -> None:
    refused = cli.refused("suspend", looper, "--reason", reason)
    assert (refused.code, refused.type) == (2, "UsageError")
    assert row(cli)["status"] == "active"
