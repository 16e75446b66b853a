"""Applies what an execution wants to have happened, in order, within its settlement's transaction.

Counters are kept in the instance's state, which the settlement saves once. An effect that does not fit what is there now raises
DoesNotApply: the settlement is then left out as a whole, and the method runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import (
    AnyEffect,
    CancelTask,
    CancelTasks,
    ChangeActivity,
    ChangeNote,
    DropActivity,
    DropCallback,
    DropCallbacks,
    DropValue,
    DropValues,
    DropWebhook,
    Enqueue,
    PutActivity,
    PutCallback,
    PutNote,
    PutRecurring,
    PutValue,
    PutWebhook,
    Recurring,
)
from ropewalk.storage.sqlite import recurring, webhooks, workspace
from ropewalk.storage.sqlite.budgeting import depth_of_task
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.prefixes import after_prefix
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.storage.sqlite.scheduling import WAITING, add_execution, cancel_waiting

MANY: Final = 256
"""Effects from which on a settlement is too long for the event loop's thread."""

LONG: Final = 128 * 1024
"""Bytes of one value or event from which on writing it is, too."""

UNBOUNDED: Final = frozenset({DropValues, CancelTasks, DropCallback, DropCallbacks, DropActivity})
"""Effects that may touch any number of rows."""


def are_heavy(effects: Sequence[AnyEffect]) -> bool:
    """Return whether applying these may take long."""
    return len(effects) > MANY or any(map(_is_heavy, effects))


def _is_heavy(effect: AnyEffect) -> bool:
    return type(effect) in UNBOUNDED or (type(effect) is PutValue and len(effect.value) > LONG)


def apply_effects(tx: Transaction, state: InstanceState, effects: Sequence[AnyEffect], at: Micros) -> None:
    """Apply `effects` of the instance in order.

    Raises:
        DoesNotApply: one cannot be applied, or the instance would keep more than its limits let it.
    """
    if not effects:
        return
    before = (state.store_bytes, state.pending, state.pending_bytes, state.callbacks)
    for effect in effects:
        try:
            _APPLY[type(effect)](tx, state, effect, at)
        except _UNSTORABLE as error:
            raise DoesNotApply(f"{type(effect).__name__} holds what cannot be stored: {error}") from error
    after = (state.store_bytes, state.pending, state.pending_bytes, state.callbacks)
    limits = tx.limits
    allowed = (limits.store_bytes, limits.pending, limits.pending_bytes, limits.callbacks)
    for what, old, new, limit in zip(_LIMITED, before, after, allowed, strict=True):
        if new > limit and new > old:
            raise DoesNotApply(f"instance {state.id} would have {new:,} {what}, and may have {limit:,}")


_UNSTORABLE = (OverflowError, UnicodeError, TypeError, msgspec.MsgspecError)
"""What the driver raises for numbers of more than 64 bits and text that is none, and what meta raises that is no object."""

_LIMITED = ("bytes in its store", "pending executions", "bytes of pending executions", "callbacks")


# ── The store ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_OLD_SIZE = "SELECT size FROM store WHERE instance = ? AND ns = ? AND key = ?"

_PUT_VALUE = """
    INSERT INTO store (instance, ns, key, expires_at, size, value) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET expires_at = excluded.expires_at, size = excluded.size, value = excluded.value
    """

_DROP_VALUE = "DELETE FROM store WHERE instance = ? AND ns = ? AND key = ?"

_SIZE_OF_PREFIX = "SELECT coalesce(sum(size), 0) FROM store WHERE instance = ? AND ns = ? AND key >= ? AND key < ?"

_DROP_PREFIX = "DELETE FROM store WHERE instance = ? AND ns = ? AND key >= ? AND key < ?"


def put_value(tx: Transaction, state: InstanceState, effect: PutValue, at: Micros) -> None:
    """Write a value and count its bytes."""
    old: int = tx.value(_OLD_SIZE, (state.id, effect.ns, effect.key)) or 0
    size = len(effect.key.encode()) + len(effect.value)
    tx.run(_PUT_VALUE, (state.id, effect.ns, effect.key, effect.expires_at, size, effect.value))
    state.store_bytes += size - old


