"""Webhooks' deliveries: the transaction in which a request becomes an event, and what is kept of it afterwards.

Whether the webhook is there, its instance takes events, has room, and the delivery is new is looked at in the transaction that stores
it: whoever deletes a webhook or deactivates an instance, in whatever process, has nothing more accepted from the moment of that commit.

The request is the event of its execution. It is dropped before that is: when it is old, or when its instance has received so much since
(`place`) that more is not kept. While its execution is not over it stays. The row itself stays as long as its sender's id has to be known.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.interface import DoesNotApply, UnknownInstance, UnknownWebhook
from ropewalk.storage.records import Accepted, Delivery, NewDelivery, NewExecution, Rank
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.executions import check_room
from ropewalk.storage.sqlite.rows import INSTANCE, InstanceState, read_error
from ropewalk.storage.sqlite.scheduling import FIRST_TIMER, LOADED_FROM, UNREACHABLE, add_ready, load_if_there, save, save_added
from ropewalk.wire.messages import Target

SHOWN: Final = 64 * 1024
"""Bytes of a request up to which it is part of a listing."""

NO_EVENT: Final = b"[]"
"""The event of a delivery whose request is not kept any more."""

# ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

DELIVERY: Final = """
    e.id, d.instance, d.webhook, d.delivery, d.received_at, d.size, d.redelivers, e.status, e.error, e.target_ns, e.method, e.finished_at
    """

DELIVERIES: Final = f"""
    SELECT {DELIVERY}, CASE WHEN d.size BETWEEN 1 AND {SHOWN} THEN coalesce(e.event, (SELECT event FROM payloads WHERE execution = e.n)) END
    FROM deliveries d CROSS JOIN executions e ON e.n = d.execution
    WHERE ?1 IS NULL OR d.instance = ?1 ORDER BY d.execution DESC LIMIT ?2
    """

ONE_DELIVERY: Final = f"""
    SELECT {DELIVERY}, CASE WHEN d.size > 0 THEN coalesce(e.event, (SELECT event FROM payloads WHERE execution = e.n)) END
    FROM executions e CROSS JOIN deliveries d ON d.execution = e.n WHERE e.id = ?
    """


def delivery_record(row: Row) -> Delivery:
    """Return the delivery that a row of these statements is."""
    return Delivery(
        execution=row[0],
        instance=row[1],
        webhook=row[2],
        delivery=row[3],
        received_at=row[4],
        size=row[5],
        redelivers=row[6],
        status=row[7],
        error=read_error(row[8]),
        target=Target(ns=row[9], method=row[10]),
        finished_at=row[11],
        request=row[12],
    )


# ── Accepting ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_NEXT_PLACE: Final = """
    SELECT place + size FROM deliveries INDEXED BY deliveries_of_instance WHERE instance = ?1 ORDER BY place DESC LIMIT 1
    """

_LOOK: Final = f"""
    SELECT EXISTS (SELECT 1 FROM webhooks WHERE instance = ?1 AND token = ?2 AND created_at = ?3), ({FIRST_TIMER}), ({_NEXT_PLACE}),
        {INSTANCE} {LOADED_FROM}
    """

_TAKES_NOTHING: Final = UNREACHABLE | {"deactivating"}
"""Statuses of instances that take no more events."""

_FIRST: Final = """
    SELECT e.id, e.status, e.n FROM deliveries d INDEXED BY deliveries_once CROSS JOIN executions e ON e.n = d.execution
    WHERE d.instance = ? AND d.webhook = ? AND d.delivery = ? AND d.delivery IS NOT NULL
    """

_NOT_ANSWERED: Final = frozenset({"failed", "dead", "cancelled"})

_LET_AGAIN: Final = "UPDATE deliveries SET delivery = NULL WHERE execution = ?"

_KEEP: Final = """
    INSERT INTO deliveries (execution, instance, webhook, delivery, received_at, size, place, redelivers) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    """


def accept(tx: Transaction, new: NewDelivery) -> Accepted:
    """Store a delivery and its execution, unless it was stored before.

    Raises:
        UnknownWebhook: it was deleted or made anew, or its instance takes no more events.
        QueueIsFull: the instance has too many pending already.
    """
    execution = new.execution
    is_there, first_timer, place, *columns = tx.row(_LOOK, (execution.instance, new.token, new.made_at)) or (False, None, None)
    if not is_there or (state := InstanceState(*columns)).status in _TAKES_NOTHING:
        raise UnknownWebhook(f"webhook {new.webhook} is not there any more")
    first = None if new.delivery is None else tx.row(_FIRST, (state.id, new.webhook, new.delivery))
    answered_again = first is not None and execution.rank == Rank.WAITED_FOR and first[1] in _NOT_ANSWERED
    if first is not None and not answered_again:
        return Accepted(execution=first[0], duplicate=True)
    check_room(state, execution, tx.limits)
    if first is not None:  # its sender waited for an answer and got none: it is right to send it again
        tx.run(_LET_AGAIN, (first[2],))
    _store(tx, state, execution, _Kept(new.webhook, new.delivery, None), first_timer, place)
    return Accepted(execution=execution.id)


_ORIGINAL: Final = """
    SELECT d.webhook, d.size, coalesce(e.event, (SELECT event FROM payloads WHERE execution = e.n))
    FROM executions e CROSS JOIN deliveries d ON d.execution = e.n WHERE e.id = ?
    """


def redeliver(tx: Transaction, original: str, new: NewExecution) -> None:
    """Store the request of a delivery once more, as the event of `new`.

    Raises:
        UnknownInstance: its instance takes no more events.
        DoesNotApply: there is no such delivery, or its request is not kept any more.
        QueueIsFull: the instance has too many pending already.
    """
    row = tx.row(_ORIGINAL, (original,))
    if row is None:
        raise DoesNotApply(f"execution {original} answers no webhook")
    webhook, size, event = row
    if not size:
        raise DoesNotApply(f"the request of delivery {original} is not kept any more")
    state = load_if_there(tx, new.instance)
    if state is None or state.status == "deactivating":
        raise UnknownInstance(f"instance {new.instance} is deactivated and takes no more events")
    again = replace(new, event=event)
    check_room(state, again, tx.limits)
    first_timer, place = tx.value(FIRST_TIMER, (state.id,)), tx.value(_NEXT_PLACE, (state.id,))
    _store(tx, state, again, _Kept(webhook, None, original), first_timer, place)


class _Kept(NamedTuple):
    """What is kept of a delivery beside its execution: as in its record."""

    webhook: str
    delivery: str | None
    redelivers: str | None


def _store(
    tx: Transaction, state: InstanceState, execution: NewExecution, kept: _Kept, first_timer: Micros | None, place: int | None
) -> None:
    """Store a delivery, where the instance's `FIRST_TIMER` and `_NEXT_PLACE` are known."""
    size = len(execution.event)
    place = place or 1
    simply = add_ready(tx, state, execution, first_timer)
    tx.run(_KEEP, (tx.last_inserted(), state.id, kept.webhook, kept.delivery, execution.at, size, place, kept.redelivers))
    _drop_before(tx, state.id, place + size - tx.limits.delivery_bytes)
    (save_added if simply else save)(tx, state, execution.at)


