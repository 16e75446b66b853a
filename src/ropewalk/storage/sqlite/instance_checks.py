"""What must hold of one instance and its executions: each check finds faults, and each fault says how it is mended.

A check runs twice: while the audit looks, and again within the write that mends what it found, each fault being mended before the next
is looked for. So what is mended is what is wrong then, and a later check sees what an earlier one has put right.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.budgets import Spent, read_spent, read_suspension, write_spent, write_suspension
from ropewalk.storage.records import ErrorInfo, Finding, NewExecution, Rank, Suspension
from ropewalk.storage.recurrence import NEVER, set_back
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.nodes import release_instance
from ropewalk.storage.sqlite.recurring import RECURRING, arm_declared, note_first, recurring_record
from ropewalk.storage.sqlite.rows import InstanceState, error_text
from ropewalk.storage.sqlite.scheduling import WAITING, add_execution, cancel_waiting, give_back, wake_time
from ropewalk.storage.sqlite.upgrading import offer_nothing_more
from ropewalk.storage.sqlite.upkeep import OWNED
from ropewalk.wire.control import ScheduleInfo
from ropewalk.wire.messages import Target, Trigger


class Fault(Struct):
    """Something that is wrong: its name, what it is, what is done about it, and what does that (None: a person has to)."""

    name: str
    what: str
    remedy: str
    mend: Callable[[], object] | None
    instance: str | None = None
    execution: str | None = None

    @property
    def finding(self) -> Finding:
        """What is told of it."""
        return Finding(name=self.name, what=self.what, remedy=self.remedy, instance=self.instance, execution=self.execution)


Checking = Iterator[Fault]


def check_instance(tx: Transaction, state: InstanceState, strays: Collection[int], at: Micros) -> Checking:
    """Yield what is wrong with an instance. `strays` are numbers of its executions that looked out of step."""
    for fault in _faults(_Scene(tx, state, at), strays):
        fault.instance = state.id
        yield fault


def check_leaving(tx: Transaction, state: InstanceState, strays: Collection[int], at: Micros) -> Checking:
    """Yield what is wrong with an instance that is deactivated: something of it still runs, or is there for ever."""
    scene = _Scene(tx, state, at)
    for number in strays:
        row = tx.row("SELECT id, status FROM executions WHERE n = ? AND status IN ('queued', 'retrying', 'running')", (number,))
        if row is not None:
            yield Fault(
                "pending_after_deactivation",
                f"execution {row[0]} is {row[1]}, and its instance {state.id} is deactivated",
                "it is cancelled",
                partial(tx.run, _CANCEL, (at, number)),
                instance=state.id,
                execution=row[0],
            )
    if state.node is not None or state.running is not None or state.wake_at is not None:
        yield Fault(
            "deactivated_but_scheduled",
            f"instance {state.id} is deactivated, and leased or to be claimed all the same",
            "it is neither any more",
            lambda: tx.run("UPDATE instances SET node = NULL, running = NULL, wake_at = NULL WHERE id = ?", (state.id,)),
            instance=state.id,
        )
    if state.status == "erased" and scene.has_leftovers():
        yield Fault(
            "leftovers_after_erasure",
            f"instance {state.id} is erased, and something of it is still there",
            "a node erases it again",
            lambda: tx.run("UPDATE instances SET status = 'gone' WHERE id = ?", (state.id,)),
            instance=state.id,
        )


class _Scene(Struct):
    """An instance within a transaction, and what the checks ask about it."""

    tx: Transaction
    state: InstanceState
    at: Micros

    def waits(self, trigger: Trigger) -> list[tuple[int, str, int]]:
        """Return the number, id and size of each lifecycle execution of this kind that waits."""
        return self.tx.rows(_LIFECYCLE, (self.state.id, trigger))

    def has_pending(self, trigger: Trigger) -> bool:
        """Whether a lifecycle execution of this kind waits or runs."""
        running = self.tx.value("SELECT 1 FROM executions WHERE n = ? AND trigger = ?", (self.state.running, trigger))
        return bool(running or self.waits(trigger))

    def is_version(self, number: int) -> bool:
        """Whether the instance's twist has this version."""
        return bool(self.tx.value("SELECT 1 FROM versions WHERE twist = ? AND number = ?", (self.state.twist, number)))

    def has_leftovers(self) -> bool:
        """Whether rows are left that erasing removes."""
        return any(self.tx.value(f"SELECT 1 FROM {table} WHERE instance = ? LIMIT 1", (self.state.id,)) for table in _ERASED)

    def cancel(self, number: int, size: int) -> None:
        """End a waiting execution."""
        cancel_waiting(self.tx, self.state, number, size, self.at)

    def add(self, trigger: Trigger) -> None:
        """Queue the lifecycle method that got lost."""
        rank = Rank.DEACTIVATE if trigger == "deactivate" else Rank.BARRIER
        target = Target(ns="", method=trigger)
        new = NewExecution(
            id=secrets.token_hex(12),
            instance=self.state.id,
            trigger=trigger,
            target=target,
            rank=rank,
            cause="doctor",
            at=self.at,
        )
        add_execution(self.tx, self.state, new)

    def last_status(self, trigger: Trigger) -> str | None:
        """Return how the last lifecycle execution of this kind stands."""
        found: str | None = self.tx.value(_LAST, (self.state.id, trigger))
        return found


