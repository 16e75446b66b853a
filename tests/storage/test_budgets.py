"""What suspends an instance, what its owner is told, and what lifts it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from ropewalk.storage.budgets import HOUR, Spent, at_hour, loop_of
from ropewalk.storage.interface import DoesNotApply, StorageError, UnknownInstance
from ropewalk.storage.records import ActivityQuery, LogQuery, Rank, StorageLimits, Suspension
from ropewalk.storage.sqlite import open_sqlite
from tests.storage.scene import Scene, StillClock

LIMITS = StorageLimits(daily=10, chain=5)
TO_LOOK = Suspension(reason="to look into it", since=0)


@pytest.fixture
async def bounded(tmp_path: Path, clock: StillClock) -> AsyncIterator[Scene]:
    """A database whose instances may start ten executions a day, in chains of five, with one that is active."""
    storage = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True, limits=LIMITS)
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.active()
    await storage.resume("i1", clock.now())
    yield scene
    assert await scene.problems() == []
    await storage.close()


async def suspension(scene: Scene, instance: str = "i1") -> Suspension | None:
    """Return why an instance is suspended."""
    found = await scene.instance(instance)
    assert (found.suspension is not None) == (found.status == "suspended")
    return found.suspension


async def budget(scene: Scene) -> str | None:
    """Return the budget that suspended the instance."""
    found = await suspension(scene)
    return found.budget if found is not None else None


async def told(scene: Scene) -> list[tuple[str, str]]:
    """Return titles and texts of what owners were told, oldest first."""
    owned = reversed(await scene.storage.activities(ActivityQuery(limit=None)))
    return [(one.activity.title, (await scene.storage.notes(one.activity.id))[0].content) for one in owned]


async def run_many(scene: Scene, count: int) -> int:
    """Store so many events and run what may run of them; returns how many did."""
    for _ in range(count):
        await scene.enqueue("i1")
    return len(await scene.run_all())


async def chain(scene: Scene, *methods: str, first: str = "begin", links: int = 100) -> list[str]:
    """Have the methods ask for one another, in turn, after an event from outside; returns what ran."""
    ran: list[str] = []
    await scene.enqueue("i1", first)
    for link in range(links):
        claims = await scene.storage.claim("node-1", 1, only="i1")
        if not claims:
            break
        running = claims[0].execution
        ran.append(running.target.method)
        task = scene.task(methods[link % len(methods)], cause=running.id, depth=running.depth + 1)
        await scene.succeed(claims[0], task)
    return ran


# ── A day ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_execution_that_is_over_the_day_is_not_started_but_suspends(bounded: Scene) -> None:
    assert await run_many(bounded, 12) == 10
    assert await budget(bounded) == "daily"
    assert (await bounded.instance()).pending == 2
    assert await bounded.storage.next_wake() is None


async def test_retries_are_not_counted(bounded: Scene) -> None:
    await bounded.enqueue("i1")
    for _ in range(20):
        await bounded.fail(await bounded.claim(), retry_in=0)
    assert await suspension(bounded) is None


async def test_lifecycle_methods_count_but_suspend_nothing(bounded: Scene) -> None:
    assert await run_many(bounded, 10) == 10
    await bounded.upgrade("b2")
    assert await bounded.run_all() == ["upgrade"]
    assert await suspension(bounded) is None


async def test_what_is_older_than_a_day_no_longer_counts(bounded: Scene) -> None:
    for _ in range(5):
        assert await run_many(bounded, 2) == 2
        bounded.clock.move(4 * 3600)
    assert await run_many(bounded, 1) == 0
    assert await budget(bounded) == "daily"


async def test_a_day_later_the_window_is_empty(bounded: Scene) -> None:
    assert await run_many(bounded, 10) == 10
    bounded.clock.move(24 * 3600)
    assert await run_many(bounded, 10) == 10
    assert await suspension(bounded) is None


def test_the_window_is_24_hourly_buckets() -> None:
    spent = Spent()
    for hour in range(48):
        spent = at_hour(spent, hour * HOUR)
        spent = Spent(hour=spent.hour, past=spent.past, daily=spent.daily + 1)
        assert spent.daily == min(24, hour + 1)
    assert at_hour(spent, 50 * HOUR).daily == 21
    assert at_hour(spent, 47 * HOUR + 24 * HOUR).daily == 0


def test_a_clock_set_back_keeps_what_was_counted() -> None:
    spent = at_hour(Spent(hour=100, daily=7, past=(3,)), 90 * HOUR)
    assert (spent.hour, spent.daily) == (90, 7)
    assert at_hour(spent, 92 * HOUR).daily == 7


# ── A chain ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_chain_that_is_too_deep_suspends_and_its_next_link_waits(bounded: Scene) -> None:
    assert await chain(bounded, "page") == ["begin", *["page"] * 5]
    assert await budget(bounded) == "chain"
    assert (await bounded.instance()).pending == 1


async def test_tasks_from_outside_are_no_chain(bounded: Scene) -> None:
    assert await run_many(bounded, 10) == 10
    assert await suspension(bounded) is None


async def test_a_settlement_that_would_claim_what_is_too_deep_suspends(bounded: Scene) -> None:
    await bounded.enqueue("i1", depth=6)
    await bounded.enqueue("i1", "first", rank=Rank.WAITED_FOR)
    assert (await bounded.succeed(await bounded.claim(), next=True)).next is None
    assert await budget(bounded) == "chain"


async def test_a_task_that_joins_an_older_one_goes_on_with_its_chain(bounded: Scene) -> None:
    await bounded.enqueue("i1", key="k", depth=5)
    await bounded.after("i1", "go", 3600, key="k", coalesce=True)
    (waiting,) = await bounded.storage.tasks("i1")
    assert waiting.depth == 5


@pytest.mark.parametrize(
    ("methods", "loop"),
    [
        (["page", "page", "page"], "page → page"),
        (["ping", "pong", "ping", "pong"], "ping → pong → ping"),
        (["c", "b", "a", "c", "b", "a"], "c → a → b → c"),
        (["page", "page", "page", "activate"], "page → page"),
        (["b", "b", "a", "b", "b", "a"], "b → a → b → b"),
        (["third", "second", "first"], "first → second → third"),
        (["only"], "only"),
        ([str(number) for number in range(12)], "… → 7 → 6 → 5 → 4 → 3 → 2 → 1 → 0"),
    ],
)
def test_the_loop_is_named(methods: list[str], loop: str) -> None:
    assert loop_of(methods) == loop


# ── What the owner is told ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_note_says_which_figure_which_chain_and_what_lifts_it(bounded: Scene) -> None:
    await chain(bounded, "fetch_page", "store_page", first="activate")
    text = dict(await told(bounded))["syncer is suspended: a chain of tasks 6 deep, and the limit is 5"]
    assert "fetch_page → store_page → fetch_page" in text or "store_page → fetch_page → store_page" in text
    for named in ("`i1`", "`ropewalk resume i1`", "`syncer`", "`limit_chain`", "1 of its executions now"):
        assert named in text


async def test_the_note_is_the_instances_and_no_twists(bounded: Scene) -> None:
    await chain(bounded, "page")
    every = await bounded.storage.activities(ActivityQuery(limit=None))
    assert {(one.activity.type, one.instance, one.twist) for one in every} == {("note", "i1", None)}
    assert {one.activity.priority for one in every} == {bounded.priority}


async def test_a_forecast_comes_once_before_the_limit(bounded: Scene) -> None:
    assert await run_many(bounded, 7) == 7
    assert await told(bounded) == []
    assert await run_many(bounded, 3) == 3
    ((title, text),) = await told(bounded)
    assert title == "syncer will soon be suspended: 8 executions in 24 hours, and the limit is 10"
    assert "`limit_daily`" in text


async def test_a_forecast_comes_again_in_the_next_window(bounded: Scene) -> None:
    await run_many(bounded, 9)
    bounded.clock.move(24 * 3600)
    await run_many(bounded, 9)
    assert len(await told(bounded)) == 2


async def test_many_chains_give_one_forecast(bounded: Scene) -> None:
    for _ in range(3):
        await bounded.enqueue("i1", depth=4)
    await bounded.run_all()
    assert len(await told(bounded)) == 1


async def test_the_logs_say_so_too(bounded: Scene) -> None:
    await chain(bounded, "page")
    lines = [numbered.line for numbered in await bounded.storage.logs(LogQuery(instance="i1"))]
    assert [line.level for line in lines] == [logging.WARNING] * 2
    assert "4 deep" in lines[0].message
    assert lines[1].message.startswith("not started, and the instance is suspended: a chain of tasks 6 deep")


async def test_suspension_and_note_are_there_together_or_not_at_all(bounded: Scene, tmp_path: Path) -> None:
    """Whatever keeps the note from being written keeps the suspension, and the claim tries again."""
    await bounded.enqueue("i1", "too_deep", depth=6)
    break_notes(tmp_path, "CREATE TRIGGER broken BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'broken'); END")
    with pytest.raises(StorageError):
        await bounded.storage.claim("node-1", 1)
    assert await suspension(bounded) is None
    assert await told(bounded) == []
    break_notes(tmp_path, "DROP TRIGGER broken")
    assert await bounded.storage.claim("node-1", 1) == []
    assert await budget(bounded) == "chain"
    assert len(await told(bounded)) == 1


def break_notes(folder: Path, sql: str) -> None:
    """Change the database behind everybody's back."""
    connection = apsw.Connection(str(folder / "ropewalk.db"))
    connection.execute(sql)
    connection.close()


