"""What the door knows of an attempt: whoever is one has its clients' requests answered, live or from a record."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from ropewalk.egress.hops import Hop
from ropewalk.egress.urls import Url

Headers = list[tuple[bytes, bytes]]


class Answered(Struct, frozen=True, kw_only=True):
    """The answer to a request, whoever gives it: its head, and its body as it comes."""

    url: Url
    status: int
    reason: bytes
    headers: Headers
    chunks: AsyncGenerator[bytes, None]


class Guest(Protocol):
    """The attempt whose connections these are."""

    @property
    def execution(self) -> str:
        """The id of its execution."""
        ...

    def exchange(self, hop: Hop) -> AbstractAsyncContextManager[Answered]:
        """Have one request answered within the block. Raises what it is refused with."""
        ...

    def check_origin(self, url: Url) -> None:
        """Raise NetworkDenied when no tunnel to this server may be had."""
        ...

    def count_request(self) -> bool:
        """Count one of the requests that it may make; False when that was one too many, and has ended it."""
        ...

    def warn(self, text: str) -> None:
        """Put a line into its log."""
        ...
