"""What the person at the terminal sees: steps, progress, the closing table. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

LINE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the closing table: what one twist did."""

    twist: str
    rows: int
    activities: int
    twice: int
    executions: int
    attempts: int
    p50_ms: float
    p99_ms: float


class Bars:
    """A bar for each twist, or a line every two seconds."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console = console
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._next_line = 0.0

    def update(self, made: dict[str, int], total: int) -> None:
        """Show how many of `total` activities each twist has made."""
        if self._progress is not None:
            for twist, count in made.items():
                if twist not in self._tasks:
                    self._tasks[twist] = self._progress.add_task(twist, total=total)
                self._progress.update(self._tasks[twist], completed=count)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            counts = "   ".join(f"{twist} {count:,}/{total:,}" for twist, count in made.items())
            self._console.print(f"  {counts}", soft_wrap=True)


class Screen:
    """The terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def step(self, text: str) -> None:
        """Say what happens now."""
        self._console.print(f"[bold]▸[/] {text}")

    def event(self, text: str) -> None:
        """Say what was done to the node."""
        self._console.print(f"  [bold red]✗[/] {text}", soft_wrap=True)

    def problem(self, text: str) -> None:
        """Say what is wrong."""
        self._console.print(f"[bold red]Wrong:[/] {escape(text)}", soft_wrap=True)

    def plain(self, text: str = "") -> None:
        """Print text as it is."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Show progress while the block runs."""
        if not self._console.is_terminal:
            yield Bars(self._console, None)
            return
        columns = (TextColumn("  {task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            yield Bars(self._console, progress)

    def table(self, lines: Sequence[Line]) -> None:
        """Print what each twist did."""
        table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        table.add_column("twist", no_wrap=True)
        for heading in ("rows", "activities", "twice", "executions", "attempts", "p50 ms", "p99 ms"):
            table.add_column(heading, justify="right", no_wrap=True)
        for line in lines:
            counts = (line.rows, line.activities, line.twice, line.executions, line.attempts)
            table.add_row(line.twist, *[f"{count:,}" for count in counts], f"{line.p50_ms:,.0f}", f"{line.p99_ms:,.0f}")
        self._console.print("", table, "", sep="\n")
