"""Opens connections to a database file, having checked that it is one of ours and may be used where it lies.

The write-ahead log is synced at every commit (`synchronous=FULL`, but see `committer`), and checkpoints are the committer's, so
that no caller ever pays for one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import apsw

from ropewalk.storage.interface import StorageUnavailable, StorageUnusable
from ropewalk.storage.sqlite.driver import Connection, connect
from ropewalk.storage.sqlite.errors import translate
from ropewalk.storage.sqlite.filesystem import network_filesystem
from ropewalk.storage.sqlite.migrations import APPLICATION_ID, migrate, schema_version

BUSY_TIMEOUT = 10_000
"""Milliseconds to wait for another process's transaction or checkpoint before saying StorageUnavailable."""

_STATEMENTS = 256
"""Prepared statements that a connection keeps: more than the backend has."""

_WRITER_CACHE = 16
_READER_CACHE = 8
"""Page caches in MiB; beyond them the system's own file cache serves."""


def open_database(path: Path, *, create: bool) -> tuple[Connection, Connection]:
    """Return a connection for writing and one for reading, to a database of this release's schema.

    Raises:
        StorageUnusable: there is none (and not `create`), it is not ours, newer or damaged, or on a network file system.
        StorageUnavailable: it is locked or may not be opened.
    """
    _check_place(path, create=create)
    try:
        writer = _connect(path, _WRITER_CACHE)
        try:
            _check_owner(writer, path, create=create)
            _use_write_ahead_log(writer, path)
            migrate(writer, str(path))
            reader = open_reader(path)
        except BaseException:
            writer.close()
            raise
    except apsw.Error as error:
        raise translate(error, str(path)) from error
    return writer, reader


# Beside these connections nothing in this process may open and close the file: closing any descriptor of it drops the locks that the
# process holds on it (https://sqlite.org/howtocorrupt.html, 2.2).


def open_reader(path: Path) -> Connection:
    """Return a further connection that can only read."""
    reader = _connect(path, _READER_CACHE)
    reader.execute("PRAGMA query_only=ON").fetchall()
    return reader


def open_heart(path: Path) -> Connection:
    """Return a connection for a heartbeat: what it writes need not outlive power, which ends the node too."""
    heart = connect(str(path), statements=2)
    heart.set_busy_timeout(BUSY_TIMEOUT)
    heart.execute("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0").fetchall()
    return heart


def open_copier(path: Path) -> Connection:
    """Return a connection for nothing but checkpoints."""
    copier = connect(str(path), statements=1)
    copier.execute("PRAGMA wal_autocheckpoint=0").fetchall()
    copier.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # until it has read, it knows of no log and copies nothing
    return copier


def _check_place(path: Path, *, create: bool) -> None:
    if not path.parent.is_dir():
        raise StorageUnusable(f"no database at {path}: there is no folder {path.parent}")
    if (name := network_filesystem(path.parent)) is not None:
        raise StorageUnusable(
            f"{path} is on {name}, a network file system, where SQLite loses data: use a local disk or PostgreSQL"
        )
    if create and not path.exists():
        # Records and options are in it: for its owner alone. SQLite gives its companion files the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if not path.is_file():
        raise StorageUnusable(f"no database at {path}")


def _connect(path: Path, cache: int) -> Connection:
    connection = connect(str(path), statements=_STATEMENTS)
    connection.set_busy_timeout(BUSY_TIMEOUT)
    # Plans must not depend on bound values: with partial indexes SQLite would plan a statement anew for each binding, at 50 to 100 µs.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.execute(
        f"PRAGMA cache_size=-{cache * 1024}; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY"
    ).fetchall()
    return connection


def _check_owner(connection: Connection, path: Path, *, create: bool) -> None:
    owner = connection.pragma("application_id")
    if owner == APPLICATION_ID and schema_version(connection) > 0:
        return
    if owner != 0 or connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall():
        raise StorageUnusable(f"{path} is a SQLite database of another program: name another file")
    if not create:
        raise StorageUnusable(f"no database at {path}: the file is empty")


def _use_write_ahead_log(connection: Connection, path: Path) -> None:
    # Changing the mode needs the file alone and doesn't wait for it: another process may be doing the same.
    for _ in range(100):
        try:
            if connection.pragma("journal_mode", "wal") == "wal":
                return
        except apsw.BusyError:
            pass
        time.sleep(0.05)
    raise StorageUnavailable(f"{path} could not be switched to write-ahead logging: another process holds it")
