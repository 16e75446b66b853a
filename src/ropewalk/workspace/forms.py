"""Activities and notes as guests send them, brought to their stored form.

Before: the answers of the Plot tool. Here every field is checked by `fields`. After: `updates` compares, storage keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ropewalk.clock import Micros
from ropewalk.errors import InvalidValue
from ropewalk.wire.messages import ActivityRecord, Json, LinkRecord, NewActivityRecord, NoteRecord
from ropewalk.workspace import fields


def new_activity(new: NewActivityRecord, priority: str, at: Micros) -> ActivityRecord:
    """Return the activity as it is stored when it is made at `at`; without a priority it is in `priority`.

    Raises:
        InvalidValue: a field holds what it cannot; the message names it.
        ValueTooLarge: a field is too long.
    """
    given = new.activity
    start, end = fields.moment(given.start, "start"), fields.moment(given.end, "end")
    if new.start_now and given.type == "action" and start is None:
        start = fields.moment_at(at)
    fields.check_span(start, end)
    return ActivityRecord(
        id=fields.identifier(given.id, "activity"),
        type=given.type,
        title=fields.title(given.title),
        start=start,
        end=end,
        done_at=fields.instant(given.done_at, "done_at"),
        source=fields.source(given.source),
        meta=fields.meta(given.meta),
        tags=fields.names(given.tags, "tags"),
        assignee=fields.name(given.assignee, "assignee"),
        author=fields.name(given.author, "author"),
        priority=given.priority or priority,
        unread=given.unread,
        private=given.private,
        draft=given.draft,
        created_at=at,
        updated_at=at,
    )


def new_note(given: NoteRecord) -> NoteRecord:
    """Return the note as it is stored, but for its activity and time. Raises InvalidValue, ValueTooLarge."""
    return NoteRecord(
        id=fields.identifier(given.id, "note"),
        content=fields.content(given.content),
        content_type=fields.content_type(given.content_type),
        key=fields.key(given.key),
        links=fields.links(given.links),
        mentions=fields.names(given.mentions, "mentions"),
        tags=fields.names(given.tags, "tags"),
    )


def activity_changes(text: Json) -> dict[str, object]:
    """Return the fields that a twist changes in an activity, in their stored form. Raises InvalidValue, ValueTooLarge."""
    return _changes(text, _ACTIVITY_FIELDS, "an activity")


def note_changes(text: Json) -> dict[str, object]:
    """Return the fields that a twist changes in a note, in their stored form. Raises InvalidValue, ValueTooLarge."""
    return _changes(text, _NOTE_FIELDS, "a note")


def activity_size(activity: ActivityRecord) -> int:
    """Return about how many bytes the activity takes."""
    return 300 + len(activity.title) + len(activity.source or "") + len(activity.meta or b"") + 20 * len(activity.tags)


def note_size(note: NoteRecord) -> int:
    """Return about how many bytes the note takes."""
    return 200 + fields.size_of(note.content) + 200 * len(note.links) + 20 * len(note.tags)


def changes_size(changes: dict[str, object]) -> int:
    """Return about how many bytes the changes take."""
    return 100 + sum(len(str(value)) for value in changes.values())


# ── Changes by name ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _changes(text: Json, forms: dict[str, Callable[[Any], object]], what: str) -> dict[str, object]:
    try:
        given = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"the changes of {what} are no JSON object: {error}") from None
    except RecursionError:
        raise InvalidValue(f"the changes of {what} are nested too deep") from None
    changes: dict[str, object] = {}
    for name, value in given.items():
        if name not in forms:
            raise InvalidValue(f"{name[:60]!r} of {what} cannot be changed; these can: {', '.join(forms)}")
        changes[name] = forms[name](value)
    return changes


def _typed(kind: Any, name: str, form: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return `form` for values that msgspec converts to `kind`."""

    def convert(value: object) -> object:
        try:
            return form(msgspec.convert(value, kind))
        except msgspec.ValidationError as error:
            raise InvalidValue(f"{name} does not fit: {error}") from None

    return convert


def _same(value: object) -> object:
    return value


def _done_at(value: object) -> Micros | None:
    """Return a time given in microseconds or as text."""
    if isinstance(value, str):
        return fields.instant_of(value, "done_at")
    return fields.instant(msgspec.convert(value, int | None), "done_at")


_TEXT: Final[Any] = str | None

_ACTIVITY_FIELDS: Final[dict[str, Callable[[Any], object]]] = {
    "type": _typed(str, "type", fields.kind),
    "title": _typed(str, "title", fields.title),
    "start": _typed(_TEXT, "start", lambda text: fields.moment(text, "start")),
    "end": _typed(_TEXT, "end", lambda text: fields.moment(text, "end")),
    "done_at": _typed(Any, "done_at", _done_at),
    "source": _typed(_TEXT, "source", fields.source),
    "meta": fields.meta_object,
    "tags": _typed(list[str], "tags", lambda given: fields.names(given, "tags")),
    "assignee": _typed(_TEXT, "assignee", lambda text: fields.name(text, "assignee")),
    "author": _typed(_TEXT, "author", lambda text: fields.name(text, "author")),
    "priority": _typed(str, "priority", lambda text: fields.name(text, "priority")),
    "unread": _typed(bool, "unread", _same),
    "private": _typed(bool, "private", _same),
    "draft": _typed(bool, "draft", _same),
}

_NOTE_FIELDS: Final[dict[str, Callable[[Any], object]]] = {
    "content": _typed(str, "content", fields.content),
    "content_type": _typed(str, "content_type", fields.content_type),
    "key": _typed(_TEXT, "key", fields.key),
    "links": _typed(list[LinkRecord], "links", fields.links),
    "mentions": _typed(list[str], "mentions", lambda given: fields.names(given, "mentions")),
    "tags": _typed(list[str], "tags", lambda given: fields.names(given, "tags")),
}
