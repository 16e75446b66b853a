"""What the door of a live attempt leads to: requests are sent on its behalf, and taken down with what came of them.

What `requests` refuses never comes here and is not taken down: a replay refuses it again. Before: `proxy`. After: `answers.network`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from ropewalk.answers import network
from ropewalk.answers.interface import Session
from ropewalk.door.interface import Answered
from ropewalk.egress.hops import Hop
from ropewalk.egress.patterns import BadPattern
from ropewalk.egress.urls import Url
from ropewalk.errors import RopewalkError
from ropewalk.recording.tape import Tape


@asynccontextmanager
async def exchange(session: Session, tape: Tape | None, hop: Hop) -> AsyncGenerator[Answered, None]:
    """Send one request and give its answer within the block. Raises as `network.exchange`."""
    taking = None if tape is None else tape.exchange(hop.method, hop.url.text, hop.headers)
    try:
        async with network.exchange(session, hop if taking is None else taking.asked(hop)) as answer:
            if taking is not None:
                taking.answered(answer.status, answer.reason, answer.headers)
            async with (
                aclosing(answer.chunks()) as chunks,
                aclosing(chunks if taking is None else taking.answering(chunks)) as passing,
            ):
                yield Answered(url=answer.url, status=answer.status, reason=answer.reason, headers=answer.headers, chunks=passing)
    except (RopewalkError, BadPattern) as error:
        if taking is not None:
            taking.failed(error)
        raise


def check_origin(session: Session, tape: Tape | None, url: Url) -> None:
    """Raise NetworkDenied when nothing on the server of this URL is declared, whatever the path."""
    try:
        network.check_origin(session, url)
    except (RopewalkError, BadPattern) as error:
        if tape is not None:
            tape.exchange("CONNECT", url.text, []).failed(error)
        raise
