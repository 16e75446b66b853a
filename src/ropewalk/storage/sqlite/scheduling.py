"""The schedule of one instance: what becomes ready when, what may run next, and when the instance is to be claimed.

An execution that waits is ready (it has `seq`) or a timer (it has `due`). Ready ones run by (rank, seq). Timers that come due are made
ready in the order of their times before anything new is, so that `seq` is the order of readiness; that is done some at a time, and
while more are due a new event joins them as a timer due now, behind them all. What has been seen due stays so: `due_to` is the time up to
which timers were due when some had to be left, and where the clock is set back before it, they are all made ready before anything else.

What may run at all is the instance's *reach*: everything, or only up to a rank (a lifecycle method goes first), or only the execution
that the others wait for (`held`), or nothing (it rests). `wake_at` follows from the reach and the instance's pace: see `wake_time`.
"""

from __future__ import annotations

from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.interface import DoesNotApply, UnknownInstance
from ropewalk.storage.records import Claim, NewExecution, Rank
from ropewalk.storage.sqlite.budgeting import charge, may_start_at
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.inserting import LARGE, insert_execution
from ropewalk.storage.sqlite.recurring import queue_ticks
from ropewalk.storage.sqlite.rows import EXECUTION, INSTANCE, InstanceState, execution_record

PROMOTED: Final = 64
"""Most timers that one write makes ready, so that a backlog of them stalls nobody."""

UNREACHABLE: Final = frozenset({"gone", "erased"})
"""Statuses of instances that are no longer there for anybody."""

WAITING: Final = "(seq IS NOT NULL OR due IS NOT NULL)"
"""What executions that are ready or timers have in common; the partial indexes say the same, word by word."""


# ── The instance's row ────────────────────────────────────────────────────────────────────────────────────────────────────────

LOADED_FROM: Final = "FROM instances i CROSS JOIN twists t ON t.id = i.twist WHERE i.id = ?1"

_LOAD: Final = f"SELECT {INSTANCE} {LOADED_FROM}"

_SAVE: Final = """
    UPDATE instances SET version = ?, target_version = ?, status = ?, options = ?, secret = ?, upgrade_error = ?, epoch = ?, node = ?,
        running = ?, held = ?, wake_at = ?, served = ?, next_seq = ?, pending = ?, pending_bytes = ?, store_bytes = ?, callbacks = ?,
        pace_at = ?, spent = ?, suspension = ?, record_bytes = ?, recurs_at = ?, due_to = ?
    WHERE id = ?
    """

_SAVE_ADDED: Final = "UPDATE instances SET next_seq = ?, pending = ?, pending_bytes = ? WHERE id = ?"

_SAVE_WAKE: Final = "UPDATE instances SET wake_at = ? WHERE id = ?"

_DESTROY: Final = ("DELETE FROM data_keys WHERE instance = ?", "DELETE FROM secrets WHERE instance = ?")


def load(tx: Transaction, instance: str) -> InstanceState:
    """Return the row of an instance.

    Raises:
        UnknownInstance: there is none, or it is deactivated.
    """
    state = load_if_there(tx, instance)
    if state is None:
        raise UnknownInstance(f"there is no instance {instance}")
    return state


def load_if_there(tx: Transaction, instance: str) -> InstanceState | None:
    """Return the row of an instance, None when there is none or it is deactivated."""
    row = tx.row(_LOAD, (instance,))
    return None if row is None or row[6] in UNREACHABLE else InstanceState(*row)


def save(tx: Transaction, state: InstanceState, at: Micros) -> None:
    """Write the row back, with the `wake_at` that now follows. Of an instance that is gone no sealed value can be read from then on."""
    state.wake_at = wake_time(tx, state, at)
    tx.run(
        _SAVE,
        (
            state.version,
            state.target_version,
            state.status,
            state.options,
            state.secret,
            state.upgrade_error,
            state.epoch,
            state.node,
            state.running,
            state.held,
            state.wake_at,
            state.served,
            state.next_seq,
            state.pending,
            state.pending_bytes,
            state.store_bytes,
            state.callbacks,
            state.pace_at,
            state.spent,
            state.suspension,
            state.record_bytes,
            state.recurs_at,
            state.due_to,
            state.id,
        ),
    )
    if state.status == "gone":
        destroy_secrets(tx, state.id)


