"""Token buckets whose whole state is one time, and the pace of an instance."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ropewalk.storage.pace import FULL, Pace
from ropewalk.storage.records import StorageLimits
from ropewalk.storage.sqlite import open_sqlite
from tests.storage.scene import SECOND, START, Scene, StillClock

PACE = Pace(burst=3, rate=2.0)
HALF = SECOND // 2


# ── Buckets ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def taken(pace: Pace, *times: int) -> int:
    """Return a full bucket's state after something started at each of these times."""
    state = FULL
    for at in times:
        assert pace.next(state, at) <= at, f"nothing may start at {at}"
        state = pace.take(state, at)
    return state


def test_a_full_bucket_lets_its_burst_go_at_once() -> None:
    assert [PACE.used(taken(PACE, *[START] * count), START) for count in range(4)] == [0, 1, 2, 3]


def test_an_empty_bucket_says_when_the_next_token_comes() -> None:
    assert PACE.next(taken(PACE, START, START, START), START) == START + HALF


def test_tokens_come_at_the_rate_up_to_the_burst() -> None:
    state = taken(PACE, START, START, START)
    assert [PACE.used(state, START + HALF * waited) for waited in range(5)] == [3, 2, 1, 0, 0]


def test_what_is_left_of_a_token_counts_towards_the_next() -> None:
    state = taken(PACE, START, START, START, START + HALF + 100)
    assert PACE.next(state, START + HALF + 100) == START + 2 * HALF


def test_a_bucket_whose_clock_was_set_back_holds_nothing_up() -> None:
    state = taken(PACE, START, START, START)
    earlier = START - 3600 * SECOND
    assert PACE.used(state, earlier) == 0
    assert PACE.next(PACE.take(state, earlier), earlier) <= earlier


@pytest.mark.parametrize("seed", range(5))
def test_a_bucket_never_gives_more_than_its_burst_and_what_has_come(seed: int) -> None:
    chance, state, at, starts = random.Random(seed), FULL, START, list[int]()
    for _ in range(500):
        at += chance.choice([0, 0, 1, HALF // 3, HALF, 5 * SECOND])
        if PACE.next(state, at) <= at:
            state = PACE.take(state, at)
            starts.append(at)
    for index, first in enumerate(starts):
        for count, last in enumerate(starts[index:], 1):
            assert count <= PACE.burst + (last - first) / HALF


# ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def paced(tmp_path: Path, clock: StillClock) -> AsyncIterator[Scene]:
    """A database whose instances start three executions at once, and then two a second."""
    storage = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True, limits=StorageLimits(pace=PACE))
    scene = Scene(storage, clock)
    await scene.prepare()
    yield scene
    assert await scene.problems() == []
    await storage.close()


async def rested(scene: Scene, instance: str = "i1") -> None:
    """Have an active instance whose bucket is full."""
    await scene.active(instance)
    scene.clock.move(60)


async def test_what_is_over_the_pace_waits_for_its_token(paced: Scene) -> None:
    await rested(paced)
    for number in range(5):
        await paced.enqueue("i1", str(number))
    assert await paced.run_all() == ["0", "1", "2"]
    assert await paced.storage.next_wake() == paced.clock.now() + HALF
    paced.clock.move(0.4)
    assert await paced.nothing_to_claim()
    paced.clock.move(0.1)
    assert await paced.run_all() == ["3"]
    paced.clock.move(0.5)
    assert await paced.run_all() == ["4"]
    assert await paced.storage.next_wake() is None


async def test_a_settlement_takes_no_more_than_the_pace_allows(paced: Scene) -> None:
    await rested(paced)
    for number in range(4):
        await paced.enqueue("i1", str(number))
    second = (await paced.succeed(await paced.claim(), next=True)).next
    assert second is not None
    third = (await paced.succeed(second, next=True)).next
    assert third is not None
    assert (await paced.succeed(third, next=True)).next is None


async def test_retries_take_tokens_too(paced: Scene) -> None:
    await rested(paced)
    await paced.enqueue("i1")
    for _ in range(3):
        await paced.fail(await paced.claim(), retry_in=0)
    assert await paced.nothing_to_claim()
    paced.clock.move(0.5)
    await paced.fail(await paced.claim())


async def test_what_waits_for_its_pace_counts_as_ready(paced: Scene) -> None:
    await rested(paced)
    for _ in range(5):
        await paced.enqueue("i1")
    await paced.run_all()
    assert (await paced.storage.workload()).ready == 2


async def test_a_timer_that_has_come_counts_while_it_waits_for_its_pace(paced: Scene) -> None:
    await rested(paced)
    await paced.after("i1", "later", 0.2)
    for _ in range(3):
        await paced.enqueue("i1")
    await paced.run_all()
    paced.clock.move(0.3)
    assert await paced.nothing_to_claim()
    assert (await paced.storage.workload()).ready == 1


async def test_an_instances_pace_holds_up_no_other(paced: Scene) -> None:
    await rested(paced, "i1")
    await rested(paced, "i2")
    for number in range(9):
        await paced.enqueue("i1", str(number))
    await paced.run_all("i1")
    await paced.enqueue("i2", "now")
    assert await paced.run_all("i2") == ["now"]


async def test_leaving_does_not_wait_for_the_pace(paced: Scene) -> None:
    await rested(paced)
    for _ in range(5):
        await paced.enqueue("i1")
    await paced.run_all()
    await paced.storage.begin_deactivation(paced.lifecycle("i1", "deactivate"))
    assert await paced.run_all() == ["deactivate"]


async def test_a_clock_set_back_holds_up_nothing(paced: Scene) -> None:
    await rested(paced)
    for number in range(3):
        await paced.enqueue("i1", str(number))
    await paced.run_all()
    paced.clock.move(-3600)
    await paced.enqueue("i1", "later")
    assert await paced.run_all() == ["later"]


async def test_what_waits_for_its_token_goes_on_when_the_clock_is_set_back(paced: Scene) -> None:
    await rested(paced)
    for number in range(4):
        await paced.enqueue("i1", str(number))
    await paced.run_all()
    assert await paced.storage.follow_clock(paced.clock.now()) == 0
    paced.clock.move(-3600)
    assert await paced.nothing_to_claim()
    assert await paced.storage.follow_clock(paced.clock.now()) == 1
    assert await paced.run_all() == ["3"]
    assert await paced.storage.follow_clock(paced.clock.now()) == 0


async def test_resuming_fills_the_bucket(paced: Scene) -> None:
    await rested(paced)
    for number in range(5):
        await paced.enqueue("i1", str(number))
    await paced.run_all()
    await paced.storage.resume("i1", paced.clock.now())
    assert await paced.run_all() == ["3", "4"]
