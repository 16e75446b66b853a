"""Webhooks: what `create_webhook` keeps, and `delete_webhook` removes. What they receive is in `deliveries`."""

from __future__ import annotations

from typing import Final

from ropewalk.storage.records import Webhook
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
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