# ── Forgetting ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_MOST_DROPPED: Final = 4
"""Requests that one may push out: more than it brings, and few enough not to hold its transaction up."""

_BEHIND: Final = f"""
    SELECT d.execution FROM deliveries d INDEXED BY deliveries_of_instance CROSS JOIN executions e ON e.n = d.execution
    WHERE d.instance = ? AND d.place >= 1 AND d.place < ? AND e.finished_at IS NOT NULL ORDER BY d.place LIMIT {_MOST_DROPPED}
    """

_DROP_REQUEST: Final = """
    UPDATE executions SET event = x'5b5d', arguments = coalesce(arguments, (SELECT arguments FROM payloads WHERE execution = executions.n))
    WHERE n = ? AND finished_at IS NOT NULL
    """

_DROP_PAYLOAD: Final = """
    DELETE FROM payloads WHERE execution = ?1 AND EXISTS (SELECT 1 FROM executions WHERE n = ?1 AND finished_at IS NOT NULL)
    """

_NOT_KEPT: Final = "UPDATE deliveries SET size = 0, place = 0 WHERE execution = ?"

_OLD: Final = """
    DELETE FROM deliveries WHERE execution IN (
        SELECT execution FROM deliveries INDEXED BY deliveries_received WHERE received_at < ? ORDER BY received_at LIMIT ?
    ) RETURNING execution
    """

_OF_INSTANCE: Final = """
    DELETE FROM deliveries WHERE execution IN (SELECT execution FROM deliveries INDEXED BY deliveries_of_instance WHERE instance = ? LIMIT ?) RETURNING execution
    """


def _drop_before(tx: Transaction, instance: str, place: int) -> None:
    """Drop some requests of an instance that begin before a place, oldest first."""
    if place > 1:
        behind = tx.rows(_BEHIND, (instance, place))
        _drop_requests(tx, behind)
        tx.run_many(_NOT_KEPT, behind)


def forget_deliveries(tx: Transaction, limit: int, before: Micros) -> int:
    """Forget up to `limit` deliveries that were received before a time; returns how many there were."""
    forgotten = tx.rows(_OLD, (before, limit))
    _drop_requests(tx, forgotten)
    return len(forgotten)


def erase_deliveries(tx: Transaction, instance: str, limit: int) -> int:
    """Forget up to `limit` deliveries of an instance; returns how many there were."""
    forgotten = tx.rows(_OF_INSTANCE, (instance, limit))
    _drop_requests(tx, forgotten)
    return len(forgotten)


def _drop_requests(tx: Transaction, executions: list[Row]) -> None:
    tx.run_many(_DROP_REQUEST, executions)
    tx.run_many(_DROP_PAYLOAD, executions)
