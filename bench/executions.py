"""An execution against a bare fork: how many a second with eight in flight, and how long one takes on an idle node.

In flight: events of eight instances are queued, and the node works on eight at once until the last settlement is durable, as the floor
keeps eight bare forks alive. Round trips, for comparison: eight clients, each of which hands over an event, durably, and the next when that
one's settlement is durable. One by one, on an idle node: from the event handed to a waiting process until its settlement is durable, and,
for comparison, from the moment at which the event begins to be stored.

Of those each takes turns with one bare fork, and before either the machine is left alone for as long: so that what waits is there again, and
because caches, cores and the disk are slower at first after a rest, for both. For comparison too: the same over forks one right after another,
which find everything warm.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from msgspec import Struct

from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import IN_FLIGHT, Rig, folder, serving
from ropewalk.storage.records import Instance

METHODS = ("noop", "get_set", "ten_calls")
_REST = 0.02


class Turns(Struct, frozen=True, kw_only=True):
    """Median milliseconds of a bare fork, and of an execution: from its process's getting it, and from its event's storing."""

    fork: float
    execution: float
    from_storing: float


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure all three methods, each round beside a round of the floor."""
    rounds, count, singles = (2, 160, 20) if quick else (7, 600, 60)
    result = Measured(figures=[])
    with folder() as path:
        async with serving(path) as rig:
            instances = await rig.activate(await rig.deploy(), IN_FLIGHT)
            for method in METHODS:
                await _measure_method(rig, instances, method, floor, result, rounds, count, singles)
    return result


async def _measure_method(
    rig: Rig, instances: Sequence[Instance], method: str, floor: Floor, result: Measured, rounds: int, count: int, singles: int
) -> None:
    rate: list[float] = []
    round_trips: list[float] = []
    floor_rate: list[float] = []
    each: list[float] = []
    stored_each: list[float] = []
    floor_each: list[float] = []
    floor_in_a_row: list[float] = []
    await in_flight(rig, instances, method, count // 4)
    for _ in range(rounds):
        floor_rate.append(floor.per_second(count, IN_FLIGHT))
        rate.append(await in_flight(rig, instances, method, count))
        round_trips.append(await _round_trips(rig, instances, method, count))
        await asyncio.sleep(_REST * 5)
        floor_in_a_row.append(floor.milliseconds(singles))
        turns = await by_turns(rig, instances[0], method, floor, singles)
        each.append(turns.execution)
        stored_each.append(turns.from_storing)
        floor_each.append(turns.fork)
    name = "execution" if method == "get_set" else f"execution_{method}"
    result.rounds |= {
        f"{name} per second": rate,
        f"{name} round trips per second": round_trips,
        f"{name} floor per second": floor_rate,
        f"{name} ms": each,
        f"{name} ms from storing": stored_each,
        f"{name} floor ms": floor_each,
        f"{name} floor in a row ms": floor_in_a_row,
    }
    is_headline = method == "get_set"
    result.figures += [
        Figure(name=f"{name}_throughput_vs_fork", value=ratio(rate, floor_rate), bound="≥", target=0.65 if is_headline else None),
        Figure(name=f"{name}_round_trip_throughput_vs_fork", value=ratio(round_trips, floor_rate)),
        Figure(name=f"{name}_p50_vs_fork", value=ratio(each, floor_each), target=0.75 if is_headline else None),
        Figure(name=f"{name}_p50_vs_forks_in_a_row", value=ratio(each, floor_in_a_row)),
        Figure(name=f"{name}_from_storing_p50_vs_fork", value=ratio(stored_each, floor_each)),
        Figure(name=f"{name}_per_second", value=statistics.median(rate), unit="/s", absolute=True),
        Figure(name=f"{name}_p50_ms", value=statistics.median(each), unit="ms", absolute=True),
    ]


async def in_flight(rig: Rig, instances: Sequence[Instance], method: str, count: int) -> float:
    """Return how many executions a second the node works off with one in flight on each instance and more of them queued."""
    end = rig.witness.settlements(count)
    await asyncio.gather(*(rig.hand_over(instances[number % len(instances)].id, method) for number in range(count)))
    left, began = rig.witness.left, time.perf_counter()
    await end
    return left / (time.perf_counter() - began)


async def _round_trips(rig: Rig, instances: Sequence[Instance], method: str, count: int) -> float:
    """Return how many events a second eight clients get worked off that each wait for one before they store the next."""

    async def client(instance: Instance) -> None:
        for _ in range(count // len(instances)):
            await rig.execute(instance.id, method)

    began = time.perf_counter()
    await asyncio.gather(*map(client, instances))
    return count / (time.perf_counter() - began)


async def by_turns(rig: Rig, instance: Instance, method: str, floor: Floor, count: int) -> Turns:
    """Take turns, after a rest each: one bare fork, one execution on an idle node."""
    forks: list[float] = []
    on_a_process: list[int] = []
    from_storing: list[int] = []
    for _ in range(count):
        await asyncio.sleep(_REST)
        forks.append(floor.milliseconds(1))
        await asyncio.sleep(_REST)
        began, executed = await rig.execute(instance.id, method)
        on_a_process.append(executed.settled - executed.started)
        from_storing.append(executed.settled - began)
    return Turns(
        fork=statistics.median(forks),
        execution=statistics.median(on_a_process) / 1e6,
        from_storing=statistics.median(from_storing) / 1e6,
    )
