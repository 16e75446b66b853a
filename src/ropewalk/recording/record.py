"""A record: what one attempt said and was told, how it ended, and what of it is not there.

It is sealed as it is stored, bound to its execution and attempt, and pressed when that saves something. What is read back is as it was
written: the seal sees to it.
"""

from __future__ import annotations

import zlib
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.egress.sent import Sent
from ropewalk.storage.records import ErrorInfo
from ropewalk.vault.vault import Sealer

_WORTH_PRESSING: Final = 2048
"""Bytes below which pressing costs more than it saves."""

_AS_IT_IS: Final = b"\x00"
_PRESSED: Final = b"\x01"


class Record(Struct, array_like=True, frozen=True, kw_only=True):
    """One attempt.

    Attributes:
        version: the version that ran.
        status: how it ended: `succeeded`, `failed` or `cancelled`.
        error: why it failed, as the host had it.
        times: the host's wall time of each message.
        messages: each message, in the order in which the host sent or read it, the first of them Start; whose it is shows in its tag.
        missing: how many messages and exchanges more there were, for which there was no room.
        hidden: what is not in it, because it is secret or went another way, in words.
        hash_seed: what its process hashed texts by.
        exchanges: the requests of its HTTP clients, each an `exchanges.Exchange`, in the order in which they began.
        sent: each HTTP request that left, redirects one by one, in the order in which they began; a list to be read, not to be replayed.
        unlisted: how many more of those there were.
    """

    version: int
    status: str
    error: ErrorInfo | None
    times: list[Micros]
    messages: list[msgspec.Raw]
    missing: int = 0
    hidden: list[str] = []
    hash_seed: int = 0
    exchanges: list[msgspec.Raw] = []
    sent: list[Sent] = []
    unlisted: int = 0


def sealed(record: Record, sealer: Sealer, execution: str, attempt: int) -> bytes:
    """Return a record as it is stored."""
    plain = _encode(record)
    packed = _AS_IT_IS + plain if len(plain) < _WORTH_PRESSING else _PRESSED + zlib.compress(plain, 1)
    return sealer.seal(packed, *_place(execution, attempt))


def opened(content: bytes, sealer: Sealer, execution: str, attempt: int) -> Record:
    """Return the record that `sealed` made. Raises what the vault raises when it was changed or moved."""
    packed = sealer.open(content, *_place(execution, attempt))
    return _decode(packed[1:] if packed[:1] == _AS_IT_IS else zlib.decompress(packed[1:]))


def _place(execution: str, attempt: int) -> tuple[str, str, str]:
    return "records", execution, str(attempt)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode
