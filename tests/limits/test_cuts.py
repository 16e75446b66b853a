"""Logs are cut at their limit, with a mark, and the execution goes on."""

from __future__ import annotations

import pytest

from tests.limits.conftest import Trial

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(("text", "times"), [("x" * 90, 200), ("é" * 90, 200), ("x" * 50_000, 1), ("é" * 50_000, 2)])
async def test_logs_are_cut_at_their_bytes_and_marked(trial: Trial, text: str, times: int) -> None:
    instance = await trial.greedy("logs=10_000")
    assert await trial.runtime.invoke(instance, "say", text, times) == "survived"
    *lines, mark = await trial.runtime.logs(instance)
    assert "10,000 bytes" in mark
    kept = sum(len(line.encode()) + 32 for line in lines)
    assert 9_900 <= kept <= 10_000
    assert lines[0].startswith(f"0 {text[:50]}")
    await trial.goes_on(instance)


async def test_logs_below_the_limit_are_whole(trial: Trial) -> None:
    instance = await trial.greedy("logs=10_000")
    await trial.runtime.invoke(instance, "say", "x" * 50, 100)
    assert await trial.runtime.logs(instance) == [f"{number} {'x' * 50}" for number in range(100)]


async def test_a_flood_past_the_sdk_is_ended(trial: Trial) -> None:
    """A guest stops by itself; one that goes on writes to no end but to keep the host busy."""
    instance = await trial.greedy("logs=10_000")
    execution = await trial.ended(instance, "flood", 5000)
    assert execution.error is not None
    assert (execution.error.type, "log lines" in execution.error.message) == ("protocol", True)


async def test_no_logs_at_all_may_be_asked_for(trial: Trial) -> None:
    instance = await trial.greedy("logs=0")
    assert await trial.runtime.invoke(instance, "say", "x", 3) == "survived"
    assert len(await trial.runtime.logs(instance)) == 1