def destroy_secrets(tx: Transaction, instance: str) -> None:
    """Remove an instance's key, and with it whatever was sealed, and its secret options."""
    for statement in _DESTROY:
        tx.run(statement, (instance,))


def save_added(tx: Transaction, state: InstanceState, at: Micros) -> None:
    """Write back what `add_ready` changed. Columns that it did not are left out: their indexes would be written again."""
    tx.run(_SAVE_ADDED, (state.next_seq, state.pending, state.pending_bytes, state.id))
    wake_at = _wake_time_of_ready(tx, state, at)
    if wake_at != state.wake_at:
        tx.run(_SAVE_WAKE, (wake_at, state.id))


# ── What may run next, and when ───────────────────────────────────────────────────────────────────────────────────────────────

_NEXT: Final = f"""
    SELECT {EXECUTION} FROM executions e INDEXED BY executions_ready
    WHERE instance = ? AND seq IS NOT NULL ORDER BY rank, seq LIMIT 1
    """

_FIRST_BARRIER: Final = f"""
    SELECT n FROM executions INDEXED BY executions_barriers
    WHERE instance = ? AND rank <= 1 AND rank <= ? AND (trigger = 'activate' OR NOT ?) AND {WAITING} ORDER BY rank, n LIMIT 1
    """

_EXCEPTION: Final = f"SELECT {EXECUTION} FROM executions e WHERE n = ? AND {WAITING} AND (due IS NULL OR due <= ?)"

_WAKE: Final = """
    SELECT EXISTS (SELECT 1 FROM executions INDEXED BY executions_ready WHERE instance = ?1 AND seq IS NOT NULL),
        (SELECT due FROM executions INDEXED BY executions_timers WHERE instance = ?1 AND due IS NOT NULL ORDER BY due LIMIT 1)
    """

_WAKE_EXCEPTION: Final = f"SELECT coalesce(due, 0) FROM executions WHERE n = ? AND {WAITING}"

FIRST_TIMER: Final = """
    SELECT due FROM executions INDEXED BY executions_timers WHERE instance = ?1 AND due IS NOT NULL ORDER BY due LIMIT 1
    """

_PROMOTE_BY: Final = """
    UPDATE executions SET seq = ?2 + r.place, due = NULL, ready_at = coalesce(ready_at, ?4)
    FROM (
        SELECT n, row_number() OVER (ORDER BY due, n) - 1 AS place FROM executions INDEXED BY {index}
        WHERE instance = ?1 AND due <= ?3{which} ORDER BY due, n LIMIT ?5
    ) r WHERE executions.n = r.n
    """

_PROMOTE: Final = _PROMOTE_BY.format(index="executions_timers", which="")

_PROMOTE_RETURNING: Final = _PROMOTE_BY.format(index="executions_returning", which=f" AND rank < {Rank.ORDINARY:d}")


def _reach(state: InstanceState) -> Rank:
    """Return the last rank that may run now; ORDINARY is everything."""
    if state.status == "deactivating":
        return Rank.DEACTIVATE
    if state.status == "activating" or state.target_version is not None:
        return Rank.BARRIER
    return Rank.ORDINARY


def wake_time(tx: Transaction, state: InstanceState, at: Micros) -> Micros | None:
    """Return when the instance is to be claimed: 0 now, a time, or None while it is leased or nothing may run."""
    if state.running is not None or state.rests:
        return None
    reach = _reach(state)
    due: Micros | None
    if reach < Rank.ORDINARY or state.held is not None:
        due = tx.value(_WAKE_EXCEPTION, (_exception(tx, state, reach),))
    else:
        ready, due = tx.rows(_WAKE, (state.id,))[0]
        due = 0 if ready else min((time for time in (due, state.recurs_at) if time is not None), default=None)
    if due is None:
        return None
    if due <= max(at, state.due_to or 0):
        due = 0
    paced = may_start_at(tx, state, at)
    return max(due, paced) if paced > at else due


def _wake_time_of_ready(tx: Transaction, state: InstanceState, at: Micros) -> Micros | None:
    """Return the same of an instance of which something is ready."""
    if state.running is not None or state.rests or state.held is not None or _reach(state) < Rank.ORDINARY:
        return wake_time(tx, state, at)
    paced = may_start_at(tx, state, at)
    return paced if paced > at else 0


