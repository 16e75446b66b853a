"""What an instance's row says of itself: its status, why it is suspended, what it has spent, what it counts."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from ropewalk.storage.budgets import Spent, read_spent, read_suspension, write_spent, write_suspension
from ropewalk.storage.deaths import read_deaths
from ropewalk.storage.records import Suspension
from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.scene import Scene


def status(scene: Scene) -> Checking:
    """Yield what the row says that nothing can be done with."""
    state, at = scene.state, scene.at
    suspension = read_suspension(state.suspension)
    named = suspension is None or bool(suspension.reason)

    def name_it(reason: str) -> None:
        state.suspension = write_suspension(Suspension(reason=reason, since=at))

    if state.status == "deactivating" and state.suspension is not None:

        def lift() -> None:
            state.suspension = None

        yield Fault(
            "deactivation_suspended",
            f"instance {state.id} is being deactivated, and suspended all the same",
            "its suspension is lifted: it is deactivated",
            lift,
        )
    elif not named:
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
    yield from _priority(scene)
    yield from _note(scene)


def _priority(scene: Scene) -> Checking:
    tx, state = scene.tx, scene.state
    if tx.value("SELECT 1 FROM priorities WHERE id = ?", (state.priority,)) is None:
        yield Fault(
            "instance_without_priority",
            f"instance {state.id} is in priority {state.priority}, which is not there",
            "it is in the root priority",
            lambda: tx.run(_TO_ROOT, (state.id,)),
        )


def _note(scene: Scene) -> Checking:
    tx, state = scene.tx, scene.state
    told = tx.value("SELECT told FROM owners_notes WHERE instance = ?", (state.id,))
    try:
        if told is not None:
            read_deaths(told)
    except msgspec.MsgspecError:
        yield Fault(
            "unreadable_note",
            f"what the owner of instance {state.id} was told of failures cannot be read",
            "the next failure is told in a new note",
            lambda: tx.run("DELETE FROM owners_notes WHERE instance = ?", (state.id,)),
        )


_TO_ROOT: Final = "UPDATE instances SET priority = (SELECT id FROM priorities ORDER BY n LIMIT 1) WHERE id = ?"

_STATUSES: Final = frozenset({"activating", "active", "failed", "deactivating"})


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


def counts(scene: Scene) -> Checking:
    """Yield counts that are not what is there."""
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
