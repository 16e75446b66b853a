"""`ropewalk store`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ropewalk.cli.common.command import Command, Group
from ropewalk.cli.common.output import emit, safe, say, show
from ropewalk.cli.common.parameters import limit_option, limited, named_value
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.service.service import Service
    from ropewalk.wire.messages import Json

tool_option = click.option(
    "--tool", "ns", default="", metavar="PATH", help="The store of the tool at this path of attribute names."
)


@click.group(
    "store",
    cls=Group,
    examples=(
        ("ropewalk store keys issue-sync", "the keys that have a value"),
        ("ropewalk store get issue-sync sync_state", "one value"),
        ("ropewalk store set issue-sync page 7", "write one"),
        ("ropewalk store clear issue-sync page", "remove one"),
    ),
)
def command() -> None:
    """Read and write an instance's store. Writes happen between two of its executions."""


@command.command(
    "get",
    cls=Command,
    examples=(
        ("ropewalk store get issue-sync sync_state", "prints JSON"),
        ("ropewalk store get issue-sync token --tool calendar", ""),
    ),
)
@click.argument("instance")
@click.argument("key")
@tool_option
@pass_state
def get(state: State, instance: str, key: str, ns: str) -> None:
    """Print the value of KEY as JSON; exits 1 when there is none."""
    import msgspec

    emit(msgspec.Raw(state.run(lambda: _get(state, instance, key, ns))))


async def _get(state: State, text: str, key: str, ns: str) -> Json:
    from ropewalk.answers.store import check_key
    from ropewalk.errors import NotFound
    from ropewalk.service.lookup import find_instance

    check_key(key)
    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        found = await service.storage.read_values(instance.id, ns, [key], service.clock.now())
        if key not in found:
            raise NotFound(
                f"instance {instance.id} has no value at {key!r}: `ropewalk store keys {instance.id[:12]}` lists its keys"
            )
        return found[key]


@command.command(
    "set",
    cls=Command,
    examples=(
        ("ropewalk store set issue-sync page 7", "a number"),
        ("""ropewalk store set issue-sync sync_state '{"page": 1}'""", "an object"),
        ("ropewalk store set issue-sync words @words.json", "from a file"),
    ),
)
@click.argument("instance")
@click.argument("key")
@click.argument("value", metavar="JSON")
@tool_option
@pass_state
def set_(state: State, instance: str, key: str, value: str, ns: str) -> None:
    """Write a value. JSON may also be @FILE, @- (stdin) or @env:NAME."""
    import msgspec

    from ropewalk.service.actions import parse_json

    try:
        parsed = parse_json(named_value(value))
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error} (a text needs quotes: '\"text\"')", param_hint="JSON") from None
    found = state.run(lambda: _write(state, instance, {key: msgspec.json.encode(parsed)}, ns))
    show(state, {"instance": found, "key": key}, lambda: say(f"Set {safe(key)}."))


@command.command(
    "keys",
    cls=Command,
    examples=(("ropewalk store keys issue-sync", "all of them"), ("ropewalk store keys issue-sync --prefix item:", "some")),
)
@click.argument("instance")
@click.option("--prefix", default="", help="Only keys that begin so.")
@limit_option
@tool_option
@pass_state
def keys(state: State, instance: str, prefix: str, limit: int | None, ns: str) -> None:
    """List the keys that have a value, sorted."""
    found = limited(state.run(lambda: _keys(state, instance, prefix, ns)), limit)
    show(state, found, lambda: click.echo("".join(f"{safe(key)}\n" for key in found), nl=False))


async def _keys(state: State, text: str, prefix: str, ns: str) -> list[str]:
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        return await service.storage.read_keys(instance.id, ns, prefix, service.clock.now())


@command.command(
    "clear",
    cls=Command,
    examples=(
        ("ropewalk store clear issue-sync page", "one key"),
        ("ropewalk store clear issue-sync --prefix item:", "every key that begins so"),
        ("ropewalk store clear issue-sync --all", "everything"),
    ),
)
@click.argument("instance")
@click.argument("key", nargs=-1)
@click.option("--prefix", help="Every key that begins so.")
@click.option("--all", "everything", is_flag=True, help="Every key.")
@tool_option
@pass_state
def clear(state: State, instance: str, key: tuple[str, ...], prefix: str | None, everything: bool, ns: str) -> None:
    """Remove values. Keys that have none are no error."""
    if sum((bool(key), prefix is not None, everything)) != 1:
        raise click.UsageError("say what to clear: KEY…, --prefix P or --all", click.get_current_context())
    found, count = state.run(lambda: _clear(state, instance, key, "" if everything else prefix, ns))
    show(state, {"instance": found, "cleared": count}, lambda: say(f"Cleared {count} {'key' if count == 1 else 'keys'}."))


async def _clear(state: State, text: str, keys: tuple[str, ...], prefix: str | None, ns: str) -> tuple[str, int]:
    """Remove the keys, or those that begin with a prefix; returns the instance and how many had a value."""
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        now = service.clock.now()
        if prefix is None:
            found = list(await service.storage.read_values(instance.id, ns, list(keys), now))
        else:
            found = await service.storage.read_keys(instance.id, ns, prefix, now)
        if found:
            await _put(service, state, instance.id, dict.fromkeys(found), ns)
        return instance.id, len(found)


async def _write(state: State, text: str, values: dict[str, Json | None], ns: str) -> str:
    from ropewalk.service.lookup import find_instance

    async with state.service() as service:
        instance = await find_instance(service.storage, text)
        await _put(service, state, instance.id, values, ns)
        return instance.id


async def _put(service: Service, state: State, instance: str, values: dict[str, Json | None], ns: str) -> None:
    from ropewalk.service.actions import write_values

    await write_values(service.storage, service.clock, instance, ns, values, state.settings.limit_value)
