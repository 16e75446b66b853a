"""The cold start of a version: its zygote is made, its module imported, and one execution run, until that is settled.

Versions are deployed by one node; then another one, warm but with none of them resident, is asked to run each for the first time.
Beside each, `python -c "import asyncio"` is run to its end.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import TWIST, folder, serving

_REST = 0.1


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure the first execution of some versions, each beside a new interpreter."""
    versions = 5 if quick else 20
    cold: list[float] = []
    interpreter: list[float] = []
    with folder() as path:
        async with serving(path) as rig:
            instances = [
                (await rig.activate(await rig.deploy(_module(path, number), f"cold-{number}"), 1))[0]
                for number in range(versions)
            ]
        async with serving(path) as rig:
            for instance in instances:
                await asyncio.sleep(_REST)
                interpreter.append(_interpreter())
                began, executed = await rig.execute(instance.id, "get_set")
                cold.append((executed.settled - began) / 1e6)
    figures = [
        Figure(name="cold_start_vs_python_asyncio", value=ratio(cold, interpreter), target=0.25),
        Figure(name="cold_start_ms", value=statistics.median(cold), unit="ms", absolute=True),
    ]
    return Measured(figures=figures, rounds={"cold ms": cold, "python asyncio ms": interpreter})


def _module(path: Path, number: int) -> Path:
    """Return a module that no other version has."""
    module = path / f"cold_{number}" / "twist.py"
    module.parent.mkdir()
    module.write_text(f"{TWIST.read_text(encoding='utf-8')}\n\nNUMBER = {number}\n", encoding="utf-8")
    return module


def _interpreter() -> float:
    """Return the milliseconds that a new interpreter takes to import asyncio and end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import asyncio"], check=True)
    return (time.perf_counter() - began) * 1e3
