"""The embedded backend: everything in one SQLite file, written by any number of processes on one machine.

__init__     open_sqlite
storage      the verbs, each a line: writes to the committer, reads to the reader
committer    many callers' writes in one transaction and one sync
scheduling   what of an instance runs next and when: used by every verb below
budgeting    what starting it costs the instance: asked by scheduling
claiming, settling, effects, executions, lifecycle, nodes, deploying, workspace, values, upkeep    verbs, by topic
reading      questions
audit, checks/    what must always hold, checked on a live database
logs         log lines, beside their executions
connection, filesystem, migrations, schema/, errors    opening the file
"""

from __future__ import annotations

from pathlib import Path

from ropewalk.clock import Clock
from ropewalk.storage.records import StorageLimits
from ropewalk.storage.sqlite.connection import open_database
from ropewalk.storage.sqlite.storage import SqliteStorage as SqliteStorage


async def open_sqlite(path: str | Path, *, clock: Clock, create: bool, limits: StorageLimits | None = None) -> SqliteStorage:
    """Open the database at `path`, brought to this release's schema; with `create` it is made when there is none.

    Raises:
        StorageUnusable: there is no database at `path`, it is another program's, newer than this release or damaged, or it is on a
            network file system.
        StorageUnavailable: it is locked for longer than ten seconds, or may not be opened.
    """
    place = Path(path)
    writer, reader = open_database(place, create=create)
    return SqliteStorage(place, writer, reader, clock, limits or StorageLimits())