def _exception(tx: Transaction, state: InstanceState, reach: Rank) -> int | None:
    """Return the only execution that may run, in its time, where not all may: the first lifecycle method, which others of its kind wait
    for too, or else the one that is held.
    """
    first: int | None = tx.value(_FIRST_BARRIER, (state.id, reach, state.status == "activating"))
    if first is None and reach == Rank.ORDINARY:
        return state.held
    return first


def _next_row(tx: Transaction, state: InstanceState, at: Micros) -> Row | None:
    """Return the execution that runs next, None when none may run now."""
    reach = _reach(state)
    keep_due(tx, state, at)
    if reach == Rank.ORDINARY and state.held is None:
        promote_due(tx, state, at)
        return tx.row(_NEXT, (state.id,))
    return tx.row(_EXCEPTION, (_exception(tx, state, reach), at))


def promote_due(tx: Transaction, state: InstanceState, at: Micros) -> bool:
    """Make timers that have come due ready, in the order of their times; False when more are due than could be.

    Those that return from a back-off go before others, and so are not left behind them.
    """
    keep_due(tx, state, at)
    all_queued = state.recurs_at is None or state.recurs_at > at or queue_ticks(tx, state, at)
    first = tx.value(FIRST_TIMER, (state.id,))
    promoted = 0 if first is None or first > at else _promote(tx, state, _PROMOTE, at, at, PROMOTED)
    if promoted == PROMOTED:
        _promote(tx, state, _PROMOTE_RETURNING, at, at, PROMOTED)
    all_ready = all_queued and promoted < PROMOTED
    state.due_to = None if all_ready else at
    return all_ready


def keep_due(tx: Transaction, state: InstanceState, at: Micros) -> None:
    """Make all timers ready that were due when some had to be left, where the clock was set back since. To be asked for before others are
    stored: those may be due at times that had come before.
    """
    if state.due_to is not None and state.due_to > at:
        _promote(tx, state, _PROMOTE, state.due_to, at, -1)
        state.due_to = None


def _promote(tx: Transaction, state: InstanceState, statement: str, due: Micros, at: Micros, limit: int) -> int:
    """Make the first `limit` timers ready, at `at`, that are due by `due`; returns how many there were."""
    tx.run(statement, (state.id, state.next_seq, due, at, limit))
    promoted = tx.changed()
    state.next_seq += promoted
    return promoted


# ── Starting ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_START: Final = """
    UPDATE executions SET status = 'running', seq = NULL, due = NULL, attempt = attempt + 1, started_at = ?, version = ?, node = ?,
        depth = ?, ready_at = coalesce(ready_at, ?)
    WHERE n = ?
    """


_SPENT: Final = """
    SELECT coalesce(sum(max(0, finished_at - started_at)), 0) FROM attempts WHERE execution = ? AND status <> 'lost'
    """


def start_next(tx: Transaction, state: InstanceState, node: str, at: Micros) -> Claim | None:
    """Start the execution that runs next under the lease of `node`, which the caller has taken; None when none may run now.

    None too when it would be over a budget: the instance is then suspended.
    """
    if state.rests or may_start_at(tx, state, at) > at:
        return None
    row = _next_row(tx, state, at)
    depth = None if row is None else charge(tx, state, row, at)
    if row is None or depth is None:
        return None
    number = row[0]
    upgrading = row[7] == "upgrade" and state.target_version is not None
    version = state.target_version if upgrading else state.version
    assert version is not None
    state.node = node
    state.running = number
    state.served = tx.next_served()
    if state.held == number:
        state.held = None
    tx.run(_START, (at, version, node, depth, at, number))
    return Claim(
        instance=state.record(version),
        execution=execution_record(_started(row, version, depth, at), state.twist),
        epoch=state.epoch,
        previous_version=state.version if upgrading else None,
        spent=tx.value(_SPENT, (number,)) if row[7] == "deactivate" else 0,
    )


def _started(row: Row, version: int, depth: int, at: Micros) -> Row:
    return (*row[:3], version, *row[4:9], depth, *row[10:13], "running", row[14] + 1, *row[15:19], at, *row[20:])


def give_back(state: InstanceState) -> None:
    """Let go of the lease: nothing runs, and whoever still thinks to hold it is fenced off by the next claim's epoch."""
    state.node = None
    state.running = None


