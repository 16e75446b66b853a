"""What recurs, as its author and its operator see it: asked for, declared, listed, cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from ropewalk.sandbox.interface import RefusedImport
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
from datetime import UTC, datetime, timedelta
from typing import Any
from ropewalk import Callback, Tool, Twist

class Counter(Tool):
    async def begin(self, method: str) -> None:
        await self.schedule_recurring("tick", self.tick, every=timedelta(minutes=1))
        await self.schedule_recurring("back", await self.callback(method), every=60)

    async def tick(self) -> None:
        await self.set("ticks", await self.get("ticks", int, default=0) + 1)

class Recurs(Twist):
    counter = Counter()

    async def start(self, key: str, method: str, options: dict[str, Any]) -> None:
        if options.pop("first_in", None) is not None:
            options["first_run_at"] = datetime.now(UTC) + timedelta(seconds=5)
        await self.schedule_recurring(key, method, key, **options)

    async def tool(self) -> None:
        await self.counter.begin("tick")

    async def by_callback(self) -> None:
        await self.schedule_recurring("cb", await self.callback(self.note, "bound"), "and this", every=60)

    async def stop(self, key: str) -> None:
        await self.cancel_task(key)

    async def stop_all(self) -> None:
        await self.cancel_all_tasks()

    async def note(self, *what: str) -> None:
        await self.set("notes", [*await self.get("notes", list[str], default=[]), "/".join(what)])

    async def fails(self, key: str) -> None:
        await self.set("failed", await self.get("failed", int, default=0) + 1)
        await self.commit()
        raise ValueError(key)

    async def asks_wrongly(self, options: dict[str, Any]) -> str:
        try:
            await self.schedule_recurring("k", self.note, **options)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "accepted"
"""


async def after(runtime: Runtime, seconds: float) -> None:
    """Let time pass and run what is due."""
    runtime.clock.step(seconds=seconds)
    await runtime.drain()


async def test_a_method_runs_again_and_again_until_it_is_cancelled(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "start", "k", "note", {"every": 60})
    for _ in range(3):
        await after(runtime, 60)
    assert await runtime.get(instance, "notes") == ["k"] * 3
    await runtime.invoke(instance, "stop", "k")
    await after(runtime, 3600)
    assert await runtime.get(instance, "notes") == ["k"] * 3


async def test_failures_end_nothing(runtime: Runtime) -> None:
    instance = await runtime.run(
        SOURCE.replace("class Recurs(Twist):", "class Recurs(Twist):\n    retry = RetryPolicy(attempts=1)").replace(
            "Tool, Twist", "RetryPolicy, Tool, Twist"
        )
    )
    await runtime.invoke(instance, "start", "k", "fails", {"cron": "* * * * *", "tz": "Asia/Kathmandu"})
    for _ in range(3):
        await after(runtime, 60)
    assert await runtime.get(instance, "failed") == 3
    assert [one.status for one in await runtime.executions(instance, "fails")] == ["dead"] * 3


async def test_it_survives_the_end_of_its_node(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "start", "k", "note", {"every": 60, "first_in": 5})
    await runtime.stop()
    runtime.clock.step(seconds=5 + 10 * 60)
    await runtime.drain()
    assert await runtime.get(instance, "notes") == ["k"]
    (one,) = await runtime.storage.recurring(instance)
    assert (one.runs, one.missed) == (1, 10)


