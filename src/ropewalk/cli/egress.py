"""`ropewalk egress`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, Group
from ropewalk.cli.common.output import emit_line, safe, show
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.egress.connections import Resolve
    from ropewalk.egress.guard import Guard
    from ropewalk.egress.patterns import Pattern
    from ropewalk.egress.verdicts import Verdict

Answers = Mapping[str, list[str]]
"""The addresses of hosts, and those of every other host."""

_EVERY_OTHER = "*"
_SURROGATE = re.compile("[\ud800-\udfff]")  # what Python makes of bytes that are no UTF-8


@click.group(
    "egress",
    cls=Group,
    examples=(
        ("ropewalk egress check --pattern 'https://api.example.com/*' https://api.example.com/v1", "whether it would be sent"),
    ),
)
def command() -> None:
    """Ask the guard that every HTTP request of a twist has to pass."""


@command.command(
    "check",
    cls=Command,
    settings=["allow_private"],
    examples=(
        ("ropewalk egress check --pattern 'https://*.example.com' https://api.example.com/v1", "asks this machine's resolver"),
        (
            "ropewalk egress check --pattern '*' --resolve rebind.test=93.184.216.34,127.0.0.1 http://rebind.test/",
            "denied: one of the addresses is private",
        ),
        (
            "ropewalk egress check --pattern '*' --resolve '*=93.184.216.34' --stdin < urls.jsonl",
            """a line {"url": …} each; every name has that address""",
        ),
        (
            "ropewalk egress check --pattern 'http://127.0.0.1:8080/*' --allow-private 'http://127.0.0.1:8080/*' http://127.0.0.1:8080/",
            "allowed: the operator lets it lead to a private address",
        ),
    ),
)
@click.argument("url", required=False)
@click.option(
    "--pattern", "patterns", multiple=True, required=True, metavar="P", help="A pattern that the twist declares. Repeatable."
)
@click.option(
    "--resolve",
    "answers",
    multiple=True,
    metavar="HOST=IP,IP…",
    help="The addresses of a host; '*' is every host that has none here. Without, the system's resolver is asked. Repeatable.",
)
@click.option(
    "--stdin",
    "lines",
    is_flag=True,
    help='Read lines {"url": …, "resolve": {HOST: [IP, …]}} and answer each in turn with a line {"url", "allowed", "reason"}.',
)
@pass_state
def check(state: State, url: str | None, patterns: Sequence[str], answers: Sequence[str], lines: bool) -> None:
    """Show what the guard would do with a request for URL, with the same code; nothing is sent. Denied or allowed, it exits 0."""
    import asyncio  # a third of what `ropewalk --help` would take

    from ropewalk.egress.guard import Guard
    from ropewalk.egress.verdicts import judge

    if lines == (url is not None):
        raise click.UsageError("give either a URL or --stdin", click.get_current_context())
    if url is not None and _SURROGATE.search(url):
        raise click.BadParameter("it is no UTF-8 text", param_hint="URL")
    guard = Guard(declared=_patterns(patterns), private=_patterns(state.settings.allow_private))
    known = _answers(answers)
    with asyncio.Runner() as runner, _system_resolver() as system:
        if url is not None:
            verdict = runner.run(judge(url, guard, _resolver(known, system)))
            show(state, verdict, lambda: click.echo(safe(f"{'allowed' if verdict.allowed else 'denied'}: {verdict.reason}")))
            return
        for line in sys.stdin.buffer:
            emit_line(runner.run(_judge_line(line, guard, known, system)))


def _patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    from ropewalk.egress.patterns import BadPattern, parse_pattern

    try:
        return tuple(map(parse_pattern, texts))
    except BadPattern as error:
        raise click.BadParameter(str(error), param_hint="--pattern") from None


def _answers(items: Iterable[str]) -> Answers:
    """Return `HOST=IP,IP…` items as a table."""
    table: dict[str, list[str]] = {}
    for item in items:
        host, separator, addresses = item.partition("=")
        if not separator or not host:
            raise click.BadParameter(f"{item!r} is not HOST=IP,IP…", param_hint="--resolve")
        try:
            table |= _table({host: addresses.split(",")})
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--resolve") from None
    return table


def _table(given: Mapping[str, Iterable[str]]) -> Answers:
    """Return addresses by the form of the host's name that the guard has. Raises ValueError when one is no address."""
    from ipaddress import ip_address

    return {_host(host): [str(ip_address(address.strip())) for address in addresses] for host, addresses in given.items()}


def _host(text: str) -> str:
    from ropewalk.egress.urls import BadUrl, parse_host

    if text == _EVERY_OTHER:
        return text
    try:
        return parse_host(text)[0]
    except BadUrl:
        return text  # no URL can name it: nothing asks for it


async def _judge_line(line: bytes, guard: Guard, known: Answers, system: Resolve) -> Verdict:
    """Return the verdict on a line of --stdin; on one that is not as it should be, that it is not."""
    import msgspec

    from ropewalk.egress.verdicts import Verdict, judge

    url = None
    try:
        asked = msgspec.json.decode(line, type=dict[str, Any])
        url = msgspec.convert(asked.get("url"), str)
        own = msgspec.convert(asked.get("resolve"), dict[str, list[str]] | None)
        known = {**known, **_table(own or {})}
    except (ValueError, RecursionError) as error:
        return Verdict(url, allowed=False, reason=f'the line is not {{"url": …, "resolve": {{HOST: [IP, …]}}}}: {error}')
    return await judge(url, guard, _resolver(known, system))


def _resolver(known: Answers, system: Resolve) -> Resolve:
    async def resolve(host: str, port: int) -> list[str]:
        answers = known.get(host, known.get(_EVERY_OTHER))
        return await system(host, port) if answers is None else answers

    return resolve


@contextmanager
def _system_resolver() -> Iterator[Resolve]:
    from ropewalk.egress.connections import SystemResolver

    system = SystemResolver()
    try:
        yield system
    finally:
        system.stop()
