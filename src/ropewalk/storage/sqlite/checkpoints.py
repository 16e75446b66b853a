"""Checkpoints: the write-ahead log is copied back into the database, so that it can be started anew and does not grow for ever.

Most of it is copied beside the commits, by a connection and in a thread of its own: that holds up nobody, but what is committed meanwhile is
left over, and a log is started anew only when all of it has been copied. So once little is left the committer, between two commits, copies
the rest: the next commit then begins the log anew.

    commits ─► CHECKPOINT_PAGES in the log ─► copied beside them, again while more than a `LEFT`th of the log is left ─► the rest between two

SQLite's own thresholds are off: they would make some commit pay for all of it (https://sqlite.org/wal.html, 3.1).
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import apsw

from ropewalk.storage.sqlite.connection import BUSY_TIMEOUT, open_copier
from ropewalk.storage.sqlite.driver import Connection

CHECKPOINT_PAGES = 2000
"""Pages in the log from which on it is copied (8 MiB)."""

LEFT: Final = 8
"""One part in so many of the log may be left to the committer; what is copied beside commits that write faster gains on them as it grows."""

RESTART_PAGES = 16_000
"""Pages by which the log may grow while somebody reads an old part of it, before they are waited for (64 MiB)."""

RESTART_PATIENCE = 250
"""Milliseconds of that wait."""


class Checkpoints:
    """Sees to the log of one connection that writes. `committed` is called by whoever commits, `finish` by the committer's thread alone.

    Attributes:
        pages: how many the log had after the last commit.
        made: how often it was copied, whole or in part.
        syncs: how often that had the disk synced.
    """

    def __init__(self, writer: Connection, path: str) -> None:
        self.pages = self.made = self.syncs = 0
        self._writer = writer
        self._copied = 0
        self._again_at = CHECKPOINT_PAGES
        self._restart_at = RESTART_PAGES
        self._copying = False
        self._copier = open_copier(Path(path))
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def committed(self, pages: int) -> None:
        """Take note of what the log has now, and have it copied if that is due."""
        if pages < self.pages:  # it was begun anew
            self._copied = 0
            self._again_at = CHECKPOINT_PAGES
            self._restart_at = RESTART_PAGES
            self.syncs += 1  # a log's new header is synced by itself
        self.pages = pages
        if pages >= self._again_at and not self._copying and not self.finishing:
            self._copying = True
            self._orders.put(True)

    @property
    def finishing(self) -> bool:
        """Whether the committer is to copy what is left, between two commits."""
        if self._copying or self.pages < self._again_at:
            return False
        return self.pages >= self._restart_at or (self._copied > 0 and (self.pages - self._copied) * LEFT <= self.pages)

    def finish(self) -> None:
        """Copy what is left. It waits for nobody; but when readers of old parts have kept the log from being started anew for long, it
        is tried, for a moment, to have everyone else wait until they have ended.
        """
        waits = self.pages >= self._restart_at
        try:
            self._writer.set_busy_timeout(RESTART_PATIENCE)
            self._copy(self._writer, apsw.SQLITE_CHECKPOINT_TRUNCATE if waits else apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            self._writer.set_busy_timeout(BUSY_TIMEOUT)
        if waits:
            self._restart_at = self.pages + RESTART_PAGES
        # The whole of it was to be copied. Where a reader of an old part stopped that, it will stop it for some commits more.
        self._again_at = self.pages + CHECKPOINT_PAGES

    def close(self) -> None:
        """End the thread, once it has done what it is at."""
        self._orders.put(False)
        self._thread.join()
        self._copier.close()

    def _work(self) -> None:
        while self._orders.get():
            before = self._copied
            self._copy(self._copier, apsw.SQLITE_CHECKPOINT_PASSIVE)
            if self._copied == before:  # a reader of an old part is in the way
                self._again_at = self.pages + CHECKPOINT_PAGES
            self._copying = False

    def _copy(self, connection: Connection, mode: int) -> None:
        self.made += 1
        # Another process is at it, or the disk is full: the log is whole, and a later commit tries again.
        with contextlib.suppress(apsw.Error):
            _, copied = connection.wal_checkpoint(mode=mode)
            self.syncs += 2 * (copied != self._copied)
            self._copied = copied if copied <= self.pages else 0  # it was begun anew since
