"""What must always hold of a live database, checked and mended.

Looking is done on a reading connection, in one snapshot, so that it costs writers nothing and sees nothing half done. What it finds is
looked at again when it is mended, instance by instance, each in a write of its own: work went on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
from msgspec import Struct, field

from ropewalk.clock import Micros
from ropewalk.storage.records import StorageLimits
from ropewalk.storage.sqlite.committer import Transaction, Verb
from ropewalk.storage.sqlite.connection import open_reader
from ropewalk.storage.sqlite.errors import translate
from ropewalk.storage.sqlite.nodes import release_instance
from ropewalk.storage.sqlite.recurring import note_first
from ropewalk.storage.sqlite.rows import INSTANCE, InstanceState
from ropewalk.storage.sqlite.scheduling import WAITING, give_back, load_if_there, save, wake_time


class Write(Protocol):
    """`Committer.run`."""

    def __call__(self, verb: Verb[None], *, promised: bool = True, heavy: bool = False) -> Awaitable[None]:
        """Run a verb in a transaction."""
        ...


class Findings(Struct):
    """What is wrong: sentences for people, by the instance they are about; and executions out of step, by the same."""

    of_database: list[str] = field(default_factory=list[str])
    of_instances: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    strays: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def sentences(self) -> list[str]:
        """Everything, as text."""
        return self.of_database + [sentence for sentences in self.of_instances.values() for sentence in sentences]


async def audit(path: Path, write: Write, limits: StorageLimits, at: Micros, *, repair: bool) -> list[str]:
    """Return what is wrong, a sentence each; with `repair` all of it is mended but damage to the file itself."""
    findings = await asyncio.to_thread(_look, path, limits, at)
    if repair:
        for instance in findings.of_instances:
            await write(_mending(instance, findings.strays[instance], at), heavy=True)
    return findings.sentences()


def _look(path: Path, limits: StorageLimits, at: Micros) -> Findings:
    try:
        reader = open_reader(path)
        try:
            reader.execute("BEGIN")
            return _find(Transaction(reader, limits), at)
        finally:
            reader.close()
    except apsw.Error as error:
        raise translate(error, str(path)) from error


# ── Looking ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PENDING: Final = """
    SELECT instance, count(*), sum(size) FROM executions WHERE status IN ('queued', 'running', 'retrying') GROUP BY instance
    """

_STRAYS: Final = """
    SELECT e.n, e.id, e.instance, e.status, e.seq, e.due FROM executions e CROSS JOIN instances i ON i.id = e.instance
    WHERE i.status NOT IN ('gone', 'erased') AND CASE
        WHEN e.status IN ('queued', 'retrying') THEN (e.seq IS NULL) = (e.due IS NULL)
        WHEN e.status = 'running' THEN i.running IS NOT e.n OR e.seq IS NOT NULL OR e.due IS NOT NULL
        ELSE e.seq IS NOT NULL OR e.due IS NOT NULL
    END
    """

_INSTANCES: Final = f"""
    SELECT {INSTANCE}, n.id, e.status,
        (SELECT max(seq) FROM executions WHERE instance = i.id AND seq IS NOT NULL),
        EXISTS (SELECT 1 FROM executions WHERE n = i.held AND {WAITING}),
        (SELECT min(next) FROM recurring WHERE instance = i.id)
    FROM instances i JOIN twists t ON t.id = i.twist LEFT JOIN nodes n ON n.id = i.node LEFT JOIN executions e ON e.n = i.running
    WHERE i.status NOT IN ('gone', 'erased')
    """

_LIFECYCLE: Final = f"""
    SELECT 1 FROM executions e WHERE e.instance = ?1 AND e.rank <= 1 AND e.trigger = ?2 AND {WAITING}
    UNION ALL SELECT 1 FROM executions WHERE n = ?3 AND trigger = ?2
    """

_AWAITED: Final = {"activating": "activate", "deactivating": "deactivate"}


def _find(tx: Transaction, at: Micros) -> Findings:
    findings = Findings()
    findings.of_database += [f"the file is damaged: {text}" for (text,) in tx.rows("PRAGMA quick_check(10)") if text != "ok"]
    for number, execution, instance, status, seq, due in tx.rows(_STRAYS):
        findings.of_instances[instance].append(_stray(execution, instance, status, seq, due))
        findings.strays[instance].append(number)
    counts = _Counts.of(tx)
    for row in tx.rows(_INSTANCES):
        state = InstanceState(*row[:-5])
        found = [*_lease(state, *row[-5:-3]), *_order(tx, state, *row[-3:-1]), *_recurs(state, row[-1])]
        found += [*_schedule(tx, state, at), *counts.compare(state)]
        if found:
            findings.of_instances[state.id] += found
    return findings


def _stray(execution: str, instance: str, status: str, seq: int | None, due: Micros | None) -> str:
    if status == "running":
        return f"execution {execution} of instance {instance} is running without a lease"
    if status in ("queued", "retrying") and seq is None and due is None:
        return f"execution {execution} of instance {instance} is {status} without a time or a place in line"
    return f"execution {execution} of instance {instance} is {status} and stands in line all the same"


def _lease(state: InstanceState, node: str | None, running: str | None) -> Iterator[str]:
    if state.node is not None and node is None:
        yield f"instance {state.id} is leased to node {state.node}, which is not known"
    elif (state.running is None) != (state.node is None) or (state.running is not None and running != "running"):
        yield f"instance {state.id} is leased, but nothing of it runs"


def _order(tx: Transaction, state: InstanceState, last: int | None, held: int) -> Iterator[str]:
    if last is not None and last >= state.next_seq:
        yield f"instance {state.id} would give places in line that are taken"
    if state.held is not None and not held:
        yield f"instance {state.id} waits for an execution that does not wait itself"
    awaited = _AWAITED.get(state.status)
    if awaited is not None and not _has_lifecycle(tx, state, awaited):
        yield f"instance {state.id} is {state.status}, but has no {awaited} to run"
    if state.target_version is not None and not _has_lifecycle(tx, state, "upgrade"):
        yield f"instance {state.id} waits for an upgrade to version {state.target_version}, but has none to run"


def _recurs(state: InstanceState, first: Micros | None) -> Iterator[str]:
    if state.recurs_at != first:
        yield f"instance {state.id} does not know when the next of its recurring tasks is due"


def _has_lifecycle(tx: Transaction, state: InstanceState, trigger: str) -> bool:
    return bool(tx.rows(_LIFECYCLE, (state.id, trigger, state.running)))


def _schedule(tx: Transaction, state: InstanceState, at: Micros) -> Iterator[str]:
    wanted = wake_time(tx, state, at)
    if wanted is None and state.wake_at is not None:
        yield f"instance {state.id} is to be claimed, but nothing of it may run"
    elif wanted is not None and state.wake_at is None:
        yield f"instance {state.id} has work, but will never be claimed"
    elif wanted is not None and state.wake_at is not None and state.wake_at > max(wanted, at):
        yield f"instance {state.id} is to be claimed later than its first event is due"


class _Counts(Struct):
    """What the instances' counters should say."""

    pending: dict[str, tuple[int, int]]
    store: dict[str, int]
    callbacks: dict[str, int]
    records: dict[str, int]

    @classmethod
    def of(cls, tx: Transaction) -> _Counts:
        return cls(
            pending={instance: (count, size) for instance, count, size in tx.rows(_PENDING)},
            store=_pairs(tx, "SELECT instance, sum(size) FROM store GROUP BY instance"),
            callbacks=_pairs(tx, "SELECT instance, count(*) FROM callbacks GROUP BY instance"),
            records=_pairs(tx, "SELECT instance, sum(length(content)) FROM records GROUP BY instance"),
        )

    def compare(self, state: InstanceState) -> Iterator[str]:
        sums = [counts.get(state.id, 0) for counts in (self.store, self.callbacks, self.records)]
        counted = (*self.pending.get(state.id, (0, 0)), *sums)
        kept = (state.pending, state.pending_bytes, state.store_bytes, state.callbacks, state.record_bytes)
        for what, right, wrong in zip(_COUNTED, counted, kept, strict=True):
            if right != wrong:
                yield f"instance {state.id} has {right:,} {what}, but counts {wrong:,}"


