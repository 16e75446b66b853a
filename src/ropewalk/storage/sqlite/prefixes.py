"""Ranges of text that begin with a prefix, so that an index finds them."""

from __future__ import annotations

_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def after_prefix(prefix: str) -> str | bytes:
    """Return what is greater than every text that begins with `prefix` and not greater than any other that is.

    The order is that of code points, which is also that of UTF-8. After the empty prefix comes an empty blob: SQLite holds blobs to be
    greater than any text.
    """
    for end in range(len(prefix), 0, -1):
        following = ord(prefix[end - 1]) + 1
        if following in _SURROGATES:
            following = _SURROGATES.stop
        if following <= _LAST:
            return prefix[: end - 1] + chr(following)
    return b""
