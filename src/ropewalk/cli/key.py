"""`ropewalk key`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli.common.command import Command, Group
from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import say, show
from ropewalk.cli.common.state import State, pass_state


@click.group(
    "key",
    cls=Group,
    examples=(
        ("ropewalk key show", "which key is in force, and where it lies"),
        ("ropewalk key rotate", "put a new one in its place"),
    ),
)
def command() -> None:
    """Make, show and rotate the master key, which all secrets in the database are sealed with.

    It lies in the file DATABASE-key beside the database, or is given by ROPEWALK_KEY. Keep a copy of it apart from those of the database.
    """


@command.command(
    "new", cls=Command, examples=(("export ROPEWALK_KEY=$(ropewalk key new)", "for a database that seals nothing yet"),)
)
@pass_state
def new(state: State) -> None:
    """Print a new key, for ROPEWALK_KEY. Nothing is changed."""
    from ropewalk.vault.masters import new_text

    text = new_text()
    show(state, {"key": text}, lambda: click.echo(text))


@command.command("show", cls=Command, examples=(("ropewalk key show --json", "for a program"),))
@pass_state
def show_key(state: State) -> None:
    """Show the id of the key in force and where it is looked for. Fails when it is not there, and never shows the key itself."""
    shape = state.run(lambda: _show(state))
    where = shape["source"]
    text = (
        f"Key {shape['key']}, from {where}" if shape["key"] else f"Nothing is sealed yet; the key will be looked for in {where}"
    )
    show(state, shape, lambda: click.echo(text))


@command.command(
    "rotate",
    cls=Command,
    examples=(
        ("ropewalk key rotate", "when the key lies in its file"),
        ("ROPEWALK_KEY=NEW,OLD ropewalk key rotate", "when it is given, once nodes have been started with both"),
    ),
)
@pass_state
def rotate(state: State) -> None:
    """Put a new master key in force and seal every instance's own key with it. Nodes may run meanwhile; doing it again goes on.

    What is sealed itself stays as it is: only the keys to it are sealed anew.
    """
    shape = state.run(lambda: _rotate(state))
    if unopened := shape["unopened"]:
        left = "; ".join(f"{instance}: {why}" for instance, why in unopened.items())
        raise Failed(
            "Tampered",
            f"key {shape['key']} is in force and {shape['rewrapped']:,} keys were sealed with it, but of some instances the key does not open, "
            f"and stays as it is ({left}): `ropewalk doctor` says what can be done",
            document=shape,
        )
    show(state, shape, lambda: click.echo(f"Key {shape['key']} is in force: {shape['rewrapped']:,} keys were sealed with it."))
    if shape["removed"]:
        say("The old key was removed from the file. Backups of the database from before need it still.")


async def _show(state: State) -> dict[str, Any]:
    async with state.service() as service:
        await service.vault.check()
        return {"key": await service.storage.master_key(), "source": service.masters.source}


async def _rotate(state: State) -> dict[str, Any]:
    from msgspec import to_builtins

    from ropewalk.vault.rotation import rotate as rotate_keys

    async with state.service() as service:
        rotated = await rotate_keys(service.storage, service.masters, lambda done: say(f"{done:,} keys are sealed anew."))
        return {**to_builtins(rotated), "source": service.masters.source}
