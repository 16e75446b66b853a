"""The part of the driver (apsw) that is used, with types of our own: its stubs lean on a type that only later Pythons have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import apsw

Row = tuple[Any, ...]
Bindings = Sequence[object]


class Cursor(Protocol):
    """A statement's rows. They are always fetched to the end: a statement that is not holds a snapshot."""

    def execute(self, statements: str, bindings: Bindings = ()) -> Cursor:
        """Run statements as far as the first row."""
        ...

    def executemany(self, statements: str, sequenceofbindings: Sequence[Bindings]) -> Cursor:
        """Run a statement once for each bindings."""
        ...

    def fetchall(self) -> list[Row]:
        """Return all rows."""
        ...

    def __iter__(self) -> Iterator[Row]:
        """Go through the rows, where they are too large to be held at once: on a connection that ends when that does."""
        ...


class Connection(Protocol):
    """A connection. It may be used from any thread, from one at a time."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def cursor(self) -> Cursor:
        """Return a new cursor."""
        ...

    def execute(self, statements: str, bindings: Bindings = ()) -> Cursor:
        """Run statements on a new cursor."""
        ...

    def pragma(self, name: str, value: str | int | None = None) -> Any:
        """Set or ask for a setting."""
        ...

    def config(self, option: int, *arguments: int) -> int:
        """Set an option of `sqlite3_db_config`."""
        ...

    def set_busy_timeout(self, milliseconds: int) -> None:
        """Say how long to wait for locks."""
        ...

    def changes(self) -> int:
        """Rows that the last statement changed."""
        ...

    def total_changes(self) -> int:
        """Rows changed since the connection was opened."""
        ...

    def last_insert_rowid(self) -> int:
        """The number of the last row inserted."""
        ...

    def set_wal_hook(self, callable: Callable[[apsw.Connection, str, int], int] | None) -> None:  # noqa: A002 - the driver's name
        """Have a function told of every commit, with the pages in the write-ahead log."""
        ...

    def wal_checkpoint(self, dbname: str | None = None, mode: int = apsw.SQLITE_CHECKPOINT_PASSIVE) -> tuple[int, int]:
        """Copy the log into the database; returns its pages and how many of them were copied."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


def connect(path: str, *, statements: int) -> Connection:
    """Open an existing file for reading and writing, keeping so many prepared statements."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=statements)
    return cast("Connection", connection)
