"""Callbacks that nothing mentions any more are removed a day after they were last asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ropewalk.answers.callbacks import callback_token
from ropewalk.storage.records import (
    AnyEffect,
    Claim,
    DropValue,
    PutActivity,
    PutCallback,
    PutNote,
    PutRecurring,
    PutValue,
    PutWebhook,
    Webhook,
)
from ropewalk.storage.recurrence import Recurrence
from ropewalk.storage.sqlite import callbacks
from ropewalk.storage.sqlite.callbacks import Unmentioned
from ropewalk.wire.messages import ActivityRecord, LinkRecord, NoteRecord, Target
from tests.storage.scene import SECOND, Scene

DAY = 86_400


def target(name: str = "kept", *bound: object) -> Target:
    """Return what a callback stands for."""
    return Target(ns="", method="on_call", arguments=msgspec.json.encode([[name, *bound], {}]))


def token(name: str = "kept", *bound: object) -> str:
    """Return a callback's token."""
    return callback_token(b"secret", "", target(name, *bound))


def callback(scene: Scene, name: str = "kept", *bound: object) -> PutCallback:
    """Return the effect of `callback()`."""
    return PutCallback(ns="", token=token(name, *bound), target=target(name, *bound), at=scene.clock.now())


async def run(scene: Scene, *effects: AnyEffect) -> None:
    """Run an execution that does this."""
    await scene.enqueue("i1")
    await scene.succeed(await scene.claim(), *effects)


async def look(scene: Scene, limit: int = 500) -> list[str]:
    """Look at every instance once and return those that were looked at."""
    looked: list[str] = []
    before = scene.clock.now() - DAY * SECOND
    while found := await scene.storage.forget_callbacks(looked[-1] if looked else "", limit, before):
        looked.append(found)
    return looked


async def is_there(scene: Scene, name: str = "kept", *bound: object) -> bool:
    """Return whether there is a callback."""
    return await scene.storage.callback("i1", token(name, *bound)) is not None


async def a_day_later(scene: Scene) -> bool:
    """Look a day later, and return whether the callback is there yet, now that another that nothing mentions is not."""
    await run(scene, callback(scene, "gone"))
    scene.clock.move(DAY + 1)
    assert await look(scene) == ["i1"]
    assert not await is_there(scene, "gone")
    return await is_there(scene)


async def test_what_nothing_mentions_is_gone_after_a_day_and_not_before(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene, "one"), callback(scene, "two"))
    scene.clock.move(1)
    await run(scene, callback(scene, "three"))
    scene.clock.move(DAY - 1)
    assert await look(scene) == []
    scene.clock.move(1)
    assert await look(scene) == ["i1"]
    assert [await is_there(scene, name) for name in ("one", "two", "three")] == [False, False, True]
    assert (await scene.instance()).callbacks == 1


def webhook(**fields: object) -> PutWebhook:
    """Return the effect of `create_webhook`."""
    given = {"id": "w", "token": "w", "instance": "i1", "ns": "", "target": Target(ns="", method="on_hook"), "created_at": 0}
    return PutWebhook(webhook=msgspec.convert({**given, **fields}, Webhook))


def recurring(**fields: object) -> PutRecurring:
    """Return the effect of `schedule_recurring`."""
    given = {
        "id": "r",
        "ns": "",
        "key": "k",
        "target": Target(ns="", method="poll"),
        "callback": None,
        "at": 0,
        "first_given": False,
    }
    return msgspec.convert({**given, "recurrence": Recurrence(every=1000 * DAY * SECOND), **fields}, PutRecurring)


def activity(scene: Scene, meta: bytes | None = None) -> PutActivity:
    """Return the effect that makes an activity."""
    record = ActivityRecord(id="a", type="note", title="a", priority=scene.priority, created_at=0, updated_at=0, meta=meta)
    return PutActivity(activity=record)


def linked() -> PutNote:
    """Return the effect that makes a note with a link."""
    link = LinkRecord(kind="callback", title="Go on", callback=token())
    return PutNote(note=NoteRecord(id="n", activity="a", content="", links=[link]))


def stored(text: str) -> PutValue:
    """Return the effect that stores a text."""
    return PutValue(ns="", key="k", value=msgspec.json.encode(text))


NESTED = msgspec.json.encode({"jobs": [{"then": [1, token()]}]})


@pytest.mark.parametrize(
    "mentions",
    [
        pytest.param(lambda scene: [PutValue(ns="", key="k", value=NESTED)], id="value"),
        pytest.param(lambda scene: [PutValue(ns="tool", key=f"on:{token()}", value=b"1")], id="key"),
        pytest.param(lambda scene: [callback(scene, "holder", token()), stored(token("holder", token()))], id="bound argument"),
        pytest.param(lambda scene: [scene.task("later", 10 * DAY, callback=token())], id="task of it"),
        pytest.param(lambda scene: [scene.task("later", 10 * DAY, target=target("task", token()))], id="task with it"),
        pytest.param(lambda scene: [scene.task("later", 10 * DAY, target=target("x" * 20_000, token()))], id="large task"),
        pytest.param(lambda scene: [scene.task("later", 10 * DAY, target=target("x" * 20_000), event=NESTED)], id="large event"),
        pytest.param(lambda scene: [scene.task("later", 10 * DAY, event=NESTED)], id="event"),
        pytest.param(lambda scene: [webhook(callback=token())], id="webhook of it"),
        pytest.param(lambda scene: [webhook(target=target("hook", token()))], id="webhook with it"),
        pytest.param(lambda scene: [recurring(callback=token())], id="recurring of it"),
        pytest.param(lambda scene: [recurring(target=target("every", token()))], id="recurring with it"),
        pytest.param(lambda scene: [activity(scene, NESTED)], id="meta"),
        pytest.param(lambda scene: [activity(scene), linked()], id="link"),
    ],
)
async def test_what_is_mentioned_is_kept(scene: Scene, mentions: Callable[[Scene], list[AnyEffect]]) -> None:
    await scene.active()
    await run(scene, callback(scene), *mentions(scene))
    assert await a_day_later(scene)


