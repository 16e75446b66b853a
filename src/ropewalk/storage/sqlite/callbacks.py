"""Which callbacks nothing mentions any more, and their removal.

A token has a form by which it is found in any text, so nobody has to say what holds one. Looking takes as long as an instance has texts: it
is done in a snapshot of a reading connection, in a thread, and costs writers nothing. What it finds is removed if no execution of the
instance has begun since. Only an execution can make a mention of what had none: it may hold a token in memory, or ask for the callback again,
which is why one that is running has its instance left alone. An event from outside that comes in between and names the callback finds it
removed, as it would have a moment later.

Whoever adds a column in which authors keep what they like adds it to `_MENTIONS`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import apsw
import msgspec
from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.connection import open_reader
from ropewalk.storage.sqlite.driver import Connection
from ropewalk.storage.sqlite.errors import translate

_find_tokens = re.compile(rb"cb_[a-z2-7]{32}").findall


class Unmentioned(Struct, frozen=True):
    """Old callbacks of an instance that nothing mentions, as long as its epoch is this one."""

    instance: str
    epoch: int
    tokens: list[str]


def _texts(text: str, rows: str) -> str:
    """Return the statement for texts, of some rows, in which a token may be."""
    return f"SELECT cast({text} AS BLOB) FROM {rows} AND instr({text}, 'cb_')"


_TWIST: Final = "(SELECT twist FROM instances WHERE id = ?1)"

_OF_EXECUTION: Final = """
    coalesce(e.callback, '') || coalesce(e.arguments || e.event, (SELECT arguments || event FROM payloads WHERE execution = e.n))
    """

_MENTIONS: Final = (
    _texts("arguments", "callbacks WHERE instance = ?1"),
    _texts("coalesce(callback, '') || arguments", "webhooks WHERE instance = ?1"),
    _texts("coalesce(callback, '') || arguments", "recurring WHERE instance = ?1"),
    _texts(_OF_EXECUTION, "executions e INDEXED BY executions_ready WHERE instance = ?1 AND seq IS NOT NULL"),
    _texts(_OF_EXECUTION, "executions e INDEXED BY executions_timers WHERE instance = ?1 AND due IS NOT NULL"),
    # These can be retried.
    _texts(_OF_EXECUTION, "executions e INDEXED BY executions_failed WHERE instance = ?1 AND status IN ('dead', 'failed')"),
    _texts("key || value", "store WHERE instance = ?1"),
    # Instances of a twist see and change each other's activities.
    _texts("meta", f"activities INDEXED BY activities_calling WHERE twist = {_TWIST}"),
    _texts("n.links", f"notes n INDEXED BY notes_calling CROSS JOIN activities a ON a.id = n.activity WHERE a.twist = {_TWIST}"),
)
"""Statements that each give texts of one instance in which a token may be, those that are likely to be short first."""

_NEXT: Final = """
    SELECT id, epoch FROM instances AS i
    WHERE id > ? AND callbacks > 0 AND node IS NULL AND status NOT IN ('deactivating', 'gone', 'erased')
    AND EXISTS (SELECT 1 FROM callbacks WHERE instance = i.id AND asked_at < ?) ORDER BY id LIMIT 1
    """

_OLD: Final = "SELECT cast(token AS BLOB) FROM callbacks WHERE instance = ? AND asked_at < ?"


def unmentioned(path: Path, after: str, before: Micros) -> Unmentioned | None:
    """Return what nothing mentions of the first instance after `after` that has callbacks from before a time; None when none has.

    Instances of which something runs are passed over. Called in a thread.
    """
    try:
        reader = open_reader(path)
        try:
            return _look(reader, after, before)
        finally:
            reader.close()
    except apsw.Error as error:
        raise translate(error, str(path)) from error


def _look(reader: Connection, after: str, before: Micros) -> Unmentioned | None:
    reader.execute("BEGIN").fetchall()
    found = reader.execute(_NEXT, (after, before)).fetchall()
    if not found:
        return None
    ((instance, epoch),) = found
    tokens: set[bytes] = {token for (token,) in reader.execute(_OLD, (instance, before))}
    for statement in _MENTIONS:
        if tokens:
            for (text,) in reader.execute(statement, (instance,)):
                tokens.difference_update(_find_tokens(text))
    return Unmentioned(instance=instance, epoch=epoch, tokens=sorted(token.decode() for token in tokens))


_STILL: Final = "SELECT 1 FROM instances WHERE id = ? AND epoch = ? AND node IS NULL"

_REMOVE: Final = "DELETE FROM callbacks WHERE instance = ? AND token IN (SELECT value FROM json_each(?))"

_COUNT_DOWN: Final = "UPDATE instances SET callbacks = callbacks - ? WHERE id = ?"


def remove(tx: Transaction, found: Unmentioned, tokens: list[str]) -> bool:
    """Remove some of what was found unmentioned; False, and nothing is, when an execution of the instance has begun since."""
    if tx.value(_STILL, (found.instance, found.epoch)) is None:
        return False
    tx.run(_REMOVE, (found.instance, msgspec.json.encode(tokens).decode()))
    tx.run(_COUNT_DOWN, (tx.changed(), found.instance))
    return True
