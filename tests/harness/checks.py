"""What must hold of a database whatever happened to its nodes, read with SQL past everything that Ropewalk says of itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def rows(database: Path, query: str, *values: object) -> list[Any]:
    """Return what a query gives: the values of its only column, or its rows."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)) as connection:
        found = connection.execute(query, values).fetchall()
    return [row[0] for row in found] if found and len(found[0]) == 1 else found


def one(database: Path, query: str, *values: object) -> Any:
    """Return the single value that a query gives."""
    (value,) = rows(database, query, *values)
    return value


def assert_whole(database: Path) -> None:
    """Fail unless the file is sound and its own bookkeeping agrees with its rows."""
    assert one(database, "pragma integrity_check") == "ok"
    assert rows(database, DOUBLE_SOURCES) == [], "a source has two activities"
    assert rows(database, ORPHANED_NOTES) == [], "a note has no activity"
    assert rows(database, WRONG_STORE_SIZES) == [], "an instance's store has another size than its values"
    assert rows(database, WRONG_PENDING) == [], "an instance counts other executions as pending than there are"


def assert_idle(database: Path) -> None:
    """Fail when something is left that ought to have run."""
    left = rows(database, "select id, method, status from executions where status in ('queued', 'running', 'retrying')")
    assert left == [], "something is left undone"
    assert rows(database, "select id from instances where node is not null") == [], "an instance is leased, and nothing runs"


DOUBLE_SOURCES = "select source from activities where source is not null group by priority, source having count(*) > 1"
ORPHANED_NOTES = "select id from notes where activity not in (select id from activities)"
WRONG_STORE_SIZES = """
    select id from instances
    where status not in ('gone', 'erased')
      and store_bytes != coalesce((select sum(size) from store where store.instance = instances.id), 0)
"""
WRONG_PENDING = """
    select id from instances
    where status not in ('gone', 'erased')
      and pending != (
        select count(*) from executions
        where executions.instance = instances.id and executions.status in ('queued', 'running', 'retrying')
      )
"""
