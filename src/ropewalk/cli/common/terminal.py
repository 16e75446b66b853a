"""The person at the debugger of a replay: the terminal that the command was started on."""

from __future__ import annotations

import asyncio
import importlib
import sys

from ropewalk.cli.common.output import safe


class Terminal:
    """Shows what the debugger writes and reads what is typed.

    What the debugger writes is of the author's making: no control character of it reaches the terminal.
    """

    def tell(self, text: str) -> None:
        """Show text."""
        sys.stdout.write(safe(text, lines=True))
        sys.stdout.flush()

    async def ask(self, prompt: str) -> str:
        """Return the line that is typed, with its end; "" when there will be no more."""
        return await asyncio.to_thread(_read, safe(prompt))


def _read(prompt: str) -> str:
    """Read a line, with the line's history and editing keys where this is a terminal."""
    if sys.stdin.isatty():
        importlib.import_module("readline")  # input() uses it once it is there

    try:
        return f"{input(prompt)}\n"
    except EOFError:
        return ""
