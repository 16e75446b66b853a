"""Nodes and their leases."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import apsw

from ropewalk.clock import Micros
from ropewalk.storage.records import LOST_FOR_GOOD, ErrorInfo, ExecutionStatus, Node, Rank
from ropewalk.storage.sqlite.attempts import Running, break_off, end_execution, running_of
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.connection import open_heart
from ropewalk.storage.sqlite.errors import translate
from ropewalk.storage.sqlite.lifecycle import attempt_failed, execution_over, is_superseded
from ropewalk.storage.sqlite.rows import InstanceState, error_text
from ropewalk.storage.sqlite.scheduling import give_back, load, load_if_there, save
from ropewalk.storage.sqlite.telling import tell_of_failure

_REGISTER: Final = """
    INSERT INTO nodes (id, boot, expires, started_at) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET boot = excluded.boot, expires = excluded.expires, started_at = excluded.started_at
    """

_LEASED: Final = "SELECT id FROM instances WHERE node = ?"

_FIRST_IN_LINE: Final = """
    SELECT min(seq) FROM executions INDEXED BY executions_ready WHERE instance = ? AND rank = ? AND seq IS NOT NULL
    """

_READY_AGAIN: Final = """
    UPDATE executions SET status = 'queued', lost = lost + 1, seq = ?, rank = ?, error = ? WHERE n = ?
    """


def register(tx: Transaction, node: Node) -> None:
    """Make a node known."""
    tx.run(_REGISTER, (node.id, node.boot, node.expires, node.started_at))


def heartbeat(path: Path, node: str, expires: float) -> bool:
    """Move a node's expiry; False when it is not known any more.

    Raises:
        StorageUnavailable, StorageFull: it could not be moved.
    """
    try:
        with contextlib.closing(open_heart(path)) as connection:
            connection.execute("UPDATE nodes SET expires = ? WHERE id = ?", (expires, node)).fetchall()
            return connection.changes() > 0
    except apsw.Error as error:
        raise translate(error, str(path)) from error


def release(tx: Transaction, node: str, at: Micros) -> int:
    """End all leases of a node; returns how many executions were running."""
    tx.run("DELETE FROM nodes WHERE id = ?", (node,))
    return sum(release_instance(tx, load(tx, instance), at) for (instance,) in tx.rows(_LEASED, (node,)))


def give_up(tx: Transaction, node: str, instance: str, epoch: int, at: Micros) -> bool:
    """End one lease, if the node still holds it at this epoch."""
    state = load_if_there(tx, instance)
    if state is None or (state.node, state.epoch) != (node, epoch):
        return False
    release_instance(tx, state, at)
    return True


def release_instance(tx: Transaction, state: InstanceState, at: Micros) -> bool:
    """End the lease of an instance whose node is gone; returns whether an execution was running."""
    running = running_of(tx, state)
    if running is None:
        state.epoch += 1
        give_back(state)
    else:
        _lose(tx, state, running, at)
    save(tx, state, at)
    return running is not None


def _lose(tx: Transaction, state: InstanceState, running: Running, at: Micros) -> None:
    """Have a lost execution be ready again, before all others that return, unless that has happened too often."""
    error = ErrorInfo(type="node_lost", message=f"node {running.node} stopped or was lost while this ran")
    break_off(tx, state, running, "lost", error, at)
    attempt_failed(tx, state, running.trigger, at)
    superseded = is_superseded(state, running.trigger, running.version)
    if superseded or running.lost + 1 >= LOST_FOR_GOOD:
        status: ExecutionStatus = "cancelled" if superseded else "dead"
        tx.run("UPDATE executions SET lost = lost + 1 WHERE n = ?", (running.n,))
        end_execution(tx, state, running, status, error, at)
        execution_over(state, running.trigger, running.version, status, error)
        tell_of_failure(tx, state, running.n, running.id, running.rank, status, error, at)
        return
    rank = min(running.rank, Rank.RETURNING)
    first = tx.value(_FIRST_IN_LINE, (state.id, rank))
    seq = state.take_seq() if first is None else first - 1
    tx.run(_READY_AGAIN, (seq, rank, error_text(error), running.n))