# ── Adding and ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_TAKEN: Final = "SELECT 1 FROM executions WHERE id = ?"

_KEYED: Final = f"""
    SELECT n, id, seq, due, run_at, size, depth FROM executions INDEXED BY executions_keys
    WHERE instance = ? AND ns = ? AND key = ? AND attempt = 0 AND key IS NOT NULL AND {WAITING}
    """

_DELETE_PAYLOAD: Final = "DELETE FROM payloads WHERE execution = ?"

_REPLACE: Final = """
    UPDATE executions SET seq = ?, due = ?, run_at = ?, ready_at = ?, callback = ?, target_ns = ?, method = ?, cause = ?, depth = ?,
        size = ?, arguments = ?, event = ?
    WHERE n = ?
    """

_REPLACE_PAYLOAD: Final = "INSERT INTO payloads (execution, arguments, event) VALUES (?, ?, ?)"

_CANCEL: Final = "UPDATE executions SET status = 'cancelled', seq = NULL, due = NULL, finished_at = ? WHERE n = ?"


def add_execution(tx: Transaction, state: InstanceState, new: NewExecution) -> str:
    """Store an event by its key's rules and return the id of the execution that will answer it. The caller saves `state`.

    Raises:
        DoesNotApply: its id is taken.
    """
    keep_due(tx, state, new.at)
    if new.key is not None:
        older = tx.row(_KEYED, (state.id, new.ns, new.key))
        if older is not None and new.coalesce:
            return _coalesce(tx, state, new, older)
        if older is not None:
            cancel_waiting(tx, state, older[0], older[5], new.at)
    if tx.value(_TAKEN, (new.id,)):
        raise DoesNotApply(f"there is an execution {new.id} already")
    insert_execution(tx, state, new, *_place(tx, state, new, new.run_at))
    return new.id


def add_ready(tx: Transaction, state: InstanceState, new: NewExecution, first_timer: Micros | None) -> bool:
    """Store an event without key or time under an id that is known to be new, where the instance's first timer (`FIRST_TIMER`) is known.

    Returns:
        Whether it is ready and nothing else was made so: the caller then needs only `save_added`, and else has to `save` the state.
    """
    none_come = (first_timer is None or first_timer > new.at) and (state.recurs_at is None or state.recurs_at > new.at)
    none_due = none_come and state.due_to is None
    insert_execution(tx, state, new, *((state.take_seq(), None) if none_due else _place(tx, state, new, None)))
    return none_due


def _place(tx: Transaction, state: InstanceState, new: NewExecution, run_at: Micros | None) -> tuple[int | None, Micros | None]:
    """Return the `seq` of an event that is ready now, or the `due` of one that is not."""
    if run_at is not None and run_at > new.at:
        return None, run_at
    if new.rank < Rank.ORDINARY or promote_due(tx, state, new.at):
        return state.take_seq(), None
    return None, new.at


def _coalesce(tx: Transaction, state: InstanceState, new: NewExecution, older: Row) -> str:
    """Have the older event of the same key do what the new one asks, at the earlier of their times and in its place in line."""
    number, id_, seq, due, run_at, old_size, old_depth = older
    if seq is None and max(new.at, new.run_at or 0) < due:
        run_at = new.run_at
        seq, due = _place(tx, state, new, run_at)
    arguments, event = new.target.arguments, new.event
    size = len(arguments) + len(event)
    apart = size > LARGE
    depth = max(new.depth, old_depth)  # the chain goes on, even where what joins it had more time
    target = (new.callback, new.target.ns, new.target.method, new.cause, depth, size)
    payload = (None, None) if apart else (arguments, event)
    ready_at = None if seq is None else new.at
    tx.run(_REPLACE, (seq, due, run_at, ready_at, *target, *payload, number))
    if old_size > LARGE:
        tx.run(_DELETE_PAYLOAD, (number,))
    if apart:
        tx.run(_REPLACE_PAYLOAD, (number, arguments, event))
    state.pending_bytes += size - old_size
    return str(id_)


def cancel_waiting(tx: Transaction, state: InstanceState, number: int, size: int, at: Micros) -> None:
    """End a waiting execution of the instance. The caller saves `state`."""
    tx.run(_CANCEL, (at, number))
    state.pending -= 1
    state.pending_bytes -= size
    if state.held == number:
        state.held = None
