"""What an answer to a webhook's sender may be made of: checked in the sandbox, where it is an author's error, and again by the host.

The header fields that belong to the connection are the host's. `Set-Cookie` is nobody's: all webhooks share one origin, which is also the
node's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ropewalk.errors import InvalidValue

MOST_HEADERS: Final = 100
"""Header fields of one answer."""

HEADER_BYTES: Final = 16 * 1024
"""Bytes of all of them."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", re.ASCII)  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"(?![ \t])[\t\x20-\x7e\x80-\xff]*(?<![ \t])")  # RFC 9110, 5.5, in Latin-1
_OF_THE_HOST: Final = frozenset(
    [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "server",
        "set-cookie",
        "set-cookie2",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


def check_answer(status: object, headers: Sequence[tuple[str, str]]) -> None:
    """Raise InvalidValue when no answer can have this status or these header fields."""
    if type(status) is not int or not 200 <= status <= 599:
        raise InvalidValue(f"{status!r:.40} is no status that an answer may have: give one from 200 to 599")
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES:
        raise InvalidValue(
            f"an answer may have {MOST_HEADERS} headers, and {HEADER_BYTES:,} bytes of them, and this one has more"
        )
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise InvalidValue(f"{name!r:.80} is no name of a header")
        if not _VALUE.fullmatch(value):
            raise InvalidValue(
                f"the header {name!r:.80} cannot have the value {value!r:.80}: one line of Latin-1, no spaces around it"
            )
        if name.lower() in _OF_THE_HOST:
            raise InvalidValue(f"the header {name!r:.80} cannot be set by a webhook's answer")
