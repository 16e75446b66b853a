"""From activation to deactivation: the writes that move an instance through its life.

    activate ─► activating ─► active
                    │  ▲         │
                    ▼  │ retry   ▼ begin_deactivation (from any of them)
                  failed     deactivating ─► gone ─► erased

Beside that an instance may be suspended, by an operator or by a budget that it has used up: where it is in its life it stays until that
is lifted, and deactivation lifts everything.

`upgrading` has how an instance comes to a target version; what becomes of it when its `upgrade` is over is here.
"""

from __future__ import annotations

from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.budgets import write_suspension
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import ErrorInfo, NewExecution, NewInstance, Suspension
from ropewalk.storage.sqlite.budgeting import begin_anew
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.keys import insert_data_key
from ropewalk.storage.sqlite.options import keep_sealed
from ropewalk.storage.sqlite.rows import InstanceState, error_text
from ropewalk.storage.sqlite.scheduling import add_execution, load, save
from ropewalk.storage.sqlite.upgrading import cancel_upgrades, offer_nothing_more

CANCELLED_AT_ONCE: Final = 5_000
"""Most waiting executions that deactivation itself cancels; what is beyond is cancelled as the instance is erased."""

# ── Activation ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_INSERT: Final = """
    INSERT INTO instances (id, twist, version, priority, status, options, secret, created_at, epoch, served, next_seq, pending,
        pending_bytes, store_bytes, callbacks, offered)
    VALUES (?, ?, ?, ?, 'activating', ?, ?, ?, 0, ?, 1, 0, 0, 0, 0, ?)
    """


def activate(tx: Transaction, new: NewInstance) -> None:
    """Store an instance and its `activate` execution.

    Raises:
        DoesNotApply: the version or the priority is not there, an id is taken, or the master key that wrapped its key is not in force.
    """
    if tx.value("SELECT 1 FROM versions WHERE twist = ? AND number = ?", (new.twist, new.version)) is None:
        raise DoesNotApply(f"there is no version {new.version} of twist {new.twist}")
    if tx.value("SELECT 1 FROM priorities WHERE id = ?", (new.priority,)) is None:
        raise DoesNotApply(f"there is no priority {new.priority}")
    if tx.value("SELECT 1 FROM instances WHERE id = ?", (new.id,)):
        raise DoesNotApply(f"there is an instance {new.id} already")
    if new.key is not None:
        insert_data_key(tx, new.key)
    keep_sealed(tx, new.id, new.sealed)
    at = new.activate.at
    tx.run(_INSERT, (new.id, new.twist, new.version, new.priority, new.options, new.secret, at, tx.next_served(), new.version))
    state = load(tx, new.id)
    add_execution(tx, state, new.activate)
    save(tx, state, at)


# ── The end of a lifecycle method ─────────────────────────────────────────────────────────────────────────────────────────────


def is_superseded(state: InstanceState, trigger: str, version: int) -> bool:
    """Return whether an attempt isn't tried again: of an upgrade that a newer one has replaced, or of an instance that leaves."""
    if state.status == "deactivating":
        return trigger != "deactivate"
    return trigger == "upgrade" and state.target_version != version


def attempt_failed(tx: Transaction, state: InstanceState, trigger: str, at: Micros) -> None:
    """Let an instance whose `activate` failed move to the version that was deployed meanwhile: the next try runs that."""
    if trigger == "activate" and state.target_version is not None:
        state.version = state.target_version
        cancel_upgrades(tx, state, at)


def execution_over(state: InstanceState, trigger: str, version: int | None, status: str, error: ErrorInfo | None) -> None:
    """Move the instance along when one of its lifecycle methods is over, well or not."""
    succeeded = status == "succeeded"
    if trigger == "activate" and state.status == "activating":
        state.status = "active" if succeeded else "failed"
    elif trigger == "upgrade":
        _upgrade_over(state, version, succeeded=succeeded, status=status, error=error)
    elif trigger == "deactivate":
        state.status = "gone"
        state.options = b"{}"
        state.secret = b""


def _upgrade_over(state: InstanceState, version: int | None, *, succeeded: bool, status: str, error: ErrorInfo | None) -> None:
    if succeeded:
        assert version is not None
        state.version = version
        state.upgrade_error = None
    # One that never ran has no version yet: it was for the target.
    if version is None or state.target_version == version:
        state.target_version = None
        if not succeeded:
            state.upgrade_error = f"{error.type}: {error.message}" if error is not None else status


# ── Suspension ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def suspend(tx: Transaction, instance: str, suspension: Suspension) -> None:
    """Have nothing more of an instance run. What runs now may end; what comes waits.

    Raises:
        UnknownInstance: it is not there.
        DoesNotApply: it is being deactivated.
    """
    state = load(tx, instance)
    if state.status == "deactivating":
        raise DoesNotApply(f"instance {instance} is being deactivated: it cannot be suspended")
    state.suspension = write_suspension(suspension)
    save(tx, state, suspension.since)


def resume(tx: Transaction, instance: str, at: Micros) -> bool:
    """Lift an instance's suspension and forget what it has spent of its budgets; False when it was not suspended.

    Raises:
        UnknownInstance: it is not there.
    """
    state = load(tx, instance)
    was_suspended = state.suspension is not None
    begin_anew(tx, state)
    save(tx, state, at)
    return was_suspended


# ── Deactivation ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_DEACTIVATED: Final = ErrorInfo(type="cancelled", message="its instance was deactivated before it could run")

_CANCEL_READY: Final = """
    UPDATE executions SET status = 'cancelled', seq = NULL, finished_at = ?2, error = ?4 WHERE n IN (
        SELECT n FROM executions INDEXED BY executions_ready WHERE instance = ?1 AND seq IS NOT NULL LIMIT ?3
    ) RETURNING size
    """

_CANCEL_TIMERS: Final = """
    UPDATE executions SET status = 'cancelled', due = NULL, finished_at = ?2, error = ?4 WHERE n IN (
        SELECT n FROM executions INDEXED BY executions_timers WHERE instance = ?1 AND due IS NOT NULL LIMIT ?3
    ) RETURNING size
    """


def begin_deactivation(tx: Transaction, execution: NewExecution) -> None:
    """Fence an instance off and have `deactivate` run as its last execution. Beginning again changes nothing.

    Raises:
        UnknownInstance: it is not there.
    """
    state = load(tx, execution.instance)
    if state.status == "deactivating":
        return
    at = execution.at
    cancelled, size = cancel_some(tx, state.id, CANCELLED_AT_ONCE, at)
    state.pending -= cancelled
    state.pending_bytes -= size
    state.status = "deactivating"
    state.suspension = None
    state.target_version = None
    state.held = None
    offer_nothing_more(tx, state.id)
    add_execution(tx, state, execution)
    save(tx, state, at)


def cancel_some(tx: Transaction, instance: str, limit: int, at: Micros) -> tuple[int, int]:
    """Cancel up to `limit` waiting executions of an instance; returns how many there were and their bytes."""
    why = error_text(_DEACTIVATED)
    sizes = tx.rows(_CANCEL_READY, (instance, at, limit, why))
    if len(sizes) < limit:
        sizes += tx.rows(_CANCEL_TIMERS, (instance, at, limit - len(sizes), why))
    return len(sizes), sum(size for (size,) in sizes)