_LIFECYCLE: Final = f"""
    SELECT n, id, size FROM executions INDEXED BY executions_barriers
    WHERE instance = ? AND rank <= 1 AND trigger = ? AND {WAITING}
    """

_LAST: Final = "SELECT status FROM executions WHERE instance = ? AND trigger = ? AND ready_at IS NOT NULL ORDER BY n DESC LIMIT 1"

_ERASED: Final = (*OWNED, "data_keys")
"""Tables of which nothing is left of an instance that is erased."""

_CANCEL: Final = "UPDATE executions SET status = 'cancelled', seq = NULL, due = NULL, finished_at = ? WHERE n = ?"


def _faults(scene: _Scene, strays: Collection[int]) -> Checking:
    yield from _status(scene)
    yield from _lease(scene)
    yield from _versions(scene)
    yield from _out_of_step(scene, strays)
    yield from _line(scene)
    yield from _lifecycle(scene)
    yield from _recurring(scene)
    yield from _wake(scene)
    yield from _counts(scene)


# ── What the row says of itself ───────────────────────────────────────────────────────────────────────────────────────────────


def _status(scene: _Scene) -> Checking:
    state, at = scene.state, scene.at
    try:
        suspension = read_suspension(state.suspension)
        named = suspension is None or bool(suspension.reason)
    except msgspec.MsgspecError:
        named = False

    def name_it(reason: str) -> None:
        state.suspension = write_suspension(Suspension(reason=reason, since=at))

    if not named:
        yield Fault(
            "suspended_without_reason",
            f"instance {state.id} is suspended, and nothing says why",
            "it stays suspended, and says that its reason was lost",
            lambda: name_it("why it was suspended got lost: look at it, and resume it"),
        )
    if state.status not in _STATUSES:

        def settle() -> None:
            name_it(f"its status was {state.status!r}, which is none: look at it, and resume it")
            state.status = "active"

        yield Fault(
            "unknown_status",
            f"instance {state.id} is {state.status!r}, which is no status",
            "it is active, and suspended until a person has looked",
            settle,
        )
    try:
        read_spent(state.spent)
    except msgspec.MsgspecError:

        def forget() -> None:
            state.spent = write_spent(Spent())

        yield Fault("unreadable_budget", f"what instance {state.id} has spent cannot be read", "its budgets begin anew", forget)


_STATUSES: Final = frozenset({"activating", "active", "failed", "deactivating"})


# ── Its lease ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lease(scene: _Scene) -> Checking:
    tx, state = scene.tx, scene.state
    running = tx.row("SELECT status, attempt, version, node, started_at FROM executions WHERE n = ?", (state.running,))
    if state.node is None and state.running is None:
        return
    if running is None or running[0] != "running" or state.node is None:

        def give_up() -> None:
            state.epoch += 1
            give_back(state)

        yield Fault(
            "lease_without_execution", f"instance {state.id} is leased, but nothing of it runs", "the lease is ended", give_up
        )
    elif running[1] < 1 or None in running or running[3] != state.node:

        def put_back() -> None:
            state.epoch += 1
            number = state.running
            give_back(state)
            tx.run(_INTO_LINE, (state.take_seq(), scene.at, number))

        yield Fault(
            "running_without_attempt",
            f"an execution of instance {state.id} is running, and nothing says as which attempt of which node",
            "it is ready again",
            put_back,
        )
    elif tx.value("SELECT 1 FROM nodes WHERE id = ?", (state.node,)) is None:
        yield Fault(
            "lease_of_unknown_node",
            f"instance {state.id} is leased to node {state.node}, which is not known",
            "the lease is ended, and what ran is ready again",
            lambda: release_instance(tx, state, scene.at),
        )


