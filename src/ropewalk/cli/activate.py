"""`ropewalk activate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.output import safe, say, show
from ropewalk.cli.common.parameters import option_option, pairs
from ropewalk.cli.common.state import State, pass_state
from ropewalk.cli.common.waiting import finished, raise_unless_succeeded

if TYPE_CHECKING:
    from ropewalk.service.options import Given


@click.command(
    "activate",
    cls=Command,
    settings=running_settings(),
    examples=(
        ("ropewalk activate issue-sync --wait", "an instance in the root priority"),
        ("ropewalk activate issue-sync --option per_page=100 --option words=@words.json", "with options"),
        (
            "ropewalk activate issue-sync --option token=@env:ISSUES_TOKEN",
            "with a secret, which is never written on the line itself",
        ),
        ("ropewalk activate issue-sync --priority 3f9a --json", "in another priority"),
    ),
)
@click.argument("twist")
@click.option("--priority", metavar="ID", help="The priority that it is added to; the root one unless given.")
@option_option
@click.option("--wait", is_flag=True, help="Wait until it is active, running the activation here when no node does.")
@pass_state
def command(state: State, twist: str, priority: str | None, options: tuple[str, ...], wait: bool) -> None:
    """Add a twist to a priority: makes an instance of its latest version."""
    given = pairs(options)
    result = state.run(lambda: _activate(state, twist, priority, given, wait=wait))
    show(state, result, lambda: _tell(twist, result, wait=wait))


async def _activate(state: State, text: str, priority: str | None, given: dict[str, Given], *, wait: bool) -> dict[str, Any]:
    from ropewalk.errors import NotFound
    from ropewalk.service.lookup import find_priority, find_twist
    from ropewalk.service.options import choose

    async with state.service() as service:
        twist = await find_twist(service.storage, text)
        version = await service.storage.version(twist.id)
        if version is None:
            raise NotFound(f"twist {twist.name!r} has no version: deploy it first")
        options = choose(version.manifest.options, given)
        where = await find_priority(service.storage, priority)
        instance, execution = await service.activate(version, where.id, options)
        result = {"instance": instance, "execution": execution}
        if wait:
            raise_unless_succeeded(await finished(service, execution, f"Activating {twist.name}"), result)
        return result


def _tell(twist: str, result: dict[str, Any], *, wait: bool) -> None:
    click.echo(result["instance"])
    if wait:
        say(f"Instance {result['instance'][:12]} of {safe(twist)} is active.")
    else:
        say(f"Instance {result['instance'][:12]} of {safe(twist)} is activating: `ropewalk serve` or `ropewalk drain` runs it.")
