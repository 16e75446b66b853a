"""What is kept of attempts, and how one is ended from outside: its node lost, its execution cancelled, its instance deactivated."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.records import Attempt, ErrorInfo, ExecutionStatus, Usage
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import InstanceState, error_text
from ropewalk.storage.sqlite.scheduling import give_back


class Running(Struct):
    """What there is to know of the execution that runs under an instance's lease."""

    n: int
    id: str
    trigger: str
    rank: int
    size: int
    version: int
    node: str
    attempt: int
    lost: int
    started_at: Micros


RUNNING: Final = "e.n, e.id, e.trigger, e.rank, e.size, e.version, e.node, e.attempt, e.lost, e.started_at"
"""Columns of a Running, from `executions e`."""

_RUNNING: Final = f"SELECT {RUNNING} FROM executions e WHERE n = ?"

_KEEP_ATTEMPT: Final = """
    INSERT INTO attempts (execution, number, version, node, status, started_at, finished_at, cpu, memory_peak, requests, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """

_END: Final = "UPDATE executions SET status = ?, finished_at = ?, error = ? WHERE n = ?"


def running_of(tx: Transaction, state: InstanceState) -> Running | None:
    """Return what runs under the instance's lease."""
    row = None if state.running is None else tx.row(_RUNNING, (state.running,))
    return None if row is None else Running(*row)


def keep_attempt(tx: Transaction, execution: int, attempt: Attempt) -> None:
    """Keep how an attempt ended, but for one that succeeded: the execution's own row tells of that."""
    if attempt.status == "succeeded":
        return
    usage = attempt.usage
    tx.run(
        _KEEP_ATTEMPT,
        (
            execution,
            attempt.number,
            attempt.version,
            attempt.node,
            attempt.status,
            usage.started_at,
            usage.finished_at,
            usage.cpu,
            usage.memory_peak,
            usage.requests,
            error_text(attempt.error),
        ),
    )


def break_off(
    tx: Transaction, state: InstanceState, running: Running, how: Literal["lost", "cancelled"], error: ErrorInfo, at: Micros
) -> None:
    """End the attempt that runs, and its lease: whoever runs it cannot commit any more. Its execution is still to be dealt with."""
    usage = Usage(started_at=running.started_at, finished_at=at)
    attempt = Attempt(number=running.attempt, version=running.version, node=running.node, usage=usage, status=how, error=error)
    keep_attempt(tx, running.n, attempt)
    state.epoch += 1
    give_back(state)


def end_execution(
    tx: Transaction, state: InstanceState, running: Running, status: ExecutionStatus, error: ErrorInfo, at: Micros
) -> None:
    """Have the execution whose attempt was broken off be over."""
    tx.run(_END, (status, at, error_text(error), running.n))
    state.pending -= 1
    state.pending_bytes -= running.size
