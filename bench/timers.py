"""Tasks of many instances that are due in the same second: each runs once, how late, and how evenly the instances have their turns.

100,000 tasks of 1,000 instances, put down for the same second before the node starts. The lag is from the time that a task was asked for
to the start of its process. Fairness is Jain's index (DEC-TR-301, 1984) of how many tasks each instance has had by the time at which half
of them all have started: 1 when all have had as many, 1/n when one has had everything.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import apsw
from msgspec.structs import replace

from bench.figures import Figure, Measured, percentile
from bench.floor import Floor
from bench.rig import Rig, database_path, event, folder, serving

_AT_ONCE = 1_000
_LATER = 86_400_000_000
_AHEAD = 3_000_000
_EACH_AHEAD = 100
"""Microseconds that moving one task's time may take, on a slow disk."""
_ORDER = 0x5EED
_REPORTED = 15.0
_LONGEST = 900.0

_SOON = "UPDATE executions SET due = due - ?1, run_at = run_at - ?1 WHERE due IS NOT NULL"
_WAKE = "UPDATE instances SET wake_at = wake_at - ?1 WHERE wake_at > 0"
_RAN = "SELECT instance, started_at, run_at, attempt FROM executions WHERE method = 'noop' AND status = 'succeeded' ORDER BY started_at"
_LEFT = "SELECT count(*) FROM executions WHERE method = 'noop' AND status <> 'succeeded'"


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure the tasks of one second."""
    instances, each = (40, 25) if quick else (1_000, 100)
    with folder() as path:
        async with serving(path) as rig:
            due = await _put_down(rig, instances, each)
        due = _bring_near(path, due, instances * each)
        async with serving(path) as rig:
            if _now() > due:
                raise RuntimeError("the second came before there was a node: nothing was measured")
            began = time.monotonic()
            await _all_run(rig, instances * each)
            took = time.monotonic() - began
        rows = _rows(path, instances * each)
    lags = [(started - due) / 1e6 for _, started, due in rows]
    figures = [
        Figure(name="timers_run_once", value=float(len(rows)), unit="tasks", bound="≥", target=float(instances * each)),
        Figure(name="timers_fairness", value=_jain(rows, instances), unit="", bound="≥", target=0.9),
        Figure(name="timers_lag_p50", value=percentile(lags, 50), unit="s", absolute=True),
        Figure(name="timers_lag_p99", value=percentile(lags, 99), unit="s", absolute=True),
        Figure(name="timers_per_second", value=len(rows) / took, unit="/s", absolute=True),
    ]
    return Measured(figures=figures)


async def _put_down(rig: Rig, instances: int, each: int) -> int:
    """Store the tasks, of every instance as many, all within one second a day from now; returns the beginning of that."""
    active = [instance.id for instance in await rig.activate(await rig.deploy(), instances)]
    chance = random.Random(_ORDER)
    due = _now() + _LATER
    tasks = [
        replace(event(instance, "noop"), run_at=due + chance.randrange(1_000_000)) for instance in active for _ in range(each)
    ]
    chance.shuffle(tasks)
    for start in range(0, len(tasks), _AT_ONCE):
        await asyncio.gather(*(rig.service.storage.enqueue(task) for task in tasks[start : start + _AT_ONCE]))
    return due


async def _all_run(rig: Rig, count: int) -> None:
    """Wait until the tasks have all run, and say how far it is every so often."""
    end = asyncio.ensure_future(rig.witness.settlements(count))
    began = time.monotonic()
    while not (await asyncio.wait((end,), timeout=_REPORTED))[0]:
        took, ran = time.monotonic() - began, count - rig.witness.left
        print(f"timers: {ran:,} of {count:,} tasks have run in {took:.0f} s", file=sys.stderr)
        if took > _LONGEST:
            raise TimeoutError(f"of {count:,} tasks {ran:,} have run in {took:.0f} s: run this on a machine that is left alone")


def _now() -> int:
    return time.time_ns() // 1000


def _bring_near(path: Path, due: int, count: int) -> int:
    """Have that second come in a moment; returns the beginning of that."""
    connection = apsw.Connection(str(database_path(path)))
    soon = _now() + _AHEAD + count * _EACH_AHEAD
    with connection:
        connection.execute(_SOON, (due - soon,))
        connection.execute(_WAKE, (due - soon,))
    connection.close()
    return soon


def _rows(path: Path, count: int) -> list[tuple[str, int, int]]:
    """Return instance, start and due time of every task, in the order of their starts; each must have run once and none be left."""
    connection = apsw.Connection(str(database_path(path)))
    rows: list[Any] = connection.execute(_RAN).fetchall()
    left: Any = connection.execute(_LEFT).fetchall()[0][0]
    connection.close()
    if len(rows) != count or left or any(attempt != 1 for *_, attempt in rows):
        raise RuntimeError(
            f"of {count:,} tasks {len(rows):,} ran and {left:,} are left; the most attempts were {max(row[3] for row in rows)}"
        )
    return [(instance, started, due) for instance, started, due, _ in rows]


def _jain(rows: list[tuple[str, int, int]], instances: int) -> float:
    """Return how evenly the first half of the starts is spread over the instances."""
    had: dict[str, int] = {}
    for instance, _, _ in rows[: len(rows) // 2]:
        had[instance] = had.get(instance, 0) + 1
    return sum(had.values()) ** 2 / (instances * sum(count * count for count in had.values()))
