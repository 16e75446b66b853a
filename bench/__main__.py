"""Measures, prints a table, and writes `bench/out/latest.json`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import msgspec
from rich.console import Console
from rich.table import Table

from bench import (
    claims,
    cold,
    committer,
    executions,
    fairness,
    fetching,
    hops,
    latency,
    memory,
    recording,
    strict,
    timers,
    webhooks,
)
from bench.figures import Figure, Measured
from bench.floor import Floor
from bench.machine import is_busy, machine, versions
from bench.rig import IN_FLIGHT

OUT = Path(__file__).parent / "out" / "latest.json"


class Measure(Protocol):
    """Measures one thing; `quick` is enough to see that it works, not to trust the figures."""

    def __call__(self, floor: Floor, *, quick: bool) -> Awaitable[Measured]: ...


MEASUREMENTS: dict[str, Measure] = {
    module.__name__.rpartition(".")[2]: module.measure
    for module in (
        executions,
        hops,
        latency,
        fairness,
        timers,
        memory,
        cold,
        strict,
        recording,
        fetching,
        claims,
        committer,
        webhooks,
    )
}


def main() -> int:
    """Run the measurements that are asked for."""
    options = _options()
    console = Console()
    names = options.only or list(MEASUREMENTS)
    with Floor() as floor:
        about = {"machine": machine(floor), "versions": versions()}
        measured = {name: _run(name, floor, quick=options.quick, console=console) for name in names}
    figures = [figure for one in measured.values() for figure in one.figures]
    settings = {"quick": options.quick, "in_flight": IN_FLIGHT, "synchronous": "FULL", "only": options.only}
    _write({**_by_name(figures), **about, "settings": settings, **_details(measured)})
    console.print(_table(measured), f"machine: {about['machine']}", f"versions: {about['versions']}", sep="\n")
    if is_busy():
        console.print("[yellow]Others are at work on this machine: these figures say little. Measure again when it is quiet.[/]")
    console.print(f"written: {OUT}")
    return 1 if options.check and any(figure.met is False for figure in figures) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: shows that it works, not how fast it is")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=f"one of {', '.join(MEASUREMENTS)}")
    return parser.parse_args()


def _run(name: str, floor: Floor, *, quick: bool, console: Console) -> Measured:
    began = time.monotonic()
    with console.status(f"{name} …"):
        measured = asyncio.run(_awaited(MEASUREMENTS[name](floor, quick=quick)))
    console.print(f"{name}: {time.monotonic() - began:.0f} s")
    return measured


async def _awaited(measured: Awaitable[Measured]) -> Measured:
    return await measured


def _by_name(figures: list[Figure]) -> dict[str, object]:
    """Return the figures as `latest.json` has them: `a.b` is the entry `b` of the object `a`."""
    found: dict[str, object] = {}
    for figure in figures:
        name, _, part = figure.name.partition(".")
        if part:
            inner = found.setdefault(name, {})
            assert isinstance(inner, dict)
            inner[part] = round(figure.value, 4)
        else:
            found[name] = round(figure.value, 4)
    return found


def _details(measured: dict[str, Measured]) -> dict[str, object]:
    targets = {
        figure.name: {"bound": figure.bound, "target": figure.target, "met": figure.met}
        for one in measured.values()
        for figure in one.figures
        if figure.target is not None
    }
    return {"targets": targets, "rounds": {name: one.rounds for name, one in measured.items()}}


def _write(document: dict[str, object]) -> None:
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _table(measured: dict[str, Measured]) -> Table:
    table = Table("measured", "figure", title="Ropewalk against a bare os.fork of the same image")
    table.add_column("value", justify="right")
    table.add_column("target", justify="right")
    table.add_column("met")
    for name, one in measured.items():
        for figure in one.figures:
            table.add_row(name, _label(figure), f"{figure.value:,.3g} {figure.unit}".strip(), _target(figure), _met(figure))
            name = ""
        table.add_section()
    return table


def _label(figure: Figure) -> str:
    return f"[dim]{figure.name} (this machine only)[/]" if figure.absolute else figure.name


def _target(figure: Figure) -> str:
    return "" if figure.target is None else f"{figure.bound} {figure.target:g}"


def _met(figure: Figure) -> str:
    return {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met]


if __name__ == "__main__":
    sys.exit(main())
