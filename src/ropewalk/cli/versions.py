"""`ropewalk versions`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, show_rows, text_of, time_of
from ropewalk.cli.common.parameters import limit_option, limited
from ropewalk.cli.common.state import State, pass_state


@click.command(
    "versions",
    cls=Command,
    examples=(
        ("ropewalk versions issue-sync", "what was deployed, and where its instances are"),
        ("ropewalk versions issue-sync --json", "for programs, with permissions and bundles"),
    ),
)
@click.argument("twist")
@limit_option
@pass_state
def command(state: State, twist: str, limit: int | None) -> None:
    """List the versions of a twist, newest first, with how many instances are in each: what `ropewalk rollback` goes back to."""
    rows = state.run(lambda: _rows(state, twist, limit))
    columns: Columns = (
        ("version", text_of("version")),
        ("deployed", time_of("deployed_at")),
        ("instances", text_of("instances")),
        ("upgrading to it", text_of("upgrading")),
        ("awaiting a grant", text_of("awaiting_grant")),
        ("remark", _remark),
    )
    show_rows(state, rows, columns, "It has no versions.")


async def _rows(state: State, text: str, limit: int | None) -> list[dict[str, Any]]:
    from ropewalk.service.lookup import find_twist
    from ropewalk.service.versions import version_shapes

    async with state.service() as service:
        twist = await find_twist(service.storage, text)
        instances = [one for one in await service.storage.instances() if one.twist == twist.id]
        return list(limited(version_shapes(twist, await service.storage.versions(twist.id), instances), limit))


def _remark(row: dict[str, Any]) -> str:
    """Return what tells a version from the others."""
    remarks = [
        "the latest" if row["latest"] else "",
        f"the code of version {row['code_of']}" if row["code_of"] else "",
        "its files were removed" if row["removed_at"] else "",
    ]
    return ", ".join(filter(None, remarks))
