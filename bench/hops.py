"""Durable hops: chains of tasks, each reading two values, writing two and asking for the next, all in one transaction."""

from __future__ import annotations

import asyncio
import statistics
import time

from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import IN_FLIGHT, Rig, folder, serving
from ropewalk.storage.records import Instance

CHAINS = 100


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure whole runs of all chains, each beside rounds of the floor."""
    rounds, length, forks = (1, 10, 400) if quick else (3, 50, 1500)
    rate: list[float] = []
    floor_rate: list[float] = []
    syncs: list[float] = []
    with folder() as path:
        async with serving(path) as rig:
            instances = await rig.activate(await rig.deploy(), CHAINS)
            for _ in range(rounds):
                before = floor.per_second(forks, IN_FLIGHT)
                hops_per_second, syncs_per_hop = await _run(rig, instances, length)
                rate.append(hops_per_second)
                syncs.append(syncs_per_hop)
                floor_rate.append((before + floor.per_second(forks, IN_FLIGHT)) / 2)
    figures = [
        Figure(name="hops_per_second", value=statistics.median(rate), unit="/s", absolute=True),
        Figure(name="hops_vs_fork_rate", value=ratio(rate, floor_rate), bound="≥", target=0.5),
        Figure(name="fsyncs_per_hop", value=statistics.median(syncs), unit="", target=1.1),
    ]
    return Measured(figures=figures, rounds={"hops per second": rate, "floor per second": floor_rate, "fsyncs per hop": syncs})


async def _run(rig: Rig, instances: list[Instance], length: int) -> tuple[float, float]:
    """Run every chain to its end; returns hops per second and fsyncs per hop."""
    hops = length * len(instances)
    end = rig.witness.settlements(hops)
    synced, began = rig.syncs(), time.perf_counter()
    await asyncio.gather(*(rig.hand_over(instance.id, "hop", length) for instance in instances))
    await end
    took = time.perf_counter() - began
    return hops / took, (rig.syncs() - synced) / hops