_INTO_LINE: Final = """
    UPDATE executions SET status = iif(status = 'running', 'queued', status), seq = ?, due = NULL, ready_at = coalesce(ready_at, ?)
    WHERE n = ?
    """


# ── Its versions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _versions(scene: _Scene) -> Checking:
    tx, state = scene.tx, scene.state
    if state.target_version is not None and not scene.is_version(state.target_version):

        def stay() -> None:
            state.upgrade_error = f"version {state.target_version} got lost: deploy again"
            state.target_version = None
            for number, _, size in scene.waits("upgrade"):
                scene.cancel(number, size)

        yield Fault(
            "missing_target_version",
            f"instance {state.id} waits for an upgrade to version {state.target_version}, which is not there",
            "it goes on in its own version, and says so",
            stay,
        )
    if not scene.is_version(state.version):
        newest = tx.value("SELECT max(number) FROM versions WHERE twist = ?", (state.twist,))
        leads_on = newest is not None and newest > state.version and state.status == "active"

        def move_on() -> None:
            if state.target_version is None:
                state.target_version = newest
                scene.add("upgrade")

        if not (leads_on and state.target_version is not None):
            yield Fault(
                "missing_version",
                f"instance {state.id} is of version {state.version}, which is not there",
                f"it upgrades to version {newest}" if leads_on else "deploy a new version, or restore the database from a backup",
                move_on if leads_on else None,
            )


# ── Executions that are out of step ───────────────────────────────────────────────────────────────────────────────────────────


def _out_of_step(scene: _Scene, strays: Collection[int]) -> Checking:
    for number in strays:
        row = scene.tx.row(_STRAY, (number, scene.state.id))
        fault = None if row is None else _stray(scene, number, *row)
        if fault is not None:
            yield fault


_STRAY: Final = """
    SELECT id, status, size, seq, due, arguments IS NULL AND NOT EXISTS (SELECT 1 FROM payloads WHERE execution = n)
    FROM executions WHERE n = ? AND instance = ?
    """

_OUT_OF_LINE: Final = "UPDATE executions SET seq = NULL, due = NULL WHERE n = ?"

_DEAD: Final = "UPDATE executions SET status = 'dead', seq = NULL, due = NULL, finished_at = ?, error = ? WHERE n = ?"

_LOST_ARGUMENTS: Final = ErrorInfo(type="lost_arguments", message="what it was to be called with got lost")


def _stray(
    scene: _Scene, number: int, id_: str, status: str, size: int, seq: int | None, due: Micros | None, lost: bool
) -> Fault | None:
    tx, state = scene.tx, scene.state
    whose = f"execution {id_} of instance {state.id}"

    def into_line() -> None:
        tx.run(_INTO_LINE, (state.take_seq(), scene.at, number))

    def end() -> None:
        tx.run("UPDATE executions SET arguments = ?, event = ? WHERE n = ?", (b"[[],{}]", b"[]", number))
        tx.run(_DEAD, (scene.at, error_text(_LOST_ARGUMENTS), number))
        state.held = None if state.held == number else state.held

    if status in ("queued", "retrying") and lost:
        return Fault(
            "execution_without_arguments", f"{whose} waits, and its arguments are not there", "it is dead", end, execution=id_
        )
    if status in ("queued", "retrying") and (seq is None) == (due is None):
        what = "without a time or a place in line" if seq is None else "with both a time and a place in line"
        return Fault("waiting_without_place", f"{whose} is {status} {what}", "it is ready", into_line, execution=id_)
    if status == "running" and state.running != number:
        return Fault(
            "running_without_lease", f"{whose} is running without a lease", "it is ready again", into_line, execution=id_
        )
    if status not in ("queued", "retrying") and (seq is not None or due is not None):
        return Fault(
            "over_but_in_line",
            f"{whose} is {status} and stands in line all the same",
            "it leaves the line",
            lambda: tx.run(_OUT_OF_LINE, (number,)),
            execution=id_,
        )
    return None


