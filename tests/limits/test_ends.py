"""Limits that end an execution, whatever it does against it, and what the record says that it had used then."""

from __future__ import annotations

import time

import pytest

from ropewalk.sandbox.watch import CPUS
from ropewalk.storage.records import Execution
from tests.harness.lateness import held_up
from tests.harness.waiting import eventually
from tests.limits.conftest import Trial

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024

LATE = 0.02
"""Seconds or CPU seconds by which a limit may be passed, where a tenth of it is less."""


def error_of(execution: Execution) -> tuple[str, str]:
    """Return the type and the message of why it failed."""
    assert execution.error is not None
    return execution.error.type, execution.error.message


def wall(execution: Execution) -> float:
    """Return how long it ran, in seconds."""
    assert execution.started_at is not None
    assert execution.finished_at is not None
    return (execution.finished_at - execution.started_at) / 1e6


def is_just_above(used: float, limit: float, held_up: float) -> bool:
    """Whether a limit of time was passed by no more than is allowed, and than the machine made the host late."""
    return limit <= used <= limit + max(LATE, limit / 10) + held_up


# ── CPU ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["spin", "backtrack", "multiply", "digest_in_threads", "finalise"])
async def test_cpu_time_is_ended_even_when_caught(trial: Trial, way: str) -> None:
    instance = await trial.greedy("cpu=0.3")
    execution = await trial.ended(instance, "go", way)
    kind, message = error_of(execution)
    assert kind == "cpu_limit"
    assert "0.3 s of CPU" in message
    assert is_just_above(execution.cpu / 1e6, 0.3, CPUS * trial.held_up)
    logs = await trial.runtime.logs(instance)
    assert logs == ["began"]


@pytest.mark.parametrize("limit", [0.05, 0.1, 0.75, 1.2])
async def test_the_cpu_limit_is_exact_below_a_second_and_above(trial: Trial, limit: float) -> None:
    instance = await trial.greedy(f"cpu={limit}")
    execution = await trial.ended(instance, "go", "spin")
    assert error_of(execution)[0] == "cpu_limit"
    assert is_just_above(execution.cpu / 1e6, limit, trial.held_up)


# ── Wall time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["sleep", "deadlock"])
async def test_wall_time_is_ended_even_when_caught(trial: Trial, way: str) -> None:
    instance = await trial.greedy("wall=0.4")
    execution = await trial.ended(instance, "go", way)
    kind, message = error_of(execution)
    assert kind == "timeout"
    assert "0.4 s" in message
    assert is_just_above(wall(execution), 0.4, trial.held_up)
    assert await trial.runtime.logs(instance) == ["began"]


# ── A host that is late ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("limit", "way"), [("cpu", "spin"), ("wall", "sleep"), ("memory", "fill_later")])
async def test_limits_hold_while_the_event_loop_stands_still(trial: Trial, limit: str, way: str) -> None:
    """Whatever holds the loop up, the process is ended, and the record says what it had used by then."""
    instance = await trial.greedy({"cpu": "cpu=0.6", "wall": "wall=0.6", "memory": "memory=32 * MIB"}[limit])
    queued = await trial.runtime.queue(instance, "go", way)
    await trial.runtime.start()
    await eventually(lambda: trial.runtime.logs(instance), "the method to begin")
    with held_up() as late:
        time.sleep(1.5)  # what is tested: the event loop's thread stands still for longer than each limit
        execution = await trial.runtime.finish(queued)
    assert error_of(execution)[0] == {"cpu": "cpu_limit", "wall": "timeout", "memory": "memory_limit"}[limit]
    assert limit == "cpu" or wall(execution) < 1.5
    assert limit != "cpu" or is_just_above(execution.cpu / 1e6, 0.6, late.seconds)
    assert limit != "wall" or is_just_above(wall(execution), 0.6, late.seconds)
    assert execution.memory_peak <= 32 * MIB * 1.1 + STACK
    await trial.goes_on(instance)


STACK = 8 * MIB
"""Bytes of stack and of page tables that only the watch counts, not the kernel: it may be late for them."""


@pytest.mark.parametrize("way", ["fill", "small_pieces", "mapped", "mapped_by_ctypes", "page_tables", "stacks"])
async def test_memory_is_ended_even_when_caught(trial: Trial, way: str) -> None:
    instance = await trial.greedy("memory=64 * MIB")
    execution = await trial.ended(instance, "go", way)
    kind, message = error_of(execution)
    assert kind == "memory_limit", message
    assert "67,108,864 bytes" in message
    assert execution.memory_peak <= 64 * MIB * 1.1 + STACK
    assert await trial.runtime.logs(instance) == ["began"]


@pytest.mark.parametrize("way", ["one_piece", "two_gigabytes", "given_back"])
async def test_memory_that_is_asked_for_at_once_is_ended(trial: Trial, way: str) -> None:
    instance = await trial.greedy("memory=64 * MIB")
    execution = await trial.ended(instance, "go", way)
    assert error_of(execution)[0] == "memory_limit"
    assert "67,108,864 bytes" in error_of(execution)[1]
    assert execution.memory_peak <= 64 * MIB * 1.1


@pytest.mark.parametrize("how", ["anonymous", "memfd", "ctypes"])
async def test_memory_that_would_count_for_nobody_is_refused(trial: Trial, how: str) -> None:
    instance = await trial.greedy()
    assert await trial.runtime.invoke(instance, "shared", how) in {"PermissionError", "OSError"}


async def test_memory_below_the_limit_is_nobodys_business(trial: Trial) -> None:
    instance = await trial.greedy("memory=64 * MIB")
    assert len(await trial.runtime.invoke(instance, "give", 1_000_000)) == 1_000_000


# ── Requests ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_are_counted_and_the_next_is_the_end(trial: Trial) -> None:
    instance = await trial.greedy("requests=20")
    assert await trial.runtime.invoke(instance, "ask", 20, False) == "survived"
    for method, args in (("ask", (21, False)), ("at_once", (21,))):
        execution = await trial.ended(instance, method, *args)
        assert error_of(execution)[0] == "request_limit"
        assert "20 requests" in error_of(execution)[1]
        assert execution.requests == 21


async def test_a_batch_is_one_request(trial: Trial) -> None:
    instance = await trial.greedy("requests=5")
    assert await trial.runtime.invoke(instance, "ask", 5, True) == "survived"


async def test_a_thousand_requests_unless_the_twist_says_less(trial: Trial) -> None:
    instance = await trial.greedy()
    assert await trial.runtime.invoke(instance, "ask", 1000, False) == "survived"
    execution = await trial.ended(instance, "ask", 1001, False)
    assert "1,000 requests" in error_of(execution)[1]


# ── Threads ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_threads_past_python_are_ended(trial: Trial) -> None:
    instance = await trial.greedy()
    execution = await trial.ended(instance, "raw_threads")
    assert error_of(execution)[0] == "thread_limit"
    assert "16 threads" in error_of(execution)[1]
