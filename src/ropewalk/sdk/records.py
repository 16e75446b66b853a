"""The records that twists read and write: priorities, activities, notes and links, and how they travel.

Records are frozen. Ids are `UUID` here and text on the wire; times are aware `datetime`s in UTC here and microseconds, or ISO 8601 text for
`start` and `end`, on the wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Generic, TypedDict, TypeVar
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ropewalk.clock import to_datetime
from ropewalk.errors import InvalidValue
from ropewalk.sdk.checks import micros
from ropewalk.sdk.tokens import Callback
from ropewalk.sdk.values import encode
from ropewalk.wire.messages import ActivityRecord, Json, LinkRecord, NewActivityRecord, NoteRecord, PriorityRecord

T = TypeVar("T")


class ActivityType(StrEnum):
    """What an activity is: something to read, something to do, something that takes place."""

    NOTE = "note"
    ACTION = "action"
    EVENT = "event"


class Priority(Struct, frozen=True, kw_only=True):
    """A node in the tree that people organise their work by."""

    id: UUID
    title: str
    parent: UUID | None = None


class Activity(Struct, frozen=True, kw_only=True):
    """An activity as it is stored. `start` and `end` are days or moments; a None `start` of an action is someday."""

    id: UUID
    type: ActivityType
    title: str
    start: datetime | date | None = None
    end: datetime | date | None = None
    done_at: datetime | None = None
    source: str | None = None
    meta: dict[str, Any] | None = None
    tags: list[str] = []
    assignee: str | None = None
    author: str | None = None
    priority: UUID
    unread: bool = False
    private: bool = False
    draft: bool = False
    created_at: datetime
    updated_at: datetime


class Link(Struct, frozen=True, kw_only=True):
    """A link under a note. Made by `Link.external`, `Link.callback` and `Link.conferencing`.

    `run` and `arguments` are what a new `callback` link is to run; once stored it has the `token` instead.
    """

    kind: str
    title: str
    url: str | None = None
    token: Callback | None = None
    provider: str | None = None
    run: Callable[..., Awaitable[Any]] | None = None
    arguments: tuple[Any, ...] = ()

    @classmethod
    def external(cls, title: str, url: str) -> Link:
        """Return a link that leads to `url`."""
        return cls(kind="external", title=title, url=url)

    @classmethod
    def callback(cls, title: str, callback_or_method: Callback | Callable[..., Awaitable[Any]], *args: object) -> Link:
        """Return a link that runs a callback, or a method with bound arguments, when it is clicked."""
        if not isinstance(callback_or_method, str):
            return cls(kind="callback", title=title, run=callback_or_method, arguments=args)
        if args:
            raise TypeError(
                "a callback has its arguments bound already: give them to self.callback(method, ...), or link the method"
            )
        return cls(kind="callback", title=title, token=Callback(callback_or_method))

    @classmethod
    def conferencing(cls, url: str, provider: str | None = None) -> Link:
        """Return a link to a video conference."""
        return cls(kind="conferencing", title=provider or "Join", url=url, provider=provider)


class Note(Struct, frozen=True, kw_only=True):
    """A note under an activity."""

    id: UUID
    activity: Activity
    content: str
    content_type: str = "markdown"
    key: str | None = None
    author: str | None = None
    links: list[Link] = []
    created_at: datetime


class _NoteContent(Struct, frozen=True):
    content: str


class NewNote(_NoteContent, frozen=True, kw_only=True):
    """A note to be created. One whose `key` its activity has already updates that note instead."""

    id: UUID | str | None = None
    key: str | None = None
    content_type: str = "markdown"
    links: Sequence[Link] = ()
    mentions: Sequence[UUID | str] = ()
    tags: Sequence[str] = ()


class _ActivityHead(Struct, frozen=True):
    type: ActivityType | str
    title: str


class NewActivity(_ActivityHead, frozen=True, kw_only=True):
    """An activity to be created. One whose `source` its priority has already updates that activity instead.

    `start` omitted on an action is now, None is someday; a date makes it last all day. Without `priority` it is the instance's own.
    """

    id: UUID | str | None = None
    start: datetime | date | UnsetType | None = UNSET
    end: datetime | date | None = None
    done_at: datetime | None = None
    source: str | None = None
    meta: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    assignee: UUID | str | None = None
    author: UUID | str | None = None
    priority: Priority | UUID | str | None = None
    notes: Sequence[NewNote] = ()
    unread: bool = False
    private: bool = False
    draft: bool = False


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Some of a listing; `cursor` asks for what follows, None when nothing does."""

    items: list[T]
    cursor: str | None = None


