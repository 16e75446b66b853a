"""How an event becomes a row of `executions`: in its place in line, or under its time."""

from __future__ import annotations

from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.records import NewExecution
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import InstanceState

LARGE: Final = 16 * 1024
"""Bytes of arguments and event from which on they are kept apart from their execution's row."""

_INSERT: Final = """
    INSERT INTO executions (id, instance, status, rank, seq, due, run_at, trigger, ns, key, callback, target_ns, method, cause, depth,
        size, queued_at, ready_at, arguments, event)
    VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """

_INSERT_PAYLOAD: Final = "INSERT INTO payloads (execution, arguments, event) VALUES (last_insert_rowid(), ?, ?)"


def insert_execution(tx: Transaction, state: InstanceState, new: NewExecution, seq: int | None, due: Micros | None) -> None:
    """Store an event under its place in line (`seq`) or its time (`due`), of which one is given. The caller saves `state`."""
    arguments, event = new.target.arguments, new.event
    size = len(arguments) + len(event)
    apart = size > LARGE
    tx.run(
        _INSERT,
        (
            new.id,
            state.id,
            new.rank,
            seq,
            due,
            new.run_at,
            new.trigger,
            new.ns,
            new.key,
            new.callback,
            new.target.ns,
            new.target.method,
            new.cause,
            new.depth,
            size,
            new.at,
            None if seq is None else new.at,
            None if apart else arguments,
            None if apart else event,
        ),
    )
    if apart:
        tx.run(_INSERT_PAYLOAD, (arguments, event))
    state.pending += 1
    state.pending_bytes += size
