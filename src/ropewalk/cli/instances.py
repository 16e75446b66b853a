"""`ropewalk instances`."""

from __future__ import annotations

from typing import Any

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
    """List instances, newest first.

    With --json each has what it uses of its budgets beside their limits, and why it is suspended.
    """
    rows = state.run(lambda: _rows(state, twist, limit))
    columns: Columns = (
        ("id", id_of()),
        ("twist", text_of("twist")),
        ("version", text_of("version")),
        ("status", text_of("status")),
        ("priority", id_of("priority")),
        ("in 24 h", lambda row: str(row["budgets"]["daily"]["used"])),
        ("pending", lambda row: str(row["budgets"]["pending"]["used"])),
        ("store bytes", lambda row: str(row["budgets"]["store_bytes"]["used"])),
        ("remark", _remark),
    )
    show_rows(state, rows, columns, "There are no instances: `ropewalk activate TWIST`.")


async def _rows(state: State, twist: str | None, limit: int | None) -> list[dict[str, object]]:
    from ropewalk.service.lookup import find_twist
    from ropewalk.service.service import storage_limits
    from ropewalk.service.shapes import instance_shape

    limits = storage_limits(state.settings)
    async with state.service() as service:
        wanted = None if twist is None else (await find_twist(service.storage, twist)).id
        found = [one for one in await service.storage.instances() if wanted in {None, one.twist}]
        return [
            instance_shape(instance, limits, service.clock.now(), await service.asked_of(instance))
            for instance in limited(found, limit)
        ]


def _remark(row: dict[str, Any]) -> str:
    """Return what keeps an instance from running, or from its twist's newest version."""
    if row["suspension"] is not None:
        return f"suspended: {row['suspension']['reason']}"
    if row["awaiting_grant"] is not None:
        return f"version {row['awaiting_grant']['version']} awaits a grant of {', '.join(row['awaiting_grant']['permissions'])}"
    return f"upgrade failed: {row['upgrade_error']}" if row["upgrade_error"] else "–"