@pytest.mark.parametrize("event", [b"[]", b'["' + b"x" * 20_000 + b'"]'], ids=["small", "large"])
async def test_what_is_ready_keeps_what_it_mentions_and_what_is_over_does_not(scene: Scene, event: bytes) -> None:
    await scene.active()
    await run(scene, callback(scene))
    scene.clock.move(DAY + 1)
    await scene.enqueue("i1", target=target("task", token()), event=event)
    assert await look(scene) == ["i1"]
    assert await is_there(scene)
    await scene.run_all()
    await look(scene)
    assert not await is_there(scene)


async def test_what_waits_for_another_try_and_what_a_person_may_retry_keep_it(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene, "retrying"), callback(scene, "dead"))
    for name, again in (("retrying", 10 * DAY), ("dead", None)):
        await scene.enqueue("i1", target=target("task", token(name)))
        await scene.fail(await scene.claim(), retry_in=again)
    await a_day_later(scene)
    assert [await is_there(scene, name) for name in ("retrying", "dead")] == [True, True]
    assert await scene.storage.forget(10, scene.clock.at) > 0
    await look(scene)
    assert [await is_there(scene, name) for name in ("retrying", "dead")] == [True, False]


async def test_what_held_it_is_gone_and_so_is_it(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene), PutValue(ns="", key="k", value=NESTED))
    scene.clock.move(DAY + 1)
    await look(scene)
    await run(scene, DropValue(ns="", key="k"))
    await look(scene)
    assert not await is_there(scene)


async def test_one_that_another_binds_goes_after_that(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene), callback(scene, "holder", token()))
    scene.clock.move(DAY + 1)
    await look(scene)
    assert [await is_there(scene), await is_there(scene, "holder", token())] == [True, False]
    await look(scene)
    assert not await is_there(scene)


async def test_one_that_is_asked_for_again_has_a_day_more(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene))
    scene.clock.move(DAY - 1)
    await run(scene, callback(scene))
    assert (await scene.instance()).callbacks == 1
    assert await a_day_later(scene) is False
    assert (await scene.instance()).callbacks == 0
    await run(scene, callback(scene))
    scene.clock.move(DAY)
    await look(scene)
    assert await is_there(scene)


async def test_one_that_was_asked_for_again_just_now_stays(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene))
    scene.clock.move(DAY + 1)
    await run(scene, callback(scene))
    assert await look(scene) == []
    assert await is_there(scene)


async def test_an_instance_that_runs_is_left_alone(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene))
    await scene.enqueue("i1")
    claim = await scene.claim()
    scene.clock.move(DAY + 1)
    assert await look(scene) == []
    await scene.commit(claim, PutValue(ns="", key="k", value=NESTED))
    await scene.succeed(claim)
    assert await look(scene) == ["i1"]
    assert await is_there(scene)


async def test_many_go_in_batches_and_are_counted(scene: Scene) -> None:
    await scene.active()
    await run(scene, *(callback(scene, str(number)) for number in range(7)), stored(token("3")))
    scene.clock.move(DAY + 1)
    before = scene.storage.stats().verbs
    await look(scene, limit=2)
    assert scene.storage.stats().verbs - before == 3
    assert [name for name in map(str, range(7)) if await is_there(scene, name)] == ["3"]
    assert (await scene.instance()).callbacks == 1


async def test_one_instance_is_looked_at_after_another(scene: Scene) -> None:
    for instance in ("i1", "i2", "i3"):
        await scene.active(instance)
        await scene.enqueue(instance)
        await scene.succeed(await scene.claim(instance), *([] if instance == "i2" else [callback(scene)]))
    scene.clock.move(DAY + 1)
    assert await look(scene) == ["i1", "i3"]
    assert await look(scene) == []


async def test_what_is_deactivated_is_left_to_its_erasure(scene: Scene) -> None:
    await scene.active()
    await run(scene, callback(scene))
    scene.clock.move(DAY + 1)
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    assert await look(scene) == []
    await scene.run_all()
    assert await look(scene) == []
    while await scene.storage.erase(10):
        pass
    assert not await is_there(scene)


@pytest.mark.parametrize("is_over", [True, False])
async def test_what_ran_between_the_look_and_the_removal_keeps_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, is_over: bool
) -> None:
    await scene.active()
    await run(scene, callback(scene))
    scene.clock.move(DAY + 1)
    loop, found = asyncio.get_running_loop(), callbacks.unmentioned
    claims: list[Claim] = []

    async def work_goes_on() -> None:
        await scene.enqueue("i1")
        claims.append(await scene.claim())
        if is_over:
            await scene.succeed(claims.pop(), PutValue(ns="", key="k", value=NESTED))

    def unmentioned(path: Path, after: str, before: int) -> Unmentioned | None:
        result = found(path, after, before)
        asyncio.run_coroutine_threadsafe(work_goes_on(), loop).result(30)
        return result

    monkeypatch.setattr(callbacks, "unmentioned", unmentioned)
    await scene.storage.forget_callbacks("", 500, scene.clock.now() - DAY * SECOND)
    assert await is_there(scene)
    for claim in claims:
        await scene.succeed(claim)
