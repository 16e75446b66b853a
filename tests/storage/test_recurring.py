"""What recurs, in storage: a tick becomes one run or is counted, the next is always there, and nothing but its end ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ropewalk.clock import Micros
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import (
    CancelTask,
    CancelTasks,
    Claim,
    DropCallback,
    NewVersion,
    PutCallback,
    PutRecurring,
    Recurring,
    StorageLimits,
    Suspension,
)
from ropewalk.storage.recurrence import recurrence
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.control import Manifest, ScheduleInfo
from ropewalk.wire.messages import Target
from tests.storage.scene import SECOND, START, Scene, StillClock

MINUTE = 60.0


def recurs(scene: Scene, key: str = "k", method: str = "tick", *, seconds: float = MINUTE, **fields: Any) -> PutRecurring:
    """Return the effect of `schedule_recurring`."""
    now = scene.clock.now()
    first, cron = fields.pop("first", None), fields.pop("cron", None)
    asked = recurrence(
        every=round(seconds * SECOND) if cron is None else None,
        cron=cron,
        tz=fields.pop("tz", "UTC"),
        catch_up=fields.pop("catch_up", "one"),
        first=None if first is None else now + round(first * SECOND),
        now=now,
    )
    arguments = fields.pop("arguments", b"[[],{}]")
    given: dict[str, Any] = {"ns": "", "callback": None, "target": Target(ns="", method=method, arguments=arguments), "at": now}
    return PutRecurring(id=next(scene.ids), key=key, recurrence=asked, first_given=first is not None, **given | fields)


async def ask(scene: Scene, *effects: Any, instance: str = "i1") -> None:
    """Run an execution that does this."""
    await scene.enqueue(instance, "ask")
    await scene.succeed(await scene.claim(instance), *effects)


async def the_one(scene: Scene) -> Recurring:
    """Return the only thing that recurs."""
    (one,) = await scene.storage.recurring()
    return one


async def pass_time(scene: Scene, seconds: float) -> list[Micros]:
    """Let time pass, run what is due, and return the times of the runs in seconds since the start."""
    scene.clock.move(seconds)
    return await runs(scene)


async def runs(scene: Scene) -> list[Micros]:
    """Run what is due and return the times of the runs in seconds since the start."""
    found: list[Micros] = []
    while claims := await scene.storage.claim("node-1", 1):
        found.append(((claims[0].execution.run_at or 0) - START) // SECOND)
        await scene.succeed(claims[0])
    return found


# ── Ticks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_runs_at_every_tick(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    assert await runs(scene) == []
    assert await scene.storage.next_wake() == START + 60 * SECOND
    assert await pass_time(scene, 60) == [60]
    assert await pass_time(scene, 59) == []
    assert await pass_time(scene, 1) == [120]
    one = await the_one(scene)
    assert (one.runs, one.skipped, one.missed, one.next) == (2, 0, 0, START + 180 * SECOND)


async def test_lateness_does_not_add_up(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    assert [await pass_time(scene, 61) for _ in range(3)] == [[60], [120], [180]]


async def test_a_first_time_and_one_that_is_past(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, first=10), recurs(scene, "past", "past", first=-1_000_030))
    assert await runs(scene) == [0]
    assert await pass_time(scene, 10) == [10]
    assert await pass_time(scene, 40) == [50]  # 1,000,080 seconds, which are whole minutes, after its first time


async def test_a_tick_that_has_come_is_work_that_is_due(scene: Scene) -> None:
    await scene.active()
    assert (await scene.storage.workload()).ready == 0
    await ask(scene, recurs(scene, first=0))
    assert (await scene.storage.workload()).ready == 1
    await scene.succeed(await scene.claim("i1"))
    assert (await scene.storage.workload()).ready == 0


async def the_methods(scene: Scene) -> dict[str, Recurring]:
    """Return what recurs by its method."""
    return {one.target.method: one for one in await scene.storage.recurring()}


async def test_cron_times_are_those_of_the_zone(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, cron="0 9 * * *", tz="Europe/Paris"))
    assert await scene.storage.next_wake() == START + 86_400 * SECOND  # it is nine in Paris just now


async def test_a_run_is_an_execution_with_its_ticks_time(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, arguments=b'[["a"],{}]'))
    scene.clock.move(75)
    claim = await scene.claim()
    one = await the_one(scene)
    run = claim.execution
    assert (run.target, run.run_at, run.trigger, run.cause) == (one.target, START + 60 * SECOND, "task", one.id)
    assert (one.last, one.last_at) == (run.id, run.run_at)


async def test_ticks_stand_in_line_by_their_times(scene: Scene) -> None:
    instance = await scene.active()
    await ask(scene, recurs(scene, "b", "at 60"), recurs(scene, "a", "at 40", seconds=40))
    await scene.after(instance, "at 50", 50)
    scene.clock.move(65)
    assert await scene.run_all() == ["at 40", "at 50", "at 60"]


# ── What does not end it ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_run_that_dies_ends_nothing(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(60)
    await scene.fail(await scene.claim())
    assert await pass_time(scene, 60) == [120]


async def test_a_tick_that_comes_while_a_run_goes_on_is_skipped(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(60)
    claim = await scene.claim()
    scene.clock.move(150)
    await scene.succeed(claim)
    assert await runs(scene) == []
    assert (await the_one(scene)).skipped == 2
    assert await pass_time(scene, 30) == [240]


async def test_a_tick_that_comes_in_a_back_off_is_skipped(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(60)
    await scene.fail(await scene.claim(), retry_in=100)
    assert await pass_time(scene, 60) == []
    assert await pass_time(scene, 40) == [160]
    assert (await the_one(scene)).skipped == 1
    assert await pass_time(scene, 20) == [180]


async def test_a_run_that_waits_for_its_turn_is_not_doubled(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    await scene.enqueue("i1", "long")
    claim = await scene.claim()
    for _ in range(3):
        scene.clock.move(60)
        await scene.enqueue("i1", "event")
    await scene.succeed(claim)
    assert await scene.run_all() == ["tick", "event", "event", "event"]
    one = await the_one(scene)
    assert (one.runs, one.skipped) == (1, 2)


async def test_a_suspension_is_caught_up_with_once(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    await scene.storage.suspend("i1", Suspension(reason="why not", since=scene.clock.now()))
    assert await pass_time(scene, 330) == []
    await scene.storage.resume("i1", scene.clock.now())
    assert await runs(scene) == [300]
    assert await pass_time(scene, 30) == [360]
    assert (await the_one(scene)).missed == 4


@pytest.mark.parametrize(("catch_up", "expected"), [("one", [300]), ("all", [60, 120, 180, 240, 300]), ("none", [])])
async def test_what_is_missed_is_made_up_for_as_asked(scene: Scene, catch_up: str, expected: list[int]) -> None:
    await scene.active()
    await ask(scene, recurs(scene, catch_up=catch_up))
    assert await pass_time(scene, 340) == expected
    assert await pass_time(scene, 20) == [360]
    assert (await the_one(scene)).missed == 5 - len(expected)


async def test_all_that_was_missed_runs_though_more_comes_meanwhile(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, catch_up="all"))
    scene.clock.move(250)
    ran: list[int] = []
    for _ in range(4):
        claim = await scene.claim()
        ran.append(((claim.execution.run_at or 0) - START) // SECOND)
        scene.clock.move(20)
        await scene.succeed(claim)
    assert ran == [60, 120, 180, 240]
    assert (await the_one(scene)).skipped == 1  # the tick at 300 came while they ran
    assert await pass_time(scene, 30) == [360]


async def test_a_great_many_missed_runs_are_queued_some_at_a_time(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, seconds=1, catch_up="all"))
    scene.clock.move(400)
    claim = await scene.claim()
    assert (await scene.instance()).pending < 100
    await scene.succeed(claim)
    assert len(await runs(scene)) == 399
    assert await scene.problems() == []


async def test_no_more_is_queued_than_there_is_room_for(tmp_path: Path, clock: StillClock) -> None:
    storage = await open_sqlite(tmp_path / "r.db", clock=clock, create=True, limits=StorageLimits(pending=5))
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.active()
    await ask(scene, recurs(scene, catch_up="all"))
    assert await pass_time(scene, 60 * 30) == [60, 120, 180, 240, 300]
    assert (await the_one(scene)).missed == 25
    assert await pass_time(scene, 60) == [1860]
    assert await scene.problems() == []
    await storage.close()


async def test_a_lost_node_loses_no_tick_and_doubles_none(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(60)
    lost = await scene.claim()
    await scene.storage.release("node-1", scene.clock.now())
    await scene.run_all_as("node-2")
    assert (await scene.execution(lost.execution.id)).status == "succeeded"
    assert (await the_one(scene)).runs == 1
    assert await pass_time(scene, 60) == [120]


async def test_many_due_at_once_are_looked_at_some_at_a_time(scene: Scene) -> None:
    await scene.active()
    await ask(scene, *(recurs(scene, f"k{number}", f"m{number:03}") for number in range(200)))
    scene.clock.move(60)
    await scene.claim()
    assert (await scene.instance()).pending == 64
    await scene.storage.release("node-1", scene.clock.now())
    ran = await scene.run_all_as("node-2")
    assert sorted(ran) == [f"m{number:03}" for number in range(200)]


# ── Asking again, and ending ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_again_changes_nothing(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(50)
    await ask(scene, recurs(scene))
    assert await pass_time(scene, 10) == [60]


async def test_another_under_the_same_key_replaces_it(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(50)
    await ask(scene, recurs(scene, seconds=100, method="new"))
    assert await pass_time(scene, 99) == []
    assert await pass_time(scene, 1) == [150]
    assert (await the_one(scene)).target.method == "new"


async def test_a_new_first_time_is_another(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    await ask(scene, recurs(scene, first=5))
    assert await pass_time(scene, 5) == [5]


async def test_what_replaces_waits_for_the_run_that_has_begun(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    scene.clock.move(60)
    await scene.fail(await scene.claim(), retry_in=100)
    await ask(scene, recurs(scene, seconds=30))
    assert await pass_time(scene, 30) == []
    assert (await the_one(scene)).skipped == 1


async def test_names_belong_to_a_namespace_and_an_instance(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    await ask(scene, recurs(scene), recurs(scene, ns="tool"))
    await ask(scene, recurs(scene), instance="i2")
    await ask(scene, CancelTask(ns="", token_or_key="k"))
    assert sorted((one.instance, one.ns) for one in await scene.storage.recurring()) == [("i1", "tool"), ("i2", "")]
    assert [one.ns for one in await scene.storage.recurring("i1")] == ["tool"]


@pytest.mark.parametrize("end", [CancelTask(ns="", token_or_key="k"), CancelTasks(ns="")])
async def test_it_ends_when_it_is_cancelled_with_the_run_that_waits(scene: Scene, end: Any) -> None:
    await scene.active()
    await ask(scene, recurs(scene), recurs(scene, "k2", ns="tool", seconds=1000))
    await scene.enqueue("i1", "ends it")
    claim = await scene.claim()
    scene.clock.move(60)
    await scene.enqueue("i1", "event", ns="tool")
    await scene.succeed(claim, end)
    assert await scene.run_all() == ["event"]
    assert await pass_time(scene, 200) == []
    assert (await the_one(scene)).key == "k2"


async def test_all_that_wait_are_cancelled_with_it(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, catch_up="all"))
    scene.clock.move(250)
    claim = await scene.claim()
    await scene.succeed(claim, CancelTask(ns="", token_or_key="k"))
    assert await runs(scene) == []
    assert (await scene.instance()).pending == 0


async def test_it_ends_with_its_callback(scene: Scene) -> None:
    await scene.active()
    callback = PutCallback(ns="", token="cb_1", target=Target(ns="", method="tick"), at=scene.clock.now())
    await ask(scene, callback, recurs(scene, callback="cb_1"))
    await ask(scene, DropCallback(token="cb_1"))
    assert await scene.storage.recurring() == []
    assert await scene.storage.next_wake() is None


async def test_a_person_ends_it_by_its_id(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    one = await the_one(scene)
    assert await scene.storage.find("recurring", one.id[:3]) == [one.id]
    assert await scene.storage.cancel_recurring(one.id, scene.clock.now())
    assert not await scene.storage.cancel_recurring(one.id, scene.clock.now())
    assert await pass_time(scene, 100) == []


async def test_it_leaves_with_its_instance(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene), recurs(scene, "k2", seconds=2))
    scene.clock.move(120)
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    claim = await scene.claim()
    assert claim.execution.trigger == "deactivate"
    await scene.succeed(claim, recurs(scene, "k3"))
    assert await scene.storage.recurring() == []
    await scene.storage.erase(100)
    assert await pass_time(scene, 1000) == []


async def test_there_are_not_more_than_the_limit(tmp_path: Path, clock: StillClock) -> None:
    storage = await open_sqlite(tmp_path / "r.db", clock=clock, create=True, limits=StorageLimits(recurring=2))
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.active()
    await ask(scene, recurs(scene, "a"), recurs(scene, "b"))
    with pytest.raises(DoesNotApply, match="2 recurring tasks"):
        await ask(scene, recurs(scene, "c"))
    await storage.close()


# ── What a version declares ───────────────────────────────────────────────────────────────────────────────────────────────────


async def deploy(scene: Scene, bundle: str, *schedules: ScheduleInfo) -> None:
    """Deploy a version that declares these, and have `i1` upgrade to it."""
    manifest = Manifest(protocol=1, python="3.11", cls="Syncer", description="", methods=[], schedules=list(schedules))
    new = NewVersion(name="syncer", bundle=bundle, module="twist", manifest=manifest, files={"t.py": b""}, at=scene.clock.now())
    await scene.storage.deploy(new)
    await scene.offer()


def declared(method: str, seconds: float) -> ScheduleInfo:
    """Return a schedule that code declares."""
    return ScheduleInfo(ns="", method=method, key=method, every=round(seconds * SECOND))


async def upgrade(scene: Scene) -> Claim:
    """Return the claim of the upgrade."""
    claim = await scene.claim()
    assert claim.execution.trigger == "upgrade"
    return claim


async def test_an_upgrade_arms_what_is_new_keeps_what_is_not_and_ends_what_is_gone(scene: Scene) -> None:
    await scene.active()
    await deploy(scene, "v2", declared("kept", 60), declared("changed", 60), declared("gone", 60))
    await scene.succeed(await upgrade(scene))
    scene.clock.move(50)
    await deploy(scene, "v3", declared("kept", 60), declared("changed", 30), declared("new", 100))
    await scene.succeed(await upgrade(scene))
    due = {method: (one.next - START) // SECOND for method, one in (await the_methods(scene)).items()}
    assert due == {"kept": 60, "changed": 80, "new": 150}


async def test_nothing_changes_until_the_upgrade_has_succeeded(scene: Scene) -> None:
    await scene.active()
    await deploy(scene, "v2", declared("old", 60))
    await scene.succeed(await upgrade(scene))
    await deploy(scene, "v3", declared("new", 60))
    assert set(await the_methods(scene)) == {"old"}
    await scene.fail(await upgrade(scene))
    assert set(await the_methods(scene)) == {"old"}
    assert await pass_time(scene, 60) == [60]


async def test_its_runs_are_schedules_and_tasks_do_not_cancel_them(scene: Scene) -> None:
    await scene.active()
    await deploy(scene, "v2", declared("tick", 60))
    await scene.succeed(await upgrade(scene), recurs(scene, "tick", "called"))
    await ask(scene, CancelTasks(ns=""))
    scene.clock.move(60)
    claim = await scene.claim()
    assert (claim.execution.trigger, claim.execution.target.method) == ("schedule", "tick")


async def test_ticks_wait_for_the_upgrade(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    await deploy(scene, "v2")
    scene.clock.move(200)
    claim = await upgrade(scene)
    assert await scene.nothing_to_claim()
    await scene.succeed(claim)
    assert await runs(scene) == [180]


# ── A clock that is set ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_forwards_is_caught_up_with_once(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    assert await pass_time(scene, 10 * 366 * 86_400) == [10 * 366 * 86_400]
    assert await pass_time(scene, 60) == [10 * 366 * 86_400 + 60]


async def test_a_small_step_back_runs_nothing_twice(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    assert await pass_time(scene, 60) == [60]
    assert await pass_time(scene, -3600) == []
    assert await scene.storage.follow_clock(scene.clock.now()) == 0
    assert await pass_time(scene, 3600) == []
    assert await pass_time(scene, 60) == [120]


async def test_after_a_year_in_the_future_it_goes_on_from_now(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene), recurs(scene, "yearly", "yearly", cron="0 0 1 1 *"))
    await pass_time(scene, 366 * 86_400)
    assert await pass_time(scene, -366 * 86_400 + 90) == []
    assert await scene.storage.follow_clock(scene.clock.now()) == 1
    assert (await the_methods(scene))["tick"].next == START + 120 * SECOND
    assert await scene.storage.follow_clock(scene.clock.now()) == 0
    assert await pass_time(scene, 30) == [120]


async def test_far_first_times_are_waited_for(scene: Scene) -> None:
    await scene.active()
    await ask(scene, recurs(scene, first=400 * 86_400), recurs(scene, "rare", seconds=30 * 86_400))
    assert await scene.storage.follow_clock(scene.clock.now()) == 0
