"""Activities, notes and priorities: their columns, how they are written and how they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import apsw
import msgspec

from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import ActivityQuery, OwnedActivity
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.prefixes import after_prefix
from ropewalk.wire.messages import ActivityRecord, Json, LinkRecord, NoteRecord, PriorityRecord

_encode = msgspec.json.encode
_decode_names = msgspec.json.Decoder(list[str]).decode
_decode_links = msgspec.json.Decoder(list[LinkRecord]).decode
_decode_meta = msgspec.json.Decoder(dict[str, Any]).decode


Store = Callable[[Any], object]


def _flag(value: object) -> int:
    return 1 if value else 0


def _as_it_is(value: object) -> object:
    return value


# ── Activities ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_ACTIVITY_FIELDS: Final[dict[str, Store]] = {
    "id": _as_it_is,
    "type": _as_it_is,
    "title": _as_it_is,
    "start": _as_it_is,
    "end": _as_it_is,
    "done_at": _as_it_is,
    "source": _as_it_is,
    "meta": _as_it_is,
    "tags": _encode,
    "assignee": _as_it_is,
    "author": _as_it_is,
    "priority": _as_it_is,
    "unread": _flag,
    "private": _flag,
    "draft": _flag,
    "created_at": _as_it_is,
    "updated_at": _as_it_is,
}
"""An activity's fields and how each is stored in the column of its name."""

_COLUMNS: Final = ", ".join(f'a."{name}"' for name in _ACTIVITY_FIELDS)

ACTIVITY: Final = f"""
    {_COLUMNS}, a.twist, a.instance, (SELECT count(*) FROM notes WHERE activity = a.id)
    """
"""Columns of an OwnedActivity, from `activities a`."""

_PUT_ACTIVITY: Final = f"""
    INSERT INTO activities (twist, instance, {", ".join(f'"{name}"' for name in _ACTIVITY_FIELDS)})
    VALUES (?, ?, {", ".join("?" for _ in _ACTIVITY_FIELDS)})
    """

_PUT_META: Final = "INSERT INTO activity_meta (twist, key, digest, activity) VALUES (?, ?, ?, ?)"

_DROP_META: Final = "DELETE FROM activity_meta WHERE activity = ?"

_DROP_ACTIVITY: Final = "DELETE FROM activities WHERE n = ?"

_DROP_NOTES: Final = "DELETE FROM notes WHERE activity = ?"

_ACTIVITY_NUMBER: Final = "SELECT n, twist FROM activities WHERE id = ?"


def owned_activity(row: Row) -> OwnedActivity:
    """Return the activity whose `ACTIVITY` columns `row` is."""
    activity = ActivityRecord(
        id=row[0],
        type=row[1],
        title=row[2],
        start=row[3],
        end=row[4],
        done_at=row[5],
        source=row[6],
        meta=row[7],
        tags=_decode_names(row[8]),
        assignee=row[9],
        author=row[10],
        priority=row[11],
        unread=bool(row[12]),
        private=bool(row[13]),
        draft=bool(row[14]),
        created_at=row[15],
        updated_at=row[16],
    )
    return OwnedActivity(activity=activity, twist=row[17], instance=row[18], notes=row[19])


def put_activity(tx: Transaction, activity: ActivityRecord, *, twist: str | None, instance: str) -> None:
    """Store an activity that `twist` made, or that is about `instance` and no twist's.

    Raises:
        DoesNotApply: its id, or its source within its priority, is there already.
    """
    values = [store(getattr(activity, name)) for name, store in _ACTIVITY_FIELDS.items()]
    try:
        tx.run(_PUT_ACTIVITY, (twist, instance, *values))
    except apsw.ConstraintError as error:
        raise DoesNotApply(f"activity {activity.id}, or its source {activity.source!r}, is there already") from error
    if activity.meta is not None and twist is not None:
        _put_meta(tx, tx.last_inserted(), twist, activity.meta)


def change_activity(tx: Transaction, activity: str, changes: Mapping[str, object]) -> None:
    """Change the named fields of an activity.

    Raises:
        DoesNotApply: it is gone, a field cannot be changed, or its new source is another's in the priority.
    """
    found = tx.row(_ACTIVITY_NUMBER, (activity,))
    if found is None:
        raise DoesNotApply(f"activity {activity} is gone")
    number, twist = found
    _change(tx, "activities", number, _ACTIVITY_FIELDS, changes)
    if "meta" in changes:
        tx.run(_DROP_META, (number,))
        meta = changes["meta"]
        if isinstance(meta, bytes):
            _put_meta(tx, number, twist, meta)


def drop_activity(tx: Transaction, activity: str) -> None:
    """Remove an activity with its notes; nothing happens when it is gone."""
    found = tx.row(_ACTIVITY_NUMBER, (activity,))
    if found is not None:
        tx.run(_DROP_META, found[:1])
        tx.run(_DROP_NOTES, (activity,))
        tx.run(_DROP_ACTIVITY, found[:1])


def _change(tx: Transaction, table: str, number: int, fields: Mapping[str, Store], changes: Mapping[str, object]) -> None:
    if not changes:
        return
    if unknown := sorted(changes.keys() - (fields.keys() - {"id"})):
        raise DoesNotApply(f"{table} have no field {unknown[0]!r} that can be changed")
    columns = ", ".join(f'"{name}" = ?' for name in sorted(changes))
    values = [fields[name](changes[name]) for name in sorted(changes)]
    try:
        tx.run(f"UPDATE {table} SET {columns} WHERE n = ?", (*values, number))
    except apsw.ConstraintError as error:
        raise DoesNotApply(f"a change of {table} meets another's source or key: {', '.join(sorted(changes))}") from error


