"""`ropewalk twists`."""

from __future__ import annotations

from collections import Counter

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, id_of, show_rows, text_of, time_of
from ropewalk.cli.common.parameters import limit_option, limited
from ropewalk.cli.common.state import State, pass_state


@click.command(
    "twists", cls=Command, examples=(("ropewalk twists", "what is deployed here"), ("ropewalk twists --json", "for programs"))
)
@limit_option
@pass_state
def command(state: State, limit: int | None) -> None:
    """List deployed twists, newest first."""
    rows = state.run(lambda: _rows(state, limit))
    columns: Columns = (
        ("id", id_of()),
        ("name", text_of("name")),
        ("version", text_of("version")),
        ("instances", text_of("instances")),
        ("created", time_of("created_at")),
    )
    show_rows(state, rows, columns, "Nothing is deployed here: `ropewalk deploy PATH`.")


async def _rows(state: State, limit: int | None) -> list[dict[str, object]]:
    from ropewalk.service.shapes import twist_shape

    async with state.service() as service:
        instances = Counter(instance.twist for instance in await service.storage.instances())
        return [twist_shape(twist, instances[twist.id]) for twist in limited(await service.storage.twists(), limit)]
