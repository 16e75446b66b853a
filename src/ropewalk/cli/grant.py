"""`ropewalk grant`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.output import safe, say, show
from ropewalk.cli.common.rollout import refusals
from ropewalk.cli.common.state import State, pass_state
from ropewalk.cli.common.waiting import finished, raise_unless_succeeded


@click.command(
    "grant",
    cls=Command,
    settings=running_settings(),
    examples=(
        ("ropewalk grant issue-sync --dry-run", "what its only instance waits for"),
        ("ropewalk grant 3f9a --wait", "grant it, and see the upgrade through"),
    ),
)
@click.argument("instance")
@click.option("--dry-run", is_flag=True, help="Show what would be granted, and grant nothing.")
@click.option("--force", is_flag=True, help="Grant even when the version breaks what is live by now: callbacks, tasks, options.")
@click.option("--wait", is_flag=True, help="Wait until the instance is upgraded, running the upgrade here when no node does.")
@pass_state
def command(state: State, instance: str, dry_run: bool, force: bool, wait: bool) -> None:
    """Grant an instance what a new version asks for, and upgrade it.

    A version that asks for more than an instance has waits for this when it was deployed with --no-new-permissions; the instance goes on in
    its old version meanwhile. `ropewalk instances` shows which wait, and for what.
    """
    result = state.run(lambda: _grant(state, instance, dry_run=dry_run, force=force, wait=wait))
    show(state, result, lambda: _tell(result, dry_run=dry_run))


async def _grant(state: State, text: str, *, dry_run: bool, force: bool, wait: bool) -> dict[str, Any]:
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        asked = await service.asked_of(instance)
        result: dict[str, Any] = {"instance": instance.id, "version": instance.awaiting, "permissions": asked, "execution": None}
        with refusals():
            execution = result["execution"] = await service.grant(instance, dry_run=dry_run, force=force)
        if execution is not None and wait and await service.storage.execution(execution) is not None:
            raise_unless_succeeded(await finished(service, execution, f"Upgrading {instance.twist_name}"), result)
        return result


def _tell(result: dict[str, Any], *, dry_run: bool) -> None:
    short = result["instance"][:12]
    if result["version"] is None:
        say(f"Instance {short} waits for no grant.")
        return
    for permission in result["permissions"]:
        click.echo(f"  {safe(permission)}")
    say(
        f"Version {result['version']} asks for this of instance {short}."
        if dry_run
        else f"Granted to instance {short}, for version {result['version']}."
    )
