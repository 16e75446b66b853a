"""`ropewalk executions`."""

from __future__ import annotations

from typing import get_args

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, duration_text, id_of, show_rows, text_of, time_of
from ropewalk.cli.common.parameters import limit_option
from ropewalk.cli.common.state import State, pass_state
from ropewalk.storage.records import ExecutionStatus


@click.command(
    "executions",
    cls=Command,
    examples=(
        ("ropewalk executions --limit 20", "the last twenty"),
        ("ropewalk executions --status dead --json", "what waits for a person"),
        ("ropewalk executions --instance issue-sync", "of one instance"),
    ),
)
@click.option("--instance", metavar="INSTANCE", help="Only those of this instance.")
@click.option("--status", type=click.Choice(get_args(ExecutionStatus)), help="Only those with this status.")
@limit_option
@pass_state
def command(state: State, instance: str | None, status: ExecutionStatus | None, limit: int | None) -> None:
    """List executions, newest first. Tasks whose time has not come are not among them: `ropewalk tasks` lists those."""
    rows = state.run(lambda: _rows(state, instance, status, limit))
    columns: Columns = (
        ("id", id_of()),
        ("instance", id_of("instance")),
        ("method", text_of("method")),
        ("trigger", text_of("trigger")),
        ("status", text_of("status")),
        ("attempt", text_of("attempt")),
        ("queued", time_of("queued_at")),
        ("took", lambda row: duration_text(row["duration_ms"])),
        ("error", text_of("error")),
    )
    show_rows(state, rows, columns, "There are no such executions.")


async def _rows(state: State, instance: str | None, status: ExecutionStatus | None, limit: int | None) -> list[dict[str, object]]:
    from ropewalk.service.lookup import find_instance_id
    from ropewalk.service.shapes import execution_row
    from ropewalk.storage.records import ExecutionQuery

    async with state.service() as service:
        wanted = None if instance is None else await find_instance_id(service.storage, instance)
        query = ExecutionQuery(instance=wanted, status=status, limit=limit)
        return [execution_row(execution) for execution in await service.storage.executions(query)]
