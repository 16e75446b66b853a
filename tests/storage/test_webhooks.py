"""Webhooks and deliveries: what is stored once, what is refused, what is forgotten when."""

from __future__ import annotations

from typing import Any

import pytest

from ropewalk.storage.interface import DoesNotApply, QueueIsFull, UnknownInstance, UnknownWebhook
from ropewalk.storage.records import Accepted, DropCallback, DropWebhook, NewDelivery, PutWebhook, Rank, Webhook
from ropewalk.wire.messages import Target
from tests.storage.scene import Scene

TOKEN = "wh_1"
ON_HOOK = Target(ns="", method="on_hook")


def webhook(token: str = TOKEN, instance: str = "i1", **fields: Any) -> Webhook:
    """Return a webhook."""
    given: dict[str, Any] = {"ns": "network", "target": ON_HOOK, "created_at": 0}
    return Webhook(id=f"id of {token}", token=token, instance=instance, **given | fields)


async def deliver(
    scene: Scene, delivery: str | None = None, token: str = TOKEN, event: bytes = b'["request"]', **fields: Any
) -> Accepted:
    """Store a delivery."""
    given: dict[str, Any] = {"trigger": "webhook", "event": event}
    made_at = fields.pop("made_at", 0)
    execution = scene.event(fields.pop("instance", "i1"), "on_hook", **given | fields)
    return await scene.storage.accept(
        NewDelivery(token=token, webhook=f"id of {token}", made_at=made_at, delivery=delivery, execution=execution)
    )


@pytest.fixture
async def hooked(scene: Scene) -> Scene:
    """A database with an instance that has a webhook."""
    await scene.active()
    await scene.enqueue("i1")
    await scene.succeed(await scene.claim(), PutWebhook(webhook=webhook()))
    return scene


async def test_a_delivery_becomes_an_event(hooked: Scene) -> None:
    accepted = await deliver(hooked, "d1")
    claim = await hooked.claim()
    assert (claim.execution.id, claim.execution.event, claim.execution.trigger) == (accepted.execution, b'["request"]', "webhook")
    await hooked.succeed(claim)


async def test_the_second_of_a_name_is_the_first(hooked: Scene) -> None:
    first = await deliver(hooked, "d1")
    assert await deliver(hooked, "d1") == Accepted(execution=first.execution, duplicate=True)
    await hooked.run_all()
    assert (await deliver(hooked, "d1")).duplicate
    assert not (await deliver(hooked, "d2")).duplicate
    assert not (await deliver(hooked)).duplicate


async def test_one_that_got_no_answer_may_come_again(hooked: Scene) -> None:
    first = await deliver(hooked, "d1", rank=Rank.WAITED_FOR)
    assert (await deliver(hooked, "d1", rank=Rank.WAITED_FOR)).duplicate
    await hooked.storage.cancel(first.execution, hooked.clock.now())
    again = await deliver(hooked, "d1", rank=Rank.WAITED_FOR)
    assert not again.duplicate
    await hooked.run_all()
    assert (await deliver(hooked, "d1", rank=Rank.WAITED_FOR)) == Accepted(execution=again.execution, duplicate=True)


async def test_nothing_comes_to_what_is_not_there(hooked: Scene) -> None:
    for token, instance in (("wh_2", "i1"), ("wh_1", "i2")):
        with pytest.raises(UnknownWebhook):
            await deliver(hooked, token=token, instance=instance)
    await hooked.storage.begin_deactivation(hooked.lifecycle("i1", "deactivate"))
    assert await hooked.storage.webhook("i1", "wh_1") is None
    with pytest.raises(UnknownWebhook):
        await deliver(hooked)


async def test_nothing_comes_to_what_was_made_anew(hooked: Scene) -> None:
    await hooked.enqueue("i1")
    await hooked.succeed(await hooked.claim(), PutWebhook(webhook=webhook(created_at=1)))
    with pytest.raises(UnknownWebhook):
        await deliver(hooked)
    await deliver(hooked, made_at=1)


async def test_what_was_taken_runs_though_its_webhook_is_deleted(hooked: Scene) -> None:
    await deliver(hooked)
    await hooked.enqueue("i1", "later", rank=Rank.WAITED_FOR)
    await hooked.succeed(await hooked.claim(), DropWebhook(token="wh_1"))
    with pytest.raises(UnknownWebhook):
        await deliver(hooked)
    assert await hooked.run_all() == ["on_hook"]


async def test_a_webhook_goes_with_its_callback(hooked: Scene) -> None:
    await hooked.enqueue("i1")
    await hooked.succeed(await hooked.claim(), PutWebhook(webhook=webhook("wh_2", callback="cb_1")))
    assert [one.token for one in await hooked.storage.webhooks("i1")] == ["wh_1", "wh_2"]
    await hooked.enqueue("i1")
    await hooked.succeed(await hooked.claim(), DropCallback(token="cb_1"))
    # No such callback is stored: what is named goes only with one that was.
    assert len(await hooked.storage.webhooks()) == 2


