"""What a claim costs when a million tasks wait for their time, against a thousand; and what a node's memory does then.

Two databases have the same instances, one with a thousand times the tasks. In turn, each is given a task that comes due at once, and
the claim that takes it is timed. Then a node is started on each, in a process of its own, to look at that process's peak memory.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

import apsw
from msgspec.structs import replace

from bench.committer import settlement_of
from bench.figures import Figure, Measured
from bench.floor import Floor
from bench.machine import peak_kb
from bench.rig import Rig, database_path, event, folder, serving, storing
from ropewalk.storage.interface import Storage

FEW = 1_000
MANY = 1_000_000
_DAY = 86_400_000_000


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure claims on both databases in turn, then the memory of a node on each."""
    instances, count = (100, 60) if quick else (1000, 300)
    many = MANY // 10 if quick else MANY
    few_us: list[float] = []
    many_us: list[float] = []
    with folder() as few_path, folder() as many_path:
        few_instance = await _fill(few_path, instances, FEW)
        many_instance = await _fill(many_path, instances, many)
        async with storing(few_path) as few_storage, storing(many_path) as many_storage:
            for _ in range(count):
                few_us.append(await _claim(few_storage, few_instance))
                many_us.append(await _claim(many_storage, many_instance))
        few_kb, many_kb = await _node_kb(few_path), await _node_kb(many_path)
    figures = [
        Figure(name="claim_cost_1m_vs_1k", value=statistics.median(many_us) / statistics.median(few_us), target=2.0),
        Figure(name="claim_cost_1k_us", value=statistics.median(few_us), unit="µs", absolute=True),
        Figure(name="node_memory_growth_1m_mb", value=(many_kb - few_kb) / 1024, unit="MiB", target=50),
    ]
    raw = {"pending": [float(many)], "1k µs": few_us, "1m µs": many_us, "node peak KiB": [few_kb, many_kb]}
    return Measured(figures=figures, rounds=raw)


async def _fill(path: Path, instances: int, tasks: int) -> str:
    """Make instances with that many tasks between them, due in a day or later; returns one instance."""
    async with serving(path) as rig:
        made = await rig.activate(await rig.deploy(), instances)
    async with storing(path) as storage:
        for instance in made:
            task = event(instance.id, "noop")
            await storage.enqueue(replace(task, run_at=task.at + _DAY))
    multiply(path, tasks // instances)
    return made[0].id


def multiply(path: Path, times: int) -> None:
    """Make `times` of each task that waits for its time. By SQL, since a million calls of `enqueue` would take minutes: only ids and times differ."""
    connection = apsw.Connection(str(database_path(path)))
    columns = [str(row[1]) for row in connection.execute("PRAGMA table_info(executions)") if row[1] != "n"]
    values = {"id": "id || '-' || copy", "due": "due + copy * 1000", "run_at": "run_at + copy * 1000"}
    copies = "WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies WHERE copy + 1 < ?)"
    copied = ", ".join(values.get(name, name) for name in columns)
    tasks = f"SELECT {copied} FROM executions CROSS JOIN copies WHERE due IS NOT NULL"  # noqa: S608 — names of the schema
    with connection:
        connection.execute(f"{copies} INSERT INTO executions ({', '.join(columns)}) {tasks}", (times,))
        connection.execute("UPDATE instances SET pending = pending * ?1, pending_bytes = pending_bytes * ?1", (times,))
    connection.close()


async def _claim(storage: Storage, instance: str) -> float:
    """Return the microseconds of the claim that takes a task whose time has just come."""
    task = event(instance, "noop")
    await storage.enqueue(replace(task, run_at=task.at + 2_000))
    await asyncio.sleep(0.004)
    began = time.perf_counter_ns()
    (claim,) = await storage.claim("bench", 1)
    took = time.perf_counter_ns() - began
    await storage.settle(settlement_of(claim, claim_next=False))
    return took / 1e3


async def _node_kb(path: Path) -> float:
    """Return the peak memory of a process that is a node on the database for a while."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.claims", str(path), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    return float(told)


async def _be_a_node(path: Path) -> None:
    """Be that process: run some executions, then say what the most memory was."""
    async with serving(path) as rig:
        await _run_some(rig)
    print(peak_kb())


async def _run_some(rig: Rig) -> None:
    for instance in (await rig.service.storage.instances())[:50]:
        await rig.execute(instance.id, "get_set")


if __name__ == "__main__":
    asyncio.run(_be_a_node(Path(sys.argv[1])))
