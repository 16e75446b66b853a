"""The door of a replayed attempt: its clients are answered from the record, by the proxy that serves the living, and nothing leaves.

Before: `door.visit`, which has the connections. After: `player`, which finds what was recorded of a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from ropewalk.clock import Micros
from ropewalk.door.interface import Answered
from ropewalk.egress.hops import Hop
from ropewalk.egress.urls import Url
from ropewalk.errors import FetchTimeout, InvalidValue, NetworkDenied, NetworkError, RopewalkError, ValueTooLarge
from ropewalk.recording.exchanges import Exchange
from ropewalk.replay.player import Player
from ropewalk.wire.messages import Log

_SPARE: Final = 64 * 1024
"""Bytes by which a body may be longer than all recorded ones and still be shown."""

_ERRORS: Final[dict[str, type[RopewalkError]]] = {
    kind.__name__: kind for kind in (NetworkDenied, NetworkError, FetchTimeout, InvalidValue, ValueTooLarge)
}


class ReplayedGuest:
    """What the door knows of a replayed attempt.

    Args:
        player: holds its requests against the record.
        on_log: is given what the door says into its log.
        look: called after each request: the replay may be over.
    """

    def __init__(self, player: Player, started_at: Micros, on_log: Callable[[Log], None], look: Callable[[], None]) -> None:
        self._player = player
        self._started_at = started_at
        self._on_log = on_log
        self._look = look

    @property
    def execution(self) -> str:
        """See `Guest.execution`."""
        return self._player.execution

    @asynccontextmanager
    async def exchange(self, hop: Hop) -> AsyncGenerator[Answered, None]:
        """See `Guest.exchange`. At a difference nothing more is answered."""
        body = await _read(hop, 2 * self._player.longest_body + _SPARE)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in hop.headers]
        then = self._player.request(hop.method, hop.url.text, headers, body)
        self._look()
        if then is None or not (then.status or then.error):
            await asyncio.get_running_loop().create_future()
        assert then is not None, "a future that nobody settles is waited for until the connection ends"
        if not then.status:
            raise _error(then)
        async with aclosing(_answering(then)) as chunks:
            yield Answered(
                url=hop.url,
                status=then.status,
                reason=then.reason,
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in then.answer_headers],
                chunks=chunks,
            )

    def check_origin(self, url: Url) -> None:
        """See `Guest.check_origin`: a tunnel that was refused is refused again, and what is asked for within any other is looked at."""
        then = self._player.tunnel(url.text)
        if then is not None:
            raise _error(then)

    def count_request(self) -> bool:
        """See `Guest.count_request`."""
        self._player.count(1)
        self._look()
        return not self._player.over

    def warn(self, text: str) -> None:
        """See `Guest.warn`."""
        self._on_log(Log(time=self._started_at, level=logging.WARNING, message=text))


async def _read(hop: Hop, limit: int) -> bytes:
    """Return the body, or as much of it as there is any use for."""
    if isinstance(hop.body, bytes):
        return hop.body
    kept = bytearray()
    async for piece in hop.body:
        kept += piece[: max(0, limit - len(kept))]
    return bytes(kept)


async def _answering(then: Exchange) -> AsyncGenerator[bytes, None]:
    """Give the body as far as it came, and break off as it did; one that the client went away from never ends."""
    if then.answer:
        yield then.answer
    if then.error:
        raise _error(then)
    if not then.answered_whole:
        await asyncio.get_running_loop().create_future()


def _error(then: Exchange) -> RopewalkError:
    return _ERRORS.get(then.error, NetworkDenied)(then.message)
