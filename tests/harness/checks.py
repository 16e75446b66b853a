"""What must hold of a database whatever happened to its nodes, read with SQL past everything that Ropewalk says of itself.

With the driver that the storage uses: a second copy of SQLite in one process (`sqlite3`) knows nothing of the first one's locks, and takes
the memory that both share away under it, which ends the process with SIGBUS (sqlite.org/howtocorrupt.html, 2.2.1).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import apsw


def rows(database: Path, query: str, *values: object) -> list[Any]:
    """Return what a query gives: the values of its only column, or its rows."""
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(20_000)
        found = connection.execute(query, cast("apsw.Bindings", values)).fetchall()
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
