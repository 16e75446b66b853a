"""Activities, notes and priorities."""

from __future__ import annotations

from typing import Any

import pytest

from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import (
    ActivityQuery,
    AnyEffect,
    ChangeActivity,
    ChangeNote,
    DropActivity,
    OwnedActivity,
    PutActivity,
    PutNote,
)
from ropewalk.wire.messages import ActivityRecord, LinkRecord, NoteRecord, PriorityRecord
from tests.storage.scene import Scene


async def work(scene: Scene, *effects: AnyEffect, instance: str = "i1") -> None:
    """Have an instance do something to the workspace."""
    await scene.enqueue(instance)
    claim = await scene.claim(instance)
    try:
        await scene.succeed(claim, *effects)
    except DoesNotApply:
        await scene.succeed(claim)
        raise


def activity(scene: Scene, id_: str, **fields: Any) -> PutActivity:
    """Return the effect that creates an activity."""
    given: dict[str, Any] = {"type": "action", "title": id_, "priority": scene.priority, "created_at": 1, "updated_at": 1}
    return PutActivity(activity=ActivityRecord(id=id_, **given | fields))


def note(id_: str, activity_: str = "a", **fields: Any) -> PutNote:
    """Return the effect that creates a note."""
    given: dict[str, Any] = {"content": id_}
    return PutNote(note=NoteRecord(id=id_, activity=activity_, **given | fields))


def ids(found: list[OwnedActivity]) -> list[str]:
    """Return the ids of activities, in order."""
    return [owned.activity.id for owned in found]


async def test_an_activity_comes_back_as_it_was(scene: Scene) -> None:
    await scene.active()
    whole = activity(
        scene,
        "a",
        start="2026-01-01",
        end="2026-01-02T00:00:00Z",
        done_at=5,
        source="s:1",
        meta=b'{"k":1}',
        tags=["x", "y"],
        assignee="p1",
        author="p2",
        unread=True,
        private=True,
        draft=True,
        created_at=3,
        updated_at=4,
    )
    await work(scene, whole, note("n1"), note("n2"))
    found = await scene.storage.activities_by_id(["a", "nope"])
    assert found == {"a": OwnedActivity(activity=whole.activity, twist=scene.twist, instance="i1", notes=2)}


async def test_activities_are_listed_newest_first_a_page_at_a_time(scene: Scene) -> None:
    await scene.active()
    await work(scene, *(activity(scene, f"a{number}", created_at=number // 2) for number in range(5)))
    first = await scene.storage.activities(ActivityQuery(limit=2))
    last = first[-1].activity
    rest = await scene.storage.activities(ActivityQuery(limit=10, after=(last.created_at, last.id)))
    assert (ids(first), ids(rest)) == (["a4", "a3"], ["a2", "a1", "a0"])


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"type": "event"}, ["a2"]),
        ({"done": True}, ["a3"]),
        ({"done": False}, ["a2", "a1"]),
        ({"source_prefix": "git:"}, ["a2", "a1"]),
        ({"source_prefix": ""}, ["a3", "a2", "a1"]),
        ({"source_prefix": "git:1"}, ["a1"]),
        ({"updated_since": 20}, ["a3", "a2"]),
        ({"twist": "other"}, []),
        ({"priority": "other"}, []),
        ({"limit": None}, ["a3", "a2", "a1"]),
    ],
)
async def test_activities_are_found_by_what_they_are(scene: Scene, question: dict[str, Any], answer: list[str]) -> None:
    await scene.active()
    await work(
        scene,
        activity(scene, "a1", created_at=1, source="git:1", updated_at=10),
        activity(scene, "a2", created_at=2, source="git:2", updated_at=20, type="event"),
        activity(scene, "a3", created_at=3, source="mail:1", updated_at=30, done_at=30),
    )
    assert ids(await scene.storage.activities(ActivityQuery(**question))) == answer


async def test_a_source_is_there_once_in_a_priority(scene: Scene) -> None:
    await scene.active()
    await scene.storage.create_priority(PriorityRecord(id="p2", title="Other", parent=scene.priority))
    await work(scene, activity(scene, "a1", source="s"), activity(scene, "a2", source="s", priority="p2"), activity(scene, "a3"))
    with pytest.raises(DoesNotApply, match="its source 's'"):
        await work(scene, activity(scene, "a4", source="s"))
    with pytest.raises(DoesNotApply):
        await work(scene, activity(scene, "a1"))
    found = await scene.storage.activities_by_source(scene.priority, ["s", "t"])
    assert {source: owned.activity.id for source, owned in found.items()} == {"s": "a1"}


