"""What is printed: JSON for programs and tables for people on stdout, messages for people on stderr.

Text that authors or servers wrote is shown to people with its control characters visible, so that it cannot move the cursor, colour
the terminal or turn the line around. JSON keeps it as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.failures import Failed

if TYPE_CHECKING:
    from ropewalk.cli.common.state import State

Columns = Sequence[tuple[str, Callable[[Any], str]]]
"""The columns of a table: the title of each, and how a row's text in it is made."""

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_UNSAFE_IN_A_LINE = re.compile(f"{_UNSAFE.pattern[:-1]}\t\n]")
_LINE_ENDS = "\x85\u2028\u2029"  # what Unicode ends lines with, and JSON does not escape
_SHORT_ID = 12


# ── For programs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def emit(document: object) -> None:
    """Print one JSON document, indented on a terminal."""
    click.echo(_encoded(document, indent=sys.stdout.isatty()))


def emit_line(document: object) -> None:
    """Print one object of a stream, on a line of its own, by whatever its reader takes for the end of a line."""
    line = _encoded(document, indent=False)
    for character in _LINE_ENDS:
        line = line.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    click.echo(line)


def error_document(failure: Failed) -> bytes:
    """Return what `--json` shows of a failure."""
    error = {"type": failure.type, "message": str(failure).encode("utf-8", "backslashreplace").decode()}
    return _encoded({"error": error, **failure.document}, indent=sys.stdout.isatty())


def _encoded(document: object, *, indent: bool) -> bytes:
    import msgspec

    encoded = msgspec.json.encode(document)
    return msgspec.json.format(encoded, indent=2) if indent else encoded


# ── For people ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def say(message: str) -> None:
    """Print a message for people."""
    click.echo(message.encode("utf-8", "backslashreplace").decode(), err=True)


def safe(text: str, *, lines: bool = False) -> str:
    """Return text with its control characters made visible; with `lines` line breaks and tabs stay."""
    return (_UNSAFE if lines else _UNSAFE_IN_A_LINE).sub(_visible, text)


def safe_entry(text: str) -> str:
    """Return text as `safe` does, line breaks kept and further lines indented: none of them can pass for an entry of its own."""
    return safe(text, lines=True).replace("\n", "\n    ")


def _visible(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def show(state: State, document: object, people: Callable[[], None]) -> None:
    """Print a result: the document with `--json`, else whatever `people` prints."""
    if state.json:
        emit(document)
    else:
        people()


def show_rows(state: State, rows: Sequence[dict[str, Any]], columns: Columns, nothing: str) -> None:
    """Print a listing: an array with `--json`, else a table, or `nothing` on stderr when there are no rows."""
    if state.json:
        emit(rows)
    elif rows:
        table(rows, columns)
    else:
        say(nothing)


def table(rows: Sequence[Any], columns: Columns) -> None:
    """Print rows as a table: coloured on a terminal, plain columns elsewhere."""
    cells = [[safe(text(row)) for _, text in columns] for row in rows]
    titles = [title for title, _ in columns]
    if sys.stdout.isatty():
        _rich_table(titles, cells)
    else:
        _plain_table([[title.upper() for title in titles], *cells])


def _plain_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in titles:
        shown.add_column(title, overflow="fold")
    for line in cells:
        shown.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))
    Console().print(shown)


_STYLES = {
    "active": "green",
    "succeeded": "green",
    "ok": "green",
    "running": "cyan",
    "queued": "cyan",
    "activating": "cyan",
    "retrying": "yellow",
    "suspended": "yellow",
    "deactivating": "yellow",
    "missing": "yellow",
    "failed": "red",
    "dead": "red",
    "below floor": "bold red",
    "cancelled": "dim",
}


def text_of(name: str) -> Callable[[dict[str, Any]], str]:
    """Return how a field is shown: as text, a dash when there is no value."""

    def text(row: dict[str, Any]) -> str:
        value = row[name]
        return "–" if value is None else str(value)

    return text


def id_of(name: str = "id") -> Callable[[dict[str, Any]], str]:
    """Return how an id is shown: its beginning on a terminal, all of it elsewhere."""

    def text(row: dict[str, Any]) -> str:
        value = row[name]
        if value is None:
            return "–"
        return str(value)[:_SHORT_ID] if sys.stdout.isatty() else str(value)

    return text


def time_of(name: str) -> Callable[[dict[str, Any]], str]:
    """Return how a time is shown: to the second, in UTC."""

    def text(row: dict[str, Any]) -> str:
        return short_time(row[name])

    return text


def short_time(value: str | None) -> str:
    """Return an ISO time to the second, with its Z."""
    return "–" if value is None else f"{value[:19].replace('T', ' ')}Z"


def bytes_text(size: int) -> str:
    """Return a size as people read it."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def duration_text(milliseconds: float | None) -> str:
    """Return a duration as people read it."""
    if milliseconds is None:
        return "–"
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


# ── While a person waits ──────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def waiting(message: str) -> Generator[Callable[[str], None]]:
    """Show a spinner on stderr while the block runs; gives a function that changes its words. Nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(safe(message))) as status:
        yield lambda words: status.update(Text(safe(words)))
