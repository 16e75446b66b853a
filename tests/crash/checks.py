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
from tests.harness.checks import assert_whole, rows
from tests.harness.clock import SteppedClock


def after_a_kill(database: Path, lines: list[Line], offset: int) -> list[str]:
    """Return what the audit finds in a database as a kill left it, but for what was to be expected."""

    async def look() -> list[str]:
        clock = SteppedClock()
        clock.offset = offset
        storage = await open_sqlite(database, clock=clock, create=False)
        found = await storage.audit(clock.now(), repair=False)
        await storage.close()
        return [f"after a kill: {one.name}: {one.what}" for one in found if one.name not in _expected(lines)]

    problems = asyncio.run(look())
    return problems + [
        f"after a kill: instance {one} is not on its way to what it was offered" for one in rows(database, _LEFT_BEHIND)
    ]


_LEFT_BEHIND = """
    SELECT i.id FROM instances i JOIN twists t ON t.id = i.twist
    WHERE i.status = 'active' AND i.offered = t.latest AND i.version <> t.latest AND i.target_version IS NOT t.latest
    AND i.awaiting IS NOT t.latest AND i.upgrade_error IS NULL
    """


def _expected(lines: list[Line]) -> set[str]:
    """Return what there may be to find: what was damaged on purpose, ticks that lie far ahead of a clock which was set back, and a rotation of
    the master key that was killed.
    """
    causes = {"damaging": "no_wake", "setting_back": "recurring_too_late", "rotating": "rotation_unfinished"}
    return {finding for cause, finding in causes.items() if any(cause in line for line in lines)}


def at_the_end(
    database: Path, steps: list[Step], lines: list[Line], served: list[Line], past: set[str], offset: int
) -> list[str]:
    """Return everything that does not hold once all is done. `past` are the executions that are to be forgotten."""
    try:
        assert_whole(database)
    except AssertionError as error:
        return [f"the file's own books are wrong: {error}"]
    books = Books(database, steps, lines, served, past)
    found = [
        f"a node that had just begun mended: {line['found']}: {line['what']}"
        for place, line in enumerate(lines)
        if "found" in line and line["found"] not in _expected(lines[:place])
    ]
    return [*found, *after_a_kill(database, [], offset), *work.problems(books), *told.problems(books), *changes.problems(books)]
