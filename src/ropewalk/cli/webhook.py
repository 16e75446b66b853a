"""`ropewalk webhook`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli.common.command import Command, Group
from ropewalk.cli.common.output import Columns, bytes_text, id_of, safe, say, short_time, show, show_rows, text_of, time_of
from ropewalk.cli.common.state import State, pass_state

Shape = dict[str, Any]


@click.group(
    "webhook",
    cls=Group,
    examples=(
        ("ropewalk webhook list", "every webhook and its URL"),
        ("ropewalk webhook redeliver 3f9a", "what was received as the execution whose id begins so, once more"),
    ),
)
def command() -> None:
    """List webhooks, show what one received, deliver it again. `ropewalk webhooks` lists what was received."""


@command.command("list", cls=Command, examples=(("ropewalk webhook list issue-sync", "those of one instance"),))
@click.argument("instance", required=False)
@pass_state
def list_(state: State, instance: str | None) -> None:
    """List webhooks and their URLs, newest first. Who knows a URL may send to it."""
    rows = state.run(lambda: _rows(state, instance))
    columns: Columns = (
        ("id", id_of()),
        ("instance", id_of("instance")),
        ("handler", text_of("handler")),
        ("created", time_of("created_at")),
        ("signature", text_of("signature")),
        ("url", text_of("url")),
    )
    show_rows(state, rows, columns, "There are no webhooks.")


@command.command(
    "show",
    cls=Command,
    examples=(
        ("ropewalk webhook show 3f9a", "what was received, as it came"),
        ("ropewalk webhooks show 3f9a --json", "the same, for programs"),
    ),
)
@click.argument("delivery", metavar="ID")
@pass_state
def show_(state: State, delivery: str) -> None:
    """Show a request that a webhook received, whole, and what has become of it. Credentials in its headers are left out."""
    shape = state.run(lambda: _shape(state, delivery))
    show(state, shape, lambda: _print(shape))


@command.command(
    "redeliver",
    cls=Command,
    examples=(
        ("ropewalk webhook redeliver 3f9a", "as if it had come again"),
        ("ropewalk webhooks redeliver 3f9a --json", "the same, for programs"),
    ),
)
@click.argument("delivery", metavar="ID")
@pass_state
def redeliver(state: State, delivery: str) -> None:
    """Have the method run for a request once more, in a new execution: the same request, to the same method and bound arguments.

    Whether it was delivered before is not looked at; the webhook may be deleted by now, its instance may not.
    """
    shape = state.run(lambda: _redeliver(state, delivery))
    show(state, shape, lambda: say(f"Execution {shape['execution']} will answer it once more."))


async def _rows(state: State, text: str | None) -> list[Shape]:
    from ropewalk.service.lookup import find_instance
    from ropewalk.service.shapes import webhook_shape

    async with state.service() as service:
        instance = None if text is None else (await find_instance(service.storage, text)).id
        base = await service.base_url()
        return [webhook_shape(webhook, base) for webhook in await service.storage.webhooks(instance)]


async def _shape(state: State, text: str) -> Shape:
    from ropewalk.service.inbox import Inbox

    async with state.service() as service:
        return await Inbox(service).one(text)


async def _redeliver(state: State, text: str) -> Shape:
    from ropewalk.service.inbox import Inbox

    async with state.service() as service:
        return await Inbox(service).redeliver(text)


def _print(shape: Shape) -> None:
    facts = {
        "id": shape["id"],
        "webhook": shape["webhook"],
        "instance": shape["instance"],
        "handler": shape["handler"],
        "received": short_time(shape["received_at"]),
        "delivery": shape["delivery"] or "–",
        "status": shape["status"] if shape["error"] is None else f"{shape['status']}: {shape['error']['type']}",
    }
    if shape["redelivers"]:
        facts["again"] = f"a person has sent {shape['redelivers']} again"
    for name, value in facts.items():
        click.echo(f"{name:<9} {safe(str(value))}")
    click.echo()
    if shape["method"] is None:
        say("The request itself is not kept any more.")
        return
    query = f"?{shape['query']}" if shape["query"] else ""
    click.echo(safe(f"{shape['method']} /{shape['path']}{query}"))
    for name, value in shape["headers"].items():
        click.echo(safe(f"{name}: {value}"))
    click.echo()
    if shape["body"] is None:
        say(f"{bytes_text(len(shape['body_base64']) * 3 // 4)} that are no text: --json has them in base64.")
    else:
        click.echo(safe(shape["body"], lines=True))
