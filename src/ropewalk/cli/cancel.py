"""`ropewalk cancel`."""

from __future__ import annotations

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import say, show
from ropewalk.cli.common.state import State, pass_state


@click.command("cancel", cls=Command, examples=(("ropewalk cancel 3f9a", "cancel the task or execution whose id begins so"),))
@click.argument("execution", metavar="TASK|EXECUTION")
@pass_state
def command(state: State, execution: str) -> None:
    """Cancel a task or an execution that is not over. A running one is ended, and nothing of it commits.

    A recurring task ends; a run of its that has started goes on. One that the twist's code declares comes back with the next version.
    """
    kind, found = state.run(lambda: _cancel(state, execution))
    show(state, {kind: found, "status": "cancelled"}, lambda: say(f"{kind.capitalize()} {found} is cancelled."))


async def _cancel(state: State, text: str) -> tuple[str, str]:
    from ropewalk.cli.common.failures import Failed
    from ropewalk.service.lookup import find_execution

    async with state.service() as service:
        recurring = await service.storage.find("recurring", text) if text else []
        if len(recurring) == 1 and not await service.storage.find("execution", text):
            await service.storage.cancel_recurring(recurring[0], service.clock.now())
            return "task", recurring[0]
        found = await find_execution(service.storage, text)
        if not await service.storage.cancel(found.id, service.clock.now()):
            now = await service.storage.execution(found.id)
            over = found.status if now is None else now.status
            raise Failed("NotCancelled", f"execution {found.id} was over already: it {_was(over)}")
        service.ring()
        return "execution", found.id


def _was(status: str) -> str:
    return "succeeded" if status == "succeeded" else "failed" if status == "failed" else f"is {status}"
