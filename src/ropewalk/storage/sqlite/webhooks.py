"""Webhooks and their deliveries: what `create_webhook` keeps, and the transaction in which a request becomes an event.

Whether the webhook is there, its instance takes events, has room, and the delivery is new is looked at in the transaction that stores
it: whoever deletes a webhook or deactivates an instance, in whatever process, has nothing more accepted from the moment of that commit.
"""

from __future__ import annotations

from typing import Final

from ropewalk.storage.interface import UnknownWebhook
from ropewalk.storage.records import Accepted, NewDelivery, Rank, Webhook
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.executions import check_room
from ropewalk.storage.sqlite.scheduling import add_execution, load_if_there, save
from ropewalk.wire.messages import Target

# ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

WEBHOOKS: Final = """
    SELECT w.id, w.token, w.instance, w.ns, w.target_ns, w.method, w.arguments, w.callback, w.respond, w.signature, w.secret, w.challenge,
        w.created_at
    FROM webhooks w CROSS JOIN instances i ON i.id = w.instance WHERE i.status NOT IN ('deactivating', 'gone', 'erased')
    """
"""What `webhook_record` reads, of instances that take events; conditions may follow."""

_PUT: Final = """
    INSERT OR REPLACE INTO webhooks (instance, token, id, ns, target_ns, method, arguments, callback, respond, signature, secret,
        challenge, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """

_DROP: Final = "DELETE FROM webhooks WHERE instance = ? AND token = ?"

_DROP_OF_CALLBACK: Final = "DELETE FROM webhooks WHERE instance = ? AND callback = ?"


def webhook_record(row: Row) -> Webhook:
    """Return the webhook that a row of `WEBHOOKS` is."""
    return Webhook(
        id=row[0],
        token=row[1],
        instance=row[2],
        ns=row[3],
        target=Target(ns=row[4], method=row[5], arguments=row[6]),
        callback=row[7],
        respond=bool(row[8]),
        signature=row[9],
        secret=row[10],
        challenge=row[11],
        created_at=row[12],
    )


def put_webhook(tx: Transaction, webhook: Webhook) -> None:
    """Keep a webhook, over one with the same token."""
    target = webhook.target
    tx.run(
        _PUT,
        (
            webhook.instance,
            webhook.token,
            webhook.id,
            webhook.ns,
            target.ns,
            target.method,
            target.arguments,
            webhook.callback,
            webhook.respond,
            webhook.signature,
            webhook.secret,
            webhook.challenge,
            webhook.created_at,
        ),
    )


def drop_webhook(tx: Transaction, instance: str, token: str) -> None:
    """Forget a webhook. What it has received already runs."""
    tx.run(_DROP, (instance, token))


def drop_webhooks_of(tx: Transaction, instance: str, callback: str) -> None:
    """Forget the webhooks that were made of a callback."""
    tx.run(_DROP_OF_CALLBACK, (instance, callback))


# ── Deliveries ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_IS_THERE: Final = "SELECT 1 FROM webhooks WHERE instance = ? AND token = ?"

_FIRST: Final = """
    SELECT e.id, e.status, e.n FROM deliveries d INDEXED BY deliveries_once CROSS JOIN executions e ON e.n = d.execution
    WHERE d.instance = ? AND d.webhook = ? AND d.delivery = ? AND d.delivery IS NOT NULL
    """

_NOT_ANSWERED: Final = frozenset({"failed", "dead", "cancelled"})

_LET_AGAIN: Final = "UPDATE deliveries SET delivery = NULL WHERE execution = ?"

_KEEP: Final = "INSERT INTO deliveries (execution, instance, webhook, delivery, received_at, size) VALUES (?, ?, ?, ?, ?, ?)"


def accept(tx: Transaction, new: NewDelivery) -> Accepted:
    """Store a delivery and its execution, unless it was stored before.

    Raises:
        UnknownWebhook: it was deleted, or its instance takes no more events.
        QueueIsFull: the instance has too many pending already.
    """
    execution = new.execution
    state = load_if_there(tx, execution.instance)
    if state is None or state.status == "deactivating" or tx.value(_IS_THERE, (state.id, new.token)) is None:
        raise UnknownWebhook(f"webhook {new.webhook} is not there any more")
    first = None if new.delivery is None else tx.row(_FIRST, (state.id, new.webhook, new.delivery))
    answered_again = first is not None and execution.rank == Rank.WAITED_FOR and first[1] in _NOT_ANSWERED
    if first is not None and not answered_again:
        return Accepted(execution=first[0], duplicate=True)
    check_room(state, execution, tx.limits)
    if first is not None:  # its sender waited for an answer and got none: it is right to send it again
        tx.run(_LET_AGAIN, (first[2],))
    add_execution(tx, state, execution)
    tx.run(_KEEP, (tx.last_inserted(), state.id, new.webhook, new.delivery, execution.at, len(execution.event)))
    save(tx, state, execution.at)
    return Accepted(execution=execution.id)
