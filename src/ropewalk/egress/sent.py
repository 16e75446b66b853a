"""What is noted of each request that a twist has sent: enough to list it, whoever asked and however it ended.

Before: `fetch`, which fills it in on the way. After: `recording`, which keeps it in the attempt's record.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from ropewalk.clock import Micros

_URL_LIMIT: Final = 500
_CREDENTIAL: Final = re.compile(
    r"(?i)([?&][^=&]*(?:auth|token|secret|session|credential|passw|signature|api-?_?key|(?<![a-z])(?:key|sig|pwd))[^=&]*=)[^&]*"
)


class Sent(Struct, array_like=True, kw_only=True):
    """One request, each hop of a redirect one of its own.

    Attributes:
        method: as it was sent.
        url: as it was asked for, without what the host added.
        hop: how many redirects led to it.
        at: when it began, by the host's wall time.
        took: microseconds until its answer was read, or it was over otherwise.
        status: the answer's; 0 when there was none.
        received: bytes of the answer's body, as they came.
        error: the type of the error that ended it, "" when none did.
        message: that error's.
    """

    method: str
    url: str
    hop: int = 0
    at: Micros = 0
    took: int = 0
    status: int = 0
    received: int = 0
    error: str = ""
    message: str = ""


def shown(url: str) -> str:
    """Return a URL as it is listed: without the values of parameters that are named like credentials, and not too long."""
    url = _CREDENTIAL.sub(r"\1***", url)
    return url if len(url) <= _URL_LIMIT else url[: _URL_LIMIT - 1] + "…"
