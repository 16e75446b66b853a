"""`ropewalk replay`, as people and programs call it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from pathlib import Path

import pytest

from tests.harness.commands import ROPEWALK, Cli

TWIST = """
from datetime import UTC, datetime
from ropewalk import Twist

class Noted(Twist):
    async def work(self, number: int) -> dict[str, int]:
        self.log.info("working on %d", number)
        doubled = number * 2
        await self.set("doubled", doubled)
        await self.set("at", datetime.now(UTC))
        return {"doubled": doubled}

    async def fail(self, number: int) -> None:
        wrong = number + 1
        raise ValueError(f"not {wrong}")
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cli, str, str]:
    """A command line, an execution that succeeded, and one that failed."""
    cli = Cli(tmp_path_factory.mktemp("recorded"))
    cli.json("deploy", cli.write(TWIST))
    cli.json("activate", "noted", "--wait")
    worked: str = cli.json("invoke", "noted", "work", "--args", "[21]")["execution"]
    failed = cli.run("invoke", "noted", "fail", "--args", "[21]", "--json").value["execution"]
    return cli, worked, failed


def test_the_command_shows_what_a_replay_showed(recorded: tuple[Cli, str, str]) -> None:
    cli, worked, failed = recorded
    shown = cli.json("execution", worked)
    assert [attempt["recorded"] for attempt in shown["attempts"]] == [True]
    document = cli.json("replay", worked[:12])
    assert document["execution"] == worked
    assert (document["attempt"], document["version"], document["same"], document["difference"]) == (1, 1, True, None)
    assert document["outcome"] == document["recorded"] == {"status": "succeeded", "result": {"doubled": 42}, "error": None}
    assert [line["message"] for line in document["logs"]] == ["working on 21"]
    told = cli.run("replay", failed)
    assert (told.code, told.err.splitlines()[-1]) == (0, "The same: it ended with ValueError: not 22.")
    (cli.folder / "edited").mkdir()
    code = cli.write(TWIST.replace("* 2", "* 3"), "edited/twist.py")
    differs = cli.run("replay", worked, "--code", code, "--json")
    assert differs.code == 1
    assert differs.value["error"]["type"] == "Differs"
    assert differs.value["difference"]["what"] == "call"
    assert differs.value["difference"]["where"] == ["twist.py:9 in Noted.work"]
    assert "now:      store.write" in cli.run("replay", worked, "--code", str(Path(code).parent)).err
    assert cli.json("twists")[0]["version"] == 1
    refused = cli.refused("replay", worked, "--attempt", "7")
    assert (refused.type, refused.code) == ("CannotReplay", 1)
    assert cli.refused("replay", "zzzz").type == "NotFound"
    assert cli.refused("replay", worked, "--pdb").code == 2


def test_the_debugger_works_on_a_terminal(recorded: tuple[Cli, str, str]) -> None:
    cli, worked, failed = recorded
    screen, code = typed(cli, "replay", failed, "--pdb", keys=["p wrong", "q"])
    assert "(Pdb) p wrong\r\n22\r\n" in screen
    assert code == 0
    screen, code = typed(cli, "replay", worked, "--pdb", keys=["n", "n", "p doubl\x7f\x7fbled", "c"])
    assert "42\r\n" in screen
    assert code == 0


def test_trust_runs_it_in_the_commands_own_process(recorded: tuple[Cli, str, str]) -> None:
    cli, worked, failed = recorded
    done = cli.run("replay", worked, "--trust", "--json")
    assert done.code == 0
    assert done.value["same"] is True
    assert "without any sandbox" in done.err
    code = cli.write(TWIST.replace("number + 1", "__import__('os').getpid()"))
    differs = cli.run("replay", failed, "--trust", "--code", code, "--json").value["difference"]
    assert differs["what"] == "outcome"
    screen, _ = typed(cli, "replay", failed, "--trust", "--pdb", keys=["p wrong", "q"])
    assert "(Pdb) p wrong\r\n22\r\n" in screen


def typed(cli: Cli, *arguments: str, keys: list[str]) -> tuple[str, int]:
    """Run a command on a pseudo-terminal, type a line at each prompt of the debugger, and return the screen and the exit code."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [ROPEWALK, *arguments],
        cwd=cli.folder,
        env={**cli.environment, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen, read_until, left = "", 0, list(keys)
    while select.select([terminal], [], [], 60)[0]:
        try:
            screen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # its end is closed
            break
        if left and screen[read_until:].rstrip(" ").endswith("(Pdb)"):
            read_until = len(screen)
            os.write(terminal, f"{left.pop(0)}\r".encode())
    os.close(terminal)
    return screen, process.wait(30)
