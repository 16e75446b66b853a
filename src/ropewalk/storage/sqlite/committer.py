"""Commits everybody's writes: many callers' verbs in one transaction, one sync of the disk for all of them.

A verb is a function of a `Transaction`. Callers queue theirs; while one group is being committed the next gathers, without a timer.
The statements of a group run on the event loop's own thread: they take some microseconds each and release the interpreter lock at
every step, so that in another thread they would queue for it, statement by statement, behind whatever the loop is doing (measured:
twice the processor time per settlement and twice the latency with 8 in flight). What really waits, the sync, runs in the
committer's thread, which also does whatever may take long: heavy verbs, a lock that another process holds, ends of `checkpoints`.

    run() ─► queue ─► one group: BEGIN IMMEDIATE, each verb ─► COMMIT (thread: sync) ─► all callers wake at once
                           │ a verb failed after it had written: roll back, do the group again with a savepoint each
                           │ the commit failed: roll back, do each verb in a transaction of its own

A verb that fails before its first write leaves the group as it is, so verbs check first and write then; those that cannot are
still right, only slower. A verb may therefore run more than once and keeps no state but what is in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

import apsw
from msgspec import Struct

from ropewalk.storage.interface import StorageError, StorageUnavailable
from ropewalk.storage.records import StorageLimits, StorageStats
from ropewalk.storage.sqlite.checkpoints import Checkpoints
from ropewalk.storage.sqlite.connection import BUSY_TIMEOUT
from ropewalk.storage.sqlite.driver import Bindings, Connection, Row
from ropewalk.storage.sqlite.errors import translate

T = TypeVar("T")

Verb: TypeAlias = "Callable[[Transaction], T]"
"""A write: what it returns is its caller's, what it raises too."""

GROUP = 256
"""Most verbs in one transaction."""


class Transaction:
    """What verbs write with: statements within the group's transaction, and the limits that hold for every instance."""

    __slots__ = ("_connection", "_execute", "_executemany", "_served", "_served_before", "limits", "statements")

    def __init__(self, connection: Connection, limits: StorageLimits) -> None:
        self.limits = limits
        cursor = connection.cursor()
        self._connection = connection
        self._execute = cursor.execute
        self._executemany = cursor.executemany
        self._served = 0
        self._served_before = 0
        self.statements = 0

    def run(self, sql: str, bindings: Bindings = ()) -> None:
        """Execute a statement that gives no rows."""
        self.statements += 1
        self._execute(sql, bindings)

    def run_many(self, sql: str, bindings: Sequence[Bindings]) -> None:
        """Execute a statement that gives no rows once for each of `bindings`."""
        self.statements += len(bindings)
        self._executemany(sql, bindings)

    def rows(self, sql: str, bindings: Bindings = ()) -> list[Row]:
        """Return all rows of a statement."""
        self.statements += 1
        return self._execute(sql, bindings).fetchall()

    def row(self, sql: str, bindings: Bindings = ()) -> Row | None:
        """Return the only row of a statement that has at most one."""
        self.statements += 1
        rows = self._execute(sql, bindings).fetchall()
        return rows[0] if rows else None

    def value(self, sql: str, bindings: Bindings = ()) -> Any:
        """Return the only column of the only row of a statement, None when there is no row."""
        self.statements += 1
        rows = self._execute(sql, bindings).fetchall()
        return rows[0][0] if rows else None

    def changed(self) -> int:
        """Return how many rows the last statement changed."""
        return self._connection.changes()

    def last_inserted(self) -> int:
        """Return the number (rowid) of the last row that was inserted."""
        return self._connection.last_insert_rowid()

    def next_served(self) -> int:
        """Return the next number of the order in which instances are served, over all processes."""
        if self._served == 0:
            self._served = self._served_before = self.value("SELECT value FROM counters WHERE name = 'served'")
        self._served += 1
        return self._served

    def begin(self) -> None:
        """Forget the transaction before."""
        self._served = self._served_before = 0

    def finish(self) -> None:
        """Write what was counted in memory, before the commit."""
        if self._served != self._served_before:
            self.run("UPDATE counters SET value = ? WHERE name = 'served'", (self._served,))


class _Job(Struct, Generic[T]):
    verb: Verb[T]
    done: asyncio.Future[T]
    promised: bool
    heavy: bool
    result: Any = None
    error: Exception | None = None


_Group = list[_Job[Any]]
_Step = Callable[[_Group], None]


