"""`ropewalk deactivate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.output import say, show, waiting
from ropewalk.cli.common.state import State, pass_state
from ropewalk.cli.common.waiting import finished, raise_unless_succeeded

if TYPE_CHECKING:
    from ropewalk.service.service import Service

_ERASED_AT_ONCE = 500


@click.command(
    "deactivate",
    cls=Command,
    settings=running_settings(),
    examples=(
        ("ropewalk deactivate issue-sync --wait", "the twist's only instance"),
        ("ropewalk deactivate 3f9a", "the instance whose id begins so"),
    ),
)
@click.argument("instance")
@click.option(
    "--wait", is_flag=True, help="Wait until it is removed and erased, running its deactivate() here when no node does."
)
@pass_state
def command(state: State, instance: str, wait: bool) -> None:
    """Remove an instance for good.

    From now on it accepts nothing and its pending work is cancelled; what runs gets 10 s to end. Then its deactivate() runs, with 3 attempts
    within a minute, and whatever comes of it, its store, tasks and callbacks are erased. Its activities and notes stay.
    """
    result = state.run(lambda: _deactivate(state, instance, wait=wait))
    done = "is deactivated" if wait else "is being deactivated"
    show(state, result, lambda: say(f"Instance {result['instance'][:12]} {done}."))


async def _deactivate(state: State, text: str, *, wait: bool) -> dict[str, str]:
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        execution = await _begun(service, instance.id, await service.deactivate(instance.id))
        result = {"instance": instance.id, "execution": execution}
        if wait:
            done = await finished(service, execution, f"Deactivating {instance.twist_name}")
            await _erase(service)
            if done.status != "succeeded":
                say(f"Instance {instance.id[:12]} is removed all the same: its deactivate() did not succeed.")
            raise_unless_succeeded(done, result)
        return result


async def _erase(service: Service) -> None:
    """Erase what deactivated instances have left, some at a time; nodes do so in the background."""
    erased = 0
    with waiting("Erasing what it left") as words:
        while count := await service.storage.erase(_ERASED_AT_ONCE):
            erased += count
            words(f"Erasing what it left: {erased:,} rows so far")


async def _begun(service: Service, instance: str, execution: str) -> str:
    """Return the execution that deactivates the instance: an earlier one when that had been asked for before."""
    from ropewalk.storage.records import ExecutionQuery

    if await service.storage.execution(execution) is not None:
        return execution
    every = await service.storage.executions(ExecutionQuery(instance=instance))
    return next((one.id for one in every if one.trigger == "deactivate"), execution)
