"""What is removed in the background, some rows at a time: rows of deactivated instances, and values and executions whose time is over."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.deliveries import erase_deliveries
from ropewalk.storage.sqlite.lifecycle import cancel_some
from ropewalk.storage.sqlite.recording import drop_records

_GONE: Final = """
    SELECT id FROM instances INDEXED BY instances_resting
    WHERE (status IN ('failed', 'gone') OR suspension IS NOT NULL) AND status = 'gone' LIMIT 1
    """

OWNED: Final = {
    "store": "instance, ns, key",
    "callbacks": "instance, token",
    "records": "n",
    "webhooks": "instance, token",
    "recurring": "id",
    "owners_notes": "instance",
}
"""The tables whose rows are an instance's own, by their column `instance`, and go with it; each with its primary key. Whoever adds such a
table adds it here: a test finds those that are not.
"""

_ERASE: Final = tuple(
    f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE instance = ? LIMIT ?)" for table, key in OWNED.items()
)

_ERASED: Final = """
    UPDATE instances SET status = 'erased', pending = 0, pending_bytes = 0, store_bytes = 0, callbacks = 0, record_bytes = 0,
        recurs_at = NULL
    WHERE id = ?
    """


def erase(tx: Transaction, limit: int, at: Micros) -> int:
    """Erase up to `limit` rows of deactivated instances, and cancel what still waits of them; returns how many there were."""
    left = limit
    while left > 0 and (instance := tx.value(_GONE)) is not None:
        for statement in _ERASE:
            tx.run(statement, (instance, left))
            left -= tx.changed()
        left -= cancel_some(tx, instance, left, at)[0]
        left -= erase_deliveries(tx, instance, left)
        if left > 0:
            tx.run(_ERASED, (instance,))
    return limit - left


_EXPIRED: Final = """
    DELETE FROM store WHERE (instance, ns, key) IN (
        SELECT instance, ns, key FROM store INDEXED BY store_expiring WHERE expires_at <= ? ORDER BY expires_at LIMIT ?
    ) RETURNING instance, size
    """


def sweep(tx: Transaction, limit: int, at: Micros) -> int:
    """Remove up to `limit` values whose time is over; returns how many there were."""
    removed = tx.rows(_EXPIRED, (at, limit))
    freed: Counter[str] = Counter()
    for instance, size in removed:
        freed[instance] += size
    tx.run_many("UPDATE instances SET store_bytes = store_bytes - ? WHERE id = ?", [(size, id_) for id_, size in freed.items()])
    return len(removed)


_OVER: Final = """
    DELETE FROM executions WHERE n IN (
        SELECT n FROM executions AS x INDEXED BY executions_over WHERE finished_at < ?
        AND NOT (x.trigger IN ('activate', 'upgrade') AND x.status <> 'succeeded' AND EXISTS (
            SELECT 1 FROM instances AS i WHERE i.id = x.instance AND i.status <> 'erased'
        ))
        ORDER BY finished_at LIMIT ?
    ) RETURNING n, instance
    """

_TELLING_OF_EXECUTIONS: Final = ("payloads", "attempts", "logs", "deliveries")
"""The tables whose rows belong to the execution in their column of that name."""


def forget(tx: Transaction, limit: int, before: Micros) -> int:
    """Remove up to `limit` executions that were over before a time, with all that tells of them; returns how many there were.

    An activation or upgrade that failed stays while its instance does: `retry` is how it goes on.
    """
    removed = tx.rows(_OVER, (before, limit))
    for table in _TELLING_OF_EXECUTIONS:
        tx.run_many(f"DELETE FROM {table} WHERE execution = ?", [(number,) for number, _ in removed])
    drop_records(tx, [(instance, number) for number, instance in removed])
    return len(removed)
