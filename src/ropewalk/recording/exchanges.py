"""Requests of an attempt's HTTP clients and what came of them, taken down as they pass the door.

A body is taken down piece by piece, within the tape's bytes. An exchange that does not fit is left out as a whole: half of one answers nothing.
Before: `door.outside`, which sends. After: `recorder`, for the record, and `replay`, which answers from it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.egress.hops import Hop

Headers = list[tuple[str, str]]
BytesHeaders = list[tuple[bytes, bytes]]


class Exchange(Struct, array_like=True, kw_only=True):
    """One request, and what the client was answered.

    Attributes:
        method: `CONNECT` for a tunnel that was refused; those that were opened show in the requests within.
        url: as it was asked for.
        headers: those that the client chose.
        body: what was read of its body.
        asked_whole: whether that is all of it: a server may answer, or the host refuse, before.
        status: the server's, 0 when it gave no answer.
        reason: its reason phrase.
        answer_headers: its headers, framing included.
        answer: what was passed on of its body.
        answered_whole: whether that is all of it.
        error: the type of the error that ended it, "" when none did.
        message: that error's.
    """

    method: str
    url: str
    headers: Headers
    body: bytes = b""
    asked_whole: bool = False
    status: int = 0
    reason: bytes = b""
    answer_headers: Headers = []
    answer: bytes = b""
    answered_whole: bool = False
    error: str = ""
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether the client was told how it ended, and did not go away before."""
        return self.answered_whole or bool(self.error)


class Taking:
    """An exchange that is being taken down.

    Args:
        has_room: says whether so many bytes more fit.
        missed: called once, when the exchange does not fit.
    """

    def __init__(
        self, has_room: Callable[[int], bool], missed: Callable[[], None], method: str, url: str, headers: BytesHeaders
    ) -> None:
        self._has_room = has_room
        self._missed = missed
        self._asked: list[bytes] = []
        self._answer: list[bytes] = []
        self._exchange: Exchange | None = Exchange(method=method, url=url, headers=_texts(headers))
        self._take(len(method) + len(url) + _size(headers))

    def asked(self, hop: Hop) -> Hop:
        """Return the request with a body that is taken down as it is read."""
        if not isinstance(hop.body, bytes):
            return msgspec.structs.replace(hop, body=self._asking(hop.body))
        if self._take(len(hop.body)) and self._exchange is not None:
            self._asked.append(hop.body)
            self._exchange.asked_whole = True
        return hop

    def answered(self, status: int, reason: bytes, headers: BytesHeaders) -> None:
        """Take down how an answer begins."""
        if self._take(_size(headers)) and self._exchange is not None:
            self._exchange.status, self._exchange.reason, self._exchange.answer_headers = status, reason, _texts(headers)

    async def answering(self, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        """Give a body as it comes, and take it down."""
        async for chunk in chunks:
            if self._take(len(chunk)):
                self._answer.append(chunk)
            yield chunk
        if self._exchange is not None:
            self._exchange.answered_whole = True

    def failed(self, error: Exception) -> None:
        """Take down what ended it."""
        if self._take(len(str(error))) and self._exchange is not None:
            self._exchange.error, self._exchange.message = type(error).__name__, str(error)

    @property
    def taken(self) -> Exchange | None:
        """What was taken down so far, None when it did not fit."""
        if self._exchange is None:
            return None
        return msgspec.structs.replace(self._exchange, body=b"".join(self._asked), answer=b"".join(self._answer))

    async def _asking(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            if self._take(len(piece)):
                self._asked.append(piece)
            yield piece
        if self._exchange is not None:
            self._exchange.asked_whole = True

    def _take(self, count: int) -> bool:
        """Return whether so many bytes more are kept of it; once they are not, nothing of it is."""
        if self._exchange is None:
            return False
        if self._has_room(count):
            return True
        self._exchange = None
        self._asked, self._answer = [], []
        self._missed()
        return False


def _texts(headers: BytesHeaders) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _size(headers: BytesHeaders) -> int:
    return sum(len(name) + len(value) for name, value in headers)


encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Exchange).decode