async def test_only_the_named_fields_change(scene: Scene) -> None:
    await scene.active()
    await work(scene, activity(scene, "a", source="s", tags=["x"]), activity(scene, "b", source="t"))
    await work(scene, ChangeActivity(activity="a", changes={"title": "new", "done_at": 9, "tags": ["y"], "unread": True}))
    changed = (await scene.storage.activities_by_id(["a"]))["a"].activity
    assert (changed.title, changed.done_at, changed.tags, changed.unread, changed.source) == ("new", 9, ["y"], True, "s")
    for wrong in (
        ChangeActivity(activity="gone", changes={"title": "x"}),
        ChangeActivity(activity="a", changes={"source": "t"}),
        ChangeActivity(activity="a", changes={"id": "c"}),
        ChangeActivity(activity="a", changes={"n = n, title": "x"}),
    ):
        with pytest.raises(DoesNotApply):
            await work(scene, wrong)


async def test_activities_are_found_by_an_entry_of_their_meta(scene: Scene) -> None:
    await scene.active()
    await work(
        scene,
        activity(scene, "a1", created_at=1, meta=b'{"k": {"x": 1, "y": [2]}, "n": 1}'),
        activity(scene, "a2", created_at=2, meta=b'{"k":{"y":[2],"x":1}}'),
    )

    async def by_meta(twist: str, key: str, value: bytes) -> list[str]:
        return ids(await scene.storage.activities(ActivityQuery(twist=twist, meta=(key, value))))

    assert await by_meta(scene.twist, "k", b'{"x":1,"y":[2]}') == ["a2", "a1"]
    await work(
        scene, ChangeActivity(activity="a1", changes={"meta": b'{"n":2}'}), ChangeActivity(activity="a2", changes={"meta": None})
    )
    assert await by_meta(scene.twist, "k", b'{"x":1,"y":[2]}') == []
    assert (await by_meta(scene.twist, "n", b"2"), await by_meta("other", "n", b"2")) == (["a1"], [])


async def test_a_dropped_activity_takes_its_notes_along(scene: Scene) -> None:
    await scene.active()
    await work(scene, activity(scene, "a", source="s", meta=b'{"k":1}'), note("n1"), activity(scene, "b"), note("n2", "b"))
    await work(scene, DropActivity(activity="a"), DropActivity(activity="gone"))
    assert ids(await scene.storage.activities(ActivityQuery())) == ["b"]
    assert await scene.storage.notes("a") == []
    assert await scene.storage.activities(ActivityQuery(twist=scene.twist, meta=("k", b"1"))) == []
    await work(scene, activity(scene, "a", source="s"))


async def test_notes_are_oldest_first_and_come_back_as_they_were(scene: Scene) -> None:
    await scene.active()
    link = LinkRecord(kind="callback", title="Do it", callback="cb_1")
    first = note("n1", key="k", author="p", links=[link], mentions=["p1"], tags=["t"], created_at=2, content_type="text")
    await work(scene, activity(scene, "a"), first, note("n2", created_at=3), note("n0", created_at=1))
    assert [found.id for found in await scene.storage.notes("a")] == ["n0", "n1", "n2"]
    assert await scene.storage.notes_by_id(["n1", "nope"]) == {"n1": first.note}
    assert await scene.storage.notes_by_key("a", ["k", "l"]) == {"k": first.note}


async def test_a_note_needs_its_activity_and_a_key_of_its_own(scene: Scene) -> None:
    await scene.active()
    await work(scene, activity(scene, "a"), activity(scene, "b"), note("n1", key="k"), note("n2", "b", key="k"))
    for wrong in (note("n3", key="k"), note("n1"), note("n4", "gone"), ChangeNote(note="gone", changes={"content": "x"})):
        with pytest.raises(DoesNotApply):
            await work(scene, wrong)
    await work(scene, ChangeNote(note="n1", changes={"content": "new", "links": [], "key": None}))
    changed = (await scene.storage.notes_by_id(["n1"]))["n1"]
    assert (changed.content, changed.key) == ("new", None)


async def test_priorities_are_a_tree_below_one_root(scene: Scene) -> None:
    root = await scene.storage.root_priority()
    child = PriorityRecord(id="p1", title="Child", parent=root.id)
    grandchild = PriorityRecord(id="p2", title="Grandchild", parent="p1")
    await scene.storage.create_priority(child)
    await scene.storage.create_priority(grandchild)
    assert await scene.storage.priorities() == [root, child, grandchild]
    assert (await scene.storage.priority("p2"), await scene.storage.priority("nope")) == (grandchild, None)
    for parent in ("nope", None):
        with pytest.raises(DoesNotApply):
            await scene.storage.create_priority(PriorityRecord(id="p3", title="Lost", parent=parent))


async def test_an_instance_that_meets_anothers_activity_does_not_apply(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    await work(scene, activity(scene, "a", source="s"))
    with pytest.raises(DoesNotApply):
        await work(scene, activity(scene, "b"), activity(scene, "c", source="s"), instance="i2")
    assert set(await scene.storage.activities_by_id(["a", "b", "c"])) == {"a"}
