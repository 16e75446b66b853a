"""What runs when: readiness, ranks, timers, back-off and fairness (G5)."""

from __future__ import annotations

import pytest

from ropewalk.storage.interface import Fenced
from ropewalk.storage.records import Rank
from ropewalk.storage.sqlite.scheduling import PROMOTED
from tests.storage.scene import NODE, SECOND, Scene


async def test_events_run_in_the_order_they_were_stored(scene: Scene) -> None:
    instance = await scene.active()
    for method in ("a", "b", "c"):
        await scene.enqueue(instance, method)
    assert await scene.run_all() == ["a", "b", "c"]


async def test_one_execution_of_an_instance_runs_at_a_time(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "a")
    await scene.enqueue(instance, "b")
    claim = await scene.claim()
    assert await scene.nothing_to_claim()
    await scene.succeed(claim)
    assert (await scene.claim()).execution.target.method == "b"


async def test_tasks_due_at_once_run_in_the_order_of_the_calls(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "first")
    claim = await scene.claim()
    await scene.succeed(
        claim, scene.task("a", seconds=-10), scene.task("b", seconds=-20), scene.task("c"), scene.task("d", seconds=0)
    )
    assert await scene.run_all() == ["a", "b", "c", "d"]


async def test_a_timer_is_not_claimed_before_its_time(scene: Scene) -> None:
    instance = await scene.active()
    await scene.after(instance, "later", 10)
    scene.clock.move(9.999999)
    assert await scene.nothing_to_claim()
    scene.clock.move(0.000001)
    assert (await scene.claim()).execution.target.method == "later"


async def test_timers_run_in_the_order_of_their_times_then_of_their_storing(scene: Scene) -> None:
    instance = await scene.active()
    for method, seconds in (("c", 3), ("a", 1), ("b1", 2), ("b2", 2)):
        await scene.after(instance, method, seconds)
    scene.clock.move(5)
    assert await scene.run_all() == ["a", "b1", "b2", "c"]


async def test_a_timer_that_came_due_goes_before_an_event_stored_later(scene: Scene) -> None:
    instance = await scene.active()
    await scene.after(instance, "timer", 10)
    await scene.enqueue(instance, "before")
    scene.clock.move(20)
    await scene.enqueue(instance, "after")
    assert await scene.run_all() == ["before", "timer", "after"]


async def test_many_timers_come_due_before_an_event_stored_later(scene: Scene) -> None:
    instance = await scene.active()
    for number in range(200):
        await scene.after(instance, f"timer{number}", 1)
    scene.clock.move(2)
    await scene.enqueue(instance, "after")
    assert await scene.run_all() == [*(f"timer{number}" for number in range(200)), "after"]


async def test_a_clock_stepped_back_delays_nothing_that_is_ready(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "ready")
    await scene.after(instance, "timer", 1)
    scene.clock.move(2)
    await scene.enqueue(instance, "too")
    scene.clock.move(-3600)
    assert await scene.storage.next_wake() == 0
    assert await scene.run_all() == ["ready", "timer", "too"]


async def test_those_who_are_waited_for_run_next(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "a")
    await scene.enqueue(instance, "invoked", trigger="invoke", rank=Rank.WAITED_FOR)
    assert await scene.run_all() == ["invoked", "a"]


async def test_an_execution_in_back_off_steps_aside_and_returns_to_the_front(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "failing")
    for method in ("a", "b", "c"):
        await scene.enqueue(instance, method)
    await scene.fail(await scene.claim(), retry_in=10)
    meanwhile = await scene.claim()
    scene.clock.move(10)
    await scene.succeed(meanwhile)
    again = await scene.claim()
    assert (meanwhile.execution.target.method, again.execution.target.method) == ("a", "failing")
    assert (again.execution.attempt, again.execution.tries) == (2, 1)
    await scene.succeed(again)
    assert await scene.run_all() == ["b", "c"]


async def test_with_ordered_nothing_later_runs_before_the_retry(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "failing")
    await scene.enqueue(instance, "later")
    await scene.fail(await scene.claim(), retry_in=10, ordered=True)
    await scene.enqueue(instance, "invoked", trigger="invoke", rank=Rank.WAITED_FOR)
    assert await scene.nothing_to_claim()
    assert await scene.storage.next_wake() == scene.clock.now() + 10 * SECOND
    scene.clock.move(10)
    assert await scene.run_all() == ["failing", "invoked", "later"]


async def test_an_upgrade_that_fails_lets_go_of_nobody_who_is_held(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "failing")
    await scene.enqueue(instance, "later")
    await scene.fail(await scene.claim(), retry_in=100, ordered=True)
    await scene.upgrade("b2")
    await scene.fail(await scene.claim(), retry_in=1, ordered=True)
    scene.clock.move(1)
    assert await scene.run_all() == ["upgrade"]
    scene.clock.move(100)
    assert await scene.run_all() == ["failing", "later"]


async def test_cancelling_an_ordered_retry_lets_the_others_run(scene: Scene) -> None:
    instance = await scene.active()
    failing = await scene.enqueue(instance, "failing")
    await scene.enqueue(instance, "later")
    await scene.fail(await scene.claim(), retry_in=10, ordered=True)
    assert await scene.storage.cancel(failing, scene.clock.now())
    assert await scene.run_all() == ["later"]


async def test_instances_are_claimed_least_recently_served_first(scene: Scene) -> None:
    for instance in ("i1", "i2", "i3"):
        await scene.active(instance)
    for instance in ("i2", "i3", "i1"):
        await scene.enqueue(instance)
    order = [claim.instance.id for claim in await scene.storage.claim(NODE, 2)]
    order += [claim.instance.id for claim in await scene.storage.claim(NODE, 5)]
    assert order == ["i1", "i2", "i3"]