async def test_a_full_queue_takes_nothing(hooked: Scene) -> None:
    for _ in range(500):
        await hooked.enqueue("i1")
    with pytest.raises(QueueIsFull):
        await deliver(hooked)
    await hooked.run_all()
    with pytest.raises(QueueIsFull):
        await deliver(hooked, event=b"x" * 100_001)


async def test_a_request_may_be_delivered_again(hooked: Scene) -> None:
    first = await deliver(hooked, "d1", event=b'["' + b"x" * 30_000 + b'"]')
    await hooked.run_all()
    again = hooked.event("i1", "on_hook", trigger="webhook")
    await hooked.storage.redeliver(first.execution, again)
    found = await hooked.storage.delivery(again.id)
    assert found is not None
    assert (found.redelivers, found.delivery, found.status, found.size) == (first.execution, None, "queued", 30_004)
    assert [one.execution for one in await hooked.storage.deliveries("i1")] == [again.id, first.execution]
    assert await hooked.run_all() == ["on_hook"]
    with pytest.raises(DoesNotApply, match="answers no webhook"):
        await hooked.storage.redeliver("x0000", hooked.event("i1"))
    await hooked.storage.begin_deactivation(hooked.lifecycle("i1", "deactivate"))
    with pytest.raises(UnknownInstance):
        await hooked.storage.redeliver(first.execution, hooked.event("i1"))


async def test_old_requests_are_forgotten_unless_they_wait(hooked: Scene) -> None:
    old, waits = await deliver(hooked, "old"), await deliver(hooked, "waits", event=b'["' + b"x" * 50_000 + b'"]')
    claim = await hooked.claim()
    await hooked.fail(claim)
    hooked.clock.move(10)
    young = await deliver(hooked, "young")
    assert await hooked.storage.forget_deliveries(10, hooked.clock.now()) == 2
    assert [one.execution for one in await hooked.storage.deliveries()] == [young.execution]
    assert (await hooked.execution(old.execution)).event == b"[]"
    with pytest.raises(DoesNotApply, match="is not kept any more"):
        await hooked.storage.retry(old.execution, hooked.clock.now())
    assert len((await hooked.execution(waits.execution)).event) == 50_004
    assert not (await deliver(hooked, "old")).duplicate
    await hooked.run_all()


async def test_the_oldest_requests_make_room(hooked: Scene) -> None:
    event = b'["' + b"x" * 20_000 + b'"]'
    executions = [(await deliver(hooked, f"d{number}", event=event)).execution for number in range(4)]
    await hooked.run_all()
    executions += [(await deliver(hooked, f"d{number}", event=event)).execution for number in range(4, 7)]
    kept = {one.execution: one.size for one in await hooked.storage.deliveries("i1")}
    assert [bool(kept[execution]) for execution in executions] == [False, False, False, True, True, True, True]
    assert (await hooked.execution(executions[0])).event == b"[]"
    assert (await deliver(hooked, "d0")).duplicate
    with pytest.raises(DoesNotApply, match="is not kept any more"):
        await hooked.storage.redeliver(executions[0], hooked.event("i1"))
    await hooked.run_all()


async def test_what_waits_is_kept_however_much_it_is(hooked: Scene) -> None:
    event = b'["' + b"x" * 20_000 + b'"]'
    executions = [(await deliver(hooked, event=event)).execution for _ in range(4)]
    executions.append((await deliver(hooked, event=b'["' + b"x" * 19_000 + b'"]')).execution)
    assert all([(await hooked.execution(execution)).event != b"[]" for execution in executions])
    assert await hooked.run_all() == ["on_hook"] * 5


async def test_deactivation_erases_all_of_it(hooked: Scene) -> None:
    first = await deliver(hooked, "d1")
    await hooked.run_all()
    await hooked.storage.begin_deactivation(hooked.lifecycle("i1", "deactivate"))
    await hooked.run_all()
    while await hooked.storage.erase(1):
        hooked.clock.move(1)
    assert await hooked.storage.deliveries() == []
    assert await hooked.storage.delivery(first.execution) is None
    found = await hooked.storage.execution(first.execution)
    assert found is not None
    assert found.event == b"[]"


async def test_facts_are_noted(scene: Scene) -> None:
    assert await scene.storage.fact("url") is None
    await scene.storage.note_fact("url", "a")
    await scene.storage.note_fact("url", "b")
    assert await scene.storage.fact("url") == "b"


async def test_progress_is_told(hooked: Scene) -> None:
    accepted = await deliver(hooked)
    progress = await hooked.storage.progress(accepted.execution)
    assert progress is not None
    assert progress.status == "queued"
    await hooked.run_all()
    progress = await hooked.storage.progress(accepted.execution)
    assert progress is not None
    assert (progress.status, progress.result) == ("succeeded", b"null")
    assert await hooked.storage.progress("none") is None
