"""`ropewalk invoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.output import emit
from ropewalk.cli.common.parameters import named_value
from ropewalk.cli.common.state import State, pass_state
from ropewalk.cli.common.waiting import finished, raise_unless_succeeded

if TYPE_CHECKING:
    from ropewalk.wire.messages import Json


@click.command(
    "invoke",
    cls=Command,
    settings=running_settings(),
    examples=(
        ("ropewalk invoke hello greet", "without arguments"),
        ("""ropewalk invoke hello greet --args '["Ada"]'""", "by position"),
        ("""ropewalk invoke hello greet --args '{"who": "Ada"}' --json""", "by name"),
        ("ropewalk invoke issue-sync calendar.refresh", "a method of a tool"),
    ),
)
@click.argument("instance")
@click.argument("method")
@click.option(
    "--args", "arguments", metavar="JSON", help="An array (by position) or an object (by name); @FILE, @- and @env:NAME too."
)
@pass_state
def command(state: State, instance: str, method: str, arguments: str | None) -> None:
    """Call a method of an instance, wait, and show its result as JSON.

    It is one execution, not retried. It runs here when no node does.
    """
    document = state.run(lambda: _invoke(state, instance, method, _bound(arguments)))
    emit(document if state.json else document["result"])


def _bound(arguments: str | None) -> Json:
    from ropewalk.errors import InvalidValue
    from ropewalk.service.actions import bound_arguments

    try:
        return bound_arguments(None if arguments is None else named_value(arguments))
    except InvalidValue as error:
        raise click.BadParameter(str(error), param_hint="--args") from None
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--args") from None


async def _invoke(state: State, text: str, method: str, arguments: Json) -> dict[str, Any]:
    from ropewalk.service.actions import call_target
    from ropewalk.service.lookup import find_instance
    from ropewalk.service.shapes import json_shape

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        target = await call_target(service.storage, instance, method, arguments)
        execution = await service.invoke(instance, target)
        done = await finished(service, execution, f"Running {instance.twist_name}.{method}()")
        raise_unless_succeeded(done, {"execution": execution})
        return {"execution": execution, "result": json_shape(done.result)}
