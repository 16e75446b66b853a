"""`ropewalk rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.output import safe, say, show, waiting
from ropewalk.cli.common.rollout import refusals, see_upgrades_through, tell_deployed
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.service.deploying import Deployed


@click.command(
    "rollback",
    cls=Command,
    settings=running_settings(),
    examples=(
        ("ropewalk rollback issue-sync --wait", "back to the version before the latest, and see it through"),
        ("ropewalk rollback issue-sync --to 3 --dry-run", "what going back to version 3 would break"),
    ),
)
@click.argument("twist")
@click.option(
    "--to",
    "number",
    type=click.IntRange(min=1),
    metavar="N",
    help="The version to go back to; the one before the latest unless given.",
)
@click.option("--dry-run", is_flag=True, help="Check, and store nothing.")
@click.option("--force", is_flag=True, help="Go back even when that breaks what is live: callbacks, tasks, options.")
@click.option("--no-new-permissions", is_flag=True, help="Instances that lack what it asks for wait for `ropewalk grant`.")
@click.option("--wait", is_flag=True, help="Wait until every instance is upgraded, running the upgrades here when no node does.")
@pass_state
def command(state: State, /, twist: str, number: int | None, wait: bool, **flags: bool) -> None:
    """Deploy an older version's code again, as a new version.

    It goes the way of every deploy: what is live is checked against it, and each instance runs its upgrade(). `ropewalk versions TWIST` lists
    what there is to go back to.
    """
    result = state.run(lambda: _rollback(state, twist, number, wait=wait, **flags))
    show(state, result, lambda: _tell(result))


async def _rollback(
    state: State, text: str, number: int | None, *, dry_run: bool, force: bool, no_new_permissions: bool, wait: bool
) -> dict[str, Any]:
    from ropewalk.service.lookup import find_twist
    from ropewalk.service.releasing import Releases

    with waiting(f"Rolling {text} back") as words:
        async with state.service() as service:
            twist = await find_twist(service.storage, text)
            with refusals():
                done: Deployed = await Releases(service).rollback(
                    twist, number, dry_run=dry_run, force=force, grant=not no_new_permissions, tell=words
                )
    result: dict[str, Any] = {**done}
    if wait:
        await see_upgrades_through(state, result)
    return result


def _tell(result: dict[str, Any]) -> None:
    say(f"{safe(result['twist'])}: back to the code of version {result['rolled_back_to']}.")
    tell_deployed(result)