class ActivityChanges(TypedDict, total=False):
    """What `update_activity` may change."""

    type: ActivityType | str
    title: str
    start: datetime | date | None
    end: datetime | date | None
    done_at: datetime | None
    source: str | None
    meta: Mapping[str, Any] | None
    tags: Sequence[str]
    assignee: UUID | str | None
    author: UUID | str | None
    priority: Priority | UUID | str
    unread: bool
    private: bool
    draft: bool


class NoteChanges(TypedDict, total=False):
    """What `update_note` may change."""

    content: str
    content_type: str
    key: str | None
    links: Sequence[Link]
    mentions: Sequence[UUID | str]
    tags: Sequence[str]


ActivityRef = Activity | UUID | str
"""An activity, or its id."""

NoteRef = Note | UUID | str
"""A note, or its id."""


# ── From the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def priority_of(record: PriorityRecord) -> Priority:
    """Return the priority that a record says."""
    return Priority(id=UUID(record.id), title=record.title, parent=UUID(record.parent) if record.parent else None)


def activity_of(record: ActivityRecord) -> Activity:
    """Return the activity that a record says."""
    return Activity(
        id=UUID(record.id),
        type=ActivityType(record.type),
        title=record.title,
        start=_day_or_moment(record.start),
        end=_day_or_moment(record.end),
        done_at=None if record.done_at is None else to_datetime(record.done_at),
        source=record.source,
        meta=None if record.meta is None else msgspec.json.decode(record.meta, type=dict[str, Any]),
        tags=record.tags,
        assignee=record.assignee,
        author=record.author,
        priority=UUID(record.priority),
        unread=record.unread,
        private=record.private,
        draft=record.draft,
        created_at=to_datetime(record.created_at),
        updated_at=to_datetime(record.updated_at),
    )


def note_of(record: NoteRecord, activity: Activity) -> Note:
    """Return the note that a record says, under its activity."""
    return Note(
        id=UUID(record.id),
        activity=activity,
        content=record.content,
        content_type=record.content_type,
        key=record.key,
        author=record.author,
        links=[_link_of(link) for link in record.links],
        created_at=to_datetime(record.created_at),
    )


def _link_of(record: LinkRecord) -> Link:
    token = None if record.callback is None else Callback(record.callback)
    return Link(kind=record.kind, title=record.title, url=record.url, token=token, provider=record.provider)


def _day_or_moment(text: str | None) -> datetime | date | None:
    if text is None:
        return None
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


# ── To the wire ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def id_of(ref: object) -> str:
    """Return the id, as text, of a record or of what is an id already.

    Raises:
        InvalidValue: it is text, but no UUID.
        TypeError: it is something else.
    """
    if isinstance(ref, Activity | Note | Priority):
        return str(ref.id)
    if isinstance(ref, UUID):
        return str(ref)
    if not isinstance(ref, str):
        raise TypeError(f"a record or its id (a UUID, or its text) is wanted, not {ref!r:.80}")
    try:
        return str(UUID(ref))
    except ValueError:
        raise InvalidValue(f"{ref!r:.80} is no id: an id is a UUID") from None


def is_a(kind: type[T], given: object) -> T:
    """Return `given` when it is a `kind`, else raise TypeError: authors without a type checker learn it here."""
    if not isinstance(given, kind):
        raise TypeError(f"a {kind.__name__} is wanted, not {given!r:.120}")
    return given


