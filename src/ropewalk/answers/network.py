"""The host's answer to `Network.fetch`: the request is sent on the host, under the patterns that the manifest declares for that tool."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from ropewalk.answers.interface import Session
from ropewalk.egress.hops import Request
from ropewalk.egress.patterns import BadPattern, Pattern, parse_pattern
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
    _check_pace(session)
    request = Request(method=call.method, url=call.url, headers=call.headers, body=call.body, timeout=call.timeout)
    instance = session.claim.instance
    declared = declared_patterns(session.manifest, tool, instance.options)
    return await session.host.fetcher.fetch(request, tenant=instance.id, declared=declared)


def _check_pace(session: Session) -> None:
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
