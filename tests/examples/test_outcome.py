"""The demo's comparison finds whatever sets the activities apart from the rows that were served."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo import dataset, outcome
from examples.demo.outcome import Sync

URL = "http://127.0.0.1:1"
SYNC = Sync(twist="holidays-by-page", instance="i1", priority="p1")
ROWS = [(f"FR-2026-0{n}-01", f"2026-0{n}-01", f"Fête {n}", "FR", "France") for n in range(1, 4)]
TABLES = """
    create table activities (id text, priority text, source text, title text, start text, created_at integer, updated_at integer);
    create table notes (activity text);
    create table executions (instance text, status text);
    insert into executions values ('i1', 'succeeded');
"""


@pytest.fixture
def served(tmp_path: Path) -> Path:
    path = tmp_path / "calendar.db"
    with sqlite3.connect(path) as database:
        database.executescript(dataset.SCHEMA)
        database.executemany("insert into holidays values (?, ?, ?, ?, ?)", ROWS)
    database.close()
    return path


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(":memory:")
    database.executescript(TABLES)
    for day, date, name, *_ in ROWS:
        source = f"{URL}/calendar/holidays/{day}"
        database.execute("insert into activities values (?, 'p1', ?, ?, ?, 1, 1)", (day, source, name, date))
        database.execute("insert into notes values (?)", (day,))
    yield database
    database.close()


def test_equal_is_no_mismatch(database: sqlite3.Connection, served: Path) -> None:
    assert list(outcome.mismatches(database, [SYNC], served, URL)) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("delete from activities where id = 'FR-2026-01-01'", "no activity of 1 rows"),
        ("insert into activities select * from activities limit 1", "1 activities twice"),
        ("update activities set updated_at = 2 where id = 'FR-2026-01-01'", "1 activities twice"),
        ("update activities set title = 'Other' where id = 'FR-2026-01-01'", "another title or day"),
        ("update activities set source = 'elsewhere' where id = 'FR-2026-01-01'", "1 activities of no row"),
        ("insert into notes select * from notes limit 1", "4 notes for 3 rows"),
        ("insert into executions values ('i1', 'dead')", "1 executions are dead"),
    ],
)
def test_each_difference_is_said(database: sqlite3.Connection, served: Path, fault: str, said: str) -> None:
    database.execute(fault)
    assert any(said in problem for problem in outcome.mismatches(database, [SYNC], served, URL))
