"""`ropewalk serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.state import State, pass_state
from ropewalk.cli.common.telling import JsonLines, PeoplesLines, tell

if TYPE_CHECKING:
    from ropewalk.service.node import Node
    from ropewalk.web.app import App

log = logging.getLogger("ropewalk.serve")


@click.command(
    "serve",
    cls=Command,
    settings=["host", "port", "public_url", "concurrency", *running_settings(), "webhook_burst", "webhook_rate"],
    examples=(
        ("ropewalk serve", "a node of ./ropewalk.db"),
        ("ropewalk serve --concurrency 16 --json", "with JSON log lines on stdout"),
        ("ropewalk serve --role worker", "runs executions, listens nowhere"),
        ("ROPEWALK_LIMIT_WALL=30s ropewalk serve --port 0", "with a setting of its own, on any free port"),
    ),
)
@click.option(
    "--role",
    type=click.Choice(["all", "web", "worker"]),
    default="all",
    show_default=True,
    help="What it does: answer HTTP, run executions, or both.",
)
@pass_state
def command(state: State, role: str) -> None:
    """Run a node until it is told to stop.

    SIGTERM and Ctrl-C let running executions finish, then it exits 0; a second one ends them at once (they run again later).
    """
    state.run(lambda: _serve(state, role))


async def _serve(state: State, role: str) -> None:
    from ropewalk.service.figures import figures
    from ropewalk.service.hooks import operators_api, receiving
    from ropewalk.service.node import Node, NodeLost
    from ropewalk.sources.watching import Watch
    from ropewalk.web.app import make_app

    tell(JsonLines() if state.json else PeoplesLines(), logging.INFO)
    _open_all_files_allowed()
    async with state.service(create=True) as service, AsyncExitStack() as stack:
        watch = Watch(service.clock)
        node = Node(service, settled=watch.tell)
        ready, stop = asyncio.Event(), asyncio.Event()
        _on_signals(node, stop)
        fields = {"node": node.id, "role": role, "database": state.settings.database}
        if role != "worker":
            webhooks = receiving(service, node.wake, watch)
            api = operators_api(service)
            app = make_app(lambda: ready.is_set() and not stop.is_set(), lambda: figures(service, node, webhooks), webhooks, api)
            fields["url"] = await stack.enter_async_context(_listening(app, state))
            stack.callback(watch.stop)
            await service.listening_at(fields["url"])

        def on_ready() -> None:
            ready.set()
            where = f"listening at {fields['url']}, " if "url" in fields else ""
            log.info("ready: %srunning %s", where, state.settings.database, extra={"fields": fields})

        try:
            await _be(node, role, stop, on_ready)
        except NodeLost as error:
            raise Failed("NodeLost", str(error)) from error
        log.info("stopped", extra={"fields": {"node": node.id}})


def _open_all_files_allowed() -> None:
    """Have the node open as many files as it may: each living process takes three, each connection one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _be(node: Node, role: str, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
    """Run executions, unless the role is only to answer HTTP, until told to stop."""
    from ropewalk.service.node import quiet_collector

    if role == "web":
        with quiet_collector():
            on_ready()
            await stop.wait()
    else:
        await node.run(stop, on_ready)


@asynccontextmanager
async def _listening(app: App, state: State) -> AsyncGenerator[str]:
    """Serve the application on the address that the settings name; gives its URL."""
    from ropewalk.web.server import listening

    host, port = state.settings.host, state.settings.port
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(listening(app, host, port))
        except OSError as error:
            raise Failed("OSError", f"cannot listen on {host}, port {port}: {error.strerror} (--host, --port)") from error
        yield url


def _on_signals(node: Node, stop: asyncio.Event) -> None:
    """Have the first SIGTERM or SIGINT drain the node, and the second end it at once."""
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        if stop.is_set():
            log.warning("stopping at once: %d running executions are ended, and run again later", node.running)
            logging.shutdown()
            os._exit(128 + number)
        stop.set()
        log.info("stopping when %d running executions are over (a second signal ends them)", node.running)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard, number)