async def test_tools_have_their_own_and_may_use_callbacks(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "tool")
    await runtime.invoke(instance, "by_callback")
    await after(runtime, 60)
    assert await runtime.get(instance, "ticks", ns="counter") == 2
    assert await runtime.get(instance, "notes") == ["bound/and this"]
    await runtime.invoke(instance, "stop_all")
    assert [one.ns for one in await runtime.storage.recurring(instance)] == ["counter", "counter"]


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, "ValueError: schedule_recurring() takes either every= or cron=, and not both"),
        ({"every": 60, "cron": "* * * * *"}, "ValueError: schedule_recurring() takes either every= or cron=, and not both"),
        ({"every": 0}, "ValueError: every=0 is not above zero"),
        ({"every": 0.5}, "InvalidValue: every=0.5 s is not between 1 s and 100 years"),
        ({"every": 1e300}, "InvalidValue: every=1e+300 is no time between two runs: give seconds or a timedelta"),
        ({"cron": "0 9 * *"}, "InvalidValue: cron='0 9 * *' has 4 fields"),
        ({"cron": "0 0 30 2 *"}, "InvalidValue: cron='0 0 30 2 *' cannot be read: Bad day-of-month"),
        ({"cron": "0 9 * * *", "tz": "Paris"}, "InvalidValue: tz='Paris' is no time zone"),
        ({"every": 60, "catch_up": "some"}, "ValueError: catch_up='some' is none of 'one', 'all' and 'none'"),
        ({"every": "60"}, "TypeError: every is a timedelta or a number of seconds, not '60'"),
        ({"cron": 5}, "TypeError: cron is a str, not int: 5"),
        ({"every": 60, "first_run_at": "now"}, "TypeError: first_run_at is a datetime, not 'now'"),
    ],
)
async def test_what_cannot_be_is_refused_at_the_call(runtime: Runtime, options: dict[str, Any], answer: str) -> None:
    instance = await runtime.run(SOURCE)
    assert (await runtime.invoke(instance, "asks_wrongly", options)).startswith(answer)


DECLARES = """
from datetime import timedelta
from ropewalk import Tool, Twist, on

class Helper(Tool):
    @on.schedule(every=timedelta(minutes=2))
    async def help(self) -> None:
        await self.set("helped", self.execution.trigger)

class Declares(Twist):
    helper = Helper()

    @on.schedule("0 9 * * 1-5", tz="Europe/Paris")
    @on.schedule(every=60, catch_up="none")
    async def tick(self) -> None:
        await self.set("ticks", await self.get("ticks", int, default=0) + 1)
"""


async def test_a_version_declares_what_recurs(runtime: Runtime) -> None:
    instance = await runtime.run(DECLARES)
    assert {(one.ns, one.key, one.declared) for one in await runtime.storage.recurring(instance)} == {
        ("", "tick", True),
        ("", "tick 2", True),
        ("helper", "help", True),
    }
    await after(runtime, 60)
    await after(runtime, 60)
    assert await runtime.get(instance, "ticks") == 2
    assert await runtime.get(instance, "helped", ns="helper") == "schedule"


async def test_a_version_without_it_ends_it(runtime: Runtime) -> None:
    instance = await runtime.run(DECLARES)
    await runtime.deploy(
        DECLARES.replace('    @on.schedule("0 9 * * 1-5", tz="Europe/Paris")\n', "").replace("minutes=2", "minutes=3")
    )
    await runtime.drain()
    found = {one.key: one.recurrence.every for one in await runtime.storage.recurring(instance)}
    assert found == {"tick": 60_000_000, "help": 180_000_000}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@on.schedule(every=0.5)\n    async def tick(self) -> None: ...", "every=0.5 s is not between"),
        ('@on.schedule("61 * * * *")\n    async def tick(self) -> None: ...', "Bad minute"),
        ('@on.schedule("0 9 * * *", tz="Paris")\n    async def tick(self) -> None: ...', "no time zone"),
        (
            "@on.schedule(every=60)\n    async def tick(self, what: str) -> None: ...",
            "takes arguments, of which a schedule brings none",
        ),
        ("@on.schedule(every=60)\n    def tick(self) -> None: ...", "is not async"),
        ("@on.schedule()\n    async def tick(self) -> None: ...", "either a cron expression or every="),
    ],
)
async def test_a_schedule_that_cannot_be_is_refused_at_deploy(runtime: Runtime, line: str, why: str) -> None:
    with pytest.raises(RefusedImport, match=why):
        await runtime.deploy(f"from ropewalk import Twist, on\n\nclass Declares(Twist):\n    {line}\n")
