"""`ropewalk webhooks`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli import webhook
from ropewalk.cli.common.command import Command, Group
from ropewalk.cli.common.output import Columns, bytes_text, id_of, show_rows, text_of, time_of
from ropewalk.cli.common.parameters import limit_option
from ropewalk.cli.common.state import State, pass_state


class _Inbox(Group):
    """A group that lists when it is told nothing else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` before what names none of the commands."""
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if asks_for_help or (args and args[0] in self.commands) else ["list", *args])


@click.group(
    "webhooks",
    cls=_Inbox,
    examples=(
        ("ropewalk webhooks --limit 20", "what came last, and what has become of it"),
        ("ropewalk webhooks issue-sync --json", "of one instance, with headers and bodies"),
        ("ropewalk webhooks redeliver 3f9a", "what was received as the execution whose id begins so, once more"),
        ("ropewalk webhook list", "the URLs that it can come to"),
    ),
)
def command() -> None:
    """List what webhooks received, show it, deliver it again. `ropewalk webhooks [INSTANCE]` is `ropewalk webhooks list [INSTANCE]`."""


command.add_command(webhook.show_)
command.add_command(webhook.redeliver)


@command.command(
    "list", cls=Command, examples=(("ropewalk webhooks list issue-sync --limit 20", "what came last to one instance"),)
)
@click.argument("instance", required=False)
@limit_option
@pass_state
def list_(state: State, instance: str | None, limit: int | None) -> None:
    """List what webhooks received, newest first, with what has become of it.

    `ropewalk webhooks show ID` shows one request, whole; --json has those of up to 64 KiB here too, without credentials in their headers.
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
    from ropewalk.service.inbox import Inbox

    async with state.service() as service:
        return await Inbox(service).received(text, limit)


def _request(row: dict[str, Any]) -> str:
    return "–" if row["method"] is None else f"{row['method']} /{row['path']}"
