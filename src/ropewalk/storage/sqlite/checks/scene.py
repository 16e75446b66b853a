"""An instance within a transaction, and what the checks of it ask."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.records import NewExecution, Rank
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.storage.sqlite.scheduling import WAITING, add_execution, cancel_waiting
from ropewalk.wire.messages import Target, Trigger


class Scene(Struct):
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

    def has_any(self, tables: Iterable[str]) -> bool:
        """Whether one of the tables has a row of the instance's."""
        return any(self.tx.value(f"SELECT 1 FROM {table} WHERE instance = ? LIMIT 1", (self.state.id,)) for table in tables)

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


INTO_LINE: Final = """
    UPDATE executions SET status = iif(status = 'retrying', status, 'queued'), seq = ?, due = NULL, ready_at = coalesce(ready_at, ?),
        finished_at = NULL
    WHERE n = ?
    """
"""Makes an execution ready, whatever it was."""

_LIFECYCLE: Final = f"""
    SELECT n, id, size FROM executions INDEXED BY executions_barriers
    WHERE instance = ? AND rank <= 1 AND trigger = ? AND {WAITING}
    """

_LAST: Final = "SELECT status FROM executions WHERE instance = ? AND trigger = ? AND ready_at IS NOT NULL ORDER BY n DESC LIMIT 1"
