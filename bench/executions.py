"""An execution against a bare fork: how many a second with eight in flight, and how long one takes on an idle node.

In flight: eight clients, each with instances of its own; each hands over an event, durably, and the next when that one's settlement is
durable. The floor keeps eight bare forks alive in the same manner. One by one, on an idle node: from the event handed to a
waiting process until its settlement is durable, and, for comparison, from the moment at which the event begins to be stored; between two
the node is left alone for a moment, so that what waits is there again.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import IN_FLIGHT, Rig, folder, serving
from ropewalk.storage.records import Instance

METHODS = ("noop", "get_set", "ten_calls")
_REST = 0.02


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure all three methods, each round beside a round of the floor."""
    rounds, count, singles = (2, 160, 20) if quick else (7, 600, 100)
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
    floor_rate: list[float] = []
    each: list[float] = []
    stored_each: list[float] = []
    floor_each: list[float] = []
    await _in_flight(rig, instances, method, count // 4)
    for _ in range(rounds):
        floor_rate.append(floor.per_second(count, IN_FLIGHT))
        rate.append(await _in_flight(rig, instances, method, count))
        await asyncio.sleep(_REST * 5)
        floor_each.append(floor.milliseconds(singles))
        on_a_process, from_storing = await _one_by_one(rig, instances[0], method, singles)
        each.append(on_a_process)
        stored_each.append(from_storing)
    name = "execution" if method == "get_set" else f"execution_{method}"
    result.rounds |= {
        f"{name} per second": rate,
        f"{name} floor per second": floor_rate,
        f"{name} ms": each,
        f"{name} ms from storing": stored_each,
        f"{name} floor ms": floor_each,
    }
    is_headline = method == "get_set"
    result.figures += [
        Figure(name=f"{name}_throughput_vs_fork", value=ratio(rate, floor_rate), bound="≥", target=0.65 if is_headline else None),
        Figure(name=f"{name}_p50_vs_fork", value=ratio(each, floor_each), target=0.75 if is_headline else None),
        Figure(name=f"{name}_from_storing_p50_vs_fork", value=ratio(stored_each, floor_each)),
        Figure(name=f"{name}_per_second", value=statistics.median(rate), unit="/s", absolute=True),
        Figure(name=f"{name}_p50_ms", value=statistics.median(each), unit="ms", absolute=True),
    ]


async def _in_flight(rig: Rig, instances: Sequence[Instance], method: str, count: int) -> float:
    """Return how many executions a second there are with one in flight on each instance."""

    async def client(instance: Instance) -> None:
        for _ in range(count // len(instances)):
            await rig.execute(instance.id, method)

    began = time.perf_counter()
    await asyncio.gather(*map(client, instances))
    return count / (time.perf_counter() - began)


async def _one_by_one(rig: Rig, instance: Instance, method: str, count: int) -> tuple[float, float]:
    """Return the median milliseconds of one execution on an idle node, from its process's getting it and from its event's storing."""
    on_a_process: list[int] = []
    from_storing: list[int] = []
    for _ in range(count):
        await asyncio.sleep(_REST)
        began, executed = await rig.execute(instance.id, method)
        on_a_process.append(executed.settled - executed.started)
        from_storing.append(executed.settled - began)
    return statistics.median(on_a_process) / 1e6, statistics.median(from_storing) / 1e6
