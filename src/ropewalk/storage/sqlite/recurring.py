"""Methods that recur: rows that say when next, and the write that makes runs of the ticks that have come.

The invariant: a row's `next` is the first tick that nothing has become of, and the instance's `recurs_at` is the least `next` of its rows.
What makes runs of a tick moves `next` on in the same transaction: neither is there without the other. A run is an execution like any other,
with the tick as its time. A tick of a row whose newest run is not over makes none. Before: `scheduling`, which asks for whatever has come due
before it makes anything ready; `effects`, for what is asked for and cancelled; `settling`, for what a version declares.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec
from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import PENDING, NewExecution, PutRecurring, Recurring
from ropewalk.storage.recurrence import Recurrence, Turn, recurrence, set_back, turn
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.inserting import insert_execution
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.wire.control import Manifest, ScheduleInfo
from ropewalk.wire.messages import Target

NO_EVENT: Final = b"[]"
"""What a tick brings."""

TURNS: Final = 64
"""Most rows whose ticks one write looks at."""

RECURRING: Final = """
    id, instance, ns, declared, key, recurrence, next, owed, last, last_at, runs, skipped, missed, callback, target_ns, method, arguments,
    created_at
    """
"""Columns of a `Recurring`, and `owed`, from `recurring`."""

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Recurrence).decode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


def recurring_record(row: Row) -> Recurring:
    """Return what recurs, whose `RECURRING` columns `row` is."""
    return Recurring(
        id=row[0],
        instance=row[1],
        ns=row[2],
        declared=bool(row[3]),
        key=row[4],
        recurrence=_decode(row[5]),
        next=row[6],
        last=row[8],
        last_at=row[9],
        runs=row[10],
        skipped=row[11],
        missed=row[12],
        callback=row[13],
        target=Target(ns=row[14], method=row[15], arguments=row[16]),
        created_at=row[17],
    )


# ── Ticks that have come ──────────────────────────────────────────────────────────────────────────────────────────────────────

_COME: Final = f"""
    SELECT {RECURRING} FROM recurring INDEXED BY recurring_next WHERE instance = ? AND next <= ? ORDER BY next LIMIT {TURNS}
    """

_TURNED: Final = """
    UPDATE recurring SET next = ?, owed = ?, last = ?, last_at = ?, runs = runs + ?, skipped = skipped + ?, missed = missed + ?, looked_at = ?
    WHERE id = ?
    """

_RUN: Final = "SELECT status, finished_at FROM executions WHERE id = ?"

_FIRST: Final = "SELECT next FROM recurring INDEXED BY recurring_next WHERE instance = ? ORDER BY next LIMIT 1"


def queue_ticks(tx: Transaction, state: InstanceState, at: Micros) -> bool:
    """Make timers, due when they were, of the ticks that have come; False when there may be more. The caller saves `state`."""
    rows = tx.rows(_COME, (state.id, at))
    for row in rows:
        one = recurring_record(row)
        found = turn(one.recurrence, one.next, row[7], at, _free_from(tx, one, at), _room(tx, state, one))
        _queue_runs(tx, state, one, found, at)
    note_first(tx, state)
    return state.recurs_at is None or state.recurs_at > at


def note_first(tx: Transaction, state: InstanceState) -> None:
    """Have the instance know when the first of its ticks comes."""
    state.recurs_at = tx.value(_FIRST, (state.id,))


def _free_from(tx: Transaction, one: Recurring, at: Micros) -> Micros:
    """Return when the newest run was over; after `at` when it is not. A time that the clock has not come to was another clock's."""
    row = None if one.last is None else tx.row(_RUN, (one.last,))
    if row is None:
        return 0
    status, finished_at = row
    if status in PENDING:
        return at + 1
    return finished_at if finished_at <= at else 0


