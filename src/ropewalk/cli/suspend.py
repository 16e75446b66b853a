"""`ropewalk suspend`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import say, show
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.service.shapes import Shape

_LONGEST_REASON = 500


@click.command(
    "suspend",
    cls=Command,
    examples=(
        ("ropewalk suspend issue-sync", "the twist's only instance"),
        ("ropewalk suspend 3f9a --reason 'too many requests to the API'", "with what people are told"),
    ),
)
@click.argument("instance")
@click.option("--reason", default="an operator suspended it", metavar="TEXT", help="Why: shown wherever the instance is.")
@pass_state
def command(state: State, instance: str, reason: str) -> None:
    """Have nothing more of an instance run until `ropewalk resume`.

    What runs now may end. Events go on being queued, and new versions of its twist change nothing.
    """
    result = state.run(lambda: _suspend(state, instance, _checked(reason)))
    show(state, result, lambda: say(f"Instance {result['instance'][:12]} is suspended: `ropewalk resume` lifts that."))


def _checked(reason: str) -> str:
    """Return the reason as it is kept."""
    text = reason.strip()
    if not text or len(text) > _LONGEST_REASON or text != text.encode(errors="replace").decode():
        raise click.BadParameter(f"a reason is text of 1 to {_LONGEST_REASON} characters", param_hint="--reason")
    return text


async def _suspend(state: State, text: str, reason: str) -> Shape:
    from ropewalk.service.lookup import find_instance
    from ropewalk.service.shapes import suspension_shape

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        suspension = await service.suspend(instance.id, reason)
        return {"instance": instance.id, "status": "suspended", "suspension": suspension_shape(suspension)}
