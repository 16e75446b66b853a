"""Keyed events: at most one of an instance, namespace and key waits for its first start."""

from __future__ import annotations

from tests.storage.scene import SECOND, Scene


async def test_a_second_replaces_the_first(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.enqueue(instance, "old", key="k")
    await scene.enqueue(instance, "between")
    second = await scene.enqueue(instance, "new", key="k")
    assert (await scene.execution(first)).status == "cancelled"
    assert second != first
    assert await scene.run_all() == ["between", "new"]


async def test_the_replacement_has_its_own_time(scene: Scene) -> None:
    instance = await scene.active()
    await scene.after(instance, "go", 5, key="k")
    await scene.after(instance, "go", 50, key="k")
    scene.clock.move(10)
    assert await scene.nothing_to_claim()
    assert await scene.storage.next_wake() == scene.clock.now() + 40 * SECOND


async def test_coalescing_keeps_the_earlier_time_and_the_older_id(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.after(instance, "go", 5, key="k")
    assert await scene.after(instance, "go", 50, key="k", coalesce=True) == first
    assert await scene.storage.next_wake() == scene.clock.now() + 5 * SECOND
    assert await scene.after(instance, "go", 2, key="k", coalesce=True) == first
    assert await scene.storage.next_wake() == scene.clock.now() + 2 * SECOND
    scene.clock.move(2)
    assert await scene.run_all() == ["go"]


async def test_coalescing_into_one_that_is_ready_keeps_its_place(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.enqueue(instance, "old", key="k")
    await scene.enqueue(instance, "between")
    assert await scene.after(instance, "new", 50, key="k", coalesce=True) == first
    assert await scene.run_all() == ["new", "between"]


async def test_coalescing_now_makes_a_timer_ready(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.after(instance, "go", 50, key="k")
    assert await scene.enqueue(instance, "go", key="k", coalesce=True) == first
    assert (await scene.execution(first)).run_at is None
    assert await scene.run_all() == ["go"]


async def test_coalescing_replaces_a_large_event(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.after(instance, "go", 50, key="k", event=b'"' + b"x" * 50_000 + b'"')
    await scene.after(instance, "go", 50, key="k", coalesce=True, event=b'"' + b"y" * 40_000 + b'"')
    assert (await scene.execution(first)).event == b'"' + b"y" * 40_000 + b'"'
    await scene.after(instance, "go", 50, key="k", coalesce=True, event=b'"z"')
    assert (await scene.execution(first)).event == b'"z"'


async def test_a_key_is_free_again_once_its_task_has_started(scene: Scene) -> None:
    instance = await scene.active()
    first = await scene.enqueue(instance, "first", key="k")
    claim = await scene.claim()
    assert await scene.enqueue(instance, "second", key="k", coalesce=True) != first
    await scene.fail(claim, retry_in=0)
    await scene.enqueue(instance, "third", key="k")
    assert await scene.run_all() == ["first", "third"]


async def test_keys_belong_to_a_namespace_and_an_instance(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    await scene.enqueue("i1", "a", key="k")
    await scene.enqueue("i1", "b", key="k", ns="tool")
    await scene.enqueue("i2", "c", key="k")
    assert await scene.run_all("i1") == ["a", "b"]
    assert await scene.run_all("i2") == ["c"]


async def test_a_key_in_one_settlement_is_held_once(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "go")
    await scene.succeed(
        await scene.claim(), scene.task("a", key="k"), scene.task("b", key="k"), scene.task("c", key="k", coalesce=True)
    )
    assert await scene.run_all() == ["c"]
    assert (await scene.instance()).pending == 0
