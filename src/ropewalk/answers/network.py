"""HTTP requests for an attempt: sent on the host, under the patterns that the manifest declares, at the instance's pace, while its lease holds.

`fetch` answers `Network.fetch`; `exchange` is for whatever else brings requests of the guest's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from msgspec.structs import replace

from ropewalk.answers.declared import declared_patterns
from ropewalk.answers.interface import Session
from ropewalk.egress.credentials import add_credentials
from ropewalk.egress.fetch import Asker, Exchange
from ropewalk.egress.guard import Guard
from ropewalk.egress.hops import Hop, Request
from ropewalk.egress.patterns import Pattern
from ropewalk.egress.urls import Url
from ropewalk.errors import NetworkDenied, PermissionDenied
from ropewalk.wire.control import ToolInfo
from ropewalk.wire.messages import Fetch, HttpAnswer


async def fetch(session: Session, call: Fetch) -> HttpAnswer:
    """Send the request and return its answer. It is no effect: it happens now, and again when the execution is tried again."""
    tool = session.tool(call.ns)
    if tool is None or tool.kind != "Network":
        raise PermissionDenied(
            f"the twist declares no Network tool at {call.ns!r}: add one as a class attribute and deploy again"
        )
    check_pace(session)
    request = Request(method=call.method, url=call.url, headers=call.headers, body=call.body, timeout=call.timeout)
    answer = await session.host.fetcher.fetch(request, _asker(session, [tool], _SEEN_THROUGH))
    return await _blanked(session, answer)


@asynccontextmanager
async def exchange(session: Session, hop: Hop) -> AsyncGenerator[Exchange, None]:
    """Send one request for code that speaks HTTP itself, under the patterns of all Network tools; it follows redirects itself.

    Raises: as `Fetcher.exchange`, and NetworkDenied when the instance makes requests faster than it may.
    """
    check_pace(session)
    asker = _asker(session, _network_tools(session), _PLAIN)
    async with session.host.fetcher.exchange(hop, asker) as answered:
        if session.options.credentials and session.options.redactor is not None:
            answered.blank(session.options.redactor)
        yield answered


def check_origin(session: Session, url: Url) -> None:
    """Raise NetworkDenied when nothing on the server of this URL is declared, whatever the path."""
    declared = tuple(replace(pattern, path=None) for pattern in _declared(session, _network_tools(session)))
    Guard(declared=declared).admit(url)


def _network_tools(session: Session) -> list[ToolInfo]:
    return [tool for tool in session.manifest.tools if tool.kind == "Network"]


_SEEN_THROUGH: Final = b"gzip, deflate"
"""Compressions that `fetch` takes off."""

_PLAIN: Final = b"identity"
_LARGE: Final = 256 * 1024


def _asker(session: Session, tools: Iterable[ToolInfo], encodings: bytes) -> Asker:
    """Return the attempt as the one who asks, under the patterns of these tools; where a secret goes along, answers come in `encodings`."""
    instance = session.claim.instance.id
    asker = Asker(
        tenant=instance,
        declared=_declared(session, tools),
        about_to_send=session.check_lease,
        turn=session.turn,
        note=session.note,
    )
    credentials = session.options.credentials
    if not credentials:
        return asker
    return replace(asker, complete=partial(add_credentials, credentials=credentials, encodings=encodings))


def _declared(session: Session, tools: Iterable[ToolInfo]) -> tuple[Pattern, ...]:
    return tuple(pattern for tool in tools for pattern in declared_patterns(session.manifest, tool, session.options.open))


async def _blanked(session: Session, answer: HttpAnswer) -> HttpAnswer:
    """Return an answer in which no credential stands that the host had put into the request, should the server have repeated it."""
    redactor = session.options.redactor
    if redactor is None or not session.options.credentials:
        return answer
    headers = [(name, redactor.hide(value)) for name, value in answer.headers]
    body = answer.body
    body = await asyncio.to_thread(redactor.blank, body) if len(body) > _LARGE else redactor.blank(body)
    return replace(answer, headers=headers, body=body, url=redactor.hide(answer.url))


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
