"""`ropewalk options`."""

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
    "options",
    cls=Command,
    settings=running_settings(),
    examples=(
        ("ropewalk options issue-sync", "what they are"),
        ("ropewalk options issue-sync --option per_page=100", "a change, for what starts from now on"),
        ("ropewalk options issue-sync --option token=@token.txt", "a new secret; @- reads stdin, @env:NAME a variable"),
        ("ropewalk options issue-sync --reset per_page", "back to the default"),
    ),
)
@click.argument("instance")
@option_option
@click.option("--reset", multiple=True, metavar="NAME", help="An option that goes back to its default.")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until the instance was told, by its `options_changed`, running that here when no node does.",
)
@pass_state
def command(state: State, instance: str, options: tuple[str, ...], reset: tuple[str, ...], wait: bool) -> None:
    """Show an instance's options, or change them. Secrets are shown as ***.

    What runs keeps the options that it started with.
    """
    given = pairs(options)
    if both := sorted(given.keys() & set(reset)):
        raise click.UsageError(f"{both[0]!r} is both given and reset", click.get_current_context())
    shape = state.run(lambda: _options(state, instance, given, reset, wait=wait))
    show(state, shape, lambda: _tell(shape, changed=bool(given or reset)))


async def _options(state: State, text: str, given: dict[str, Given], reset: tuple[str, ...], *, wait: bool) -> dict[str, Any]:
    from ropewalk.service.changing import change, shown
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        execution = await change(service, instance, given, reset) if given or reset else None
        instance = await find_instance(service.storage, instance.id)
        shape = {"instance": instance.id, "options": await shown(service, instance), "execution": execution}
        if execution is not None and wait:
            raise_unless_succeeded(await finished(service, execution, "Telling the instance"), shape)
        return shape


def _tell(shape: dict[str, Any], *, changed: bool) -> None:
    import msgspec

    for name, value in shape["options"].items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        click.echo(f"{safe(name)} = {safe(text)}")
    if not shape["options"]:
        say("This twist has no options.")
    elif changed and shape["execution"] is not None:
        say(f"Changed. The instance is told by its options_changed, execution {shape['execution'][:12]}.")
    elif changed:
        say("Changed: what starts from now on has these.")
