"""The guide's "Execution Model": ephemeral, isolated, driven by events, limited."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWISTS = Path(__file__).parent / "twists"


# ── Ephemeral execution ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_execution_has_a_process_of_its_own(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "lifecycle.py")
    processes = [await runtime.invoke(instance, "process") for _ in range(12)]
    assert len(set(processes)) == len(processes)


async def test_resources_are_cleaned_up_after_an_execution(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "lifecycle.py")
    first = await runtime.invoke(instance, "leaves_threads")
    assert await runtime.invoke(instance, "leaves_threads") == first


# ── Event-driven ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_lifecycle_events_and_tasks_each_call_their_method(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "lifecycle.py")
    await runtime.drain()
    root = await runtime.storage.root_priority()
    assert await runtime.logs(instance) == [f"activate {root.title}", "task "]


async def test_a_new_version_calls_upgrade_once_in_the_new_code(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "lifecycle.py")
    await runtime.drain()
    source = (TWISTS / "lifecycle.py").read_text()
    await runtime.deploy(source.replace('"from {', '"version 2, from {'), name="lifecycle")
    await runtime.drain()
    assert (await runtime.logs(instance))[2:] == ["upgrade version 2, from 1"]
    assert (await runtime.instance(instance)).version == 2


async def test_removal_calls_deactivate_and_afterwards_nothing_runs(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "lifecycle.py")
    await runtime.drain()
    later = next(task for task in await runtime.storage.tasks(instance) if task.target.method == "scheduled_later")
    await runtime.deactivate(instance)
    runtime.clock.step(seconds=7200)
    await runtime.drain()
    assert await runtime.storage.instance(instance) is None
    assert (await runtime.execution(later.id)).status == "cancelled"


async def test_a_scheduled_task_runs_when_its_time_comes_and_not_before(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "lifecycle.py")
    await runtime.drain()
    assert await runtime.executions(instance, "scheduled_later") == []
    runtime.clock.step(seconds=3601)
    await runtime.drain()
    (ran,) = await runtime.executions(instance, "scheduled_later")
    assert ran.status == "succeeded"


# ── Resource limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "error", "figure"),
    [("cpu", "cpu_limit", "0.5 s"), ("memory", "memory_limit", "33,554,432 bytes"), ("requests", "request_limit", "20 requests")],
)
async def test_a_limit_ends_the_execution_by_name_with_the_figure(runtime: Runtime, method: str, error: str, figure: str) -> None:
    instance = await runtime.run(TWISTS / "spends.py")
    why = await runtime.failure(instance, method)
    assert why.type == error
    assert figure in why.message
    assert await runtime.keys(instance) == []


async def test_what_one_execution_spent_is_not_missing_in_the_next(runtime: Runtime) -> None:
    instance = await runtime.run(TWISTS / "spends.py")
    await runtime.failure(instance, "requests")
    await runtime.failure(instance, "cpu")
    assert await runtime.invoke(instance, "little") == 20
