"""`ropewalk retry`."""

from __future__ import annotations

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import say, show
from ropewalk.cli.common.state import State, pass_state


@click.command("retry", cls=Command, examples=(("ropewalk retry 3f9a", "run the dead execution whose id begins so once more"),))
@click.argument("execution", metavar="EXECUTION")
@pass_state
def command(state: State, execution: str) -> None:
    """Queue a failed, dead or backing-off execution again, its attempts counted anew.

    It runs in the version that its instance has now. Retrying a dead activation makes its instance activating again.
    """
    found = state.run(lambda: _retry(state, execution))
    show(state, {"execution": found, "status": "queued"}, lambda: say(f"Execution {found} is queued again."))


async def _retry(state: State, text: str) -> str:
    from ropewalk.service.lookup import find_execution

    async with state.service() as service:
        found = await find_execution(service.storage, text)
        await service.storage.retry(found.id, service.clock.now())
        service.ring()
        return found.id
