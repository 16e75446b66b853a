"""Activities and notes: what an attempt asks for, sees, and leaves behind."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from ropewalk.answers.interface import AnswerLimits
from ropewalk.errors import InvalidValue, NotFound, PermissionDenied, ValueTooLarge
from ropewalk.storage.records import ActivityQuery
from ropewalk.wire.messages import ActivityRecord, LinkRecord, PriorityRecord
from tests.answers.authors import Author, new, note
from tests.storage.scene import START, Scene

# A test with this runs as the attempt itself sees what it did, after a commit, and in the next attempt.
LATER = pytest.mark.parametrize("later", ["at once", "committed", "next attempt"])


async def go_on(author: Author, later: str) -> Author:
    """Return the author who looks at what `author` did."""
    if later == "at once":
        return author
    if later == "committed":
        await author.commit()
        return author
    await author.finish()
    author.scene.clock.move(1)
    return await Author.begin(author.scene, author.session.claim.instance.id)


async def below(scene: Scene, title: str, parent: str | None = None) -> str:
    """Make a priority below another, or below the root."""
    made = str(uuid4())
    await scene.storage.create_priority(PriorityRecord(id=made, title=title, parent=parent or scene.priority))
    return made


# ── Creating ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@LATER
async def test_created_activity_is_there(author: Author, later: str) -> None:
    (made,) = await author.create(new("walk", start="2026-03-01", tags=["a"], meta=b'{"n": 1}', source="s:1"))
    seen = await go_on(author, later)
    assert await seen.get(made.id) == made
    assert made.meta == b'{"n":1}'
    assert made.priority == author.scene.priority
    assert made.created_at == made.updated_at >= START


@LATER
async def test_batch_is_answered_in_order_and_listed_newest_first(author: Author, later: str) -> None:
    made = await author.create(*(new(f"{number}") for number in range(50)))
    assert [activity.title for activity in made] == [f"{number}" for number in range(50)]
    seen = await go_on(author, later)
    assert await seen.titles() == [f"{number}" for number in reversed(range(50))]


@LATER
async def test_notes_come_with_their_activity_in_order(author: Author, later: str) -> None:
    link = LinkRecord(kind="external", title="there", url="https://example.com/")
    (made,) = await author.create(new(notes=[note("one", links=[link]), note("two"), note("three")]))
    seen = await go_on(author, later)
    notes = await seen.notes(made.id)
    assert [each.content for each in notes] == ["one", "two", "three"]
    assert notes[0].links == [link]
    assert notes[0].about == made
    assert [each.about for each in notes[1:]] == [None, None]


async def test_start_of_an_action(author: Author) -> None:
    now, someday, event = await author.create(new(start_now=True), new(), new(type="event"))
    assert now.start == "2027-01-15T08:00:00Z"
    assert someday.start is None
    assert event.start is None


async def test_nothing_is_kept_of_a_batch_with_a_mistake(author: Author) -> None:
    with pytest.raises(InvalidValue):
        await author.create(new("good"), new("bad\x00"))
    assert not author.session.effects
    assert await author.titles() == []


async def test_nothing_is_kept_of_a_batch_without_room(scene: Scene) -> None:
    await scene.active("i1")
    author = await Author.begin(scene, "i1", AnswerLimits(effect_rows=5))
    await author.create(new("kept"))
    with pytest.raises(ValueTooLarge, match="commit"):
        await author.create(*(new(notes=[note()]) for _ in range(3)))
    assert await author.titles() == ["kept"]
    assert len(author.session.effects) == 1


async def test_batch_is_bounded(author: Author) -> None:
    with pytest.raises(ValueTooLarge, match="1,000"):
        await author.create(*(new() for _ in range(1001)))


# ── Ids ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@LATER
async def test_own_id_that_is_taken(author: Author, later: str) -> None:
    (made,) = await author.create(new())
    seen = await go_on(author, later)
    with pytest.raises(InvalidValue, match="another activity's"):
        await seen.create(new(id=made.id))


async def test_own_id_twice_in_a_batch(author: Author) -> None:
    own = str(uuid4())
    with pytest.raises(InvalidValue, match="another activity's"):
        await author.create(new(id=own), new(id=own))


async def test_own_id_of_another_twists_activity(author: Author, other: Author) -> None:
    (theirs,) = await other.create(new())
    await other.finish()
    with pytest.raises(InvalidValue, match="another activity's"):
        await author.create(new(id=theirs.id))


@LATER
async def test_id_is_free_again_after_a_deletion(author: Author, later: str) -> None:
    own = str(uuid4())
    await author.create(new("old", id=own, notes=[note("old")]))
    seen = await go_on(author, later)
    await seen.delete(own)
    await seen.create(new("new", id=own))
    assert await seen.contents(own) == []
    await seen.commit()
    assert await seen.titles() == ["new"]


@LATER
async def test_note_id_that_is_taken(author: Author, later: str) -> None:
    own = str(uuid4())
    (made,) = await author.create(new(notes=[note(id=own)]))
    seen = await go_on(author, later)
    with pytest.raises(InvalidValue, match="another note's"):
        await seen.add_notes(made.id, note(id=own))


@pytest.mark.parametrize("text", ["", "x", "00000000-0000-0000-0000-00000000000g", "' OR 1=1 --", "\x00"])
async def test_id_that_is_none(author: Author, text: str) -> None:
    with pytest.raises(InvalidValue, match="no id"):
        await author.create(new(id=text))
    with pytest.raises(InvalidValue, match="no id"):
        await author.get(text)


# ── Sources and keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@LATER
async def test_source_that_is_there_is_updated(author: Author, later: str) -> None:
    (first,) = await author.create(new("old", source="s:1", tags=["a"], meta=b'{"n":1}', notes=[note("one", key="k")]))
    seen = await go_on(author, later)
    author.scene.clock.move(1)
    (second,) = await seen.create(new("new", source="s:1", notes=[note("two", key="k"), note("three")]))
    assert (second.id, second.title, second.tags, second.meta) == (first.id, "new", ["a"], b'{"n":1}')
    assert second.updated_at > first.updated_at
    assert second.created_at == first.created_at
    await seen.commit()
    assert await seen.titles() == ["new"]
    assert await seen.contents(first.id) == ["two", "three"]


async def test_source_twice_in_a_batch(author: Author) -> None:
    made = await author.create(new("one", source="s"), new("two", source="s", done_at=5), new("other", source="o"))
    assert [activity.title for activity in made] == ["one", "two", "other"]
    assert made[0].id == made[1].id
    await author.commit()
    assert await author.titles() == ["other", "two"]


@LATER
async def test_sync_of_nothing_new_writes_nothing(author: Author, later: str) -> None:
    same: dict[str, Any] = {"source": "s", "tags": ["a"], "meta": b'{"a": 1}', "start": "2026-01-01T10:00:00+01:00"}
    await author.create(new("one", notes=[note("n", key="k")], **same))
    seen = await go_on(author, later)
    before = len(seen.session.effects)
    await seen.create(new("one", notes=[note("n", key="k")], **same))
    assert len(seen.session.effects) == before


async def test_sync_does_not_undo_what_was_left_out(author: Author) -> None:
    (made,) = await author.create(new("one", source="s", start="2026-01-01"))
    await author.update(made.id, done_at=1_000_000, tags=["mine"])
    (again,) = await author.create(new("two", source="s", start_now=True))
    assert (again.start, again.done_at, again.tags) == ("2026-01-01", 1_000_000, ["mine"])


async def test_sync_may_set_an_action_to_someday(author: Author) -> None:
    await author.create(new("one", source="s", start="2026-01-01"))
    (again,) = await author.create(new("one", source="s"))
    assert again.start is None


async def test_sync_keeps_the_start_of_an_event_that_is_sent_without(author: Author) -> None:
    await author.create(new("one", type="event", source="s", start="2026-01-01"))
    (again,) = await author.create(new("one", type="event", source="s"))
    assert again.start == "2026-01-01"


async def test_source_of_another_twists_activity(author: Author, other: Author) -> None:
    await other.create(new("theirs", source="s"))
    await other.finish()
    with pytest.raises(PermissionDenied, match="another twist or a person"):
        await author.create(new("mine"), new("mine", source="s"))
    assert not author.session.effects


async def test_source_of_the_same_twists_former_instance(author: Author) -> None:
    (made,) = await author.create(new("before", source="s"))
    await author.finish()
    await author.scene.active("i2")
    second = await Author.begin(author.scene, "i2")
    (again,) = await second.create(new("after", source="s"))
    assert again.id == made.id


async def test_source_is_one_within_each_priority(author: Author) -> None:
    sub = await below(author.scene, "sub")
    made = await author.create(new("here", source="s"), new("there", source="s", priority=sub))
    await author.commit()
    assert made[0].id != made[1].id
    assert await author.titles() == ["there", "here"]


@LATER
async def test_source_can_be_given_up_and_taken(author: Author, later: str) -> None:
    (old,) = await author.create(new("old", source="s"))
    seen = await go_on(author, later)
    await seen.update(old.id, source="t")
    (made,) = await seen.create(new("new", source="s"))
    assert made.id != old.id
    await seen.commit()
    assert [await seen.by_source("s"), await seen.by_source("t")] == [made, await seen.get(old.id)]


@LATER
async def test_key_belongs_to_its_activity(author: Author, later: str) -> None:
    one, two = await author.create(new(notes=[note("1", key="k")]), new(notes=[note("2", key="k")]))
    seen = await go_on(author, later)
    (changed,) = await seen.add_notes(one.id, note("3", key="k"))
    await seen.commit()
    assert changed.content == "3"
    assert [await seen.contents(one.id), await seen.contents(two.id)] == [["3"], ["2"]]


async def test_key_twice_in_a_call(author: Author) -> None:
    (made,) = await author.create(new())
    first, second = await author.add_notes(made.id, note("1", key="k"), note("2", key="k"))
    assert first.id == second.id
    assert await author.contents(made.id) == ["2"]


@LATER
async def test_key_that_moves_on(author: Author, later: str) -> None:
    (made,) = await author.create(new(notes=[note("1", key="k")]))
    (first,) = await author.notes(made.id)
    seen = await go_on(author, later)
    await seen.update_note(first.id, key="l")
    await seen.add_notes(made.id, note("2", key="k"))
    await seen.commit()
    assert await seen.contents(made.id) == ["1", "2"]


# ── Changing and deleting ─────────────────────────────────────────────────────────────────────────────────────────────────────

CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"title": "new"}, {"title": "new"}),
    ({"type": "event"}, {"type": "event"}),
    ({"start": None}, {"start": None}),
    ({"start": "2026-05-05T10:00:00+02:00"}, {"start": "2026-05-05T08:00:00Z"}),
    ({"end": "2027-01-02"}, {"end": "2027-01-02"}),
    ({"done_at": 5}, {"done_at": 5}),
    ({"done_at": "1970-01-01T00:00:01Z"}, {"done_at": 1_000_000}),
    ({"done_at": None}, {"done_at": None}),
    ({"source": "s:2"}, {"source": "s:2"}),
    ({"source": None}, {"source": None}),
    ({"meta": {"b": [1]}}, {"meta": b'{"b":[1]}'}),
    ({"meta": None}, {"meta": None}),
    ({"tags": ["x", "y", "x"]}, {"tags": ["x", "y"]}),
    ({"assignee": "someone", "author": None}, {"assignee": "someone"}),
    ({"unread": True, "private": True, "draft": True}, {"unread": True, "private": True, "draft": True}),
]


@LATER
@pytest.mark.parametrize(("changes", "expected"), CHANGES)
async def test_change(author: Author, later: str, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    (made,) = await author.create(
        new("old", start="2027-01-01", source="s:1", meta=b'{"a":1}', done_at=9, tags=["x"], author="me")
    )
    seen = await go_on(author, later)
    changed = await seen.update(made.id, **changes)
    assert {name: getattr(changed, name) for name in expected} == expected
    assert changed == await seen.get(made.id)
    await seen.commit()
    assert changed == await seen.get(made.id)


async def test_change_that_changes_nothing(author: Author) -> None:
    (made,) = await author.create(new("old", tags=["a"]))
    author.scene.clock.move(5)
    assert await author.update(made.id, title="old", tags=["a"]) == made
    assert len(author.session.effects) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"}, {"created_at": 1}, {"nonsense": 1}, {"title": None}, {"title": 5}, {"title": "a\nb"}, {"type": "todo"},
        {"start": "tomorrow"}, {"start": "2026-13-01"}, {"start": "2026-01-01T10:00:00"}, {"start": 5}, {"end": "1999-01-01"},
        {"done_at": "now"}, {"done_at": 1.5}, {"done_at": 1 << 62}, {"meta": []}, {"meta": "x"}, {"meta": {"a": "\0"}}, {"tags": "x"},
        {"tags": [1]}, {"tags": [""]}, {"source": ""}, {"unread": 1}, {"unread": None}, {"priority": None},
    ],
)  # fmt: skip
async def test_change_that_is_refused(author: Author, changes: dict[str, Any]) -> None:
    (made,) = await author.create(new("old", start="2026-01-01"))
    with pytest.raises(InvalidValue):
        await author.update(made.id, **changes)
    assert await author.get(made.id) == made


async def test_source_of_another_cannot_be_taken(author: Author) -> None:
    one, two = await author.create(new(source="s:1"), new(source="s:2"))
    with pytest.raises(InvalidValue, match="another activity's"):
        await author.update(two.id, source="s:1")
    await author.delete(one.id)
    await author.update(two.id, source="s:1")
    await author.commit()


@LATER
async def test_deleted_activity_is_gone(author: Author, later: str) -> None:
    one, two = await author.create(new("one", source="s", meta=b'{"a":1}', notes=[note("n")]), new("two"))
    (first,) = await author.notes(one.id)
    seen = await go_on(author, later)
    await seen.delete(one.id)
    assert [await seen.get(one.id), await seen.by_source("s"), await seen.by_meta("a", 1)] == [None, None, None]
    assert await seen.titles() == ["two"]
    for asking in (
        seen.delete(one.id),
        seen.update(one.id, title="x"),
        seen.notes(one.id),
        seen.update_note(first.id, content="x"),
    ):
        with pytest.raises(NotFound):
            await asking
    await seen.commit()
    assert [activity.id for activity in (await seen.page()).items] == [two.id]


@LATER
async def test_change_of_a_note(author: Author, later: str) -> None:
    (made,) = await author.create(new(notes=[note("old", tags=["a"])]))
    (first,) = await author.notes(made.id)
    seen = await go_on(author, later)
    link = {"kind": "external", "title": "t", "url": "https://example.com/"}
    changed = await seen.update_note(first.id, content="new", links=[link])
    assert (changed.content, changed.links[0].url, changed.tags, changed.about) == ("new", "https://example.com/", ["a"], made)
    await seen.commit()
    assert await seen.contents(made.id) == ["new"]


async def test_key_of_another_note_cannot_be_taken(author: Author) -> None:
    (made,) = await author.create(new(notes=[note(key="a"), note(key="b")]))
    _, second = await author.notes(made.id)
    with pytest.raises(InvalidValue, match="another note's"):
        await author.update_note(second.id, key="a")
    await author.commit()
    with pytest.raises(InvalidValue, match="another note's"):
        await author.update_note(second.id, key="a")


@pytest.mark.parametrize(
    "changes", [{"activity": str(uuid4())}, {"content": None}, {"content": "\x1b[2J"}, {"links": [{"kind": "x"}]}]
)
async def test_change_of_a_note_that_is_refused(author: Author, changes: dict[str, Any]) -> None:
    (made,) = await author.create(new(notes=[note("old")]))
    (first,) = await author.notes(made.id)
    with pytest.raises(InvalidValue):
        await author.update_note(first.id, **changes)


# ── Finding and listing ───────────────────────────────────────────────────────────────────────────────────────────────────────


@LATER
async def test_activity_is_found_by_its_meta(author: Author, later: str) -> None:
    made = await author.create(
        new("one", meta=b'{"id": 1, "o": {"b": 1, "a": 2}}'), new("true", meta=b'{"id": true}'), new("two")
    )
    seen = await go_on(author, later)
    assert await seen.by_meta("id", 1) == made[0]
    assert await seen.by_meta("id", value=True) == made[1]
    assert await seen.by_meta("o", {"a": 2, "b": 1}) == made[0]
    assert await seen.by_meta("id", "1") is None
    assert await seen.by_meta("none", None) is None


@LATER
async def test_newest_of_several_with_the_meta(author: Author, later: str) -> None:
    await author.create(new("old", meta=b'{"k":"v"}'))
    seen = await go_on(author, later)
    await seen.create(new("new", meta=b'{"k":"v"}'))
    found = await seen.by_meta("k", "v")
    assert found is not None
    assert found.title == "new"


@LATER
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"type": "event"}, ["c"]),
        ({"done": True}, ["b"]),
        ({"done": False}, ["d", "c", "a"]),
        ({"source_prefix": "git:"}, ["b", "a"]),
        ({"source_prefix": ""}, ["d", "c", "b", "a"]),
        ({"updated_since": START + 2_000_000}, ["d"]),
        ({"limit": 2}, ["d", "c"]),
        ({"type": "action", "done": False, "limit": 1}, ["d"]),
    ],
)
async def test_listing(author: Author, later: str, query: dict[str, Any], expected: list[str]) -> None:
    await author.create(new("a", source="git:1"), new("b", source="git:2", done_at=5), new("c", type="event", source="cal:1"))
    author.scene.clock.move(2)
    await author.create(new("d"))
    seen = await go_on(author, later)
    assert await seen.titles(**query) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_pages_hold_everything_once(author: Author, size: int) -> None:
    """Whatever is stored, made, changed and removed meanwhile, pages are the listing, cut."""
    stored = await author.create(*(new(f"stored {number}") for number in range(10)))
    await author.commit()
    await author.create(*(new(f"made {number}") for number in range(5)))
    await author.delete(stored[3].id)
    await author.update(stored[5].id, title="changed")
    await author.update(stored[9].id, done_at=5)
    whole = await author.titles(limit=1000, done=False)
    assert len(whole) == 13
    cut: list[str] = []
    cursor = None
    while True:
        page = await author.page(limit=size, cursor=cursor, done=False)
        cut += [activity.title for activity in page.items]
        if (cursor := page.cursor) is None:
            break
    assert cut == whole


@pytest.mark.parametrize("cursor", ["", "x", "a1", "a1.x", "a" + "f" * 40 + "." + "0" * 36])
async def test_cursor_that_is_none(author: Author, cursor: str) -> None:
    with pytest.raises(InvalidValue, match="cursor"):
        await author.page(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_limit_of_a_page(author: Author, limit: int) -> None:
    with pytest.raises(ValueTooLarge, match="10,000"):
        await author.page(limit=limit)


async def test_large_activities_make_short_pages(author: Author) -> None:
    meta = b'{"x":"' + b"y" * 60_000 + b'"}'
    for _ in range(3):
        await author.create(*(new(meta=meta) for _ in range(200)))
        await author.commit()
    cut: list[int] = []
    cursor = None
    while not cut or cursor:
        page = await author.page(limit=1000, cursor=cursor)
        cut.append(len(page.items))
        cursor = page.cursor
    assert cut == [278, 278, 44]


@LATER
async def test_notes_beyond_the_limits_of_a_listing(author: Author, later: str) -> None:
    (made,) = await author.create(new())
    for _ in range(3):
        await author.add_notes(made.id, *(note("x" * 1_000_000) for _ in range(12)))
        await author.commit()
    seen = await go_on(author, later)
    with pytest.raises(ValueTooLarge, match="33,554,432 bytes"):
        await seen.notes(made.id)


@LATER
async def test_many_notes_are_listed_in_order(author: Author, later: str) -> None:
    (made,) = await author.create(new(notes=[note(f"{number}") for number in range(50)]))
    seen = await go_on(author, later)
    assert await seen.contents(made.id) == [f"{number}" for number in range(50)]


# ── What a twist may reach ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_another_twists_activities_are_not_there(author: Author, other: Author) -> None:
    (theirs,) = await other.create(new("theirs", source="s", meta=b'{"a":1}', notes=[note("n")]))
    (first,) = await other.notes(theirs.id)
    await other.finish()
    assert [await author.get(theirs.id), await author.by_source("s"), await author.by_meta("a", 1)] == [None, None, None]
    assert await author.titles() == []
    asking = [
        author.update(theirs.id, title="x"),
        author.delete(theirs.id),
        author.notes(theirs.id),
        author.add_notes(theirs.id, note()),
        author.update_note(first.id, content="x"),
    ]
    for each in asking:
        with pytest.raises(NotFound):
            await each
    assert not author.session.effects


async def instance_at(author: Author, priority: str, instance: str) -> Author:
    """Start an attempt of another instance of the same twist, in another priority."""
    scene = author.scene
    root, scene.priority = scene.priority, priority
    await scene.active(instance)
    scene.priority = root
    return await Author.begin(scene, instance)


async def test_instance_reaches_its_priority_and_those_below(author: Author) -> None:
    one = await below(author.scene, "one")
    deep = await below(author.scene, "deep", one)
    two = await below(author.scene, "two")
    inner = await instance_at(author, one, "i2")
    await author.create(new("root"), new("two", priority=two))
    await inner.create(new("one"), new("deep", priority=deep))
    await author.commit()
    await inner.commit()
    assert sorted(await author.titles()) == ["deep", "one", "root", "two"]
    assert await inner.titles() == ["deep", "one"]


@pytest.mark.parametrize("made_in", ["root", "sibling", "nowhere"])
async def test_priority_beyond_reach(author: Author, made_in: str) -> None:
    one, two = await below(author.scene, "one"), await below(author.scene, "two")
    inner = await instance_at(author, one, "i2")
    beyond = {"root": author.scene.priority, "sibling": two, "nowhere": str(uuid4())}[made_in]
    with pytest.raises(PermissionDenied, match="not this instance's own nor below"):
        await inner.create(new(priority=beyond))
    (made,) = await inner.create(new())
    with pytest.raises(PermissionDenied):
        await inner.update(made.id, priority=beyond)


async def test_activity_is_not_seen_from_beside(author: Author) -> None:
    one, two = await below(author.scene, "one"), await below(author.scene, "two")
    left, right = await instance_at(author, one, "i2"), await instance_at(author, two, "i3")
    (made,) = await left.create(new(source="s", meta=b'{"a":1}'))
    await left.finish()
    assert [await right.get(made.id), await right.by_source("s"), await right.by_meta("a", 1)] == [None, None, None]


async def test_activity_below_is_found_by_its_source(author: Author) -> None:
    sub = await below(author.scene, "sub")
    (made,) = await author.create(new(source="s", priority=sub))
    await author.commit()
    assert await author.by_source("s") == made


@pytest.mark.parametrize("ns", ["", "web", "other", "plot.plot"])
async def test_only_a_plot_tool_may_ask(author: Author, ns: str) -> None:
    (made,) = await author.create(new())
    author.ns = ns
    asking = [
        author.create(new()),
        author.update(made.id, title="x"),
        author.delete(made.id),
        author.get(made.id),
        author.page(),
        author.add_notes(made.id, note()),
        author.notes(made.id),
    ]
    for each in asking:
        with pytest.raises(PermissionDenied, match="no Plot tool"):
            await each


async def test_what_is_stored_says_who_made_it(author: Author) -> None:
    await author.create(new(notes=[note()]))
    await author.finish()
    (owned,) = await author.scene.storage.activities(ActivityQuery())
    assert (owned.twist, owned.instance, owned.notes) == (author.scene.twist, "i1", 1)


async def test_guest_cannot_date_what_it_makes(author: Author) -> None:
    asked = new()
    forged = ActivityRecord(id=str(uuid4()), type="note", title="t", created_at=1, updated_at=1)
    made = await author.create(type(asked)(activity=forged, notes=[note(created_at=1, activity="x", author="them")]))
    (first,) = await author.notes(made[0].id)
    assert made[0].created_at >= START
    assert (first.created_at > START, first.author, first.activity) == (True, None, made[0].id)
