"""`ropewalk instances`."""

from __future__ import annotations

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, id_of, show_rows, text_of
from ropewalk.cli.common.parameters import limit_option, limited
from ropewalk.cli.common.state import State, pass_state


@click.command(
    "instances",
    cls=Command,
    examples=(("ropewalk instances", "all of them"), ("ropewalk instances --twist issue-sync --json", "those of one twist")),
)
@click.option("--twist", metavar="TWIST", help="Only those of this twist.")
@limit_option
@pass_state
def command(state: State, twist: str | None, limit: int | None) -> None:
    """List instances, newest first."""
    rows = state.run(lambda: _rows(state, twist, limit))
    columns: Columns = (
        ("id", id_of()),
        ("twist", text_of("twist")),
        ("version", text_of("version")),
        ("status", text_of("status")),
        ("priority", id_of("priority")),
        ("pending", lambda row: str(row["budgets"]["pending"]["used"])),
        ("store bytes", lambda row: str(row["budgets"]["store_bytes"]["used"])),
        ("upgrade error", text_of("upgrade_error")),
    )
    show_rows(state, rows, columns, "There are no instances: `ropewalk activate TWIST`.")


async def _rows(state: State, twist: str | None, limit: int | None) -> list[dict[str, object]]:
    from ropewalk.service.lookup import find_twist
    from ropewalk.service.shapes import instance_shape

    settings = state.settings
    async with state.service() as service:
        wanted = None if twist is None else (await find_twist(service.storage, twist)).id
        found = [one for one in await service.storage.instances() if wanted in {None, one.twist}]
    return [
        instance_shape(instance, pending=settings.limit_queue, store_bytes=settings.limit_store)
        for instance in limited(found, limit)
    ]
