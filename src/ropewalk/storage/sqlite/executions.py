"""Events that come from outside an execution, and what people do with executions: retry and cancel them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.interface import DoesNotApply, QueueIsFull, UnknownInstance
from ropewalk.storage.records import ErrorInfo, LogLine, NewExecution, Rank, StorageLimits
from ropewalk.storage.sqlite.attempts import break_off, end_execution, running_of
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.lifecycle import attempt_failed, execution_over
from ropewalk.storage.sqlite.logs import keep_logs
from ropewalk.storage.sqlite.recurring import RECURRING, drop_recurring, go_on_from, recurring_record
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.storage.sqlite.scheduling import add_execution, cancel_waiting, load, load_if_there, promote_due, save

# ── Enqueue ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def enqueue(tx: Transaction, new: NewExecution) -> str:
    """Store an event and return the id of the execution that will answer it.

    Raises:
        UnknownInstance: the instance is not there, or takes no more events because it is being deactivated.
        QueueIsFull: it has too many pending already.
        DoesNotApply: the id is taken.
    """
    state = load(tx, new.instance)
    if state.status == "deactivating":
        raise UnknownInstance(f"instance {new.instance} is being deactivated and takes no more events")
    if new.rank > Rank.BARRIER:
        check_room(state, new, tx.limits)
    answered_by = add_execution(tx, state, new)
    save(tx, state, new.at)
    return answered_by


def check_room(state: InstanceState, new: NewExecution, limits: StorageLimits) -> None:
    """Raise QueueIsFull when the instance has no room for one more event."""
    size = len(new.event) + len(new.target.arguments)
    if state.pending >= limits.pending:
        raise QueueIsFull(f"instance {state.id} has {state.pending:,} pending executions and may have {limits.pending:,}")
    if state.pending_bytes + size > limits.pending_bytes:
        raise QueueIsFull(
            f"instance {state.id} has {state.pending_bytes:,} bytes of pending executions and may have {limits.pending_bytes:,};"
            f" this event is {size:,}"
        )


# ── Retry ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_REQUEST_IS_GONE: Final = "SELECT 1 FROM executions WHERE n = ? AND event = x'5b5d'"

_LOOK: Final = "SELECT n, instance, status, trigger, size, version, rank FROM executions WHERE id = ?"

_QUEUE_AGAIN: Final = """
    UPDATE executions SET status = 'queued', tries = 0, lost = 0, seq = ?, due = NULL, run_at = NULL, rank = ?, finished_at = NULL,
        ready_at = coalesce(ready_at, ?)
    WHERE n = ?
    """


def retry(tx: Transaction, execution: str, at: Micros) -> None:
    """Queue a dead, failed or backing-off execution again.

    Raises:
        DoesNotApply: it is none of these, or what it was for is over.
    """
    row = tx.row(_LOOK, (execution,))
    if row is None:
        raise DoesNotApply(f"there is no execution {execution}")
    number, instance, status, trigger, size, version, rank = row
    if status not in ("dead", "failed", "retrying"):
        raise DoesNotApply(f"execution {execution} is {status}: only a dead, failed or retrying one can be retried")
    state = load_if_there(tx, instance)
    if state is None or (state.status == "deactivating" and trigger != "deactivate"):
        raise DoesNotApply(f"execution {execution} cannot be retried: its instance is deactivated")
    if trigger == "webhook" and tx.value(_REQUEST_IS_GONE, (number,)):
        raise DoesNotApply(f"execution {execution} cannot be retried: the request that it answers is not kept any more")
    if status != "retrying":
        _take_up_again(state, execution, trigger, version)
        state.pending += 1
        state.pending_bytes += size
    promote_due(tx, state, at)
    tx.run(_QUEUE_AGAIN, (state.take_seq(), min(rank, Rank.RETURNING), at, number))
    save(tx, state, at)


def _take_up_again(state: InstanceState, execution: str, trigger: str, version: int) -> None:
    """Put the instance back to where it waits for the lifecycle method that is to be retried."""
    if trigger == "activate":
        if state.status != "failed":
            raise DoesNotApply(f"activation {execution} cannot be retried: its instance is {state.status}")
        state.status = "activating"
    elif trigger == "upgrade":
        if version <= state.version or state.target_version is not None:
            raise DoesNotApply(f"upgrade {execution} to version {version} cannot be retried: a newer one took its place")
        state.target_version = version


# ── Cancel ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_CANCELLED: Final = ErrorInfo(type="cancelled", message="cancelled by a person")


def cancel(tx: Transaction, execution: str, at: Micros) -> bool:
    """Cancel a pending execution, fencing it off when it runs; False when it was over.

    Raises:
        DoesNotApply: there is none, or it is a `deactivate`, which cannot be taken back.
    """
    row = tx.row(_LOOK, (execution,))
    if row is None:
        raise DoesNotApply(f"there is no execution {execution}")
    number, instance, status, trigger, size, version, _rank = row
    state = load_if_there(tx, instance)
    if state is None or status not in ("queued", "retrying", "running"):
        return False
    if trigger == "deactivate":
        raise DoesNotApply(f"execution {execution} deactivates instance {instance}: that cannot be taken back")
    running = running_of(tx, state)
    if running is not None and running.n == number:
        break_off(tx, state, running, "cancelled", _CANCELLED, at)
        end_execution(tx, state, running, "cancelled", _CANCELLED, at)
    else:
        cancel_waiting(tx, state, number, size, at)
    attempt_failed(tx, state, trigger, at)
    execution_over(state, trigger, version, "cancelled", _CANCELLED)
    save(tx, state, at)
    return True


_RECURRING: Final = f"SELECT {RECURRING} FROM recurring WHERE id = ?"


def cancel_recurring(tx: Transaction, recurring: str, at: Micros) -> bool:
    """End what recurs, with those of its runs that wait for their start; False when there is none."""
    row = tx.row(_RECURRING, (recurring,))
    one = None if row is None else recurring_record(row)
    state = None if one is None else load_if_there(tx, one.instance)
    if one is None or state is None:
        return False
    for number, size in drop_recurring(tx, state, one):
        cancel_waiting(tx, state, number, size, at)
    save(tx, state, at)
    return True


def follow_clock(tx: Transaction, instance: str, at: Micros) -> None:
    """Have an instance go on from now where the clock was set back: what recurs of it, if that was far, and its pace."""
    state = load_if_there(tx, instance)
    if state is not None:
        go_on_from(tx, state, at)
        save(tx, state, at)


# ── Logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def append_logs(tx: Transaction, instance: str, execution: str, lines: Sequence[LogLine]) -> None:
    """Keep log lines of an attempt that goes on; of an execution that is not there any more none are."""
    number = tx.value("SELECT n FROM executions WHERE id = ? AND instance = ?", (execution, instance))
    if number is not None:
        keep_logs(tx, instance, number, lines)
