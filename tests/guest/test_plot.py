"""What the Plot and Network tools say on the wire, and what they make of the answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ropewalk.wire.messages import (
    ActivitiesCreate,
    ActivitiesList,
    ActivityDelete,
    ActivityGet,
    ActivityRecord,
    ActivityUpdate,
    CallbackCreate,
    Fetch,
    HttpAnswer,
    LinkRecord,
    NewActivityRecord,
    NoteRecord,
    NotesCreate,
    NotesList,
    NoteUpdate,
    Page,
)
from tests.guest.playing import PRIORITY, Guest, MakeVersion

ONE = "6a1c4a6e-0000-4000-8000-00000000000a"
TWO = "6a1c4a6e-0000-4000-8000-00000000000b"
STORED = ActivityRecord(
    id=ONE, type="action", title="a", start="2030-01-02", done_at=5_000_000, meta=b'{"a":1}', priority=PRIORITY
)
NOTE = NoteRecord(id=TWO, content="c", activity=ONE, created_at=7)

BODY = """
plot = Plot()
network = Network(urls=["*"])
async def clicked(self, number: int) -> None: ...
async def main(self):
    from datetime import UTC, date, datetime, timedelta, timezone
    from uuid import UUID
    {}
"""


def run(twist: MakeVersion, code: str, **answers: Any) -> tuple[Any, list[Any]]:
    with twist(BODY.format(code)).attempt() as guest:
        _play(guest)
        result = guest.result()
        return result, guest.calls


def _play(guest: Guest) -> None:
    def created(call: ActivitiesCreate) -> list[ActivityRecord]:
        return [msgspec.structs.replace(item.activity, priority=PRIORITY, created_at=5, updated_at=6) for item in call.items]

    def noted(call: NotesCreate) -> list[NoteRecord]:
        notes = [msgspec.structs.replace(note, activity=call.activity) for note in call.notes]
        return [msgspec.structs.replace(notes[0], about=STORED), *notes[1:]]

    guest.answers |= {
        ActivitiesCreate: created,
        ActivityUpdate: lambda _: STORED,
        ActivityGet: lambda call: STORED if call.activity == ONE else None,
        ActivitiesList: lambda _: Page(items=[STORED], cursor="next"),
        NotesCreate: noted,
        NoteUpdate: lambda _: msgspec.structs.replace(NOTE, about=STORED),
        NotesList: lambda _: [NOTE, NOTE],
        Fetch: lambda call: HttpAnswer(status=200, headers=[("X-One", "1")], body=b'{"a":[1]}', url=call.url),
    }


def test_an_activity_is_created_with_its_notes(twist: MakeVersion) -> None:
    code = """
    new = NewActivity("event", "a", id=UUID(int=10), start=datetime(2030, 1, 2, 3, tzinfo=timezone(timedelta(hours=1))),
        end=date(2030, 1, 3), done_at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), source="s", meta={"a": UUID(int=1)}, tags=["t"],
        assignee="me", priority=UUID(int=11), unread=True, notes=[NewNote("c", key="k", mentions=[UUID(int=1)])])
    made = await self.plot.create_activity(new)
    return [str(made.id), made.type, made.start.isoformat(), made.end.isoformat(), made.meta, made.created_at.isoformat()]
    """
    result, (call,) = run(twist, code)
    assert result == [
        "00000000-0000-0000-0000-00000000000a",
        "event",
        "2030-01-02T02:00:00+00:00",
        "2030-01-03",
        {"a": "00000000-0000-0000-0000-000000000001"},
        "1970-01-01T00:00:00.000005+00:00",
    ]
    (item,) = call.items
    assert item.own_id
    assert not item.start_now
    assert (item.activity.start, item.activity.done_at, item.activity.unread) == ("2030-01-02T02:00:00+00:00", 1_000_000, True)
    assert item.activity.priority == "00000000-0000-0000-0000-00000000000b"
    (note,) = item.notes
    assert (note.content, note.key, note.mentions) == ("c", "k", ["00000000-0000-0000-0000-000000000001"])


@pytest.mark.parametrize(
    ("new", "start_now"),
    [
        ("NewActivity(ActivityType.ACTION, 'a')", True),
        ("NewActivity('action', title='a', start=None)", False),
        ("NewActivity(type='note', title='a')", False),
    ],
)
def test_an_action_without_start_is_for_now(twist: MakeVersion, new: str, start_now: bool) -> None:
    _, (call,) = run(twist, f"await self.plot.create_activity({new})")
    item: NewActivityRecord = call.items[0]
    assert (item.start_now, item.activity.start, item.own_id) == (start_now, None, False)


def test_many_are_one_request_in_order(twist: MakeVersion) -> None:
    code = "return [a.title for a in await self.plot.create_activities(NewActivity('note', str(n)) for n in range(1000))]"
    result, calls = run(twist, code)
    assert result == [str(number) for number in range(1000)]
    assert len(calls) == 1
    assert len({item.activity.id for item in calls[0].items}) == 1000


CALLS: dict[str, tuple[str, Any]] = {
    "update": (
        "await self.plot.update_activity(UUID(int=1), title='b', start=None, done_at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), meta={'a': 1})",
        ActivityUpdate(
            id=1,
            ns="plot",
            activity="00000000-0000-0000-0000-000000000001",
            changes=b'{"title":"b","start":null,"done_at":1000000,"meta":{"a":1}}',
        ),
    ),
    "delete": (f"await self.plot.delete_activity('{ONE}')", ActivityDelete(id=1, ns="plot", activity=ONE)),
    "get": (f"assert (await self.plot.get_activity('{ONE.upper()}')).title == 'a'", ActivityGet(id=1, ns="plot", activity=ONE)),
    "get nothing": (f"assert await self.plot.get_activity('{TWO}') is None", ActivityGet(id=1, ns="plot", activity=TWO)),
    "get by source": ("await self.plot.get_activity_by_source('s')", ActivityGet(id=1, ns="plot", source="s")),
    "get by meta": ("await self.plot.get_activity_by_meta('a', [1])", ActivityGet(id=1, ns="plot", meta=("a", b"[1]"))),
    "list": (
        "page = await self.plot.list_activities(type=ActivityType.NOTE, done=False, source_prefix='s', limit=5, cursor='c', "
        "updated_since=datetime(1970, 1, 1, tzinfo=UTC)); assert (page.items[0].title, page.cursor) == ('a', 'next')",
        ActivitiesList(id=1, ns="plot", type="note", done=False, source_prefix="s", updated_since=0, limit=5, cursor="c"),
    ),
    "get notes": (f"await self.plot.get_notes('{ONE}')", NotesList(id=1, ns="plot", activity=ONE)),
    "update note": (
        f"note = await self.plot.update_note('{TWO}', content='d', links=[Link.external('t', 'https://a.b')]); assert note.activity.title == 'a'",
        NoteUpdate(
            id=1,
            ns="plot",
            note=TWO,
            changes=b'{"content":"d","links":[{"kind":"external","title":"t","url":"https://a.b"}]}',
        ),
    ),
    "fetch": (
        "response = await self.network.fetch('https://a.b/c?x=1', method='post', params={'p': 1, 'q': None}, headers={'A': 'b'}, json={'j': 1}, timeout=5)\n"
        "    assert (response.status, response.headers['x-one'], response.json(dict[str, list[int]])) == (200, '1', {'a': [1]})",
        Fetch(
            id=1,
            ns="network",
            method="POST",
            url="https://a.b/c?x=1&p=1",
            headers=[("A", "b"), ("Content-Type", "application/json")],
            body=b'{"j":1}',
            timeout=5.0,
        ),
    ),
    "fetch with content": (
        "await self.network.fetch('https://a.b', method='PUT', content='é', headers=[('X', '1'), ('X', '2')])",
        Fetch(id=1, ns="network", method="PUT", url="https://a.b", headers=[("X", "1"), ("X", "2")], body="é".encode()),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_method_says_its_call(twist: MakeVersion, name: str) -> None:
    code, expected = CALLS[name]
    _, calls = run(twist, code)
    assert calls[0] == expected


def test_notes_know_their_activity_without_asking_again(twist: MakeVersion) -> None:
    code = f"""
    one, two = await self.plot.create_notes('{ONE}', [NewNote('c'), NewNote(content='d')])
    return [one.activity.title, two.activity.title, one.content, two.content]
    """
    result, calls = run(twist, code)
    assert result == ["a", "a", "c", "d"]
    assert [type(call) for call in calls] == [NotesCreate]


def test_a_notes_activity_is_the_one_at_hand(twist: MakeVersion) -> None:
    code = f"""
    activity = await self.plot.get_activity('{ONE}')
    notes = await self.plot.get_notes(activity)
    return notes[1].activity is activity
    """
    assert run(twist, code)[0] is True


def test_a_link_may_run_a_method(twist: MakeVersion) -> None:
    code = f"""
    links = [Link.callback("Do", self.clicked, 5), Link.callback("Again", Callback("cb_9")), Link.conferencing("https://a.b", "meet")]
    await self.plot.create_note('{ONE}', NewNote("c", links=links))
    """
    _, (made, noted) = run(twist, code)
    assert isinstance(made, CallbackCreate)
    assert (made.ns, made.target.method, made.target.arguments) == ("", "clicked", b"[[5],{}]")
    assert noted.notes[0].links == [
        LinkRecord(kind="callback", title="Do", callback="cb_0"),
        LinkRecord(kind="callback", title="Again", callback="cb_9"),
        LinkRecord(kind="conferencing", title="meet", url="https://a.b", provider="meet"),
    ]


REFUSED = {
    "type": ("await self.plot.create_activity(NewActivity('todo', 'a'))", "InvalidValue", "'todo' is no type of activity"),
    "type in list": ("await self.plot.list_activities(type='todo')", "InvalidValue", "'todo' is no type of activity"),
    "no NewActivity": ("await self.plot.create_activity({'title': 'a'})", "TypeError", "a NewActivity is wanted"),
    "no NewNote": (f"await self.plot.create_note('{ONE}', 'text')", "TypeError", "a NewNote is wanted"),
    "naive start": (
        "await self.plot.create_activity(NewActivity('event', 'a', start=datetime(2030, 1, 1)))",
        "ValueError",
        "no time zone",
    ),
    "start of another kind": (
        "await self.plot.create_activity(NewActivity('event', 'a', start='2030'))",
        "TypeError",
        "start is a datetime, a date",
    ),
    "meta": (
        "await self.plot.create_activity(NewActivity('note', 'a', meta={'a': print}))",
        "NotSerializable",
        "meta cannot be stored: at ['a']",
    ),
    "tags": ("await self.plot.create_activity(NewActivity('note', 'a', tags='abc'))", "TypeError", "tags is a list of texts"),
    "title": ("await self.plot.create_activity(NewActivity('note', None))", "InvalidValue", "at `items[0].activity.title`"),
    "surrogates": ("await self.plot.create_activity(NewActivity('note', '\\ud800'))", "InvalidValue", "lone surrogates"),
    "too many": ("await self.plot.create_activities([NewActivity('note', 'a')] * 1001)", "ValueTooLarge", "1,001 activities"),
    "id": ("await self.plot.get_activity('nonsense')", "InvalidValue", "'nonsense' is no id"),
    "id of another kind": ("await self.plot.get_notes(5)", "TypeError", "a record or its id"),
    "unknown change": (
        f"await self.plot.update_activity('{ONE}', titel='b')",
        "TypeError",
        "cannot change 'titel'; it can change type, title",
    ),
    "limit": ("await self.plot.list_activities(limit='5')", "InvalidValue", "at `limit`"),
    "json and content": ("await self.network.fetch('https://a.b', json=1, content='a')", "TypeError", "not both"),
    "content": ("await self.network.fetch('https://a.b', content=5)", "TypeError", "a bytes-like object is required, not 'int'"),
    "header": ("await self.network.fetch('https://a.b', headers={'A': 5})", "InvalidValue", "at `headers[0][1]`"),
    "url": ("await self.network.fetch(5)", "TypeError", "a URL is a text, not 5"),
    "timeout": ("await self.network.fetch('https://a.b', timeout=0)", "ValueError", "timeout=0 is not above zero"),
    "body": ("await self.network.fetch('https://a.b', content=b'x' * 13_000_000)", "ValueTooLarge", "13,000,000 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_it_is_said(twist: MakeVersion, name: str) -> None:
    code, kind, words = REFUSED[name]
    with twist(BODY.format(code)).attempt() as guest:
        raised = guest.raised()
        assert (raised.type, guest.calls) == (kind, []), raised.message
        assert words in raised.message