# ── What lifts it ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_events_go_on_being_queued_and_run_in_order_once_resumed(bounded: Scene) -> None:
    await chain(bounded, "page")
    await bounded.enqueue("i1", "meanwhile")
    assert await bounded.nothing_to_claim()
    assert await bounded.storage.resume("i1", bounded.clock.now())
    assert await bounded.run_all() == ["page", "meanwhile"]


async def test_resuming_begins_chains_anew(bounded: Scene) -> None:
    await chain(bounded, "page")
    await bounded.storage.resume("i1", bounded.clock.now())
    claim = await bounded.claim()
    assert claim.execution.depth == 0
    assert (await bounded.execution(claim.execution.id)).depth == 0


async def test_resuming_begins_the_chain_of_what_runs_anew(bounded: Scene) -> None:
    await bounded.enqueue("i1", depth=4)
    claim = await bounded.claim()
    await bounded.storage.resume("i1", bounded.clock.now())
    await bounded.succeed(claim, bounded.task("next", depth=5))
    assert (await bounded.claim()).execution.depth == 1


async def test_resuming_empties_the_day(bounded: Scene) -> None:
    await run_many(bounded, 11)
    await bounded.storage.resume("i1", bounded.clock.now())
    assert await run_many(bounded, 9) == 10


async def test_resuming_what_is_not_suspended_begins_its_budgets_anew(bounded: Scene) -> None:
    await run_many(bounded, 10)
    assert not await bounded.storage.resume("i1", bounded.clock.now())
    assert await run_many(bounded, 10) == 10


