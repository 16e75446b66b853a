"""What must hold, by query: of the database as a kill left it, and of the whole episode at its end (`model`).

G2  an execution's work is there once and as a whole, or not at all       G6  nothing is stuck, nothing found by the audit
G3  what was acknowledged ran, or was ended by somebody                   G8  nothing runs that was not granted
G4  no work is there twice, and requests keep their keys                  G10 nothing runs after deactivation
G5  in order, one at a time                                               G11 every execution says how it came about
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ropewalk.storage.sqlite import open_sqlite
from tests.crash.model import changes, told, work
from tests.crash.model.books import Books, Line
from tests.crash.workload import Step
from tests.harness.checks import assert_whole
from tests.harness.clock import SteppedClock


def after_a_kill(database: Path, offset: int) -> list[str]:
    """Return what the audit finds in a database as a kill left it."""

    async def look() -> list[str]:
        clock = SteppedClock()
        clock.offset = offset
        storage = await open_sqlite(database, clock=clock, create=False)
        found = await storage.audit(clock.now(), repair=False)
        await storage.close()
        return [f"after a kill: {one.name}: {one.what}" for one in found]

    return asyncio.run(look())


def at_the_end(database: Path, steps: list[Step], lines: list[Line], served: list[Line], offset: int) -> list[str]:
    """Return everything that does not hold once all is done."""
    try:
        assert_whole(database)
    except AssertionError as error:
        return [f"the file's own books are wrong: {error}"]
    books = Books(database, steps, lines, served)
    found = [f"a node that had just begun mended: {line['found']}" for line in lines if "found" in line]
    return [*found, *after_a_kill(database, offset), *work.problems(books), *told.problems(books), *changes.problems(books)]
