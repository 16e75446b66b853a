"""Failures as authors meet them: policies of methods, `Retry`, `GiveUp`, servers that ask to wait, and events that kill their process."""

from __future__ import annotations

import time

import pytest

from ropewalk.sandbox.interface import RefusedImport
from ropewalk.storage.records import Execution
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
import ctypes, os, signal
from datetime import timedelta
from ropewalk import GiveUp, HTTPStatusError, Response, Retry, RetryPolicy, Tool, Twist, retry
from ropewalk.wire.messages import HttpAnswer

def answer(status: int, **headers: str) -> Response:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Response(HttpAnswer(status=status, url="https://a.example/", headers=fields, body=b""))

class Helper(Tool):
    @retry(attempts=2)
    async def twice(self) -> None:
        raise ValueError("no")

class Fails(Twist):
    retry = RetryPolicy(attempts=3, first=0, maximum=0)
    helper = Helper()

    async def ask(self, method: str, *args: object) -> None:
        await self.run_task(method, *args)

    async def ask_helper(self) -> None:
        await self.run_task(self.helper.twice)

    async def by_callback(self) -> None:
        await self.run_task(await self.callback(self.once))

    async def recur(self) -> None:
        await self.schedule_recurring("k", self.once, every=60)

    async def fails(self) -> None:
        raise ValueError("no")

    @retry(attempts=1)
    async def once(self) -> None:
        raise ValueError("no")

    @retry(attempts=4, first=timedelta(0), ordered=True)
    async def in_order(self) -> None:
        raise ValueError("no")

    async def later(self) -> None:
        raise Retry(after=timedelta(hours=1), reason="the server sleeps")

    async def gives_up(self) -> None:
        raise GiveUp("the account is closed")

    async def busy(self, after: str) -> None:
        raise HTTPStatusError("busy", response=answer(429, Retry_After=after))

    async def exits(self) -> None:
        os._exit(3)

    async def segfaults(self) -> None:
        ctypes.string_at(0)

    async def fills_memory(self) -> None:
        kept = []
        while True:
            kept.append(bytearray(1 << 24))

    async def fine(self) -> str:
        return "fine"
"""


async def ended(runtime: Runtime, instance: str, method: str, *args: object) -> Execution:
    """Have a method run as a task until it is over or backs off for long, and return its execution."""
    await runtime.invoke(instance, "ask", method, *args)
    await runtime.drain()
    return (await runtime.executions(instance, method))[-1]


async def reaches(runtime: Runtime, instance: str, method: str, status: str, attempt: int) -> None:
    """Wait until a method's only execution has this status after so many attempts."""

    async def is_there() -> bool:
        (one,) = await runtime.executions(instance, method)
        return (one.status, one.attempt) == (status, attempt)

    await runtime.start()
    await eventually(is_there, f"{method} to be {status}")


@pytest.mark.parametrize(("method", "attempts"), [("fails", 3), ("once", 1), ("in_order", 4)])
async def test_a_method_has_its_own_policy_or_its_twists(runtime: Runtime, method: str, attempts: int) -> None:
    instance = await runtime.run(SOURCE)
    execution = await ended(runtime, instance, method)
    assert (execution.status, execution.attempt) == ("dead", attempts)


async def test_policies_hold_for_tools_callbacks_and_what_recurs(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    for method in ("ask_helper", "by_callback", "recur"):
        await runtime.invoke(instance, method)
    runtime.clock.step(seconds=60)
    await runtime.drain()
    assert [one.attempt for one in await runtime.executions(instance, "twice")] == [2]
    assert [one.attempt for one in await runtime.executions(instance, "once")] == [1, 1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@retry(attempts=0)\n    async def go(self) -> None: ...", "attempts=.0 is below 1"),
        ("@retry(attempts=2000)\n    async def go(self) -> None: ...", "retry of go\\(\\): attempts=2000"),
        ("@retry(attempts=2)\n    def go(self) -> None: ...", "is not async"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused_at_deploy(runtime: Runtime, line: str, why: str) -> None:
    with pytest.raises(RefusedImport, match=why):
        await runtime.deploy(f"from ropewalk import Twist, retry\n\nclass Fails(Twist):\n    {line}\n")


async def test_retry_waits_as_it_says_and_counts_as_an_attempt(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    await runtime.invoke(instance, "ask", "later")
    await runtime.start()
    for attempt in (1, 2):
        await reaches(runtime, instance, "later", "retrying", attempt)
        runtime.clock.step(seconds=3600)
    await runtime.drain()
    (execution,) = await runtime.executions(instance, "later")
    assert (execution.status, execution.attempt) == ("dead", 3)
    assert execution.error is not None
    assert (execution.error.type, execution.error.message) == ("Retry", "the server sleeps")


async def test_giving_up_is_dead_with_the_reason_and_can_be_retried(runtime: Runtime) -> None:
    instance = await runtime.run(SOURCE)
    execution = await ended(runtime, instance, "gives_up")
    assert (execution.status, execution.attempt) == ("dead", 1)
    assert execution.error is not None
    assert execution.error.message == "the account is closed"
    await runtime.storage.retry(execution.id, runtime.clock.now())
    await runtime.drain()
    assert (await runtime.execution(execution.id)).attempt == 2


@pytest.mark.parametrize(("after", "least"), [("1800", 1790), ("in an hour", 3500), ("99999999", 86_000), ("nonsense", 0)])
async def test_a_busy_server_is_asked_again_when_it_says(runtime: Runtime, after: str, least: float) -> None:
    instance = await runtime.run(SOURCE)
    if after == "in an hour":
        after = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    asked = runtime.clock.now()
    await runtime.invoke(instance, "ask", "busy", after)
    await reaches(runtime, instance, "busy", "retrying" if least else "dead", 1 if least else 3)
    (execution,) = await runtime.executions(instance, "busy")
    waits = ((execution.run_at or asked) - asked) / 1e6
    assert least <= waits <= 86_400 + 60


@pytest.mark.parametrize(
    ("method", "error", "attempts"), [("exits", "crash", 3), ("segfaults", "crash", 3), ("fills_memory", "memory_limit", 2)]
)
async def test_an_event_that_kills_its_process_is_isolated_after_its_attempts(
    runtime: Runtime, method: str, error: str, attempts: int
) -> None:
    instance = await runtime.run(SOURCE)
    neighbour = await runtime.activate("fails")
    await runtime.invoke(instance, "ask", method)
    assert await runtime.invoke(instance, "fine") == "fine"
    assert await runtime.invoke(neighbour, "fine") == "fine"
    await runtime.drain()
    (execution,) = await runtime.executions(instance, method)
    assert (execution.status, execution.attempt) == ("dead", attempts)
    assert execution.error is not None
    assert execution.error.type == error
    assert await runtime.invoke(instance, "fine") == "fine"
    assert await runtime.told() == ["fails: 1 execution has failed for good"]
    assert await runtime.storage.audit(runtime.clock.now(), repair=False) == []
