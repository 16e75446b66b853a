"""What starting an execution costs its instance, written with the start: its pace, its day, its chain.

Whatever comes of it (the suspension, the owner's note, the warning in the logs) is in the transaction of the start, so that none of them
is ever there without the others. The rules are `storage.budgets`'.
"""

from __future__ import annotations

import logging
from typing import Final

from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.budgets import (
    LOOKED_AT,
    Budget,
    Figures,
    Spent,
    at_hour,
    exceeded,
    forecast_note,
    forecast_of,
    owners_note,
    read_spent,
    running_low,
    suspended_by,
    suspension_note,
    told,
    write_spent,
    write_suspension,
)
from ropewalk.storage.pace import FULL
from ropewalk.storage.records import LogLine, Rank
from ropewalk.storage.sqlite import workspace
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.logs import keep_logs
from ropewalk.storage.sqlite.rows import InstanceState

_CAUSE: Final = "SELECT target_ns, method, cause FROM executions WHERE id = ?"

_NEWEST: Final = "SELECT coalesce(max(n), 0) FROM executions"


def may_start_at(tx: Transaction, state: InstanceState, at: Micros) -> Micros:
    """Return when the instance's pace lets the next execution start; not after `at`: now. Leaving waits for nothing."""
    return at if state.status == "deactivating" else tx.limits.pace.next(state.pace_at, at)


def charge(tx: Transaction, state: InstanceState, row: Row, at: Micros) -> int | None:
    """Have the instance pay for starting the execution whose `EXECUTION` columns `row` is.

    Returns how deep in a chain it is; None when a budget is used up: the instance is then suspended, and its execution waits on. A retry
    pays for its pace alone. Lifecycle methods count, but suspend nothing: who deploys a mended version is not to be kept from it.
    """
    number, rank, retried = row[0], row[10], row[14] > 0
    spent = read_spent(state.spent)
    depth: int = 0 if number <= spent.chain_from else row[9]
    if not retried:
        spent = at_hour(spent, at)
        over = None if rank <= Rank.BARRIER else exceeded(spent, depth, tx.limits)
        if over is not None:
            _suspend(tx, state, row, _figures(tx, state, row, over, spent.daily if over == "daily" else depth), at)
            return None
        spent = replace(spent, daily=spent.daily + 1, depth=depth)
        low = running_low(spent, tx.limits)
        if low is not None:
            _warn(tx, state, row, _figures(tx, state, row, low, spent.daily if low == "daily" else depth), at)
            spent = told(spent, low)
        state.spent = write_spent(spent)
    state.pace_at = tx.limits.pace.take(state.pace_at, at)
    return depth


def depth_of_task(state: InstanceState, asked: int) -> int:
    """Return how deep a task is whose asker, which runs now, counted `asked`: one that ran before its budgets began anew counts no more."""
    begins_anew = asked > 1 and state.running is not None and state.running <= read_spent(state.spent).chain_from
    return 1 if begins_anew else asked


def begin_anew(tx: Transaction, state: InstanceState) -> None:
    """Lift whatever suspends the instance and forget what it has spent; what waits begins its chains anew."""
    state.suspension = None
    state.pace_at = FULL
    state.spent = write_spent(Spent(chain_from=tx.value(_NEWEST)))


# ── Telling the owner ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _suspend(tx: Transaction, state: InstanceState, row: Row, figures: Figures, at: Micros) -> None:
    suspension = suspended_by(figures, at)
    state.suspension = write_suspension(suspension)
    _note(tx, state, suspension_note(figures, suspension), at)
    _log(tx, state, row, f"not started, and the instance is suspended: {suspension.reason}", at)


def _warn(tx: Transaction, state: InstanceState, row: Row, figures: Figures, at: Micros) -> None:
    _note(tx, state, forecast_note(figures), at)
    _log(tx, state, row, forecast_of(figures), at)


def _note(tx: Transaction, state: InstanceState, titled: tuple[str, str], at: Micros) -> None:
    """Make an activity for people: it is about the instance, but no twist made it, so none sees it or takes it away."""
    activity, note = owners_note(*titled, state.priority, at)
    workspace.put_activity(tx, activity, twist=None, instance=state.id)
    workspace.put_note(tx, note)


def _log(tx: Transaction, state: InstanceState, row: Row, message: str, at: Micros) -> None:
    line = LogLine(time=at, level=logging.WARNING, message=message, attempt=row[14] + 1)
    keep_logs(tx, state.id, row[0], [line])


def _figures(tx: Transaction, state: InstanceState, row: Row, budget: Budget, used: int) -> Figures:
    return Figures(
        instance=state.id,
        twist=state.twist_name,
        budget=budget,
        used=used,
        limit=tx.limits.daily if budget == "daily" else tx.limits.chain,
        methods=_chain(tx, row),
        pending=state.pending,
    )


def _chain(tx: Transaction, row: Row) -> list[str]:
    """Return the methods that led to an execution, it first: each was asked for by the next."""
    methods: list[str] = []
    found: Row | None = (row[4], row[5], row[8])
    while found is not None and len(methods) < LOOKED_AT:
        ns, method, cause = found
        methods.append(f"{ns}.{method}" if ns else method)
        found = tx.row(_CAUSE, (cause,))
    return methods
