"""Flags and arguments that several commands take, and how their values are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ropewalk.cli.common.failures import Failed

if TYPE_CHECKING:
    from ropewalk.service.options import Given

RowT = TypeVar("RowT")

limit_option = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N only.")
"""Shortens a listing."""


def limited(rows: Sequence[RowT], limit: int | None) -> Sequence[RowT]:
    """Return the first rows of a listing that is newest first."""
    return rows if limit is None else rows[:limit]


def named_value(text: str) -> str:
    """Return what `@FILE`, `@-` or `@env:NAME` names, or the text itself; `@@` begins a text with one `@`.

    A line break at the end of a file or of stdin is not part of the value.

    Raises:
        Failed: what is named is not there, or is no text.
    """
    if not text.startswith("@"):
        return text
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@env:"):
        return _variable(text.removeprefix("@env:"))
    try:
        content = sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Failed("OSError", f"{text[1:]} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failed("InvalidValue", f"{text} is no UTF-8 text: {error.reason} at byte {error.start}") from error


def _variable(name: str) -> str:
    if name not in os.environ:
        raise Failed("NotFound", f"the variable {name} is not set")
    return os.environ[name]


option_option = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="K=V",
    help="An option; V may be @FILE, @- (stdin) or @env:NAME, as secrets must be.",
)
"""Gives an instance's option."""


def pairs(items: Sequence[str]) -> dict[str, Given]:
    """Return `K=V` items as a dict, with the values that `@` names read.

    Raises:
        BadParameter: an item has no `=`, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--option")
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--option")
        found[name] = value
    from ropewalk.service.options import Given

    return {
        name: Given(named_value(value), value.startswith("@") and not value.startswith("@@")) for name, value in found.items()
    }
