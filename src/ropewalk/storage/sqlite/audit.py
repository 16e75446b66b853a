"""What must always hold of a live database, looked at and mended (G6).

Looking is done on a reading connection, some instances or rows to a transaction: it costs writers nothing, no snapshot lives long, and
each sees nothing half done. What it finds is looked at again when it is mended, instance by instance, each in a write of its own, by the
very checks that found it: work went on meanwhile, and what has come right is left alone. The checks are `instance_checks`'.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import apsw
from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.records import Finding, Node, StorageLimits
from ropewalk.storage.sqlite.committer import Transaction, Verb
from ropewalk.storage.sqlite.connection import open_reader
from ropewalk.storage.sqlite.errors import translate
from ropewalk.storage.sqlite.instance_checks import Fault, check_instance, check_leaving
from ropewalk.storage.sqlite.nodes import release
from ropewalk.storage.sqlite.rows import INSTANCE, InstanceState
from ropewalk.storage.sqlite.scheduling import UNREACHABLE, save

INSTANCES_AT_ONCE: Final = 100
"""Instances that are looked at in one transaction."""

ROWS_AT_ONCE: Final = 20_000
"""Rows of a large table that are looked at in one transaction."""


class Write(Protocol):
    """`Committer.run`."""

    def __call__(self, verb: Verb[None], *, promised: bool = True, heavy: bool = False) -> Awaitable[None]:
        """Run a verb in a transaction."""
        ...


async def audit(
    path: Path, write: Write, limits: StorageLimits, at: Micros, *, repair: bool, dead: Collection[Node]
) -> list[Finding]:
    """Return what is wrong; with `repair` all of it that can be is mended, and says so.

    `dead` are nodes that the caller knows to be dead though the database does not: their leases are wrong.
    """
    look = _Look(path, limits, at, dead)
    found = await asyncio.to_thread(look.everything)
    if not (found and repair):
        return found
    for verb in look.mending():
        await write(verb, heavy=True)
    left = await asyncio.to_thread(_Look(path, limits, at, dead).everything)
    return [*left, *(replace(one, repaired=True) for one in found if one not in left)]


class _Look:
    """One look at the whole database, and what is to be mended after it."""

    def __init__(self, path: Path, limits: StorageLimits, at: Micros, dead: Collection[Node]) -> None:
        self._path = path
        self._limits = limits
        self._at = at
        self._dead = dead
        self._strays: defaultdict[str, list[int]] = defaultdict(list)
        self._instances: dict[str, None] = {}
        self._of_database: list[Finding] = []

    def everything(self) -> list[Finding]:
        """Return what is wrong."""
        try:
            reader = open_reader(self._path)
            try:
                tx = Transaction(reader, self._limits)
                return [*self._file(tx), *self._database(tx), *self._find_strays(tx), *self._all_instances(tx)]
            finally:
                reader.close()
        except apsw.Error as error:
            raise translate(error, str(self._path)) from error

    def mending(self) -> Iterator[Verb[None]]:
        """Yield the writes that mend what was found, each short."""
        if self._of_database:
            yield self._mend_database
        for instance in self._instances:
            yield partial(self._mend_instance, instance=instance)

    # ── The file, and what is of no instance ──────────────────────────────────────────────────────────────────────────────────

    def _file(self, tx: Transaction) -> Iterator[Finding]:
        """Read the whole file through. The only thing here that takes as long as the file is large."""
        for (text,) in tx.rows("PRAGMA quick_check(10)"):
            if text != "ok":
                what = f"the file is damaged: {text}"
                yield Finding(name="damaged_file", what=what, remedy="restore the database from a backup")

    def _database(self, tx: Transaction) -> list[Finding]:
        tx.run("BEGIN")
        try:
            self._of_database = [fault.finding for fault in self._database_faults(tx) if fault.mend is not None]
            return [fault.finding for fault in self._database_faults(tx)]
        finally:
            tx.run("COMMIT")

    def _mend_database(self, tx: Transaction) -> None:
        _mend_all(self._database_faults(tx))

    def _database_faults(self, tx: Transaction) -> Iterator[Fault]:
        for node in self._dead:
            leases = tx.value("SELECT count(*) FROM instances WHERE node = ?", (node.id,))
            if leases and tx.value("SELECT 1 FROM nodes WHERE id = ? AND expires = ?", (node.id, node.expires)):
                yield Fault(
                    "dead_node",
                    f"node {node.id} is dead, and {leases:,} instances are leased to it",
                    "its leases are ended, and what it ran is ready again",
                    partial(release, tx, node.id, self._at),
                )
        for twist, name, latest, newest in tx.rows(_LATEST):
            yield Fault(
                "wrong_latest_version",
                f"twist {name} counts {latest} versions, and its newest is {newest}",
                "the newest that is there is the latest",
                partial(tx.run, "UPDATE twists SET latest = ? WHERE id = ?", (newest, twist)),
            )
        for instance, column, version, right in tx.rows(_NO_SUCH_VERSION):
            yield Fault(
                f"{column}_without_version",
                f"instance {instance} {_SAID_OF[column]} version {version}, which is not there",
                "what is there is offered to it again",
                partial(tx.run, _OFFER_AGAIN, (right, instance)),
                instance=instance,
            )
        for name, number in tx.rows(_WITHOUT_FILES):
            yield Fault("version_without_files", f"version {number} of {name} has no files", "deploy the same files again", None)
        for (instance,) in tx.rows(_WITHOUT_TWIST):
            yield Fault(
                "instance_without_twist",
                f"instance {instance} is of a twist that is not there",
                "restore the database from a backup",
                None,
                instance=instance,
            )

    # ── Executions and payloads that are out of step with what they belong to ─────────────────────────────────────────────────

    def _find_strays(self, tx: Transaction) -> Iterator[Finding]:
        """Go through executions and payloads window by window; what is of an instance is told of by its checks."""
        for table in ("executions", "payloads"):
            number = "n" if table == "executions" else "execution"
            last: int = tx.value(f"SELECT coalesce(max({number}), 0) FROM {table}")
            for start in range(0, last, ROWS_AT_ONCE):
                for found, instance in tx.rows(_STRAYS[table], (start, start + ROWS_AT_ONCE)):
                    self._strays[instance or ""].append(found)
        self._instances.update(dict.fromkeys(self._strays))
        yield from self._lost(tx)

    def _lost(self, tx: Transaction) -> Iterator[Finding]:
        """Yield what belongs to nothing."""
        return (fault.finding for fault in self._lost_faults(tx))

    def _lost_faults(self, tx: Transaction) -> Iterator[Fault]:
        for number in self._strays[""]:
            id_ = tx.value(_LOST_EXECUTION, (number,))
            if id_ is not None:
                yield Fault(
                    "execution_without_instance",
                    f"execution {id_} waits, and there is no instance of it",
                    "it is cancelled",
                    partial(tx.run, _CANCEL, (self._at, number)),
                    execution=id_,
                )
            elif tx.value(_LOST_PAYLOAD, (number,)):
                yield Fault(
                    "payload_without_execution",
                    f"arguments are kept of execution number {number}, which is not there",
                    "they are removed",
                    partial(tx.run, "DELETE FROM payloads WHERE execution = ?", (number,)),
                )

    # ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _all_instances(self, tx: Transaction) -> Iterator[Finding]:
        last = ""
        while True:
            tx.run("BEGIN")
            try:
                rows = tx.rows(_SOME_INSTANCES, (last, INSTANCES_AT_ONCE))
                for row in rows:
                    state = InstanceState(*row)
                    found = [fault.finding for fault in self._faults(tx, state)]
                    if found:
                        self._instances[state.id] = None
                        yield from found
            finally:
                tx.run("COMMIT")
            if not rows:
                return
            last = rows[-1][0]

    def _faults(self, tx: Transaction, state: InstanceState) -> Iterator[Fault]:
        check = check_leaving if state.status in UNREACHABLE else check_instance
        return check(tx, state, self._strays.get(state.id, ()), self._at)

    def _mend_instance(self, tx: Transaction, instance: str) -> None:
        if not instance:
            _mend_all(self._lost_faults(tx))
        elif (row := tx.row(_INSTANCE, (instance,))) is not None:
            state = InstanceState(*row)
            is_there = state.status not in UNREACHABLE
            if _mend_all(self._faults(tx, state)) and is_there:
                save(tx, state, self._at)


def _mend_all(faults: Iterator[Fault]) -> bool:
    """Mend one fault after another, each before the next is looked for; returns whether there was one."""
    mended = False
    for fault in faults:
        if fault.mend is not None:
            fault.mend()
            mended = True
    return mended


_LATEST: Final = """
    SELECT t.id, t.name, t.latest, v.newest FROM twists t
    JOIN (SELECT twist, max(number) AS newest FROM versions GROUP BY twist) v ON v.twist = t.id WHERE v.newest <> t.latest
    """

# A version that was not offered to an instance is what a deploy has still to do: nodes do it.
_NO_SUCH_VERSION: Final = """
    SELECT i.id, iif(i.awaiting IS NULL, 'offered', 'awaiting'), coalesce(i.awaiting, i.offered), i.version
    FROM instances i JOIN twists t ON t.id = i.twist
    WHERE i.status NOT IN ('deactivating', 'gone', 'erased') AND (i.offered > t.latest OR (
        i.awaiting IS NOT NULL AND NOT EXISTS (SELECT 1 FROM versions WHERE twist = i.twist AND number = i.awaiting)
    ))
    """

_SAID_OF: Final = {"offered": "was offered", "awaiting": "waits for a grant of"}

_OFFER_AGAIN: Final = "UPDATE instances SET offered = ?, awaiting = NULL WHERE id = ?"

_WITHOUT_FILES: Final = """
    SELECT t.name, v.number FROM versions v JOIN twists t ON t.id = v.twist
    WHERE NOT EXISTS (SELECT 1 FROM bundle_files WHERE bundle = v.bundle) AND (v.number = t.latest OR EXISTS (
        SELECT 1 FROM instances i INDEXED BY instances_offered
        WHERE i.twist = v.twist AND i.version = v.number AND i.status NOT IN ('gone', 'erased')
    ))
    """

_WITHOUT_TWIST: Final = """
    SELECT id FROM instances WHERE status NOT IN ('gone', 'erased') AND NOT EXISTS (SELECT 1 FROM twists WHERE id = twist)
    """

# What is found here is looked at again by the checks of its instance; where there is none, by `_lost_faults`.
_STRAYS: Final = {
    "executions": """
        SELECT e.n, i.id FROM executions e LEFT JOIN instances i ON i.id = e.instance WHERE e.n > ? AND e.n <= ? AND CASE
            WHEN i.id IS NULL OR i.status = 'erased' THEN e.status IN ('queued', 'retrying', 'running')
            WHEN e.status IN ('queued', 'retrying') THEN (e.seq IS NULL) = (e.due IS NULL)
                OR (e.arguments IS NULL AND NOT EXISTS (SELECT 1 FROM payloads WHERE execution = e.n))
            WHEN e.status = 'running' THEN i.running IS NOT e.n OR e.seq IS NOT NULL OR e.due IS NOT NULL
            ELSE e.seq IS NOT NULL OR e.due IS NOT NULL
        END
        """,
    "payloads": """
        SELECT p.execution, NULL FROM payloads p
        WHERE p.execution > ? AND p.execution <= ? AND NOT EXISTS (SELECT 1 FROM executions WHERE n = p.execution)
        """,
}

_LOST_EXECUTION: Final = """
    SELECT id FROM executions WHERE n = ? AND status IN ('queued', 'retrying', 'running')
    AND NOT EXISTS (SELECT 1 FROM instances WHERE id = instance)
    """

_LOST_PAYLOAD: Final = """
    SELECT 1 FROM payloads p WHERE p.execution = ? AND NOT EXISTS (SELECT 1 FROM executions WHERE n = p.execution)
    """

_CANCEL: Final = "UPDATE executions SET status = 'cancelled', seq = NULL, due = NULL, finished_at = ? WHERE n = ?"

# Those too that are no longer there for anybody else.
_ALL: Final = f"SELECT {INSTANCE} FROM instances i CROSS JOIN twists t ON t.id = i.twist"

_INSTANCE: Final = f"{_ALL} WHERE i.id = ?"

_SOME_INSTANCES: Final = f"{_ALL} WHERE i.id > ? ORDER BY i.id LIMIT ?"