def _room(tx: Transaction, state: InstanceState, one: Recurring) -> int:
    """Return how many runs the instance's queue has room for."""
    size = len(one.target.arguments) + len(NO_EVENT)
    return max(0, min(tx.limits.pending - state.pending, (tx.limits.pending_bytes - state.pending_bytes) // size))


def _queue_runs(tx: Transaction, state: InstanceState, one: Recurring, found: Turn, at: Micros) -> None:
    last, last_at = one.last, one.last_at
    for tick in found.runs:
        last, last_at = secrets.token_hex(12), tick
        run = NewExecution(
            id=last,
            instance=state.id,
            trigger="schedule" if one.declared else "task",
            target=one.target,
            callback=one.callback,
            event=NO_EVENT,
            ns=one.ns,
            run_at=tick,
            cause=one.id,
            at=at,
        )
        insert_execution(tx, state, run, None, tick)
    tx.run(_TURNED, (found.next, found.owed, last, last_at, len(found.runs), found.skipped, found.missed, at, one.id))


# ── Asking for it, and ending it ──────────────────────────────────────────────────────────────────────────────────────────────

_FIND: Final = f"SELECT {RECURRING} FROM recurring WHERE instance = ? AND ns = ? AND declared = ? AND key = ?"

_PUT: Final = f"""
    INSERT INTO recurring ({RECURRING}, looked_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, NULL, 0, 0, 0, ?, ?, ?, ?, ?, ?)
    """

_DROP: Final = "DELETE FROM recurring WHERE id = ?"

_COUNT: Final = "SELECT count(*) FROM recurring INDEXED BY recurring_next WHERE instance = ?"


def put_recurring(tx: Transaction, state: InstanceState, new: PutRecurring, *, declared: bool = False) -> list[tuple[int, int]]:
    """Have something recur from now on; returns number and size of executions of what it replaces, which are to be cancelled.

    What is the same as what is there leaves that as it is, so that asking again and again never puts a run off.

    Raises:
        DoesNotApply: the instance would have too many.
    """
    row = tx.row(_FIND, (state.id, new.ns, declared, new.key))
    older = None if row is None else recurring_record(row)
    if older is not None and _is_same(older, new):
        return []
    if older is None and tx.value(_COUNT, (state.id,)) >= tx.limits.recurring:
        raise DoesNotApply(f"instance {state.id} has {tx.limits.recurring:,} recurring tasks, which is the limit")
    waiting = [] if older is None else drop_recurring(tx, state, older)
    started = None if older is None else older.last  # a run that has begun is still to be over before the next one
    target = new.target
    kept = (new.id, state.id, new.ns, declared, new.key, _encode(new.recurrence), max(new.recurrence.first, new.at), started)
    tx.run(_PUT, (*kept, new.callback, target.ns, target.method, target.arguments, new.at, new.at))
    note_first(tx, state)
    return waiting


def _is_same(older: Recurring, new: PutRecurring) -> bool:
    wanted = new.recurrence if new.first_given else replace(new.recurrence, first=older.recurrence.first)
    return (older.recurrence, older.target, older.callback) == (wanted, new.target, new.callback)


_WAITING_RUN: Final = "SELECT n, size FROM executions WHERE id = ? AND attempt = 0 AND (seq IS NOT NULL OR due IS NOT NULL)"

_WAITING_RUNS: Final = """
    SELECT n, size FROM executions INDEXED BY executions_ready
    WHERE instance = ?1 AND seq IS NOT NULL AND cause = ?2 AND attempt = 0
    UNION ALL SELECT n, size FROM executions INDEXED BY executions_timers
    WHERE instance = ?1 AND due IS NOT NULL AND cause = ?2 AND attempt = 0
    """


def drop_recurring(tx: Transaction, state: InstanceState, one: Recurring) -> list[tuple[int, int]]:
    """Have something recur no more; returns number and size of those of its runs that wait for their start, which are to be cancelled."""
    tx.run(_DROP, (one.id,))
    note_first(tx, state)
    if one.recurrence.catch_up == "all":
        return tx.rows(_WAITING_RUNS, (state.id, one.id))
    return [] if one.last is None else tx.rows(_WAITING_RUN, (one.last,))


_OF_KEY: Final = f"SELECT {RECURRING} FROM recurring WHERE instance = ? AND ns = ? AND declared = 0 AND key = ?"

_OF_NS: Final = f"SELECT {RECURRING} FROM recurring WHERE instance = ? AND ns = ? AND declared = 0"

_OF_CALLBACK: Final = f"""
    SELECT {RECURRING} FROM recurring INDEXED BY recurring_callbacks WHERE callback = ? AND callback IS NOT NULL AND instance = ?
    """

_DECLARED: Final = f"SELECT {RECURRING} FROM recurring WHERE instance = ? AND declared = 1"


def of_key(tx: Transaction, instance: str, ns: str, key: str) -> list[Recurring]:
    """Return what a namespace has recur under a key."""
    return [recurring_record(row) for row in tx.rows(_OF_KEY, (instance, ns, key))]


def of_namespace(tx: Transaction, instance: str, ns: str) -> list[Recurring]:
    """Return all that a namespace has recur, what its code declares aside."""
    return [recurring_record(row) for row in tx.rows(_OF_NS, (instance, ns))]


def of_callback(tx: Transaction, instance: str, token: str) -> list[Recurring]:
    """Return what recurs by a callback."""
    return [recurring_record(row) for row in tx.rows(_OF_CALLBACK, (token, instance))]


# ── What a version declares ───────────────────────────────────────────────────────────────────────────────────────────────────

_MANIFEST: Final = "SELECT manifest FROM versions WHERE twist = ? AND number = ?"


def arm_declared(tx: Transaction, state: InstanceState, at: Micros) -> list[tuple[int, int]]:
    """Have exactly those methods recur that the instance's version declares so; what it declares as before keeps its next time.

    Returns number and size of executions of what ends, which are to be cancelled.
    """
    manifest = _decode_manifest(tx.value(_MANIFEST, (state.twist, state.version)))
    wanted = [_declared(schedule, at) for schedule in manifest.schedules]
    names = {(new.ns, new.key) for new in wanted}
    waiting: list[tuple[int, int]] = []
    for row in tx.rows(_DECLARED, (state.id,)):
        one = recurring_record(row)
        if (one.ns, one.key) not in names:
            waiting += drop_recurring(tx, state, one)
    for new in wanted:
        waiting += put_recurring(tx, state, new, declared=True)
    return waiting


def _declared(schedule: ScheduleInfo, at: Micros) -> PutRecurring:
    return PutRecurring(
        id=secrets.token_hex(12),
        ns=schedule.ns,
        key=schedule.key,
        target=Target(ns=schedule.ns, method=schedule.method),
        callback=None,
        recurrence=recurrence(
            every=schedule.every, cron=schedule.cron, tz=schedule.tz, catch_up=schedule.catch_up, first=None, now=at
        ),
        first_given=False,
        at=at,
    )


# ── A clock that was set back ─────────────────────────────────────────────────────────────────────────────────────────────────

LOOKED_AT_LATER: Final = f"SELECT {RECURRING} FROM recurring INDEXED BY recurring_looked WHERE looked_at > ?"
"""Finds what recurs whose ticks were looked at when the clock showed a later time than now."""

_OF_INSTANCE: Final = f"SELECT {RECURRING} FROM recurring WHERE instance = ? AND looked_at > ?"

_GO_ON: Final = "UPDATE recurring SET next = ?, looked_at = ? WHERE id = ?"


def go_on_from(tx: Transaction, state: InstanceState, at: Micros) -> None:
    """Have what recurs go on from now where the clock was set back so far that its next tick would be long in coming."""
    for row in tx.rows(_OF_INSTANCE, (state.id, at)):
        one = recurring_record(row)
        nominal = set_back(one.recurrence, one.next, at)
        if nominal is not None:
            tx.run(_GO_ON, (nominal, at, one.id))
    note_first(tx, state)
