"""`ropewalk logs`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import emit, emit_line, safe, safe_entry, say, short_time
from ropewalk.cli.common.parameters import limit_option
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.service.service import Service
    from ropewalk.storage.records import LogQuery, NumberedLogLine

_POLL = 0.1
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_COLOURS = {"DEBUG": "bright_black", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command(
    "logs",
    cls=Command,
    examples=(
        ("ropewalk logs issue-sync --limit 50", "the last fifty lines of an instance"),
        ("ropewalk logs --level warning -f", "warnings of everything, as they come"),
        ("ropewalk logs --execution 3f9a --json", "those of one execution, for programs"),
    ),
)
@click.argument("instance", required=False)
@click.option("--execution", metavar="ID", help="Only those of this execution.")
@click.option(
    "--level", type=click.Choice(_LEVELS, case_sensitive=False), default="DEBUG", help="Only those of this level and above."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with the lines that come, until interrupted.")
@limit_option
@pass_state
def command(state: State, instance: str | None, execution: str | None, level: str, follow: bool, limit: int | None) -> None:
    """Show log lines, the latest last. With --json the newest is first; with -f and --json, one object a line as they come.

    Lines of a running execution are among them. With -f and --execution it ends when that execution is over.
    """
    state.run(lambda: _logs(state, instance, execution, level.upper(), follow=follow, limit=limit))


async def _logs(
    state: State,
    instance: str | None,
    execution: str | None,
    level: str,
    *,
    follow: bool,
    limit: int | None,
) -> None:
    async with state.service() as service:
        query = await _query(service, instance, execution, level)
        lines = await service.storage.logs(query)
        if limit is not None:
            lines = lines[-limit:]
        if state.json and not follow:
            emit([_shape(line) for line in reversed(lines)])
            return
        for line in lines:
            _print(state, line)
        if follow:
            await _follow(state, service, query, lines[-1].number if lines else 0)
        elif not lines:
            say("There are no log lines.")


async def _query(service: Service, instance: str | None, execution: str | None, level: str) -> LogQuery:
    from ropewalk.service.lookup import find_execution, find_instance_id
    from ropewalk.service.shapes import LEVELS
    from ropewalk.storage.records import LogQuery

    return LogQuery(
        instance=None if instance is None else await find_instance_id(service.storage, instance),
        execution=None if execution is None else (await find_execution(service.storage, execution)).id,
        level=0 if level == "DEBUG" else LEVELS[level],
    )


async def _follow(state: State, service: Service, query: LogQuery, last: int) -> None:
    """Print lines as they are written; of one execution until it is over."""
    from msgspec.structs import replace

    look, over = True, False
    while not over:
        if look:
            # Whether it is over is asked first: what it wrote until then is read after.
            over = await _is_over(service, query.execution)
            for line in await service.storage.logs(replace(query, after=last)):
                _print(state, line)
                last = line.number
        else:
            await asyncio.sleep(_POLL)
        look = service.storage.changed()


async def _is_over(service: Service, execution: str | None) -> bool:
    from ropewalk.storage.records import PENDING

    if execution is None:
        return False
    found = await service.storage.execution(execution)
    return found is None or found.status not in PENDING


def _print(state: State, line: NumberedLogLine) -> None:
    shape = _shape(line)
    if state.json:
        emit_line(shape)
        return
    level = click.style(f"{shape['level']:<8}", fg=_COLOURS.get(shape["level"]))
    fields = "" if line.line.fields is None else f"  {safe(line.line.fields.decode())}"
    click.echo(f"{short_time(shape['time'])}  {shape['execution'][:12]}  {level}  {safe_entry(shape['message'])}{fields}")


def _shape(line: NumberedLogLine) -> dict[str, Any]:
    from ropewalk.service.shapes import numbered_log_shape

    return numbered_log_shape(line)