# ── The line ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _line(scene: _Scene) -> Checking:
    tx, state = scene.tx, scene.state
    last = tx.value(_LAST_PLACE, (state.id,))
    if last is not None and last >= state.next_seq:

        def go_on() -> None:
            state.next_seq = last + 1

        yield Fault(
            "places_given_twice", f"instance {state.id} would give places in line that are taken", "it goes on after them", go_on
        )
    if (
        state.held is not None
        and tx.value(f"SELECT 1 FROM executions WHERE n = ? AND instance = ? AND {WAITING}", (state.held, state.id)) is None
    ):

        def let_go() -> None:
            state.held = None

        yield Fault(
            "held_by_nothing", f"instance {state.id} waits for an execution that does not wait itself", "it waits no more", let_go
        )
    for number, id_, size, key in tx.rows(_KEY_HELD_TWICE, (state.id,)):
        yield Fault(
            "key_held_twice",
            f"execution {id_} of instance {state.id} waits under the key {key!r}, which a later one holds",
            "it is cancelled, as when it was replaced",
            partial(scene.cancel, number, size),
            execution=id_,
        )


_LAST_PLACE: Final = "SELECT max(seq) FROM executions INDEXED BY executions_ready WHERE instance = ? AND seq IS NOT NULL"

_KEY_HELD_TWICE: Final = f"""
    SELECT e.n, e.id, e.size, e.key FROM executions e INDEXED BY executions_keys JOIN (
        SELECT ns, key, max(n) AS holder FROM executions INDEXED BY executions_keys
        WHERE instance = ?1 AND key IS NOT NULL AND attempt = 0 AND {WAITING} GROUP BY ns, key HAVING count(*) > 1
    ) h ON h.ns = e.ns AND h.key = e.key
    WHERE e.instance = ?1 AND e.key IS NOT NULL AND e.attempt = 0 AND (e.seq IS NOT NULL OR e.due IS NOT NULL) AND e.n <> h.holder
    """


# ── Where it is in its life ───────────────────────────────────────────────────────────────────────────────────────────────────


def _lifecycle(scene: _Scene) -> Checking:
    state = scene.state
    if state.status == "activating" and not scene.has_pending("activate"):
        yield _half_activated(scene)
    if state.status == "deactivating" and not scene.has_pending("deactivate"):
        yield _half_deactivated(scene)
    if state.target_version is not None and not scene.has_pending("upgrade"):
        yield Fault(
            "upgrade_without_execution",
            f"instance {state.id} waits for an upgrade to version {state.target_version}, but has none to run",
            "it is queued again",
            lambda: scene.add("upgrade"),
        )
    yield from _misplaced(scene)


def _half_activated(scene: _Scene) -> Fault:
    state, last = scene.state, scene.last_status("activate")

    def take_up() -> None:
        if last in ("dead", "failed", "cancelled"):
            state.status = "failed"
        elif last == "succeeded":
            state.status = "active"
        else:
            scene.add("activate")

    remedies = {None: "it is queued again", "succeeded": "it is active: its activation is over"}
    return Fault(
        "activating_without_activate",
        f"instance {state.id} is activating, but has no activate to run",
        remedies.get(last, "it is failed, as its activation is"),
        take_up,
    )


def _half_deactivated(scene: _Scene) -> Fault:
    state, last = scene.state, scene.last_status("deactivate")

    def take_up() -> None:
        if last is None:
            scene.add("deactivate")
        else:
            state.status = "gone"

    return Fault(
        "deactivating_without_deactivate",
        f"instance {state.id} is deactivating, but has no deactivate to run",
        "it is queued again" if last is None else "it is deactivated: its deactivate is over",
        take_up,
    )


def _misplaced(scene: _Scene) -> Checking:
    """Yield lifecycle executions that wait though the instance is not where they would run."""
    state = scene.state
    if state.status != "deactivating":

        def fence() -> None:
            state.status, state.suspension, state.target_version, state.held = "deactivating", None, None, None
            offer_nothing_more(scene.tx, state.id)

        for _, id_, _ in scene.waits("deactivate")[:1]:
            yield Fault(
                "deactivate_without_fence",
                f"execution {id_} waits to deactivate instance {state.id}, which is {state.status}",
                "the instance is fenced off",
                fence,
                execution=id_,
            )
    unwanted: list[Trigger] = []
    if state.status != "activating":
        unwanted.append("activate")
    if state.target_version is None:
        unwanted.append("upgrade")
    for trigger in unwanted:
        for number, id_, size in scene.waits(trigger):
            yield Fault(
                "lifecycle_out_of_place",
                f"execution {id_} waits to {trigger} instance {state.id}, which is {state.status} in version {state.version}",
                "it is cancelled",
                partial(scene.cancel, number, size),
                execution=id_,
            )


# ── What recurs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Schedules(Struct):
    """What of a manifest says which methods recur."""

    schedules: list[ScheduleInfo] = []


