"""Modules that are imported in each attempt's own process: nothing of the import is there before or after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from ropewalk.sandbox.interface import Ended, Limits
from ropewalk.sandbox.source import ForkSource
from tests.harness.processes import living, zygote_tree
from tests.harness.runtime import Runtime
from tests.harness.waiting import until
from tests.sandbox.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024

# The collector rests in every zygote, so in the one that describes the version too, and runs in attempts.
IN_AN_ATTEMPT = "import gc\nif gc.isenabled():\n    "

MARKED = """
import os
from ropewalk import Twist

MARK = os.urandom(8).hex()

class Marked(Twist):
    async def mark(self) -> str:
        return MARK
"""


@pytest.fixture
def strict(sandbox: ForkSource, shared_bundles: Path) -> Bench:
    """A bench whose versions are strict."""
    return Bench(sandbox, shared_bundles, strict=True)


async def test_every_attempt_imports_for_itself(strict: Bench, bench: Bench) -> None:
    body, before = "return MARK, PID == os.getpid()", "import os\nMARK, PID = os.urandom(8).hex(), os.getpid()"
    ours, theirs = strict.twist(body, before), bench.twist(body, before)
    first, second = [await strict.run(ours) for _ in range(2)]
    assert (first[1], second[1]) == (True, True)
    assert first[0] != second[0]
    assert await bench.run(theirs) == await bench.run(theirs), "imported once, the mark is the same"


async def test_what_an_import_changes_is_gone_with_its_attempt(strict: Bench) -> None:
    before = """
    import builtins, ropewalk, json
    seen = getattr(builtins, "seen", 0), getattr(ropewalk.Twist, "seen", 0), getattr(json, "seen", 0)
    builtins.seen = ropewalk.Twist.seen = json.seen = 1
    """
    image = strict.twist("return seen", before)
    assert [await strict.run(image) for _ in range(3)] == [[0, 0, 0]] * 3


async def test_what_keeps_a_version_from_being_deployed_harms_no_strict_attempt(strict: Bench) -> None:
    image = strict.twist("return held.name", IN_AN_ATTEMPT + "held = open('/twist/module.py')")
    await strict.source.describe(image)
    assert await strict.run(image) == "/twist/module.py"


async def test_an_error_of_the_import_is_told_with_its_line(strict: Bench) -> None:
    attempt = await strict.begin(strict.twist("return 1", IN_AN_ATTEMPT + "raise LookupError('the table is gone')"))
    error = await attempt.error()
    assert (error.kind, error.type) == ("error", "LookupError")
    assert error.message == "module could not be imported: module.py:4: LookupError: the table is gone"
    assert "raise LookupError('the table is gone')" in error.traceback
    assert "importlib" not in error.traceback


@pytest.mark.parametrize(
    ("line", "type_"),
    [("raise SystemExit(3)", "SystemExit"), ("import nowhere", "ModuleNotFoundError"), ("Probe = None", "BadTwist")],
)
async def test_an_import_that_gives_no_twist_fails_the_attempt(strict: Bench, line: str, type_: str) -> None:
    before = f"{IN_AN_ATTEMPT}{line}\n" if type_ != "BadTwist" else ""
    after = f"\n{IN_AN_ATTEMPT}del Probe\n" if type_ == "BadTwist" else ""
    image = strict.image(f"{before}class Probe(Twist):\n    async def probe(self): pass\n{after}")
    assert (await (await strict.begin(image)).error()).type == type_


@pytest.mark.parametrize(
    ("line", "limits", "how"),
    [
        ("while True: pass", Limits(cpu=0.2), "cpu_limit"),
        ("import time; time.sleep(60)", Limits(wall=0.2), "timeout"),
        ("held = bytearray(40 << 20)", Limits(memory=32 * MIB), "memory_limit"),
        ("held = bytearray(3 << 30)", Limits(memory=32 * MIB), "memory_limit"),
    ],
    ids=["cpu", "wall", "memory", "much memory"],
)
async def test_limits_count_from_the_import_on(strict: Bench, line: str, limits: Limits, how: str) -> None:
    attempt = await strict.begin(strict.twist("return 1", IN_AN_ATTEMPT + line, limits=limits))
    told = (await attempt.ended()).limit or (await attempt.error()).type
    assert told == how


async def test_an_import_that_ends_the_process_is_a_crash(strict: Bench) -> None:
    attempt = await strict.begin(strict.twist("return 1", IN_AN_ATTEMPT + "import os; os._exit(3)"))
    assert await attempt.ended() == Ended(code=3)


async def test_what_described_a_version_is_gone(own_bench: Callable[[], Bench]) -> None:
    others = set(zygote_tree(os.getpid()).versions)
    async with own_bench().running() as bench:
        bench.strict = True
        manifest = await bench.source.describe(bench.twist("return 1"))
        assert manifest.cls == "Probe"
        until(lambda: not any(living(list({*zygote_tree(os.getpid()).versions} - others))), "the describing zygote to be gone")


async def test_a_node_is_strict_with_every_version(opened: Callable[..., AbstractAsyncContextManager[Runtime]]) -> None:
    async with opened(isolation="strict") as runtime:
        marked = await runtime.run(MARKED)
        assert await runtime.invoke(marked, "mark") != await runtime.invoke(marked, "mark")


async def test_a_version_may_ask_for_it_alone(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], tmp_path: Path
) -> None:
    project = tmp_path / "marked"
    project.mkdir()
    (project / "twist.py").write_text(MARKED)
    (project / "pyproject.toml").write_text('[tool.ropewalk]\nisolation = "strict"\n')
    async with opened() as runtime:
        marks: list[Any] = []
        for source in (project, MARKED):
            instance = await runtime.run(source)
            marks.append({await runtime.invoke(instance, "mark") for _ in range(3)})
        assert [len(seen) for seen in marks] == [3, 1]
