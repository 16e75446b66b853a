"""The end of an attempt: what it did is applied, what becomes of the execution is decided, the next one starts or the lease ends.

Whether the attempt still holds the lease is looked at first: one that lost it writes nothing.
"""

from __future__ import annotations

import logging
from typing import Final

from ropewalk.storage.interface import Fenced
from ropewalk.storage.records import Enqueue, Instance, LogLine, Part, Rank, Settled, Settlement
from ropewalk.storage.sqlite.attempts import RUNNING, Running, keep_attempt
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.effects import apply_effects
from ropewalk.storage.sqlite.lifecycle import attempt_failed, execution_over, is_superseded
from ropewalk.storage.sqlite.logs import keep_logs
from ropewalk.storage.sqlite.recording import keep_record
from ropewalk.storage.sqlite.recurring import arm_declared
from ropewalk.storage.sqlite.rows import INSTANCE, InstanceState, error_text
from ropewalk.storage.sqlite.scheduling import cancel_waiting, give_back, keep_due, save, start_next
from ropewalk.storage.sqlite.telling import tell_of_failure

_HOLDER: Final = f"""
    SELECT {INSTANCE}, {RUNNING}
    FROM instances i CROSS JOIN twists t ON t.id = i.twist CROSS JOIN executions e ON e.n = i.running WHERE i.id = ?
    """

_STATE_COLUMNS: Final = len(InstanceState.__struct_fields__)


def settle(tx: Transaction, settlement: Settlement) -> Settled:
    """End an attempt, in one transaction with all that it did and what follows.

    Raises:
        Fenced: the lease was lost.
        DoesNotApply: an effect cannot be applied.
    """
    at = settlement.at
    state, running = lease_holder(tx, settlement.instance, settlement.epoch, settlement.execution)
    apply_effects(tx, state, settlement.effects, at)
    keep_logs(tx, state.id, running.n, settlement.logs if state.status != "deactivating" else _with_dropped(settlement))
    keep_attempt(tx, running.n, settlement.attempt)
    keep_record(tx, state, running.n, settlement)
    give_back(state)
    _conclude(tx, state, running, settlement)
    claimed = start_next(tx, state, settlement.node, at) if settlement.claim_next else None
    save(tx, state, at)
    return Settled(next=claimed)


def _with_dropped(settlement: Settlement) -> list[LogLine]:
    """Return the log lines of an attempt whose instance leaves, and one that says what it asked for in vain."""
    dropped = sum(type(effect) is Enqueue for effect in settlement.effects)
    if not dropped:
        return settlement.logs
    text = f"tasks that it asked for and that will not run, since its instance is being deactivated: {dropped:,}"
    line = LogLine(time=settlement.at, level=logging.WARNING, message=text, attempt=settlement.attempt.number)
    return [*settlement.logs, line]


def commit_part(tx: Transaction, part: Part) -> Instance:
    """Keep what a running attempt did so far, and return the instance with what it keeps now.

    Raises:
        Fenced: the lease was lost.
        DoesNotApply: an effect cannot be applied.
    """
    state, running = lease_holder(tx, part.instance, part.epoch, part.execution)
    apply_effects(tx, state, part.effects, part.at)
    keep_logs(tx, state.id, running.n, part.logs)
    tx.run("UPDATE executions SET tries = 0 WHERE n = ?", (running.n,))
    save(tx, state, part.at)
    return state.record()


def lease_holder(tx: Transaction, instance: str, epoch: int, execution: str) -> tuple[InstanceState, Running]:
    """Return the instance and the execution that runs under its lease.

    Raises:
        Fenced: that is not this execution in this epoch.
    """
    row = tx.row(_HOLDER, (instance,))
    if row is not None:
        state, running = InstanceState(*row[:_STATE_COLUMNS]), Running(*row[_STATE_COLUMNS:])
        if state.epoch == epoch and running.id == execution:
            return state, running
    raise Fenced(f"execution {execution} no longer holds epoch {epoch} of instance {instance}: it was cancelled or taken over")


# ── What becomes of the execution ─────────────────────────────────────────────────────────────────────────────────────────────

_OVER: Final = """
    UPDATE executions SET status = ?, tries = tries + ?, lost = lost + ?, started_at = ?, finished_at = ?, cpu = ?, memory_peak = ?,
        requests = ?, error = ?, result = ?
    WHERE n = ?
    """

_RETRY: Final = """
    UPDATE executions SET status = 'retrying', tries = tries + ?, lost = lost + ?, cpu = ?, memory_peak = ?, requests = ?, error = ?,
        rank = ?, due = ?, run_at = ?
    WHERE n = ?
    """


def _conclude(tx: Transaction, state: InstanceState, running: Running, settlement: Settlement) -> None:
    verdict, attempt = settlement.verdict, settlement.attempt
    if verdict.status != "succeeded":
        attempt_failed(tx, state, running.trigger, settlement.at)
    if verdict.status == "retrying" and not is_superseded(state, running.trigger, running.version):
        _back_off(tx, state, running, settlement)
        return
    status = "cancelled" if verdict.status == "retrying" else verdict.status
    usage = attempt.usage
    tx.run(
        _OVER,
        (
            status,
            verdict.counted,
            attempt.status == "lost",
            usage.started_at,  # when it ran: it was claimed before, and may have waited for its process
            usage.finished_at,
            usage.cpu,
            usage.memory_peak,
            usage.requests,
            error_text(attempt.error),
            verdict.result,
            running.n,
        ),
    )
    state.pending -= 1
    state.pending_bytes -= running.size
    execution_over(state, running.trigger, running.version, status, attempt.error)
    tell_of_failure(tx, state, running.n, running.id, running.rank, status, attempt.error, settlement.at)
    if status == "succeeded" and running.trigger in ("activate", "upgrade"):
        for number, size in arm_declared(tx, state, settlement.at):
            cancel_waiting(tx, state, number, size, settlement.at)


def _back_off(tx: Transaction, state: InstanceState, running: Running, settlement: Settlement) -> None:
    """Let the execution step aside until its time comes; it returns before what came later."""
    verdict, attempt = settlement.verdict, settlement.attempt
    run_at = settlement.at if verdict.run_at is None else verdict.run_at
    keep_due(tx, state, settlement.at)
    usage = attempt.usage
    tx.run(
        _RETRY,
        (
            verdict.counted,
            attempt.status == "lost",
            usage.cpu,
            usage.memory_peak,
            usage.requests,
            error_text(attempt.error),
            min(running.rank, Rank.RETURNING),
            run_at,
            run_at,
            running.n,
        ),
    )
    # A lifecycle method has everything wait anyhow. No barrier must let go of who is held already.
    if verdict.ordered and (running.rank > Rank.BARRIER or (running.trigger == "options" and state.held is None)):
        state.held = running.n
