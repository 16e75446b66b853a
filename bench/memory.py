"""What a process costs while it waits for an event, and while it runs one: memory that no other process shares."""

from __future__ import annotations

import asyncio
import os
import statistics
from pathlib import Path

from bench.figures import Figure, Measured
from bench.floor import Floor
from bench.rig import IN_FLIGHT, folder, serving

_HOLD = 1.0
_PAUSE = 0.5
_ATTEMPT_FILTERS = 2
"""Seccomp filters of an attempt's process: its zygote's and the one that lets it fork no more."""


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Look at the node's sandboxed processes at rest, then with eight executions running."""
    with folder() as path:
        async with serving(path) as rig:
            instances = await rig.activate(await rig.deploy(), IN_FLIGHT)
            await rig.execute(instances[0].id, "get_set")
            await asyncio.sleep(_PAUSE)
            waiting = _unique_kb()
            running_now = asyncio.gather(*(rig.execute(instance.id, "hold", _HOLD) for instance in instances))
            await asyncio.sleep(_PAUSE)
            # A running process is one that waited and has written more since, so the largest are those that run.
            running = sorted(_unique_kb())[-IN_FLIGHT:]
            await running_now
    figures = [
        Figure(name="waiting_process_unique_kb", value=statistics.median(waiting), unit="KiB", target=1024),
        Figure(name="running_process_unique_kb", value=statistics.median(running), unit="KiB"),
    ]
    return Measured(figures=figures, rounds={"waiting KiB": waiting, "running KiB": running})


def _unique_kb() -> list[float]:
    """Return for each attempt's process of this node how much of its memory is its own."""
    found: list[float] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = _fields(process / "status")
            if status.get("Seccomp_filters") == _ATTEMPT_FILTERS and _parent(status["PPid"]) == os.getpid():
                sizes = _fields(process / "smaps_rollup")
                found.append(sizes["Private_Clean"] + sizes["Private_Dirty"])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _parent(pid: int) -> int:
    """Return a process's parent: of the root zygote, whose children the attempts are, that is the node."""
    return _fields(Path(f"/proc/{pid}/status"))["PPid"]


def _fields(path: Path) -> dict[str, int]:
    """Return the numbers of a file of `Name: number unit` lines."""
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: int(words[0]) for name, _, rest in lines if (words := rest.split()) and words[0].isdecimal()}
