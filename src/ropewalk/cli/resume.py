"""`ropewalk resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import say, show
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.service.shapes import Shape


@click.command(
    "resume",
    cls=Command,
    examples=(
        ("ropewalk resume issue-sync", "the twist's only instance"),
        ("ropewalk resume 3f9a --json", "the instance whose id begins so, for programs"),
    ),
)
@click.argument("instance")
@pass_state
def command(state: State, instance: str) -> None:
    """Let a suspended instance run again, whoever or whatever suspended it.

    Its budgets begin anew (pace, executions in 24 hours, chains): so it does for an instance that is not suspended, when it soon would be.
    """
    result = state.run(lambda: _resume(state, instance))
    show(state, result, lambda: say(_told(result)))


async def _resume(state: State, text: str) -> Shape:
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        resumed = await service.resume(instance.id)
        after = await service.storage.instance(instance.id)
        return {"instance": instance.id, "status": instance.status if after is None else after.status, "resumed": resumed}


def _told(result: Shape) -> str:
    short = result["instance"][:12]
    if result["resumed"]:
        return f"Instance {short} is {result['status']} again; its budgets begin anew."
    return f"Instance {short} was not suspended but {result['status']}; its budgets begin anew."