def drop_value(tx: Transaction, state: InstanceState, effect: DropValue, at: Micros) -> None:
    """Remove a value and count its bytes."""
    old: int | None = tx.value(_OLD_SIZE, (state.id, effect.ns, effect.key))
    if old is not None:
        tx.run(_DROP_VALUE, (state.id, effect.ns, effect.key))
        state.store_bytes -= old


def _drop_values(tx: Transaction, state: InstanceState, effect: DropValues, at: Micros) -> None:
    bounds = (state.id, effect.ns, effect.prefix, after_prefix(effect.prefix))
    size: int = tx.value(_SIZE_OF_PREFIX, bounds)
    tx.run(_DROP_PREFIX, bounds)
    state.store_bytes -= size


# ── Tasks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_TASK_BY_ID = f"SELECT n, size FROM executions WHERE id = ? AND instance = ? AND trigger = 'task' AND {WAITING}"

_TASKS_BY_KEY = f"""
    SELECT n, size FROM executions INDEXED BY executions_keys
    WHERE instance = ? AND ns = ? AND key = ? AND key IS NOT NULL AND trigger = 'task' AND {WAITING}
    """

_TASKS_READY = """
    SELECT n, size FROM executions INDEXED BY executions_ready
    WHERE instance = ? AND seq IS NOT NULL AND ns = ? AND trigger = 'task'
    """

_TASKS_LATER = """
    SELECT n, size FROM executions INDEXED BY executions_timers
    WHERE instance = ? AND due IS NOT NULL AND ns = ? AND trigger = 'task'
    """

_TASKS_OF_CALLBACK = f"""
    SELECT n, size FROM executions INDEXED BY executions_callbacks
    WHERE callback = ? AND instance = ? AND callback IS NOT NULL AND trigger = 'task' AND {WAITING}
    """


def _enqueue(tx: Transaction, state: InstanceState, effect: Enqueue, at: Micros) -> None:
    if effect.execution.instance != state.id:
        raise DoesNotApply(f"execution {effect.execution.id} is of another instance than {state.id}")
    if state.status == "deactivating":
        return  # nothing is accepted any more, and nothing of it would run
    new = effect.execution
    depth = depth_of_task(state, new.depth)
    add_execution(tx, state, new if depth == new.depth else replace(new, depth=depth))


def _put_recurring(tx: Transaction, state: InstanceState, effect: PutRecurring, at: Micros) -> None:
    if state.status != "deactivating":  # nothing is accepted any more, as above
        _cancel_all(tx, state, recurring.put_recurring(tx, state, effect), at)


def _cancel_task(tx: Transaction, state: InstanceState, effect: CancelTask, at: Micros) -> None:
    found = tx.rows(_TASK_BY_ID, (effect.token_or_key, state.id))
    found = found or tx.rows(_TASKS_BY_KEY, (state.id, effect.ns, effect.token_or_key))
    _cancel_all(tx, state, found, at)
    _end_all(tx, state, recurring.of_key(tx, state.id, effect.ns, effect.token_or_key), at)


def _cancel_tasks(tx: Transaction, state: InstanceState, effect: CancelTasks, at: Micros) -> None:
    _end_all(tx, state, recurring.of_namespace(tx, state.id, effect.ns), at)
    _cancel_all(tx, state, tx.rows(_TASKS_READY, (state.id, effect.ns)), at)
    _cancel_all(tx, state, tx.rows(_TASKS_LATER, (state.id, effect.ns)), at)


def _end_all(tx: Transaction, state: InstanceState, found: list[Recurring], at: Micros) -> None:
    for one in found:
        _cancel_all(tx, state, recurring.drop_recurring(tx, state, one), at)


def _cancel_all(tx: Transaction, state: InstanceState, found: list[tuple[Any, ...]], at: Micros) -> None:
    for number, size in found:
        cancel_waiting(tx, state, number, size, at)


