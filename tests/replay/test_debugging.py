"""Python's debugger in a replay: it stops in the sandbox, and its person is at the other end of the socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.runtime import Runtime
from tests.replay.playing import Typist, play, written
from tests.replay.reading import last_execution

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = """
import asyncio
import time
from datetime import UTC, datetime
from ropewalk import Twist

class Debugged(Twist):
    async def work(self, number: int) -> int:
        doubled = number * 2
        await self.set("doubled", doubled)
        await asyncio.sleep(0)
        return doubled

    async def fail(self, number: int) -> None:
        halved = number // 2
        await self.inner(halved)

    async def inner(self, value: int) -> None:
        raise ValueError(f"not {value}")

    async def stop(self, number: int) -> int:
        breakpoint()
        return number

    async def timed(self) -> bool:
        began = datetime.now(UTC)
        await self.set("began", began)
        return True
"""


async def typed(runtime: Runtime, method: str, *lines: str, code: Path | None = None, fails: bool = False) -> tuple[Typist, bool]:
    """Record a method called with 21, replay it at the debugger, and return what was shown and whether all was the same."""
    instance = await runtime.run(TWIST)
    await (
        runtime.failure(instance, method, 21) if fails else runtime.invoke(instance, method, *([21] if method != "timed" else []))
    )
    typist = Typist(*lines)
    played = await play(runtime, await last_execution(runtime, instance, method), code=code, person=typist)
    return typist, played.shown.same


async def test_it_stops_at_the_exception_that_ended_the_method(runtime: Runtime) -> None:
    typist, same = await typed(runtime, "fail", "p value", "up", "p halved", "q", fails=True)
    assert same
    assert "ValueError: not 10" in typist.screen
    assert '-> raise ValueError(f"not {value}")' in typist.screen
    assert "(Pdb) p value\n10\n" in typist.screen
    assert "(Pdb) p halved\n10\n" in typist.screen


async def test_it_stops_on_the_first_line_of_what_succeeded(runtime: Runtime) -> None:
    typist, same = await typed(runtime, "work", "p number", "n", "n", "p doubled", "c")
    assert same
    assert typist.screen.startswith("> /twist/twist.py(9)work()\n-> doubled = number * 2\n(Pdb) p number\n21\n")
    assert "(Pdb) p doubled\n42\n" in typist.screen


async def test_it_steps_over_the_runtime(runtime: Runtime) -> None:
    typist, _ = await typed(runtime, "work", "n", "s", "w", "s", "s", "c")
    assert "ropewalk" not in typist.screen
    assert "-> await asyncio.sleep(0)" in typist.screen


async def test_it_stops_at_a_breakpoint(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST.replace("breakpoint()", "pass"))
    await runtime.invoke(instance, "stop", 21)
    typist = Typist("c", "p number", "c")
    played = await play(runtime, await last_execution(runtime, instance, "stop"), person=typist)
    assert played.shown.same
    assert "(Pdb) c\n" in typist.screen


async def test_it_stops_at_a_breakpoint_of_edited_code(runtime: Runtime, tmp_path: Path) -> None:
    instance = await runtime.run(TWIST.replace("breakpoint()", "pass"))
    await runtime.invoke(instance, "stop", 21)
    typist = Typist("c", "p number + 1", "c")
    code = written(tmp_path / "code", TWIST)
    played = await play(runtime, await last_execution(runtime, instance, "stop"), code=code, person=typist)
    assert played.shown.same, played.told
    lines = ("return number", "breakpoint()")  # the line after it until Python 3.12, its own since
    assert any(f"-> {line}\n(Pdb) p number + 1\n22\n" in typist.screen for line in lines)


async def test_without_a_person_a_breakpoint_is_passed(runtime: Runtime, tmp_path: Path) -> None:
    instance = await runtime.run(TWIST.replace("breakpoint()", "pass"))
    await runtime.invoke(instance, "stop", 21)
    played = await play(runtime, await last_execution(runtime, instance, "stop"), code=written(tmp_path / "code", TWIST))
    assert played.shown.same, played.told


async def test_it_stops_where_the_replay_differs(runtime: Runtime, tmp_path: Path) -> None:
    code = written(tmp_path / "code", TWIST.replace("number * 2", "number * 3"))
    typist, same = await typed(runtime, "work", "c", "p doubled", "c", code=code)
    assert not same
    assert "Here the replay differs." in typist.screen
    assert '-> await self.set("doubled", doubled)\n(Pdb) p doubled\n63\n' in typist.screen


async def test_leaving_is_no_difference(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "work", 21)
    played = await play(runtime, await last_execution(runtime, instance, "work"), person=Typist("q"))
    assert (played.shown.same, played.shown.left, played.shown.difference) == (False, True, None)


async def test_the_end_of_input_leaves(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "work", 21)
    assert (await play(runtime, await last_execution(runtime, instance, "work"), person=Typist())).shown.left


async def test_the_methods_clock_stands_still_at_the_prompt(runtime: Runtime) -> None:
    typist, same = await typed(runtime, "timed", "n", "!__import__('threading').Event().wait(2.5)", "c")
    assert same, typist.screen


async def test_the_debugger_sees_no_more_than_the_method(runtime: Runtime) -> None:
    typist, _ = await typed(runtime, "work", "!import os", "!os.fork()", "p open('/etc/shadow')", "c")
    assert "PermissionError" in typist.screen
    assert "FileNotFoundError" in typist.screen or typist.screen.count("PermissionError") == 2
