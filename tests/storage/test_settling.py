"""A settlement is one transaction: all of it or nothing, and only under the lease (G2, G4)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ropewalk.storage.interface import DoesNotApply, Fenced
from ropewalk.storage.records import (
    AnyEffect,
    Attempt,
    CancelTask,
    CancelTasks,
    ChangeActivity,
    DropCallback,
    DropCallbacks,
    DropValue,
    DropValues,
    ErrorInfo,
    LogLine,
    LogQuery,
    PutActivity,
    PutCallback,
    PutValue,
    Usage,
    Verdict,
)
from ropewalk.wire.messages import ActivityRecord, Target
from tests.storage.scene import BOOM, NODE, SECOND, Scene


def put(key: str, value: bytes = b"1", ns: str = "", expires_at: int | None = None) -> PutValue:
    """Return the effect of a `set`."""
    return PutValue(ns=ns, key=key, value=value, expires_at=expires_at)


async def values(scene: Scene, *keys: str, ns: str = "") -> dict[str, bytes]:
    """Return values of the instance `i1`."""
    return await scene.storage.read_values("i1", ns, list(keys), scene.clock.now())


async def running(scene: Scene) -> tuple[str, Scene]:
    """Have one execution be ready."""
    await scene.active()
    return await scene.enqueue("i1", "go"), scene


async def test_effects_are_kept_with_the_settlement(scene: Scene) -> None:
    await running(scene)
    await scene.succeed(await scene.claim(), put("a", b'"x"'), put("b"), put("a", b'"y"', ns="tool"))
    assert await values(scene, "a", "b", "c") == {"a": b'"x"', "b": b"1"}
    assert await values(scene, "a", ns="tool") == {"a": b'"y"'}


async def test_nothing_is_seen_before_the_settlement(scene: Scene) -> None:
    await running(scene)
    claim = await scene.claim()
    await scene.commit(claim, put("a"))
    assert await values(scene, "a", "b") == {"a": b"1"}
    await scene.succeed(claim, put("b"))
    assert await values(scene, "a", "b") == {"a": b"1", "b": b"1"}


async def test_effects_apply_in_order(scene: Scene) -> None:
    await running(scene)
    effects: list[AnyEffect] = [
        put("a1"),
        put("a2"),
        put("b"),
        DropValues(ns="", prefix="a"),
        put("a3"),
        DropValue(ns="", key="b"),
    ]
    await scene.succeed(await scene.claim(), *effects)
    assert await scene.storage.read_keys("i1", "", "", scene.clock.now()) == ["a3"]


async def test_store_bytes_count_keys_and_values(scene: Scene) -> None:
    await running(scene)
    claim = await scene.claim()
    await scene.commit(claim, put("ab", b"123"), put("é", b"1"))
    assert (await scene.instance()).store_bytes == 5 + 3
    await scene.succeed(claim, put("ab", b"1"), DropValue(ns="", key="é"), DropValue(ns="", key="none"))
    assert (await scene.instance()).store_bytes == 3


async def test_the_epoch_tells_two_attempts_at_one_execution_apart(scene: Scene) -> None:
    await running(scene)
    frozen = await scene.claim()
    await scene.storage.release(NODE, scene.clock.now())
    current = await scene.claim()
    assert current.execution.id == frozen.execution.id
    with pytest.raises(Fenced):
        await scene.succeed(frozen, put("a", b"1"))
    with pytest.raises(Fenced):
        await scene.commit(frozen, put("a", b"1"))
    await scene.succeed(current, put("a", b"22"))
    assert await scene.storage.read_values("i1", "", ["a"], scene.clock.now()) == {"a": b"22"}


async def test_a_lost_lease_commits_nothing(scene: Scene) -> None:
    await running(scene)
    claim = await scene.claim()
    await scene.storage.release(NODE, scene.clock.now())
    with pytest.raises(Fenced):
        await scene.succeed(claim, put("a"))
    with pytest.raises(Fenced):
        await scene.commit(claim, put("a"))
    assert await values(scene, "a") == {}


async def test_an_effect_that_does_not_apply_leaves_the_whole_settlement_out(scene: Scene) -> None:
    await running(scene)
    claim = await scene.claim()
    taken = claim.execution.id
    with pytest.raises(DoesNotApply):
        await scene.succeed(claim, put("a"), scene.task("again", id=taken))
    assert await values(scene, "a") == {}
    assert (await scene.execution(taken)).status == "running"
    await scene.succeed(claim)


@pytest.mark.parametrize(
    "wrong",
    [
        PutValue(ns="", key="\ud800", value=b"1"),
        ChangeActivity(activity="a", changes={"done_at": 2**70}),
        ChangeActivity(activity="a", changes={"title": "\udfff"}),
        ChangeActivity(activity="a", changes={"meta": b"[1]"}),
    ],
)
async def test_what_cannot_be_stored_does_not_apply(scene: Scene, wrong: AnyEffect) -> None:
    await running(scene)
    claim = await scene.claim()
    activity = PutActivity(activity=ActivityRecord(id="a", type="note", title="", priority=scene.priority))
    with pytest.raises(DoesNotApply):
        await scene.succeed(claim, activity, wrong)
    await scene.succeed(claim)


async def test_a_line_with_an_odd_level_keeps_nothing_from_settling(scene: Scene) -> None:
    id_, _ = await running(scene)
    claim = await scene.claim()
    line = LogLine(time=2**64 - 1, level=2**64 - 1, message="odd", attempt=1)
    await scene.storage.settle(replace(scene.settlement(claim, Verdict(status="succeeded")), logs=[line]))
    assert [found.line.message for found in await scene.storage.logs(LogQuery(execution=id_))] == ["odd"]


async def test_a_store_that_would_be_too_large_does_not_apply(scene: Scene) -> None:
    await running(scene)
    claim = await scene.claim()
    with pytest.raises(DoesNotApply, match=r"60,001 bytes in its store, and may have 50,000"):
        await scene.succeed(claim, put("a", b"x" * 60_000))
    await scene.succeed(claim)


async def test_too_many_pending_executions_do_not_apply(scene: Scene) -> None:
    await running(scene)
    claim = await scene.claim()
    with pytest.raises(DoesNotApply, match="pending executions"):
        await scene.succeed(claim, *(scene.task("many", seconds=60) for _ in range(501)))
    await scene.succeed(claim)


async def test_a_failed_attempt_is_told_of_and_retried_at_its_time(scene: Scene) -> None:
    id_, _ = await running(scene)
    await scene.fail(await scene.claim(), retry_in=5)
    kept = await scene.execution(id_)
    assert (kept.status, kept.error, kept.run_at, kept.tries) == ("retrying", BOOM, scene.clock.now() + 5 * SECOND, 1)
    scene.clock.move(5)
    await scene.succeed(await scene.claim())
    kept = await scene.execution(id_)
    assert (kept.status, kept.error, kept.attempt, kept.result) == ("succeeded", None, 2, b"null")


async def test_attempts_are_kept_oldest_first(scene: Scene) -> None:
    id_, _ = await running(scene)
    await scene.fail(await scene.claim(), retry_in=1)
    scene.clock.move(1)
    await scene.succeed(await scene.claim())
    failed, succeeded = await scene.storage.attempts(id_)
    assert (failed.number, failed.status, failed.error, failed.node) == (1, "failed", BOOM, NODE)
    assert (succeeded.number, succeeded.status, succeeded.error) == (2, "succeeded", None)
    assert (succeeded.usage.cpu, succeeded.usage.memory_peak, succeeded.usage.requests) == (7, 8, 9)
    assert succeeded.usage.started_at == failed.usage.started_at + SECOND


async def test_an_uncounted_attempt_uses_up_none_of_the_policy(scene: Scene) -> None:
    id_, _ = await running(scene)
    claim = await scene.claim()
    verdict = Verdict(status="retrying", run_at=None, counted=False)
    lost = Attempt(
        number=1,
        version=1,
        node=NODE,
        usage=Usage(started_at=0, finished_at=1),
        status="lost",
        error=ErrorInfo(type="x", message=""),
    )
    settlement = scene.settlement(claim, verdict)
    await scene.storage.settle(replace(settlement, attempt=lost))
    kept = await scene.execution(id_)
    assert (kept.tries, kept.lost, kept.status) == (0, 1, "retrying")
    assert (await scene.claim()).execution.attempt == 2


async def test_committing_a_part_counts_attempts_anew(scene: Scene) -> None:
    id_, _ = await running(scene)
    await scene.fail(await scene.claim(), retry_in=1)
    scene.clock.move(1)
    claim = await scene.claim()
    await scene.commit(claim)
    assert (await scene.execution(id_)).tries == 0
    await scene.fail(claim, retry_in=1)
    assert (await scene.execution(id_)).tries == 1


async def test_logs_are_kept_whatever_the_verdict(scene: Scene) -> None:
    id_, _ = await running(scene)
    claim = await scene.claim()
    await scene.storage.append_logs("i1", id_, [LogLine(time=1, level=20, message="early", attempt=1)])
    settlement = scene.settlement(claim, Verdict(status="dead"))
    late = LogLine(time=2, level=40, message="late", attempt=1, fields=b'{"a":1}')
    await scene.storage.settle(replace(settlement, logs=[late]))
    lines = await scene.storage.logs(LogQuery(execution=id_))
    assert [line.line.message for line in lines] == ["early", "late"]
    assert lines[1].line == late


async def test_large_events_and_arguments_come_back_whole(scene: Scene) -> None:
    await scene.active()
    target = Target(ns="tool", method="go", arguments=b'[["' + b"a" * 40_000 + b'"],{}]')
    id_ = await scene.storage.enqueue(scene.event("i1", target=target, event=b'["' + b"e" * 40_000 + b'"]'))
    claim = await scene.claim()
    assert claim.execution.target == target
    assert claim.execution.event == (await scene.execution(id_)).event == b'["' + b"e" * 40_000 + b'"]'
    await scene.succeed(claim)


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_task_is_cancelled_by_its_id_or_key(scene: Scene) -> None:
    await running(scene)
    await scene.succeed(
        await scene.claim(),
        scene.task("a", id="task-a"),
        scene.task("b", key="k"),
        scene.task("b", key="k", ns="tool"),
        scene.task("c"),
    )
    await scene.enqueue("i1", "canceller", rank=2)
    await scene.succeed(
        await scene.claim(),
        CancelTask(ns="", token_or_key="task-a"),
        CancelTask(ns="", token_or_key="k"),
        CancelTask(ns="", token_or_key="-"),
    )
    assert (await scene.execution("task-a")).status == "cancelled"
    assert await scene.run_all() == ["b", "c"]


async def test_cancelling_all_tasks_spares_other_namespaces_and_other_events(scene: Scene) -> None:
    await running(scene)
    await scene.enqueue("i1", "webhook", trigger="webhook")
    claim = await scene.claim()
    await scene.succeed(
        claim,
        scene.task("now"),
        scene.task("later", seconds=5),
        scene.task("tools", ns="tool"),
        CancelTasks(ns=""),
        scene.task("after"),
    )
    scene.clock.move(10)
    assert await scene.run_all() == ["webhook", "tools", "after"]


async def test_callbacks_are_kept_and_forgotten_with_their_tasks(scene: Scene) -> None:
    await running(scene)
    target = Target(ns="", method="back", arguments=b"[[1],{}]")
    claim = await scene.claim()
    keep = [PutCallback(ns=ns, token=f"cb_{n}", target=target, at=1) for ns, n in (("", 1), ("", 2), ("tool", 3))]
    await scene.commit(claim, *keep, keep[0])
    assert await scene.storage.callback("i1", "cb_1") == target
    assert await scene.storage.callback("i2", "cb_1") is None
    await scene.succeed(
        claim,
        *(scene.task(f"task{n}", callback=f"cb_{n}") for n in (1, 2, 3)),
        DropCallback(token="cb_1"),
        DropCallbacks(ns="tool"),
    )
    assert [await scene.storage.callback("i1", f"cb_{n}") for n in (1, 2, 3)] == [None, target, None]
    assert await scene.run_all() == ["task2"]


async def test_an_instance_cannot_enqueue_for_another(scene: Scene) -> None:
    await running(scene)
    await scene.active("i2")
    claim = await scene.claim()
    with pytest.raises(DoesNotApply):
        await scene.succeed(claim, scene.task("go", instance="i2"))
    await scene.succeed(claim)