def _put_meta(tx: Transaction, number: int, twist: str, meta: Json) -> None:
    entries = _decode_meta(meta)
    tx.run_many(_PUT_META, [(twist, key, _digest(value), number) for key, value in entries.items()])


def _digest(value: object) -> bytes:
    return hashlib.blake2b(_encode(value, order="deterministic"), digest_size=16).digest()


def meta_digest(value: Json) -> bytes:
    """Return what an entry of meta with this value is found by, however its JSON is written."""
    return _digest(msgspec.json.decode(value))


# ── Notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NOTE_FIELDS: Final[dict[str, Store]] = {
    "id": _as_it_is,
    "activity": _as_it_is,
    "key": _as_it_is,
    "content": _as_it_is,
    "content_type": _as_it_is,
    "author": _as_it_is,
    "links": _encode,
    "mentions": _encode,
    "tags": _encode,
    "created_at": _as_it_is,
}
"""A note's fields and how each is stored in the column of its name."""

NOTE: Final = ", ".join(f'"{name}"' for name in _NOTE_FIELDS)
"""Columns of a NoteRecord, from `notes`."""

_PUT_NOTE: Final = f"INSERT INTO notes ({NOTE}) VALUES ({', '.join('?' for _ in _NOTE_FIELDS)})"

_NOTE_NUMBER: Final = "SELECT n FROM notes WHERE id = ?"


def note_record(row: Row) -> NoteRecord:
    """Return the note whose `NOTE` columns `row` is."""
    return NoteRecord(
        id=row[0],
        activity=row[1],
        key=row[2],
        content=row[3],
        content_type=row[4],
        author=row[5],
        links=_decode_links(row[6]),
        mentions=_decode_names(row[7]),
        tags=_decode_names(row[8]),
        created_at=row[9],
    )


def put_note(tx: Transaction, note: NoteRecord) -> None:
    """Store a note.

    Raises:
        DoesNotApply: its id, or its key within its activity, is there already, or the activity is gone.
    """
    if tx.row(_ACTIVITY_NUMBER, (note.activity,)) is None:
        raise DoesNotApply(f"activity {note.activity} is gone: note {note.id} has no place")
    try:
        tx.run(_PUT_NOTE, [store(getattr(note, name)) for name, store in _NOTE_FIELDS.items()])
    except apsw.ConstraintError as error:
        raise DoesNotApply(f"note {note.id}, or its key {note.key!r}, is there already") from error


def change_note(tx: Transaction, note: str, changes: Mapping[str, object]) -> None:
    """Change the named fields of a note.

    Raises:
        DoesNotApply: it is gone, a field cannot be changed, or its new key is another's in the activity.
    """
    number = tx.value(_NOTE_NUMBER, (note,))
    if number is None:
        raise DoesNotApply(f"note {note} is gone")
    _change(tx, "notes", number, _NOTE_FIELDS, changes)


# ── Priorities ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

PRIORITY: Final = "id, title, parent"
"""Columns of a PriorityRecord, from `priorities`."""


def priority_record(row: Row) -> PriorityRecord:
    """Return the priority whose `PRIORITY` columns `row` is."""
    return PriorityRecord(id=row[0], title=row[1], parent=row[2])


def create_priority(tx: Transaction, new: PriorityRecord) -> None:
    """Store a priority.

    Raises:
        DoesNotApply: its parent is not there, or its id is.
    """
    if new.parent is None or tx.value("SELECT 1 FROM priorities WHERE id = ?", (new.parent,)) is None:
        raise DoesNotApply(f"priority {new.title!r} is to be below {new.parent!r}, which is not there")
    if tx.value("SELECT 1 FROM priorities WHERE id = ?", (new.id,)):
        raise DoesNotApply(f"there is a priority {new.id} already")
    tx.run("INSERT INTO priorities (id, title, parent) VALUES (?, ?, ?)", (new.id, new.title, new.parent))


# ── Finding activities ────────────────────────────────────────────────────────────────────────────────────────────────────────


def activities_statement(query: ActivityQuery) -> tuple[str, list[object]]:
    """Return the statement and bindings that answer `query`."""
    conditions: list[str] = []
    bindings: list[object] = []
    for condition, values in _conditions(query):
        conditions.append(condition)
        bindings.extend(values)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    limit = -1 if query.limit is None else query.limit
    return f"SELECT {ACTIVITY} FROM activities a {where} ORDER BY a.created_at DESC, a.id DESC LIMIT ?", [*bindings, limit]


def _conditions(query: ActivityQuery) -> Iterable[tuple[str, tuple[object, ...]]]:
    # An entry of meta finds so few that no other index is to be walked: a plus sign keeps a column from its index.
    aside = "+" if query.meta is not None else ""
    if query.priority is not None:
        yield f"{aside}a.priority = ?", (query.priority,)
    if query.priorities is not None:
        yield f"{aside}a.priority IN (SELECT value FROM json_each(?))", (_encode(query.priorities).decode(),)
    if query.twist is not None:
        yield f"{aside}a.twist = ?", (query.twist,)
    if query.type is not None:
        yield "a.type = ?", (query.type,)
    if query.done is not None:
        yield f"a.done_at IS {'NOT ' if query.done else ''}NULL", ()
    if query.source_prefix is not None:
        yield "a.source >= ? AND a.source < ?", (query.source_prefix, after_prefix(query.source_prefix))
    if query.updated_since is not None:
        yield "a.updated_at >= ?", (query.updated_since,)
    if query.meta is not None:
        key, value = query.meta
        among = "SELECT activity FROM activity_meta WHERE twist = ? AND key = ? AND digest = ?"
        yield f"a.n IN ({among})", (query.twist, key, meta_digest(value))
    if query.after is not None:
        yield "(a.created_at, a.id) < (?, ?)", query.after
