"""The audit of a large database: small read transactions, and no more work than there are rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from ropewalk.storage.sqlite import audit
from ropewalk.storage.sqlite.connection import open_reader
from ropewalk.storage.sqlite.driver import Connection
from tests.storage.test_sqlite_scale import Metered

PENDING = 100_000


class Meter:
    """Counts the steps of SQLite's machine in each read transaction of a connection, the check of the whole file left out."""

    def __init__(self) -> None:
        self.transactions: list[int] = [0]

    def open(self, path: Path) -> Connection:
        """Open a connection that is counted."""
        reader = open_reader(path)
        cast("apsw.Connection", reader).trace_v2(apsw.SQLITE_TRACE_PROFILE, self.note)
        return reader

    def note(self, event: dict[str, Any]) -> None:
        """Add the steps of a statement that ended; outside of BEGIN each is a transaction of its own."""
        if event["sql"].startswith("PRAGMA"):
            return
        self.transactions[-1] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]
        if not event["connection"].in_transaction:
            self.transactions.append(0)


@pytest.mark.parametrize("instances", [1, 100])
async def test_an_audit_of_100_000_pending_executions_is_many_small_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instances: int
) -> None:
    metered = Metered(tmp_path, PENDING, instances)
    await metered.prepare()
    meter = Meter()
    monkeypatch.setattr(audit, "open_reader", meter.open)
    assert await metered.scene.problems() == []
    await metered.storage.close()
    assert max(meter.transactions) < 30 * PENDING
    assert sum(meter.transactions) < 100 * PENDING
