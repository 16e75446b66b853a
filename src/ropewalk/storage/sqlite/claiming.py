"""Claims: instances whose time has come are leased, least recently served first, and one execution of each starts."""

from __future__ import annotations

from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.records import Claim
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import INSTANCE, InstanceState
from ropewalk.storage.sqlite.scheduling import save, start_next

DUE_AT_ONCE: Final = 64
"""Most instances whose timers are found due in one claim: those beyond wait for the next."""

# 0 stands for "now": what is ready is never compared with the wall clock, so setting the clock back cannot delay it.
_COME_DUE: Final = f"""
    UPDATE instances SET wake_at = 0 WHERE id IN (
        SELECT id FROM instances INDEXED BY instances_wake WHERE wake_at > 0 AND wake_at <= ? ORDER BY wake_at LIMIT {DUE_AT_ONCE}
    )
    """

_LEAST_RECENTLY_SERVED: Final = f"""
    SELECT {INSTANCE} FROM instances i INDEXED BY instances_wake CROSS JOIN twists t ON t.id = i.twist
    WHERE i.wake_at = 0 ORDER BY i.served LIMIT ?
    """

_ONLY: Final = f"""
    SELECT {INSTANCE} FROM instances i CROSS JOIN twists t ON t.id = i.twist WHERE i.id = ? AND i.wake_at <= ?
    """


def claim(tx: Transaction, node: str, limit: int, only: str | None, at: Micros) -> list[Claim]:
    """Lease up to `limit` instances to `node` and start one execution of each."""
    if only is None:
        tx.run(_COME_DUE, (at,))
        found = tx.rows(_LEAST_RECENTLY_SERVED, (limit,))
    else:
        found = tx.rows(_ONLY, (only, at))
    claims = (_lease(tx, InstanceState(*row), node, at) for row in found)
    return [claimed for claimed in claims if claimed is not None]


def _lease(tx: Transaction, state: InstanceState, node: str, at: Micros) -> Claim | None:
    state.epoch += 1
    claimed = start_next(tx, state, node, at)
    save(tx, state, at)
    return claimed