async def test_one_with_much_to_do_does_not_hold_up_others(scene: Scene) -> None:
    for instance in ("i1", "i2"):
        await scene.active(instance)
    for _ in range(5):
        await scene.enqueue("i1")
    (first,) = await scene.storage.claim(NODE, 1)
    await scene.enqueue("i2")
    await scene.succeed(first)
    (second,) = await scene.storage.claim(NODE, 1)
    assert (first.instance.id, second.instance.id) == ("i1", "i2")


async def many_due(scene: Scene) -> list[str]:
    """Have more timers due than one write makes ready, and an event stored behind them; returns the methods in order."""
    instance = await scene.active()
    names = [f"t{number:03}" for number in range(2 * PROMOTED + 10)]
    for number, name in enumerate(names):
        await scene.after(instance, name, 1 + number / 1000)
    scene.clock.move(10)
    await scene.enqueue(instance, "behind")
    return [*names, "behind"]


async def test_more_timers_than_one_write_makes_ready_keep_their_order(scene: Scene) -> None:
    assert await many_due(scene) == await scene.run_all()


async def test_what_was_due_stays_so_when_the_clock_is_set_back(scene: Scene) -> None:
    names = await many_due(scene)
    claim = await scene.claim()
    scene.clock.move(-3600)
    await scene.after("i1", "in a while", 60)
    await scene.enqueue("i1", "last")
    await scene.succeed(claim)
    assert await scene.run_all() == [*names[1:], "last"]
    scene.clock.move(60)
    assert await scene.run_all() == ["in a while"]


async def test_a_retry_after_the_clock_was_set_back_waits_for_its_time(scene: Scene) -> None:
    names = await many_due(scene)
    claim = await scene.claim()
    scene.clock.move(-3600)
    await scene.fail(claim, retry_in=5)
    assert await scene.run_all() == names[1:]
    scene.clock.move(5)
    assert await scene.run_all() == [names[0]]


async def test_what_returns_goes_to_the_front_however_much_is_due(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "returns")
    await scene.fail(await scene.claim(), retry_in=5)
    for _ in range(2 * PROMOTED):
        await scene.after(instance, "timer", 1)
    scene.clock.move(5)
    assert (await scene.run_all())[0] == "returns"


async def test_a_task_that_has_come_due_keeps_its_place_when_another_joins_it(scene: Scene) -> None:
    instance = await scene.active()
    await scene.after(instance, "first", 1, key="k", coalesce=True)
    await scene.after(instance, "second", 2)
    scene.clock.move(3)
    await scene.enqueue(instance, "first again", key="k", coalesce=True)
    assert await scene.run_all() == ["first again", "second"]


async def test_a_timer_of_a_later_time_never_delays_an_earlier_one(scene: Scene) -> None:
    instance = await scene.active()
    await scene.after(instance, "late", 100)
    await scene.after(instance, "early", 10)
    assert await scene.storage.next_wake() == scene.clock.now() + 10 * SECOND


async def test_cancelling_the_first_timer_moves_the_wake_to_the_second(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.after(instance, "early", 10)
    await scene.after(instance, "late", 100)
    await scene.storage.cancel(first, scene.clock.now())
    assert await scene.storage.next_wake() == scene.clock.now() + 100 * SECOND


async def test_a_settlement_takes_the_next_execution_with_it(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "a")
    await scene.enqueue(instance, "b")
    first = await scene.claim()
    second = (await scene.succeed(first, next=True)).next
    assert second is not None
    assert (second.execution.target.method, second.execution.attempt, second.epoch) == ("b", 1, first.epoch)
    assert (await scene.succeed(second, next=True)).next is None
    assert await scene.storage.next_wake() is None


async def test_an_attempt_that_settled_cannot_settle_again(scene: Scene) -> None:
    instance = await scene.active()
    await scene.enqueue(instance, "a")
    await scene.enqueue(instance, "b")
    first = await scene.claim()
    await scene.succeed(first, next=True)
    with pytest.raises(Fenced):
        await scene.succeed(first)


async def test_a_claim_names_the_attempt_and_counts_it(scene: Scene) -> None:
    instance = await scene.active()
    id_ = await scene.enqueue(instance, "go", event=b"[1]", cause="c", depth=3)
    claim = await scene.claim()
    assert claim.execution == await scene.execution(id_)
    assert (claim.execution.status, claim.execution.attempt, claim.execution.version) == ("running", 1, 1)
    assert (claim.execution.event, claim.execution.cause, claim.execution.depth) == (b"[1]", "c", 3)
    assert claim.instance == await scene.instance()
    await scene.succeed(claim)


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_is_tried_again_at_once_is_ready(scene: Scene, ordered: bool) -> None:
    await scene.active()
    await scene.enqueue("i1")
    await scene.fail(await scene.claim(), retry_in=0, ordered=ordered)
    work = await scene.storage.workload()
    assert (work.ready, work.running, work.backing_off) == (1, 0, 0)


async def test_workload_says_what_is_ready_running_and_backing_off(scene: Scene) -> None:
    for instance in ("i1", "i2", "i3"):
        await scene.active(instance)
    await scene.enqueue("i1")
    await scene.fail(await scene.claim("i1"), retry_in=60)
    await scene.enqueue("i2")
    running = await scene.claim("i2")
    await scene.enqueue("i3")
    await scene.after("i3", "later", 30)
    work = await scene.storage.workload()
    assert (work.ready, work.running, work.backing_off, work.next_wake) == (1, 1, 1, 0)
    await scene.succeed(running)
