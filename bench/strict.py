"""What strict isolation costs: the author's module imported by every execution's own process, beside the standard way and a bare fork.

The same twist is deployed twice, once as a project that asks for strict isolation. Both are measured as `executions` does, in turns.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
from collections import defaultdict
from pathlib import Path

from bench.executions import by_turns, in_flight
from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import IN_FLIGHT, TWIST, Rig, folder, serving
from ropewalk.storage.records import Instance

_METHOD = "get_set"
_REST = 0.1


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure executions of a strict version, each round beside one of the standard version and one of the floor."""
    rounds, count, singles = (2, 80, 20) if quick else (5, 300, 60)
    result = Measured(figures=[], rounds=defaultdict(list))
    with folder() as path:
        async with serving(path) as rig:
            standard = await rig.activate(await rig.deploy(), IN_FLIGHT)
            strict = await rig.activate(await rig.deploy(_project(path), "strict"), IN_FLIGHT)
            for _ in range(rounds):
                await _round(rig, {"standard": standard, "strict": strict}, floor, result, count, singles)
    result.figures = _figures(result.rounds)
    return result


def _project(path: Path) -> Path:
    """Write the twist as a project that asks for strict isolation."""
    project = path / "strict"
    project.mkdir()
    shutil.copy(TWIST, project / "twist.py")
    (project / "pyproject.toml").write_text('[tool.ropewalk]\nisolation = "strict"\n', encoding="utf-8")
    return project


async def _round(
    rig: Rig, instances: dict[str, list[Instance]], floor: Floor, result: Measured, count: int, singles: int
) -> None:
    result.rounds["floor per second"].append(floor.per_second(count, IN_FLIGHT))
    for name, ones in instances.items():
        result.rounds[f"{name} per second"].append(await in_flight(rig, ones, _METHOD, count))
        await asyncio.sleep(_REST)
        turns = await by_turns(rig, ones[0], _METHOD, floor, singles)
        result.rounds[f"{name} ms"].append(turns.execution)
        result.rounds[f"{name}'s floor ms"].append(turns.fork)


def _figures(rounds: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(name="strict_execution_p50_vs_fork", value=ratio(rounds["strict ms"], rounds["strict's floor ms"])),
        Figure(name="strict_execution_p50_vs_standard", value=ratio(rounds["strict ms"], rounds["standard ms"])),
        Figure(
            name="strict_execution_throughput_vs_fork",
            value=ratio(rounds["strict per second"], rounds["floor per second"]),
            bound="≥",
        ),
        Figure(
            name="strict_execution_throughput_vs_standard",
            value=ratio(rounds["strict per second"], rounds["standard per second"]),
            bound="≥",
        ),
        Figure(
            name="strict_execution_per_second", value=statistics.median(rounds["strict per second"]), unit="/s", absolute=True
        ),
        Figure(name="strict_execution_p50_ms", value=statistics.median(rounds["strict ms"]), unit="ms", absolute=True),
    ]
