"""How long one instance's single task waits while another has 100,000 that are due.

From an event handed over to the first line of the author's code, as in `latency`: on the idle node first, and then while the node works
through the other's backlog, one task at a time, in its turn.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import apsw
import msgspec
from msgspec.structs import replace

from bench.claims import multiply
from bench.figures import Figure, Measured, percentile
from bench.floor import Floor
from bench.rig import Rig, database_path, event, folder, serving

_DUE = 100_000
_REST = 0.02
_LATER = 3_600_000_000


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure single tasks without the other's backlog and with it."""
    count = 60 if quick else 400
    with folder() as path:
        async with serving(path) as rig:
            single, flood = [instance.id for instance in await rig.activate(await rig.deploy(), 2)]
            idle = await _latencies(rig, single, count)
            task = event(flood, "get_set")
            await rig.service.storage.enqueue(replace(task, run_at=task.at + _LATER))
        _make_due(path)
        async with serving(path) as rig:
            before, began = await _pending(rig, flood), time.monotonic()
            busy = await _latencies(rig, single, count)
            after, took = await _pending(rig, flood), time.monotonic() - began
    if not 0 < after < before:
        raise RuntimeError(f"the backlog went from {before:,} to {after:,}: nothing was measured beside it")
    figures = [
        Figure(name="fairness_p99_ms_beyond_idle", value=percentile(busy, 99) - statistics.median(idle), unit="ms", target=50.0),
        Figure(name="fairness_flood_per_second", value=(before - after) / took, unit="/s", absolute=True),
    ]
    return Measured(figures=figures, rounds={"idle ms": idle, "busy ms": busy})


def _make_due(path: Path) -> None:
    """Make the one task that waits many, all due by now."""
    multiply(path, _DUE)
    connection = apsw.Connection(str(database_path(path)))
    with connection:
        connection.execute("UPDATE executions SET due = due - ?1, run_at = run_at - ?1 WHERE due IS NOT NULL", (2 * _LATER,))
        connection.execute("UPDATE instances SET wake_at = 1 WHERE wake_at > 0")
    connection.close()


async def _latencies(rig: Rig, instance: str, count: int) -> list[float]:
    """Return the milliseconds that events took to reach the author's code, the first few left out."""
    took: list[float] = []
    for _ in range(count + 20):
        await asyncio.sleep(_REST)
        began, executed = await rig.execute(instance, "first_line")
        took.append((msgspec.json.decode(executed.result, type=int) - began) / 1e6)
    return took[20:]


async def _pending(rig: Rig, instance: str) -> int:
    found = await rig.service.storage.instance(instance)
    return 0 if found is None else found.pending