class Committer:
    """The only writer of this process. Used from one event loop; `run` is its one verb."""

    def __init__(self, writer: Connection, path: str, limits: StorageLimits) -> None:
        self._writer = writer
        self._path = path
        self._transaction = Transaction(writer, limits)
        self._queue: _Group = []
        self._busy = False
        self._closed = False
        self._at_rest: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._synced = True
        self._checkpoints = Checkpoints(writer, path)
        self._others_version = writer.pragma("data_version")
        self._others_wrote = False
        self._commits = self._syncs = self._verbs = self._groups = self._redone = 0
        writer.set_wal_hook(self._note_commit)
        self._orders: SimpleQueue[tuple[_Step, _Group] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._thread.start()

    async def run(self, verb: Verb[T], *, promised: bool = True, heavy: bool = False) -> T:
        """Run `verb` in a transaction and return its result when that is durable.

        `promised=False` says that nobody was told anything that power loss must not undo; `heavy` that it may take long.
        """
        if self._closed:
            raise StorageUnavailable(f"{self._path} has been closed here: open it again")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._queue.append(_Job(verb, done, promised, heavy))
        if not self._busy:
            self._busy = True
            self._loop = loop
            loop.call_soon(self._next_group)
        return await done

    def changed(self) -> bool:
        """Return whether another process committed since this was last asked."""
        if not self._busy:
            self._look_for_others()
        changed, self._others_wrote = self._others_wrote, False
        return changed

    def stats(self) -> StorageStats:
        """Return counts since the database was opened."""
        return StorageStats(
            verbs=self._verbs,
            groups=self._groups,
            commits=self._commits,
            syncs=self._syncs + self._checkpoints.syncs,
            statements=self._transaction.statements,
            redone=self._redone,
            checkpoints=self._checkpoints.made,
            wal_pages=self._checkpoints.pages,
        )

    async def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._closed = True
        if self._busy:
            self._at_rest = asyncio.Event()
            await self._at_rest.wait()
        self._orders.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._checkpoints.close)

    # ── On the event loop's thread ────────────────────────────────────────────────────────────────────────────────────────────

    def _next_group(self) -> None:
        """Take what is queued and do as much of it as needs no waiting; without anything, rest."""
        group = [job for job in self._queue[:GROUP] if not job.done.cancelled()]
        del self._queue[:GROUP]
        if group:
            self._groups += 1
            self._verbs += len(group)
            self._guarded(self._do_here, group)
        elif self._queue:
            self._next_group()
        else:
            self._busy = False
            if self._at_rest is not None:
                self._at_rest.set()

    def _do_here(self, group: _Group) -> None:
        if any(job.heavy for job in group) or not self._begin_without_waiting(group):
            self._orders.put((self._do_all, group))
        elif not self._try_verbs(group):
            self._orders.put((self._do_with_savepoints, group))
        elif self._synced or self._checkpoints.finishing:
            self._orders.put((self._commit_and_report, group))
        else:
            # Without a sync a commit only hands some pages to the system: not worth a change of threads.
            self._commit_here(group)

    def _begin_without_waiting(self, group: _Group) -> bool:
        try:
            self._writer.set_busy_timeout(0)
            self._begin(promised=_any_promised(group))
            self._look_for_others()
        except apsw.Error:
            self._roll_back()
            return False
        finally:
            self._writer.set_busy_timeout(BUSY_TIMEOUT)
        return True

    def _look_for_others(self) -> None:
        version = self._writer.pragma("data_version")
        if version != self._others_version:
            self._others_version = version
            self._others_wrote = True

    def _commit_here(self, group: _Group) -> None:
        try:
            self._commit()
        except apsw.Error:
            self._orders.put((self._do_one_by_one, group))
        else:
            self._wake(group)
            self._next_group()

    def _wake(self, group: _Group) -> None:
        for job in group:
            if job.done.done():
                continue
            if job.error is None:
                job.done.set_result(job.result)
            else:
                job.done.set_exception(job.error)

    def _wake_and_go_on(self, group: _Group) -> None:
        self._wake(group)
        self._next_group()

    # ── On the committer's thread ─────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            self._guarded(*order)

    def _do_all(self, group: _Group) -> None:
        try:
            self._begin(promised=_any_promised(group))
        except apsw.Error as error:
            self._fail(group, translate(error, self._path))
        else:
            if self._try_verbs(group):
                self._commit_and_report(group)
            else:
                self._do_with_savepoints(group)

    def _commit_and_report(self, group: _Group) -> None:
        try:
            self._commit()
        except apsw.Error:
            self._do_one_by_one(group)
        else:
            self._report(group)

    def _do_with_savepoints(self, group: _Group) -> None:
        """Do a group again whose transaction was spoiled by a verb, so that only that verb's own work is left out."""
        self._redone += 1
        try:
            self._roll_back()
            self._begin(promised=True)
            for job in group:
                self._try_with_savepoint(job)
            self._commit()
        except apsw.Error:
            self._do_one_by_one(group)
        else:
            self._report(group)

    def _do_one_by_one(self, group: _Group) -> None:
        """Do each verb of a group in a transaction of its own: the last resort, in which each fails for itself."""
        self._redone += 1
        self._roll_back()
        for place, job in enumerate(group):
            try:
                self._begin(promised=True)
                self._try_with_savepoint(job)
                self._commit()
            except apsw.BusyError as error:
                # Who holds the lock has kept it for as long as anybody is to wait: the others would each wait as long again.
                self._roll_back()
                self._mark_failed(group[place:], translate(error, self._path))
                break
            except apsw.Error as error:
                self._roll_back()
                job.error = translate(error, self._path)
        self._report(group)

    def _report(self, group: _Group) -> None:
        """Wake the callers; the next group begins when the rest of a checkpoint that is due then has been made."""
        if not self._checkpoints.finishing:
            self._tell_loop(self._wake_and_go_on, group)
        else:
            self._tell_loop(self._wake, group)
            self._checkpoints.finish()
            self._tell_loop(self._wake_and_go_on, [])

    def _tell_loop(self, step: _Step, group: _Group) -> None:
        assert self._loop is not None
        # A loop that was closed while its callers waited has nobody left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(step, group)

    # ── On either ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _guarded(self, step: _Step, group: _Group) -> None:
        try:
            step(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it, and those after them go on
            self._fail(group, error)

    def _begin(self, *, promised: bool) -> None:
        """Begin a transaction whose commit is synced if anything in it was `promised`.

        Claims, heartbeats and the like are not: power loss may undo them, since it ends the node that made them too, and what they
        took is released when a node starts again. They never undo anything else, because the next synced commit syncs the
        whole log up to itself, and a log is only ever recovered up to some commit.
        """
        if promised != self._synced:
            self._writer.execute(f"PRAGMA synchronous={'FULL' if promised else 'NORMAL'}").fetchall()
            self._synced = promised
        self._writer.execute("BEGIN IMMEDIATE")
        self._transaction.begin()

    def _try_verbs(self, group: _Group) -> bool:
        """Run the verbs of a group; False when one failed after it had written something."""
        total_changes = self._writer.total_changes
        transaction = self._transaction
        before = total_changes()
        for job in group:
            try:
                job.result = job.verb(transaction)
            except StorageError as error:
                if total_changes() != before:
                    return False
                job.error = error
            except Exception:  # noqa: BLE001 - whatever it is, it is met again, apart from the others, and given to its caller
                return False
            before = total_changes()
        return True

    def _try_with_savepoint(self, job: _Job[Any]) -> None:
        """Run one verb; its failure undoes its own writes alone. Raises what makes the whole transaction impossible."""
        job.result = job.error = None
        self._writer.execute("SAVEPOINT verb")
        try:
            job.result = job.verb(self._transaction)
        except (apsw.FullError, apsw.IOError):
            raise
        except Exception as error:  # noqa: BLE001 - given to the caller who asked for the verb
            self._writer.execute("ROLLBACK TO verb")
            job.error = translate(error, self._path) if isinstance(error, apsw.Error) else error
        self._writer.execute("RELEASE verb")

    def _commit(self) -> None:
        self._transaction.finish()
        before = self._commits
        self._writer.execute("COMMIT")
        if self._synced:
            self._syncs += self._commits - before

    def _note_commit(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        # SQLite tells of commits that wrote something, and of no others.
        self._commits += 1
        self._checkpoints.committed(pages)
        return apsw.SQLITE_OK

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def _fail(self, group: _Group, error: Exception) -> None:
        self._mark_failed(group, error)
        try:
            self._roll_back()
        finally:
            self._tell_loop(self._wake_and_go_on, group)

    def _mark_failed(self, group: _Group, error: Exception) -> None:
        for job in group:
            job.error = error


def _any_promised(group: _Group) -> bool:
    return any(job.promised for job in group)
