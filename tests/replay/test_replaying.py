"""A recorded attempt runs again as it ran, whatever it did, and does nothing to anybody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import apsw
import msgspec
import pytest

from tests.harness.runtime import Runtime
from tests.harness.web import Web
from tests.replay.playing import play
from tests.replay.reading import last_execution
from tests.replay.twists import EVERYTHING

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]

SUCCEEDING = [
    "store",
    "tasks",
    "callbacks",
    "tool",
    "workspace",
    "parts",
    "ask",
    "at_once",
    "busy_at_once",
    "patience",
    "refused",
    "clock",
    "sleepy",
    "chance",
    "system_chance",
    "sets",
    "threads",
    "words",
    "confined",
]

FAILING = {
    "fails": "ValueError",
    "gives_up": "GiveUp",
    "asks_for_more_time": "Retry",
    "greedy": "request_limit",
    "reads_much": "request_limit",
    "burns": "cpu_limit",
    "swells": "memory_limit",
    "leaves": "crash",
}


async def test_what_succeeded_succeeds_the_same(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(EVERYTHING, base_url=web.url)
    results = {method: await runtime.invoke(instance, method) for method in SUCCEEDING}
    asked = len(web.requests)
    for method, result in results.items():
        played = await play(runtime, await last_execution(runtime, instance, method))
        assert played.shown.same, f"{method}: {played.told}"
        assert played.shown.end is not None
        if method not in ("clock", "system_chance"):
            assert msgspec.json.decode(bytes(played.shown.end.result or b"null")) == result
    assert len(web.requests) == asked


async def test_what_failed_fails_the_same(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(EVERYTHING.replace("cpu=5.0", "cpu=0.4"), base_url=web.url)
    for method, kind in FAILING.items():
        assert (await runtime.failure(instance, method)).type == kind
        played = await play(runtime, await last_execution(runtime, instance, method))
        assert played.shown.same, f"{method}: {played.told}"
        assert played.shown.end is not None
        assert played.shown.end.error is not None
        assert played.shown.end.error.type == kind


async def test_lifecycle_methods_are_replayed_with_their_hooks(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(EVERYTHING, base_url=web.url)
    played = await play(runtime, await last_execution(runtime, instance, "activate"))
    assert played.shown.same, played.told


async def test_log_lines_are_those_of_the_attempt(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(EVERYTHING, base_url=web.url)
    await runtime.invoke(instance, "words")
    played = await play(runtime, await last_execution(runtime, instance, "words"))
    assert played.logs == ["printed", "warned"]


async def test_a_replay_changes_nothing_in_the_database(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(EVERYTHING, base_url=web.url)
    methods = ["store", "tasks", "callbacks", "workspace", "parts", "words"]
    for method in methods:
        await runtime.invoke(instance, method)
    await runtime.drain()
    await runtime.stop()
    before = contents(runtime)
    for method in methods:
        await play(runtime, await last_execution(runtime, instance, method))
    assert contents(runtime) == before


async def test_waits_take_no_time(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(
        """
        import asyncio, time
        from ropewalk import Twist

        class Sleeper(Twist):
            async def nap(self) -> None:
                await asyncio.sleep(2)
                time.sleep(2)
        """
    )
    await runtime.invoke(instance, "nap")
    execution = await last_execution(runtime, instance, "nap")
    before = runtime.clock.boottime()
    assert (await play(runtime, execution)).shown.same
    assert runtime.clock.boottime() - before < 3


async def test_each_attempt_has_its_own_replay(runtime: Runtime) -> None:
    instance = await runtime.run(
        """
        from ropewalk import RetryPolicy, Twist

        class Wavering(Twist):
            retry = RetryPolicy(attempts=3, first=0.01, maximum=0.02)

            async def begin(self) -> None:
                await self.run_task(self.waver)

            async def waver(self) -> str:
                if self.execution.attempt < 3:
                    raise ValueError(f"attempt {self.execution.attempt}")
                return "at last"
        """
    )
    await runtime.invoke(instance, "begin")
    await runtime.drain()
    execution = await last_execution(runtime, instance, "waver")
    ends = [(await play(runtime, execution, attempt=number)).shown.end for number in (1, 2, 3)]
    assert [end.error.message if end and end.error else None for end in ends] == ["attempt 1", "attempt 2", None]
    assert (await play(runtime, execution)).shown.end == ends[2]


async def test_an_attempt_is_replayed_on_the_version_that_it_ran(runtime: Runtime) -> None:
    source = """
        from ropewalk import Twist

        class Versioned(Twist):
            async def which(self) -> str:
                return "VERSION"
        """
    instance = await runtime.run(source.replace("VERSION", "one"))
    await runtime.invoke(instance, "which")
    await runtime.deploy(source.replace("VERSION", "two"))
    await runtime.drain()
    await runtime.invoke(instance, "which")
    for execution in await runtime.executions(instance, "which"):
        assert (await play(runtime, execution)).shown.same


async def test_a_strictly_isolated_attempt_is_replayed_too(opened: Opens, web: Web) -> None:
    async with opened(isolation="strict", allow_private=(f"{web.url}/*",)) as runtime:
        instance = await runtime.run(EVERYTHING, base_url=web.url)
        await runtime.invoke(instance, "clock")
        played = await play(runtime, await last_execution(runtime, instance, "clock"))
        assert played.shown.same, played.told


def contents(runtime: Runtime) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    connection = apsw.Connection(str(runtime.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: list(connection.execute(f"SELECT * FROM {table}")) for table in tables}  # noqa: S608 — its own names
    finally:
        connection.close()
