"""`ropewalk drain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import emit, say, waiting
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from ropewalk.service.node import Node
    from ropewalk.storage.records import Workload

_NOT_IDLE = 3
_PATIENCE = 300.0


@click.command(
    "drain",
    cls=Command,
    settings=["concurrency", *running_settings()],
    examples=(
        ("ropewalk drain", "run what is due now"),
        ("ropewalk drain --until-idle --timeout 60", "retries too, for a minute at most"),
    ),
)
@click.option("--until-idle", is_flag=True, help="Wait for retries in back-off too; 300 s unless --timeout says otherwise.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds after which it gives up.")
@pass_state
def command(state: State, until_idle: bool, timeout: float | None) -> None:
    """Run what is due, in this process, then exit.

    Exits 0 when nothing is due or running (with --until-idle: nor backing off), 3 when that did not come in time; what still runs then is
    ended and runs again later. Tasks for later, suspended instances and dead executions don't count.
    """
    seconds = timeout if timeout is not None else _PATIENCE if until_idle else float("inf")
    result = state.run(lambda: _drain(state, until_idle=until_idle, timeout=seconds))
    _tell(state, result, seconds)


async def _drain(state: State, *, until_idle: bool, timeout: float) -> dict[str, Any]:
    from ropewalk.service.node import Node, NodeLost

    async with state.service() as service:
        node = Node(service)
        with waiting("Starting the sandbox") as words:
            try:
                idle = await node.drain(until_idle=until_idle, timeout=timeout, progress=_progress(node, words))
            except NodeLost as error:
                raise Failed("NodeLost", str(error)) from error
        load, counts = await service.storage.workload(), node.counts
    return {
        "idle": idle,
        "executions": counts.executions,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "lost": counts.lost,
        "ready": load.ready,
        "running": load.running,
        "backing_off": load.backing_off,
    }


def _progress(node: Node, words: Callable[[str], None]) -> Callable[[Workload], None]:
    """Return what tells a person how far the node is."""

    def told(load: Workload) -> None:
        words(f"{node.counts.executions} done, {load.running} running, {load.ready} ready, {load.backing_off} in back-off")

    return told


def _tell(state: State, result: dict[str, Any], timeout: float) -> None:
    ran = f"{result['executions']} attempts: {result['succeeded']} succeeded, {result['failed']} failed, {result['lost']} lost"
    left = f"{result['running']} running, {result['ready']} ready, {result['backing_off']} in back-off"
    if not result["idle"]:
        raise Failed("NotIdle", f"not idle after {timeout:g} s ({left}). Ran {ran}.", exit_code=_NOT_IDLE, document=result)
    if state.json:
        emit(result)
    else:
        say(f"Ran {ran}." if result["executions"] else "Nothing was due.")
