"""`ropewalk priority`."""

from __future__ import annotations

from uuid import uuid4

import click

from ropewalk.cli.common.command import Command, Group
from ropewalk.cli.common.output import safe, show
from ropewalk.cli.common.state import State, pass_state

_LONGEST_TITLE = 500


@click.group("priority", cls=Group, examples=(("ropewalk priority create Work", "a priority below the root one"),))
def command() -> None:
    """Make priorities."""


@command.command(
    "create",
    cls=Command,
    examples=(
        ("ropewalk priority create Work", "a priority below the root one"),
        ("ropewalk priority create Reading --parent 3f9a", "one below another"),
    ),
)
@click.argument("title")
@click.option("--parent", metavar="ID", help="The priority that it is below; the root one unless given.")
@pass_state
def create(state: State, title: str, parent: str | None) -> None:
    """Make a priority."""
    if not title.strip() or len(title) > _LONGEST_TITLE:
        raise click.BadParameter(f"a title has 1 to {_LONGEST_TITLE} characters", param_hint="TITLE")
    shape = state.run(lambda: _create(state, title.strip(), parent))
    show(state, shape, lambda: click.echo(f"Priority {shape['id']}: {safe(title.strip())}"))


async def _create(state: State, title: str, parent: str | None) -> dict[str, object]:
    from ropewalk.service.lookup import find_priority
    from ropewalk.service.shapes import priority_shape
    from ropewalk.wire.messages import PriorityRecord

    async with state.service(create=True) as service:
        above = await find_priority(service.storage, parent)
        new = PriorityRecord(id=str(uuid4()), title=title, parent=above.id)
        await service.storage.create_priority(new)
        return priority_shape(new)
