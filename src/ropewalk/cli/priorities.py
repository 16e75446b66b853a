"""`ropewalk priorities`."""

from __future__ import annotations

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import id_of, show_rows, text_of
from ropewalk.cli.common.parameters import limit_option, limited
from ropewalk.cli.common.state import State, pass_state


@click.command("priorities", cls=Command, examples=(("ropewalk priorities", "the tree that people organise their work by"),))
@limit_option
@pass_state
def command(state: State, limit: int | None) -> None:
    """List priorities, newest first."""
    rows = state.run(lambda: _rows(state, limit))
    show_rows(
        state, rows, (("id", id_of()), ("title", text_of("title")), ("parent", id_of("parent"))), "There are no priorities."
    )


async def _rows(state: State, limit: int | None) -> list[dict[str, object]]:
    from ropewalk.service.shapes import priority_shape

    async with state.service() as service:
        return [priority_shape(one) for one in limited((await service.storage.priorities())[::-1], limit)]