# ── Callbacks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PUT_CALLBACK = """
    INSERT INTO callbacks (instance, token, ns, target_ns, method, asked_at, arguments) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
    """

_ASKED_AGAIN = "UPDATE callbacks SET asked_at = ? WHERE instance = ? AND token = ?"

_DROP_CALLBACK = "DELETE FROM callbacks WHERE instance = ? AND token = ?"

_CALLBACKS_OF = "SELECT token FROM callbacks WHERE instance = ? AND ns = ?"


def _put_callback(tx: Transaction, state: InstanceState, effect: PutCallback, at: Micros) -> None:
    target = effect.target
    tx.run(_PUT_CALLBACK, (state.id, effect.token, effect.ns, target.ns, target.method, effect.at, target.arguments))
    if tx.changed():
        state.callbacks += 1
    else:
        tx.run(_ASKED_AGAIN, (effect.at, state.id, effect.token))


def _drop_callback(tx: Transaction, state: InstanceState, effect: DropCallback, at: Micros) -> None:
    _forget(tx, state, effect.token, at)


def _drop_callbacks(tx: Transaction, state: InstanceState, effect: DropCallbacks, at: Micros) -> None:
    for (token,) in tx.rows(_CALLBACKS_OF, (state.id, effect.ns)):
        _forget(tx, state, token, at)


def _forget(tx: Transaction, state: InstanceState, token: str, at: Micros) -> None:
    tx.run(_DROP_CALLBACK, (state.id, token))
    if tx.changed():
        state.callbacks -= 1
        _cancel_all(tx, state, tx.rows(_TASKS_OF_CALLBACK, (token, state.id)), at)
        _end_all(tx, state, recurring.of_callback(tx, state.id, token), at)
        webhooks.drop_webhooks_of(tx, state.id, token)


# ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _put_webhook(tx: Transaction, state: InstanceState, effect: PutWebhook, at: Micros) -> None:
    if effect.webhook.instance != state.id:
        raise DoesNotApply(f"webhook {effect.webhook.id} is of another instance than {state.id}")
    webhooks.put_webhook(tx, effect.webhook)


def _drop_webhook(tx: Transaction, state: InstanceState, effect: DropWebhook, at: Micros) -> None:
    webhooks.drop_webhook(tx, state.id, effect.token)


# ── The workspace ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _put_activity(tx: Transaction, state: InstanceState, effect: PutActivity, at: Micros) -> None:
    workspace.put_activity(tx, effect.activity, twist=state.twist, instance=state.id)


def _change_activity(tx: Transaction, state: InstanceState, effect: ChangeActivity, at: Micros) -> None:
    workspace.change_activity(tx, effect.activity, effect.changes)


def _drop_activity(tx: Transaction, state: InstanceState, effect: DropActivity, at: Micros) -> None:
    workspace.drop_activity(tx, effect.activity)


def _put_note(tx: Transaction, state: InstanceState, effect: PutNote, at: Micros) -> None:
    workspace.put_note(tx, effect.note)


def _change_note(tx: Transaction, state: InstanceState, effect: ChangeNote, at: Micros) -> None:
    workspace.change_note(tx, effect.note, effect.changes)


_APPLY: dict[type, Callable[[Transaction, InstanceState, Any, Micros], None]] = {
    PutValue: put_value,
    DropValue: drop_value,
    DropValues: _drop_values,
    Enqueue: _enqueue,
    CancelTask: _cancel_task,
    CancelTasks: _cancel_tasks,
    PutRecurring: _put_recurring,
    PutCallback: _put_callback,
    DropCallback: _drop_callback,
    DropCallbacks: _drop_callbacks,
    PutWebhook: _put_webhook,
    DropWebhook: _drop_webhook,
    PutActivity: _put_activity,
    ChangeActivity: _change_activity,
    DropActivity: _drop_activity,
    PutNote: _put_note,
    ChangeNote: _change_note,
}
