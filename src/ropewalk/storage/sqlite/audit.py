"""What must always hold of a live database, looked at and mended (G6).

Looking is done on a reading connection, some instances or rows to a transaction: it costs writers nothing, no snapshot lives long, and
each sees nothing half done. What it finds is looked at again when it is mended, instance by instance, each in a write of its own, by the
very checks that found it: work went on meanwhile, and what has come right is left alone. The checks are in `checks`.
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
from ropewalk.storage.sqlite.checks.database import check_database, check_lost
from ropewalk.storage.sqlite.checks.faults import Fault
from ropewalk.storage.sqlite.checks.instances import check_instance, check_leaving
from ropewalk.storage.sqlite.checks.line import STRAY
from ropewalk.storage.sqlite.committer import Transaction, Verb
from ropewalk.storage.sqlite.connection import open_reader
from ropewalk.storage.sqlite.errors import translate
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
        self._mends_database = False

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
        if self._mends_database:
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
            faults = list(check_database(tx, self._dead, self._at))
        finally:
            tx.run("COMMIT")
        self._mends_database = any(fault.mend is not None for fault in faults)
        return [fault.finding for fault in faults]

    def _mend_database(self, tx: Transaction) -> None:
        _mend_all(check_database(tx, self._dead, self._at))

    # ── Rows that are out of step with what they belong to ────────────────────────────────────────────────────────────────────

    def _find_strays(self, tx: Transaction) -> Iterator[Finding]:
        """Go through large tables window by window; what is of an instance is told of by its checks."""
        for table, (number, strays) in _STRAYS.items():
            last: int = tx.value(f"SELECT coalesce(max({number}), 0) FROM {table}")
            for start in range(0, last, ROWS_AT_ONCE):
                for found, instance in tx.rows(strays, (start, start + ROWS_AT_ONCE)):
                    self._strays[instance or ""].append(found)
        self._instances.update(dict.fromkeys(self._strays))
        return (fault.finding for fault in self._lost_faults(tx))

    def _lost_faults(self, tx: Transaction) -> Iterator[Fault]:
        """Yield what belongs to nothing."""
        return check_lost(tx, self._strays.get("", ()), self._at)

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


# What is found here is looked at again by the checks of its instance; where there is none, by `check_lost`.
_STRAYS: Final = {
    "executions": (
        "n",
        f"""
        SELECT e.n, i.id FROM executions e LEFT JOIN instances i ON i.id = e.instance WHERE e.n > ? AND e.n <= ? AND CASE
            WHEN i.id IS NULL OR i.status = 'erased' THEN e.status IN ('queued', 'retrying', 'running') ELSE {STRAY}
        END
        """,
    ),
    "payloads": (
        "execution",
        """
        SELECT p.execution, NULL FROM payloads p
        WHERE p.execution > ? AND p.execution <= ? AND NOT EXISTS (SELECT 1 FROM executions WHERE n = p.execution)
        """,
    ),
    "deliveries": (
        "execution",
        """
        SELECT d.execution, NULL FROM deliveries d LEFT JOIN executions e ON e.n = d.execution
        WHERE d.execution > ? AND d.execution <= ? AND (e.n IS NULL OR (d.size > 0 AND e.finished_at IS NOT NULL
            AND (e.event IS NULL OR e.event = x'5b5d') AND NOT EXISTS (SELECT 1 FROM payloads WHERE execution = e.n)))
        """,
    ),
}
"""Of each table the number by which it is gone through, and what finds in a window of them what looks out of step."""

# Those too that are no longer there for anybody else.
_ALL: Final = f"SELECT {INSTANCE} FROM instances i CROSS JOIN twists t ON t.id = i.twist"

_INSTANCE: Final = f"{_ALL} WHERE i.id = ?"

_SOME_INSTANCES: Final = f"{_ALL} WHERE i.id > ? ORDER BY i.id LIMIT ?"
