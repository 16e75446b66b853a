"""`ropewalk webhooks`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import Columns, bytes_text, id_of, show_rows, text_of, time_of
from ropewalk.cli.common.parameters import limit_option
from ropewalk.cli.common.state import State, pass_state


@click.command(
    "webhooks",
    cls=Command,
    examples=(
        ("ropewalk webhooks --limit 20", "what came last, and what has become of it"),
        ("ropewalk webhooks issue-sync --json", "of one instance, with headers and bodies"),
        ("ropewalk webhook list", "the URLs that it can come to"),
    ),
)
@click.argument("instance", required=False)
@limit_option
@pass_state
def command(state: State, instance: str | None, limit: int | None) -> None:
    """List what webhooks received, newest first, with what has become of it.

    `ropewalk webhook show ID` shows one request, whole; --json has those of up to 64 KiB here too, without credentials in their headers.
    """
    rows = state.run(lambda: _rows(state, instance, limit))
    columns: Columns = (
        ("id", id_of()),
        ("instance", id_of("instance")),
        ("handler", text_of("handler")),
        ("received", time_of("received_at")),
        ("request", _request),
        ("size", lambda row: bytes_text(row["size"])),
        ("delivery", text_of("delivery")),
        ("status", text_of("status")),
    )
    show_rows(state, rows, columns, "No webhook has received anything.")


async def _rows(state: State, text: str | None, limit: int | None) -> list[dict[str, Any]]:
    from ropewalk.service.lookup import find_instance
    from ropewalk.service.shapes import delivery_shape

    async with state.service() as service:
        instance = None if text is None else (await find_instance(service.storage, text)).id
        return [delivery_shape(one) for one in await service.storage.deliveries(instance, limit)]


def _request(row: dict[str, Any]) -> str:
    return "–" if row["method"] is None else f"{row['method']} /{row['path']}"
