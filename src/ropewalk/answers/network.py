"""HTTP requests for an attempt: sent on the host, under the patterns that the manifest declares, at the instance's pace, while its lease holds.

`fetch` answers `Network.fetch`; `exchange` is for whatever else brings requests of the guest's.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager

import msgspec
from msgspec.structs import replace

from ropewalk.answers.interface import Session
from ropewalk.egress.fetch import Asker, Exchange
from ropewalk.egress.guard import Guard
from ropewalk.egress.hops import Hop, Request
from ropewalk.egress.patterns import BadPattern, Pattern, parse_pattern
from ropewalk.egress.urls import Url
from ropewalk.errors import NetworkDenied, PermissionDenied
from ropewalk.wire.control import Manifest, ToolInfo
from ropewalk.wire.messages import Fetch, HttpAnswer, Json


async def fetch(session: Session, call: Fetch) -> HttpAnswer:
    """Send the request and return its answer. It is no effect: it happens now, and again when the execution is tried again."""
    tool = session.tool(call.ns)
    if tool is None or tool.kind != "Network":
        raise PermissionDenied(
            f"the twist declares no Network tool at {call.ns!r}: add one as a class attribute and deploy again"
        )
    check_pace(session)
    request = Request(method=call.method, url=call.url, headers=call.headers, body=call.body, timeout=call.timeout)
    return await session.host.fetcher.fetch(request, _asker(session, [tool]))


@asynccontextmanager
async def exchange(session: Session, hop: Hop) -> AsyncGenerator[Exchange, None]:
    """Send one request for code that speaks HTTP itself, under the patterns of all Network tools; it follows redirects itself.

    Raises: as `Fetcher.exchange`, and NetworkDenied when the instance makes requests faster than it may.
    """
    check_pace(session)
    async with session.host.fetcher.exchange(hop, _asker(session, _network_tools(session))) as answered:
        yield answered


def check_origin(session: Session, url: Url) -> None:
    """Raise NetworkDenied when nothing on the server of this URL is declared, whatever the path."""
    declared = tuple(replace(pattern, path=None) for pattern in _asker(session, _network_tools(session)).declared)
    Guard(declared=declared).admit(url)


def _network_tools(session: Session) -> list[ToolInfo]:
    return [tool for tool in session.manifest.tools if tool.kind == "Network"]


def _asker(session: Session, tools: Iterable[ToolInfo]) -> Asker:
    """Return the attempt as the one who asks, under the patterns of these tools."""
    instance = session.claim.instance
    declared = [pattern for tool in tools for pattern in declared_patterns(session.manifest, tool, instance.options)]
    return Asker(tenant=instance.id, declared=tuple(declared), about_to_send=session.check_lease)


def check_pace(session: Session) -> None:
    """Raise NetworkDenied when the instance makes requests faster than it may."""
    throttle = session.host.egress
    wait = throttle.take(session.claim.instance.id)
    if wait is not None:
        pace = throttle.pace
        raise NetworkDenied(
            f"this instance makes too many HTTP requests: it may make {pace.burst:,} at once and then {pace.rate:g} a second, and the next "
            f"in {wait:.2f} s: make fewer, spread them over tasks with a delay, or raise Retry(after=…)"
        )


def declared_patterns(manifest: Manifest, tool: ToolInfo, options: Json) -> tuple[Pattern, ...]:
    """Return the URL patterns of a Network tool, with an instance's options filled in where they name one (`{base_url}/*`).

    Raises:
        BadPattern: one of them is none, or names an option that has no value.
    """
    given = msgspec.json.decode(options, type=dict[str, msgspec.Raw])
    values = {field.name: given.get(field.name, field.default) for field in manifest.options if not field.ns}
    return tuple(parse_pattern(_PLACE.sub(lambda place: _filled(place, values), url)) for url in declared_urls(tool))


def check_declared(manifest: Manifest, tool: ToolInfo) -> None:
    """Raise BadPattern when a pattern can never be one, or names an option that the twist does not have."""
    names = {field.name for field in manifest.options if not field.ns}
    for url in declared_urls(tool):
        for place in _PLACE.finditer(url):
            if place[1] not in names:
                raise BadPattern(f"the URL pattern {url!r} names the option {place[1]!r}, which the twist does not have")
        if not _PLACE.search(url):
            parse_pattern(url)


def declared_urls(tool: ToolInfo) -> list[str]:
    """Return the URL patterns of a Network tool as they are written in its declaration.

    Raises:
        BadPattern: the tool's options have another form.
    """
    try:
        return msgspec.json.decode(tool.options, type=_Options).urls
    except msgspec.DecodeError as error:
        raise BadPattern(f"the options of the Network tool are not as they should be: {error}") from None


_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")


def _filled(place: re.Match[str], values: Mapping[str, Json | msgspec.Raw | None]) -> str:
    value = values.get(place[1])
    text = None if value is None else msgspec.json.decode(value)
    if not isinstance(text, str | int) or isinstance(text, bool):
        raise BadPattern(f"the option {place[1]!r} has no value that a URL pattern can be made of")
    return str(text).rstrip("/")


class _Options(msgspec.Struct, frozen=True):
    urls: list[str] = []
