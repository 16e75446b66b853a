"""Upgrades: a version is offered to an instance once, which then runs `upgrade` in it, or waits for a grant.

    offered ─► awaiting a grant ─► granted ─┐
       └────────────────────────────────────┴─► target: its `upgrade` is queued, and goes before everything

`upgrade` runs while the instance has a target version: until it is over nothing else of the instance runs. An instance that was never
active has nothing to upgrade: it moves to a newer version as soon as its `activate` is not running. What waits for a grant holds nothing
up: the instance goes on in its version. `lifecycle` has what becomes of the instance when its `upgrade` is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.budgets import read_suspension
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import NewExecution, Offer
from ropewalk.storage.sqlite.budgeting import begin_anew
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.storage.sqlite.scheduling import WAITING, add_execution, cancel_waiting, load, load_if_there, save

LEAVING: Final = 2**63 - 1
"""The version that an instance which is deactivated was offered: no other is offered to it any more."""

BEHIND: Final = """
    SELECT i.id, i.twist, i.version, i.granted, t.latest
    FROM twists t CROSS JOIN instances i INDEXED BY instances_offered ON i.twist = t.id AND i.offered < t.latest LIMIT ?
    """

UPGRADES: Final = f"""
    SELECT e.id FROM instances i INDEXED BY instances_offered CROSS JOIN executions e INDEXED BY executions_barriers ON e.instance = i.id
    WHERE i.twist = ?1 AND i.target_version = ?2 AND e.rank <= 1 AND e.trigger = 'upgrade' AND {WAITING}
    UNION ALL
    SELECT e.id FROM instances i INDEXED BY instances_offered CROSS JOIN executions e ON e.n = i.running
    WHERE i.twist = ?1 AND i.target_version = ?2 AND e.trigger = 'upgrade' AND e.version = ?2
    """

_LATEST: Final = "SELECT latest FROM twists WHERE id = ?"

_OFFERED: Final = "UPDATE instances SET offered = ?, granted = ?, awaiting = ? WHERE id = ? AND offered < ?"

_GRANTED: Final = "UPDATE instances SET granted = ?1, awaiting = NULL WHERE id = ?2"

_LEAVES: Final = "UPDATE instances SET offered = ?, awaiting = NULL WHERE id = ?"

_WAITING_UPGRADES: Final = f"""
    SELECT n, size FROM executions INDEXED BY executions_barriers
    WHERE instance = ? AND rank <= 1 AND trigger = 'upgrade' AND {WAITING}
    """


def offer(tx: Transaction, twist: str, number: int, offers: Sequence[Offer]) -> list[str]:
    """Offer a twist's latest version to instances, and return the executions that were queued."""
    if tx.value(_LATEST, (twist,)) != number:
        return []
    queued: list[str] = []
    for one in offers:
        state = load_if_there(tx, one.instance)
        if state is None or (state.twist, state.version, state.granted) != (twist, one.version, one.granted):
            continue
        waits = one.execution is None
        granted = number if one.grants else one.granted
        tx.run(_OFFERED, (number, granted, number if waits else None, state.id, number))
        if one.execution is not None and tx.changed() and _upgrade(tx, state, number, one.execution):
            queued.append(one.execution.id)
    return queued


def grant(tx: Transaction, version: int, execution: NewExecution) -> None:
    """Grant an instance the permissions of the version that it waits for, and have it upgrade.

    Raises:
        UnknownInstance: it is not there.
        DoesNotApply: it waits for no grant of this version.
    """
    state = load(tx, execution.instance)
    if state.awaiting != version:
        raise DoesNotApply(f"instance {state.id} does not wait for a grant of version {version}")
    tx.run(_GRANTED, (version, state.id))
    _upgrade(tx, state, version, execution)


def offer_nothing_more(tx: Transaction, instance: str) -> None:
    """Have an instance that leaves be offered no version any more."""
    tx.run(_LEAVES, (LEAVING, instance))


def _upgrade(tx: Transaction, state: InstanceState, version: int, new: NewExecution) -> bool:
    """Have an instance move to a version, by `upgrade` unless it was never active; returns whether that was queued."""
    suspension = read_suspension(state.suspension)
    if suspension is not None and suspension.budget is not None:
        begin_anew(tx, state)  # what a budget suspended may be mended now; what an operator did is the operator's to undo
    cancel_upgrades(tx, state, new.at)
    has_upgrade = state.status not in ("activating", "failed") or state.running is not None
    if has_upgrade:
        state.target_version = version
        add_execution(tx, state, new)
    else:
        state.version = version
    save(tx, state, new.at)
    return has_upgrade


def cancel_upgrades(tx: Transaction, state: InstanceState, at: Micros) -> None:
    """Cancel the upgrades that wait: a newer one takes their place, or there is nothing to upgrade. The caller saves `state`."""
    for number, size in tx.rows(_WAITING_UPGRADES, (state.id,)):
        cancel_waiting(tx, state, number, size, at)
    state.target_version = None
