"""`ropewalk tasks`."""

from __future__ import annotations

import heapq
from typing import Any

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, id_of, show_rows, text_of, time_of
from ropewalk.cli.common.parameters import limit_option, limited
from ropewalk.cli.common.state import State, pass_state


@click.command(
    "tasks",
    cls=Command,
    examples=(
        ("ropewalk tasks", "everything that waits for its time or its turn"),
        ("ropewalk tasks --instance issue-sync", "of one"),
    ),
)
@click.option("--instance", metavar="INSTANCE", help="Only those of this instance.")
@limit_option
@pass_state
def command(state: State, instance: str | None, limit: int | None) -> None:
    """List pending tasks, newest first: recurring ones, queued (for later too), in back-off, running."""
    rows = state.run(lambda: _rows(state, instance, limit))
    columns: Columns = (
        ("id", id_of()),
        ("instance", id_of("instance")),
        ("method", text_of("method")),
        ("key", text_of("key")),
        ("due", time_of("run_at")),
        ("status", text_of("status")),
        ("recurs", _recurs),
    )
    show_rows(state, rows, columns, "No tasks are pending.")


async def _rows(state: State, instance: str | None, limit: int | None) -> list[dict[str, Any]]:
    from ropewalk.service.lookup import find_instance
    from ropewalk.service.shapes import recurring_shape, task_shape

    async with state.service() as service:
        wanted = None if instance is None else (await find_instance(service.storage, instance)).id
        tasks = ((task.queued_at, task_shape(task)) for task in await service.storage.tasks(wanted))
        recurring = ((one.created_at, recurring_shape(one)) for one in await service.storage.recurring(wanted))
        newest_first = heapq.merge(tasks, recurring, key=lambda row: row[0], reverse=True)
        return list(limited([row for _, row in newest_first], limit))


def _recurs(row: dict[str, Any]) -> str:
    """Return how often a task recurs, and what did not run."""
    found = row["recurring"]
    if found is None:
        return ""
    often = f"every {found['every']:g} s" if found["cron"] is None else f"{found['cron']} {found['tz']}"
    return "; ".join([often, *(f"{found[what]:,} {what}" for what in ("skipped", "missed") if found[what])])