_COUNTED: Final = ("pending executions", "bytes of pending executions", "bytes in its store", "callbacks", "bytes of records")


def _pairs(tx: Transaction, sql: str) -> dict[str, Any]:
    return dict(tx.rows(sql))


# ── Mending ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_STRAY_NOW: Final = "SELECT status FROM executions WHERE n = ? AND instance = ?"

_INTO_LINE: Final = """
    UPDATE executions SET status = iif(status = 'running', 'queued', status), seq = ?, due = NULL, ready_at = coalesce(ready_at, ?)
    WHERE n = ?
    """

_OUT_OF_LINE: Final = "UPDATE executions SET seq = NULL, due = NULL WHERE n = ?"

_COUNT_PENDING: Final = "SELECT count(*), coalesce(sum(size), 0) FROM executions WHERE instance = ? AND status IN (?, ?, ?)"


def _mending(instance: str, strays: list[int], at: Micros) -> Verb[None]:
    def mend(tx: Transaction) -> None:
        state = load_if_there(tx, instance)
        if state is not None:
            _mend_lease(tx, state, at)
            _mend_order(tx, state)
            note_first(tx, state)
            for number in strays:
                _mend_stray(tx, state, number, at)
            _mend_counts(tx, state)
            save(tx, state, at)

    return mend