def new_activity_record(new: NewActivity, notes: list[NoteRecord]) -> NewActivityRecord:
    """Return what is sent to have an activity created with `notes`. Raises InvalidValue, NotSerializable, ValueError."""
    kind = type_of(new.type)
    return NewActivityRecord(
        activity=ActivityRecord(
            id=id_of(new.id) if new.id is not None else str(uuid4()),
            type=kind,  # type: ignore[arg-type]  # one of the three words, by its enum
            title=new.title,
            start=None if new.start is UNSET else _span_text(new.start, "start"),
            end=_span_text(new.end, "end"),
            done_at=None if new.done_at is None else micros(new.done_at, "done_at"),
            source=new.source,
            meta=_meta_json(new.meta),
            tags=_texts(new.tags, "tags"),
            assignee=_name(new.assignee),
            author=_name(new.author),
            priority="" if new.priority is None else id_of(new.priority),
            unread=new.unread,
            private=new.private,
            draft=new.draft,
        ),
        notes=notes,
        start_now=new.start is UNSET and kind == ActivityType.ACTION,
        own_id=new.id is not None,
    )


def new_note_record(new: NewNote, links: list[LinkRecord]) -> NoteRecord:
    """Return what is sent to have a note created with `links`. Raises InvalidValue."""
    return NoteRecord(
        id=id_of(new.id) if new.id is not None else str(uuid4()),
        content=new.content,
        content_type=new.content_type,
        key=new.key,
        links=links,
        mentions=_texts(new.mentions, "mentions"),
        tags=_texts(new.tags, "tags"),
    )


def activity_changes_json(changes: ActivityChanges) -> Json:
    """Return the JSON of what is to change in an activity. Raises InvalidValue, NotSerializable, TypeError, ValueError."""
    return _changes_json(changes, _ACTIVITY_CHANGES, "update_activity()")


def note_changes_json(changes: NoteChanges, links: list[LinkRecord] | None) -> Json:
    """Return the JSON of what is to change in a note. Raises InvalidValue, NotSerializable, TypeError."""
    given: dict[str, Any] = {**changes} if links is None else {**changes, "links": links}
    return _changes_json(given, _NOTE_CHANGES, "update_note()")


def link_record(link: Link, token: str | None) -> LinkRecord:
    """Return what is sent of a link; `token` is its callback's."""
    return LinkRecord(kind=link.kind, title=link.title, url=link.url, callback=token, provider=link.provider)  # type: ignore[arg-type]


def type_of(given: ActivityType | str) -> ActivityType:
    """Return the type that is meant. Raises InvalidValue."""
    try:
        return ActivityType(given)
    except ValueError:
        raise InvalidValue(f"{given!r:.80} is no type of activity: use ActivityType.NOTE, ACTION or EVENT") from None


def _span_text(at: object, name: str) -> str | None:
    if at is None:
        return None
    if isinstance(at, datetime):
        micros(at, name)  # refuses a naive one
        return at.astimezone(UTC).isoformat()
    if isinstance(at, date):
        return at.isoformat()
    raise TypeError(f"{name} is a datetime, a date (all day) or None, not {at!r:.80}")


def _meta_json(meta: Mapping[str, Any] | None) -> Json | None:
    return None if meta is None else encode(meta, "meta")


def _texts(given: Sequence[UUID | str], name: str) -> list[str]:
    if isinstance(given, str):
        raise TypeError(f"{name} is a list of texts, not one text: [{given!r:.60}]")
    return [str(one) for one in given]


def _name(given: UUID | str | None) -> str | None:
    return None if given is None else str(given)


def _same(value: Any) -> Any:
    return value


_ACTIVITY_CHANGES: dict[str, Callable[[Any], Any]] = {
    "type": type_of,
    "title": _same,
    "start": lambda at: _span_text(at, "start"),
    "end": lambda at: _span_text(at, "end"),
    "done_at": lambda at: None if at is None else micros(at, "done_at"),
    "source": _same,
    "meta": _same,
    "tags": lambda tags: _texts(tags, "tags"),
    "assignee": _name,
    "author": _name,
    "priority": id_of,
    "unread": _same,
    "private": _same,
    "draft": _same,
}

_NOTE_CHANGES: dict[str, Callable[[Any], Any]] = {
    "content": _same,
    "content_type": _same,
    "key": _same,
    "links": _same,
    "mentions": lambda mentions: _texts(mentions, "mentions"),
    "tags": lambda tags: _texts(tags, "tags"),
}


def _changes_json(changes: Mapping[str, Any], known: dict[str, Callable[[Any], Any]], called: str) -> Json:
    for name in changes:
        if name not in known:
            raise TypeError(f"{called} cannot change {name!r}; it can change {', '.join(known)}")
    return encode({name: known[name](value) for name, value in changes.items()}, "the changes")