async def test_a_new_version_lifts_what_a_budget_did(bounded: Scene) -> None:
    await chain(bounded, "page")
    await bounded.upgrade("b2")
    assert (await bounded.run_all())[:2] == ["upgrade", "page"]
    assert (await bounded.instance()).version == 2


async def test_a_new_version_leaves_what_an_operator_did(bounded: Scene) -> None:
    await bounded.storage.suspend("i1", TO_LOOK)
    await bounded.enqueue("i1", "waits")
    await bounded.upgrade("b2")
    assert await bounded.nothing_to_claim()
    await bounded.storage.resume("i1", bounded.clock.now())
    assert await bounded.run_all() == ["upgrade", "waits"]


async def test_an_operators_suspension_takes_a_budgets_place(bounded: Scene) -> None:
    await chain(bounded, "page")
    await bounded.storage.suspend("i1", TO_LOOK)
    assert await suspension(bounded) == TO_LOOK


async def test_what_runs_when_it_is_suspended_may_end(bounded: Scene) -> None:
    await bounded.enqueue("i1")
    await bounded.enqueue("i1")
    claim = await bounded.claim()
    await bounded.storage.suspend("i1", TO_LOOK)
    assert (await bounded.succeed(claim, next=True)).next is None
    assert (await bounded.execution(claim.execution.id)).status == "succeeded"


async def test_an_activation_goes_on_where_it_was(bounded: Scene) -> None:
    await bounded.activate("i2")
    await bounded.storage.suspend("i2", TO_LOOK)
    assert await bounded.nothing_to_claim("i2")
    await bounded.storage.resume("i2", bounded.clock.now())
    assert (await bounded.instance("i2")).status == "activating"
    await bounded.succeed(await bounded.claim("i2"))
    assert (await bounded.instance("i2")).status == "active"


async def test_a_node_that_dies_leaves_a_suspended_instance_suspended(bounded: Scene) -> None:
    await bounded.enqueue("i1")
    await bounded.claim()
    await bounded.storage.suspend("i1", TO_LOOK)
    await bounded.storage.release("node-1", bounded.clock.now())
    assert await bounded.storage.next_wake() is None
    await bounded.storage.resume("i1", bounded.clock.now())
    assert await bounded.run_all_as("node-2") == ["go"]


async def test_a_suspended_instance_can_be_deactivated(bounded: Scene) -> None:
    await chain(bounded, "page")
    await bounded.storage.begin_deactivation(bounded.lifecycle("i1", "deactivate"))
    assert await bounded.run_all() == ["deactivate"]
    assert await bounded.storage.instance("i1") is None


async def test_what_leaves_cannot_be_suspended(bounded: Scene) -> None:
    await bounded.storage.begin_deactivation(bounded.lifecycle("i1", "deactivate"))
    with pytest.raises(DoesNotApply, match="being deactivated"):
        await bounded.storage.suspend("i1", TO_LOOK)


async def test_what_is_not_there_can_be_neither_suspended_nor_resumed(bounded: Scene) -> None:
    with pytest.raises(UnknownInstance):
        await bounded.storage.suspend("nobody", TO_LOOK)
    with pytest.raises(UnknownInstance):
        await bounded.storage.resume("nobody", bounded.clock.now())