def _mend_lease(tx: Transaction, state: InstanceState, at: Micros) -> None:
    runs = state.running is not None and tx.value("SELECT 1 FROM executions WHERE n = ? AND status = 'running'", (state.running,))
    if not runs:
        if state.running is not None or state.node is not None:
            state.epoch += 1
        give_back(state)
    elif tx.value("SELECT 1 FROM nodes WHERE id = ?", (state.node,)) is None:
        release_instance(tx, state, at)


def _mend_order(tx: Transaction, state: InstanceState) -> None:
    last = tx.value("SELECT max(seq) FROM executions WHERE instance = ? AND seq IS NOT NULL", (state.id,))
    state.next_seq = max(state.next_seq, (last or 0) + 1)
    if state.held is not None and tx.value(f"SELECT 1 FROM executions WHERE n = ? AND {WAITING}", (state.held,)) is None:
        state.held = None
    if state.target_version is not None and not _has_lifecycle(tx, state, "upgrade"):
        state.upgrade_error = f"the upgrade to version {state.target_version} got lost: deploy again"
        state.target_version = None
    awaited = _AWAITED.get(state.status)
    if awaited is not None and not _has_lifecycle(tx, state, awaited):
        state.status = "failed" if awaited == "activate" else "gone"


def _mend_stray(tx: Transaction, state: InstanceState, number: int, at: Micros) -> None:
    status = tx.value(_STRAY_NOW, (number, state.id))
    if status in ("queued", "retrying") or (status == "running" and state.running != number):
        tx.run(_INTO_LINE, (state.take_seq(), at, number))
    else:
        tx.run(_OUT_OF_LINE, (number,))


def _mend_counts(tx: Transaction, state: InstanceState) -> None:
    state.pending, state.pending_bytes = tx.rows(_COUNT_PENDING, (state.id, "queued", "running", "retrying"))[0]
    state.store_bytes = tx.value("SELECT coalesce(sum(size), 0) FROM store WHERE instance = ?", (state.id,))
    state.callbacks = tx.value("SELECT count(*) FROM callbacks WHERE instance = ?", (state.id,))
    state.record_bytes = tx.value("SELECT coalesce(sum(length(content)), 0) FROM records WHERE instance = ?", (state.id,))
