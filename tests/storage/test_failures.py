"""What fails for good: its owner is told once, and it is found again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ropewalk.storage.records import (
    LOST_FOR_GOOD,
    ActivityQuery,
    ErrorInfo,
    ExecutionStatus,
    FailureQuery,
    Node,
    OwnedActivity,
    Rank,
    Verdict,
)
from tests.storage.scene import NODE, START, Scene

DAY = 86_400


async def dies(
    scene: Scene,
    method: str = "go",
    error: str = "ValueError",
    *,
    status: ExecutionStatus = "dead",
    instance: str = "i1",
    message: str = "boom",
) -> str:
    """Have an execution fail for good, and return it."""
    await scene.enqueue(instance, method)
    claim = await scene.claim(instance)
    settlement = scene.settlement(claim, Verdict(status=status))  # type: ignore[arg-type]
    attempt = replace(settlement.attempt, error=ErrorInfo(type=error, message=message))
    await scene.storage.settle(replace(settlement, attempt=attempt))
    return claim.execution.id


async def told(scene: Scene) -> list[OwnedActivity]:
    """Return what people are told, newest first."""
    return await scene.storage.activities(ActivityQuery(limit=None))


async def words(scene: Scene) -> str:
    """Return the only note."""
    (activity,) = await told(scene)
    (note,) = await scene.storage.notes(activity.activity.id)
    return note.content


async def test_the_owner_is_told_with_what_is_to_be_done(scene: Scene) -> None:
    await scene.active()
    execution = await dies(scene)
    (activity,) = await told(scene)
    assert (activity.activity.title, activity.activity.unread) == ("syncer: 1 execution has failed for good", True)
    assert (activity.activity.priority, activity.twist, activity.instance) == (scene.priority, None, "i1")
    text = await words(scene)
    assert f"- `go()`: `{execution}`, by `ValueError: boom`" in text
    assert "ropewalk retry --instance i1 --status dead" in text


async def test_attempts_that_are_retried_tell_nobody(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1")
    for _ in range(3):
        await scene.fail(await scene.claim(), retry_in=0)
    assert await told(scene) == []


async def test_a_thousand_failures_make_one_note_that_counts(scene: Scene) -> None:
    await scene.active()
    for number in range(30):
        await dies(scene, f"method_{number % 10}", message="`x`\n- and `more`" * 50)
    (activity,) = await told(scene)
    assert (activity.activity.title, activity.notes) == ("syncer: 30 executions have failed for good", 1)
    text = await words(scene)
    assert "- `method_9()`: 3 times, lastly" in text
    assert "- and 6 more" in text
    assert len(text) < 5_000
    assert sum(line.startswith("- ") for line in text.splitlines()) == 9


async def test_the_next_day_is_told_anew(scene: Scene) -> None:
    await scene.active()
    await dies(scene)
    scene.clock.move(DAY - 1)
    await dies(scene)
    scene.clock.move(1)
    await dies(scene)
    assert [one.activity.title for one in await told(scene)] == [
        "syncer: 1 execution has failed for good",
        "syncer: 2 executions have failed for good",
    ]


async def test_instances_are_told_of_apart(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    await dies(scene, instance="i1")
    await dies(scene, instance="i2")
    assert {one.instance for one in await told(scene)} == {"i1", "i2"}


async def test_who_waits_for_it_is_told_by_the_answer(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", trigger="invoke", rank=Rank.WAITED_FOR)
    await scene.storage.settle(scene.settlement(await scene.claim(), Verdict(status="failed")))
    assert await told(scene) == []


async def test_what_could_never_work_is_told_of_and_what_was_cancelled_is_not(scene: Scene) -> None:
    await scene.active()
    await dies(scene, "gone", "CallbackNotFound", status="failed")
    await dies(scene, "ended", status="cancelled")
    (activity,) = await told(scene)
    assert activity.activity.title == "syncer: 1 execution has failed for good"


async def test_what_keeps_killing_nodes_is_set_aside_and_told_of(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1", "killer")
    for _ in range(LOST_FOR_GOOD):
        await scene.claim()
        await scene.storage.release(NODE, scene.clock.now())
        await scene.storage.register(Node(id=NODE, boot="boot", expires=2000.0, started_at=START))
    assert "`killer()`" in await words(scene)


async def test_a_dead_activation_is_told_of(scene: Scene) -> None:
    await scene.activate()
    await scene.fail(await scene.claim())
    assert "`activate()`" in await words(scene)


async def test_what_is_told_leaves_with_its_instance_but_the_note_stays(scene: Scene) -> None:
    await scene.active()
    await dies(scene)
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.succeed(await scene.claim())
    while await scene.storage.erase(10):
        pass
    assert len(await told(scene)) == 1


# ── Finding them again ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def failed(scene: Scene) -> dict[str, str]:
    """Some executions that failed for good, by their methods."""
    await scene.active("i1")
    await scene.active("i2")
    return {
        "first": await dies(scene, "first"),
        "network": await dies(scene, "network", "NetworkError"),
        "other": await dies(scene, "other", instance="i2"),
        "failed": await dies(scene, "failed", status="failed"),
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (FailureQuery(status="dead"), ["first", "network", "other"]),
        (FailureQuery(status="failed"), ["failed"]),
        (FailureQuery(status="retrying"), []),
        (FailureQuery(status="dead", instance="i2"), ["other"]),
        (FailureQuery(status="dead", twist="nobody's"), []),
        (FailureQuery(status="dead", method="first"), ["first"]),
        (FailureQuery(status="dead", method="tool.first"), []),
        (FailureQuery(status="dead", error="NetworkError"), ["network"]),
    ],
)
async def test_failures_are_found_oldest_first(
    scene: Scene, failed: dict[str, str], query: FailureQuery, found: list[str]
) -> None:
    assert await scene.storage.failures(query) == [failed[name] for name in found]


async def test_failures_are_found_by_their_end(scene: Scene, failed: dict[str, str]) -> None:
    scene.clock.move(60)
    late = await dies(scene, "late")
    assert await scene.storage.failures(FailureQuery(status="dead", since=scene.clock.now() - 1)) == [late]


async def test_what_is_retried_is_found_no_more_and_runs_in_order(scene: Scene, failed: dict[str, str]) -> None:
    for execution in await scene.storage.failures(FailureQuery(status="dead", instance="i1")):
        await scene.storage.retry(execution, scene.clock.now())
    assert await scene.storage.failures(FailureQuery(status="dead", instance="i1")) == []
    assert await scene.run_all() == ["first", "network"]
