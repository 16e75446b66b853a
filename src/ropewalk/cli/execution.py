"""`ropewalk execution`."""

from __future__ import annotations

from typing import Any

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import (
    Columns,
    bytes_text,
    duration_text,
    safe,
    safe_entry,
    short_time,
    show,
    table,
    text_of,
    time_of,
)
from ropewalk.cli.common.state import State, pass_state

Shape = dict[str, Any]


@click.command(
    "execution",
    cls=Command,
    examples=(
        ("ropewalk execution 3f9a", "everything about the execution whose id begins so"),
        ("ropewalk execution 3f9a --json", "for programs"),
    ),
)
@click.argument("execution", metavar="EXECUTION")
@pass_state
def command(state: State, execution: str) -> None:
    """Show everything about one execution: cause, attempts, timings, HTTP requests, error, logs."""
    shape = state.run(lambda: _shape(state, execution))
    show(state, shape, lambda: _print(shape))


async def _shape(state: State, text: str) -> Shape:
    from ropewalk.service.lookup import find_execution
    from ropewalk.service.requests import requests_of
    from ropewalk.service.shapes import execution_shape
    from ropewalk.storage.records import LogQuery

    async with state.service() as service:
        found = await find_execution(service.storage, text)
        attempts = await service.storage.attempts(found.id)
        logs = await service.storage.logs(LogQuery(execution=found.id))
        recorded = await service.storage.recorded(found.id)
        sent = await requests_of(service, found, recorded)
        names = {twist.id: twist.name for twist in await service.storage.twists()}
    return execution_shape(found, attempts, logs, names, recorded, sent)


def _print(shape: Shape) -> None:
    _print_facts(shape)
    if shape["attempts"]:
        _title("Attempts")
        columns: Columns = (
            ("attempt", text_of("attempt")),
            ("version", text_of("version")),
            ("status", text_of("status")),
            ("started", lambda row: short_time(row["started_at"])),
            ("took", lambda row: duration_text(row["duration_ms"])),
            ("cpu", lambda row: duration_text(row["cpu_ms"])),
            ("memory", lambda row: bytes_text(row["memory_peak_bytes"])),
            ("requests", text_of("requests")),
            ("error", lambda row: row["error"]["type"] if row["error"] else "–"),
        )
        table(shape["attempts"], columns)
    if shape["http_requests"]:
        _print_requests(shape)
    if shape["logs"]:
        _title("Logs")
        for line in shape["logs"]:
            click.echo(f"{short_time(line['time'])}  {line['level']:<8}  {safe_entry(line['message'])}")
    if shape["error"]:
        _title("Error")
        click.echo(safe(f"{shape['error']['type']}: {shape['error']['message']}", lines=True))
        if shape["error"]["traceback"]:
            click.echo(safe(shape["error"]["traceback"], lines=True).rstrip())


def _print_requests(shape: Shape) -> None:
    _title("HTTP requests")
    columns: Columns = (
        ("attempt", text_of("attempt")),
        ("time", time_of("time")),
        ("method", lambda row: f"↳ {row['method']}" if row["redirects"] else row["method"]),
        ("url", text_of("url")),
        ("status", lambda row: row["error"]["type"] if row["error"] else text_of("status")(row)),
        ("took", lambda row: duration_text(row["duration_ms"])),
        ("body", lambda row: bytes_text(row["body_bytes"])),
    )
    table(shape["http_requests"], columns)
    if unlisted := shape["http_requests_unlisted"]:
        click.echo(f"… and {unlisted:,} more, which are not listed")


def _print_facts(shape: Shape) -> None:
    facts = {
        "id": shape["id"],
        "method": shape["method"],
        "status": shape["status"],
        "twist": f"{shape['twist']} version {shape['version']}" if shape["version"] else shape["twist"],
        "instance": shape["instance"],
        "trigger": shape["trigger"],
        "cause": shape["cause"] or "–",
        "queued": short_time(shape["queued_at"]),
        "took": f"{duration_text(shape['duration_ms'])}, {duration_text(shape['cpu_ms'])} of CPU",
        "memory": bytes_text(shape["memory_peak_bytes"]),
        "requests": shape["requests"],
    }
    for name, value in facts.items():
        click.echo(f"{name:<9} {safe(str(value))}")


def _title(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)
