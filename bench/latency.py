"""From an event handed over to the first line of the author's code, on an idle node, one event at a time.

Handed over by the node's own process (as a webhook or a timer's event is), and by another process, which writes to the same database and
rings the node's doorbell. Both begin before the event is stored, so both hold its sync of the disk.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec

from bench.figures import Figure, Measured, percentile
from bench.floor import Floor
from bench.rig import Rig, database_path, event, folder, serving
from ropewalk.service.config import Settings
from ropewalk.service.service import open_service
from ropewalk.storage.records import NewExecution

_REST = 0.02


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure both ways, some hundred events each."""
    count = 60 if quick else 400
    with folder() as path:
        async with serving(path) as rig:
            (instance,) = await rig.activate(await rig.deploy(), 1)
            await _from_here(rig, instance.id, 20)
            here = await _from_here(rig, instance.id, count)
            elsewhere = await _from_elsewhere(rig, path, instance.id, count)
    figures = [
        Figure(name="start_latency_ms.p50", value=percentile(here, 50), unit="ms", target=3.0),
        Figure(name="start_latency_ms.p99", value=percentile(here, 99), unit="ms", target=10.0),
        Figure(name="start_latency_by_doorbell_ms.p50", value=percentile(elsewhere, 50), unit="ms", target=3.0),
        Figure(name="start_latency_by_doorbell_ms.p99", value=percentile(elsewhere, 99), unit="ms", target=10.0),
    ]
    return Measured(figures=figures, rounds={"ms": here, "ms by doorbell": elsewhere})


async def _from_here(rig: Rig, instance: str, count: int) -> list[float]:
    took: list[float] = []
    for _ in range(count):
        await asyncio.sleep(_REST)
        began, executed = await rig.execute(instance, "first_line")
        took.append(_milliseconds(began, executed.result))
    return took


async def _from_elsewhere(rig: Rig, path: Path, instance: str, count: int) -> list[float]:
    pipe = asyncio.subprocess.PIPE
    source = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.latency", str(path), stdin=pipe, stdout=pipe)
    assert source.stdin is not None
    assert source.stdout is not None
    took: list[float] = []
    for _ in range(count):
        await asyncio.sleep(_REST)
        execution = event(instance, "first_line")
        done = rig.witness.awaited(execution.id)
        source.stdin.write(msgspec.json.encode(execution) + b"\n")
        began = int(await source.stdout.readline())
        took.append(_milliseconds(began, (await done).result))
    source.stdin.close()
    await source.wait()
    return took


def _milliseconds(began: int, result: bytes) -> float:
    return (msgspec.json.decode(result, type=int) - began) / 1e6


async def _be_elsewhere(path: Path) -> None:
    """Be the other process: for each event on stdin, store it, ring, and say when that began."""
    async with open_service(Settings(database=f"sqlite:///{database_path(path)}")) as service:
        for line in sys.stdin:
            execution = msgspec.json.decode(line, type=NewExecution)
            began = time.monotonic_ns()
            await service.storage.enqueue(execution)
            service.ring()
            os.write(1, f"{began}\n".encode())


if __name__ == "__main__":
    asyncio.run(_be_elsewhere(Path(sys.argv[1])))