_read_schedules = msgspec.json.Decoder(_Schedules).decode

_MANIFEST: Final = "SELECT manifest FROM versions WHERE twist = ? AND number = ?"


def _recurring(scene: _Scene) -> Checking:
    tx, state = scene.tx, scene.state
    manifest = tx.value(_MANIFEST, (state.twist, state.version)) if state.status == "active" else None
    wanted: set[tuple[str, str]] = (
        set() if manifest is None else {(one.ns, one.key) for one in _read_schedules(manifest).schedules}
    )
    armed = set(tx.rows("SELECT ns, key FROM recurring WHERE instance = ? AND declared = 1", (state.id,)))
    if wanted - armed:

        def arm() -> None:
            for number, size in arm_declared(tx, state, scene.at):
                scene.cancel(number, size)

        names = ", ".join(sorted(key for _, key in wanted - armed))
        yield Fault(
            "schedule_not_armed",
            f"version {state.version} of instance {state.id} has {names} run by a schedule that is not there",
            "it is set up again, from now on",
            arm,
        )
    for one in map(recurring_record, tx.rows(_ALL_RECURRING, (state.id,))):
        nominal = set_back(one.recurrence, one.next, scene.at) if one.next < NEVER else None
        if nominal is not None:
            yield Fault(
                "recurring_too_late",
                f"the next run of {one.key} of instance {state.id} is set for long after it ought to be",
                "it goes on from now",
                partial(tx.run, "UPDATE recurring SET next = ? WHERE id = ?", (nominal, one.id)),
            )
    if state.recurs_at != tx.value("SELECT min(next) FROM recurring WHERE instance = ?", (state.id,)):
        yield Fault(
            "recurring_without_next",
            f"instance {state.id} does not know when the next of its recurring tasks is due",
            "it does",
            lambda: note_first(tx, state),
        )


_ALL_RECURRING: Final = f"SELECT {RECURRING} FROM recurring INDEXED BY recurring_next WHERE instance = ?"


# ── When it is claimed ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _wake(scene: _Scene) -> Checking:
    """Yield a `wake_at` that is not what follows; mending needs nothing here, since saving the row computes it."""
    state, at = scene.state, scene.at
    wanted = wake_time(scene.tx, state, at)
    if wanted is None and state.wake_at is not None:
        yield Fault(
            "wake_without_work", f"instance {state.id} is to be claimed, but nothing of it may run", "it is not", _nothing
        )
    elif wanted is not None and state.wake_at is None:
        yield Fault(
            "no_wake", f"instance {state.id} has work, but will never be claimed", "it will be, when its work is due", _nothing
        )
    elif wanted is not None and state.wake_at is not None and state.wake_at > max(wanted, at):
        what = f"instance {state.id} is to be claimed later than its first event is due"
        yield Fault("late_wake", what, "it is claimed when that is due", _nothing)


def _nothing() -> None:
    """Mend by saving."""


# ── What it counts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PENDING: Final = """
    SELECT count(*), coalesce(sum(size), 0) FROM (
        SELECT size FROM executions INDEXED BY executions_ready WHERE instance = ?1 AND seq IS NOT NULL
        UNION ALL SELECT size FROM executions INDEXED BY executions_timers WHERE instance = ?1 AND due IS NOT NULL
        UNION ALL SELECT size FROM executions WHERE n = ?2
    )
    """

_SUMS: Final = (
    ("store_bytes", "bytes in its store", "SELECT coalesce(sum(size), 0) FROM store WHERE instance = ?"),
    ("callbacks", "callbacks", "SELECT count(*) FROM callbacks WHERE instance = ?"),
    ("record_bytes", "bytes of records", "SELECT coalesce(sum(length(content)), 0) FROM records WHERE instance = ?"),
)


def _counts(scene: _Scene) -> Checking:
    tx, state = scene.tx, scene.state
    pending, pending_bytes = tx.rows(_PENDING, (state.id, state.running))[0]
    counted = [("pending", "pending executions", pending), ("pending_bytes", "bytes of pending executions", pending_bytes)]
    counted += [(column, what, tx.value(sql, (state.id,))) for column, what, sql in _SUMS]
    for column, what, right in counted:
        wrong = getattr(state, column)
        if right != wrong:
            yield Fault(
                f"wrong_{column}",
                f"instance {state.id} has {right:,} {what}, but counts {wrong:,}",
                "it counts what there is",
                partial(setattr, state, column, right),
            )
