"""The guide's "Timeout Handling": the code simply stops; and how to be done before it does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness import processes
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"


def limited(method: str) -> str:
    """Return the twist with plenty of wall time where CPU is to run out: a busy machine gives little of it in a second."""
    source = (TWISTS / "runs_out_of_time.py").read_text()
    return source.replace("wall=1.0", "wall=60.0") if method.startswith("computes") else source


@pytest.mark.parametrize(
    ("method", "error"),
    [("computes", "cpu_limit"), ("computes_in_a_thread", "cpu_limit"), ("sleeps", "timeout"), ("blocks", "timeout")],
)
async def test_the_code_simply_stops_running(runtime: Runtime, method: str, error: str) -> None:
    """No `except`, `finally` or `atexit` of its runs, and nothing but what it logged before is there."""
    instance = await runtime.run(limited(method))
    why = await runtime.failure(instance, method)
    await runtime.drain()
    assert why.type == error
    assert await runtime.keys(instance) == []
    assert await runtime.executions(instance, "marks") == []
    assert await runtime.logs(instance) == ["began"]


@pytest.mark.parametrize(("method", "used", "most"), [("computes", "cpu", 0.8), ("sleeps", "wall", 3.0), ("blocks", "wall", 3.0)])
async def test_it_is_ended_soon_after_the_limit(runtime: Runtime, method: str, used: str, most: float) -> None:
    instance = await runtime.run(limited(method))
    await runtime.failure(instance, method)
    (execution,) = await runtime.executions(instance, method)
    assert execution.started_at is not None
    assert execution.finished_at is not None
    took = {"cpu": execution.cpu, "wall": execution.finished_at - execution.started_at}[used]
    assert took / 1e6 < most


async def test_a_late_host_finds_the_limit_kept_by_the_kernel(runtime: Runtime) -> None:
    """While the host does not get to look, the process is ended all the same, and for the same reason."""
    instance = await runtime.run(limited("computes"))
    execution = await runtime.queue(instance, "computes")
    await runtime.start()

    async def busy() -> list[int]:
        return [pid for pid in processes.zygote_tree(os.getpid()).attempts if processes.cpu_ticks(pid) > 10]

    (pid,) = await eventually(busy, "the method to compute")
    until(lambda: not Path(f"/proc/{pid}").exists(), "the kernel to end it")  # the host's event loop stands still meanwhile
    finished = await runtime.finish(execution)
    assert finished.error is not None
    assert finished.error.type == "cpu_limit"


async def test_a_task_that_is_ended_by_a_limit_is_tried_once_more(runtime: Runtime) -> None:
    instance = await runtime.run(
        """
        from ropewalk import Limits, RetryPolicy, Twist

        class Loops(Twist):
            limits = Limits(cpu=0.2)
            retry = RetryPolicy(first=0.01)

            async def begin(self) -> None:
                await self.run_task(self.loop)

            async def loop(self) -> None:
                while True:
                    pass
        """
    )
    await runtime.invoke(instance, "begin")
    await runtime.drain()
    (execution,) = await runtime.executions(instance, "loop")
    assert (execution.status, execution.attempt) == ("dead", 2)


# ── Prevention strategies ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["long_operation", "watched_by_the_runtime"])
async def test_progress_is_saved_and_the_rest_rescheduled_before_time_is_up(runtime: Runtime, method: str) -> None:
    instance = await runtime.run(TWISTS / "long_operation.py")
    await runtime.invoke(instance, method, list(range(40)))
    await runtime.drain()
    assert await runtime.keys(instance) == [f"processed:{number:02}" for number in range(40)]
    assert [await runtime.get(instance, key) for key in await runtime.keys(instance)] == [1] * 40
    executions = [one for one in await runtime.executions(instance) if one.target.method != "activate"]
    assert len(executions) > 2
    assert {one.status for one in executions} == {"succeeded"}
