"""`ropewalk activities`."""

from __future__ import annotations

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, id_of, show_rows, text_of
from ropewalk.cli.common.parameters import limit_option
from ropewalk.cli.common.state import State, pass_state


@click.command(
    "activities",
    cls=Command,
    examples=(
        ("ropewalk activities --limit 10", "the last ten"),
        ("ropewalk activities --priority 3f9a --json", "of one priority"),
    ),
)
@click.option("--priority", metavar="ID", help="Only those in this priority.")
@limit_option
@pass_state
def command(state: State, priority: str | None, limit: int | None) -> None:
    """List activities, newest first."""
    rows = state.run(lambda: _rows(state, priority, limit))
    columns: Columns = (
        ("id", id_of()),
        ("type", text_of("type")),
        ("title", text_of("title")),
        ("start", text_of("start")),
        ("done", lambda row: "yes" if row["done_at"] else "–"),
        ("notes", text_of("notes")),
        ("source", text_of("source")),
    )
    show_rows(state, rows, columns, "There are no activities.")


async def _rows(state: State, priority: str | None, limit: int | None) -> list[dict[str, object]]:
    from ropewalk.service.lookup import find_priority
    from ropewalk.service.shapes import activity_shape
    from ropewalk.storage.records import ActivityQuery

    async with state.service() as service:
        wanted = None if priority is None else (await find_priority(service.storage, priority)).id
        found = await service.storage.activities(ActivityQuery(priority=wanted, limit=limit))
        return [activity_shape(owned) for owned in found]
