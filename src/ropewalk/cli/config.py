"""`ropewalk config`."""

from __future__ import annotations

from typing import Any, cast

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, show, table, text_of
from ropewalk.cli.common.state import State, pass_state
from ropewalk.service.config import SETTINGS
from ropewalk.vault.redaction import HIDDEN


@click.command(
    "config",
    cls=Command,
    settings=[setting.name for setting in SETTINGS if setting.name != "database" and not setting.secret],
    examples=(
        ("ropewalk config", "what is in force here, and why"),
        ("ROPEWALK_LIMIT_CPU=5s ropewalk config --json", "with a variable"),
    ),
)
@pass_state
def command(state: State) -> None:
    """Show every setting, its value, where that comes from, and what it means. Durations are seconds, sizes bytes."""
    settings = state.settings
    shapes: dict[str, dict[str, Any]] = {
        setting.name: {
            "value": HIDDEN if setting.secret and getattr(settings, setting.name) else getattr(settings, setting.name),
            "source": settings.sources[setting.name],
            "variable": setting.variable,
            "meaning": setting.meaning,
        }
        for setting in SETTINGS
    }
    rows = [{"name": name, **shape} for name, shape in shapes.items()]
    columns: Columns = (
        ("setting", text_of("name")),
        ("value", _value),
        ("source", text_of("source")),
        ("meaning", text_of("meaning")),
    )
    show(state, shapes, lambda: table(rows, columns))


def _value(row: dict[str, Any]) -> str:
    value: object = row["value"]
    if isinstance(value, tuple):
        return ", ".join(map(str, cast("tuple[object, ...]", value))) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
