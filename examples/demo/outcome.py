"""What the database says after the sync, compared with what the API served. Read with SQL, past everything that Ropewalk would say.

Before: `node` has stopped. After: the closing table, and the demo's exit code.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from examples.demo.screen import Line


@dataclass(frozen=True, kw_only=True)
class Sync:
    """One example at work: the twist's name, its instance, and the priority that it writes to, which nothing else does."""

    twist: str
    instance: str
    priority: str


def reading(database: Path) -> closing[sqlite3.Connection]:
    """Open a database that is only read."""
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10))


def made(connection: sqlite3.Connection, syncs: list[Sync]) -> dict[str, int]:
    """Return how many activities each twist has made so far."""
    counts = dict(connection.execute("select priority, count(*) from activities group by priority").fetchall())
    return {sync.twist: counts.get(sync.priority, 0) for sync in syncs}


def running(connection: sqlite3.Connection) -> int:
    """Return how many executions run now."""
    count: int = connection.execute("select count(*) from executions where status = 'running'").fetchone()[0]
    return count


def interrupted(connection: sqlite3.Connection) -> str | None:
    """Return an execution that a kill of the node interrupted, and that then ran again."""
    found = connection.execute("select id from executions where lost > 0 order by n limit 1").fetchone()
    return found[0] if found else None


def line(connection: sqlite3.Connection, sync: Sync, rows: int) -> Line:
    """Return what one twist did."""
    activities, twice = connection.execute(ACTIVITIES, (sync.priority,)).fetchone()
    durations = sorted(row[0] / 1000 for row in connection.execute(DURATIONS, (sync.instance,)))
    (attempts,) = connection.execute(ATTEMPTS, (sync.instance,)).fetchone()
    return Line(
        twist=sync.twist,
        rows=rows,
        activities=activities,
        twice=twice,
        executions=len(durations),
        attempts=attempts,
        p50_ms=quantile(durations, 0.5),
        p99_ms=quantile(durations, 0.99),
    )


# Made twice: a source that several activities have, or an activity that was written again after it was made.
ACTIVITIES = """
    select count(*), count(*) - count(distinct source) + count(*) filter (where updated_at != created_at)
    from activities where priority = ?
"""
DURATIONS = "select finished_at - started_at from executions where instance = ? and status = 'succeeded'"
ATTEMPTS = "select coalesce(sum(attempt), 0) from executions where instance = ?"


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def mismatches(connection: sqlite3.Connection, syncs: list[Sync], served: Path, base_url: str) -> Iterator[str]:
    """Yield a sentence for each thing that is not as it has to be."""
    with reading(served) as api:
        rows = {
            f"{base_url}/calendar/holidays/{id_}": (name, date)
            for id_, name, date in api.execute("select id, name, date from holidays")
        }
    for sync in syncs:
        yield from _different_rows(connection, sync, rows)
    for status, count in connection.execute(
        "select status, count(*) from executions where status != 'succeeded' group by status"
    ):
        yield f"{count} executions are {status}"


def _different_rows(connection: sqlite3.Connection, sync: Sync, rows: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Yield what sets the activities of one priority apart from the rows that were served."""
    stored = connection.execute("select source, title, start from activities where priority = ?", (sync.priority,)).fetchall()
    activities = {source: (title, start) for source, title, start in stored}
    _, twice = connection.execute(ACTIVITIES, (sync.priority,)).fetchone()
    if twice:
        yield f"{sync.twist} made {twice:,} activities twice"
    if missing := rows.keys() - activities.keys():
        yield f"{sync.twist} made no activity of {len(missing):,} rows, such as {min(missing)}"
    if extra := activities.keys() - rows.keys():
        yield f"{sync.twist} made {len(extra):,} activities of no row, such as {min(extra)}"
    if wrong := [source for source in rows.keys() & activities.keys() if rows[source] != activities[source]]:
        yield f"{sync.twist} made {len(wrong):,} activities with another title or day, such as {min(wrong)}"
    notes = connection.execute(NOTES, (sync.priority,)).fetchone()[0]
    if notes != len(rows):
        yield f"{sync.twist} made {notes:,} notes for {len(rows):,} rows"


NOTES = "select count(*) from notes join activities on activities.id = notes.activity where activities.priority = ?"
