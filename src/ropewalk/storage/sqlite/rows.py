"""How rows become records and records rows: column lists beside the functions that read them, in the same order."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.budgets import read_suspension
from ropewalk.storage.records import Attempt, ErrorInfo, Execution, Instance, InstanceStatus, Rank, Usage
from ropewalk.storage.sqlite.driver import Row
from ropewalk.wire.messages import Json, Target

_encode = msgspec.json.encode
_decode_error = msgspec.json.Decoder(ErrorInfo).decode


def error_text(error: ErrorInfo | None) -> bytes | None:
    """Return an error as it is stored."""
    return None if error is None else _encode(error)


def read_error(text: bytes | None) -> ErrorInfo | None:
    """Return a stored error."""
    return None if text is None else _decode_error(text)


RESTING: Final = frozenset({"failed", "gone", "erased"})
"""Statuses in which nothing of an instance runs."""


# ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

INSTANCE = """
    i.id, i.twist, t.name, i.version, i.target_version, i.priority, i.status, i.options, i.secret, i.created_at, i.upgrade_error,
    i.epoch, i.node, i.running, i.held, i.wake_at, i.served, i.next_seq, i.pending, i.pending_bytes, i.store_bytes, i.callbacks,
    i.pace_at, i.spent, i.suspension, i.record_bytes, i.recurs_at, i.due_to, i.granted, i.awaiting
    """
"""Columns of an InstanceState, from `instances i JOIN twists t`."""


class InstanceState(Struct):
    """An instance's row while a verb works on it: loaded once, changed in memory, saved once.

    `granted` and `awaiting` are read only: `upgrading` writes them where they change. Its status is a record's, or `gone`: deactivated, unreachable, still to be erased; or `erased`. It is never `suspended`: that is what
    `suspension` makes of any status, for as long as it is there.
    """

    id: str
    twist: str
    twist_name: str
    version: int
    target_version: int | None
    priority: str
    status: str
    options: Json
    secret: bytes
    created_at: Micros
    upgrade_error: str | None
    epoch: int
    node: str | None
    running: int | None
    held: int | None
    wake_at: Micros | None
    served: int
    next_seq: int
    pending: int
    pending_bytes: int
    store_bytes: int
    callbacks: int
    pace_at: Micros
    spent: Json
    suspension: Json | None
    record_bytes: int
    recurs_at: Micros | None
    due_to: Micros | None
    granted: int
    awaiting: int | None

    @property
    def rests(self) -> bool:
        """Whether nothing of it runs until somebody lifts that."""
        return self.suspension is not None or self.status in RESTING

    def take_seq(self) -> int:
        """Return the next number of the order of readiness."""
        seq = self.next_seq
        self.next_seq = seq + 1
        return seq

    def record(self, version: int | None = None) -> Instance:
        """Return what callers see, with `version` in place of the instance's own when it is given."""
        status: InstanceStatus = "suspended" if self.suspension is not None else cast("InstanceStatus", self.status)
        return Instance(
            id=self.id,
            twist=self.twist,
            twist_name=self.twist_name,
            version=self.version if version is None else version,
            target_version=self.target_version,
            priority=self.priority,
            status=status,
            options=self.options,
            secret=self.secret,
            created_at=self.created_at,
            pace_at=self.pace_at,
            spent=self.spent,
            pending=self.pending,
            pending_bytes=self.pending_bytes,
            store_bytes=self.store_bytes,
            callbacks=self.callbacks,
            suspension=read_suspension(self.suspension),
            upgrade_error=self.upgrade_error,
            granted=self.granted,
            awaiting=self.awaiting,
        )


# ── Executions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

EXECUTION = """
    e.n, e.id, e.instance, e.version, e.target_ns, e.method, e.callback, e.trigger, e.cause, e.depth, e.rank, e.ns, e.key, e.status,
    e.attempt, e.tries, e.lost, e.run_at, e.queued_at, e.started_at, e.finished_at, e.cpu, e.memory_peak, e.requests, e.error,
    e.result, coalesce(e.arguments, (SELECT arguments FROM payloads WHERE execution = e.n)),
    coalesce(e.event, (SELECT event FROM payloads WHERE execution = e.n))
    """
"""Columns of an execution's record, from `executions e`; its number comes first."""


_RANKS: dict[int, Rank] = {int(rank): rank for rank in Rank}


def execution_record(row: Row, twist: str) -> Execution:
    """Return the execution whose `EXECUTION` columns `row` begins with."""
    return Execution(
        id=row[1],
        instance=row[2],
        twist=twist,
        version=row[3],
        target=Target(ns=row[4], method=row[5], arguments=row[26]),
        callback=row[6],
        trigger=row[7],
        cause=row[8],
        depth=row[9],
        rank=_RANKS[row[10]],
        ns=row[11],
        key=row[12],
        status=row[13],
        attempt=row[14],
        tries=row[15],
        lost=row[16],
        run_at=row[17],
        queued_at=row[18],
        started_at=row[19],
        finished_at=row[20],
        cpu=row[21],
        memory_peak=row[22],
        requests=row[23],
        error=read_error(row[24]),
        result=row[25],
        event=row[27],
    )


# ── Attempts ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

ATTEMPT = "number, version, node, status, started_at, finished_at, cpu, memory_peak, requests, error"
"""Columns of an attempt, from `attempts`."""


def attempt_record(row: Row) -> Attempt:
    """Return the attempt whose `ATTEMPT` columns `row` is."""
    number, version, node, status, started_at, finished_at, cpu, memory_peak, requests, error = row
    usage = Usage(started_at=started_at, finished_at=finished_at, cpu=cpu, memory_peak=memory_peak, requests=requests)
    return Attempt(number=number, version=version, node=node, usage=usage, status=status, error=read_error(error))
