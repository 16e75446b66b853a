"""The patterns by which a twist declares where it may go, and an operator what may lead to private addresses.

    *                               any host, ports 80 and 443
    https://api.example.com         everything there, and no other scheme or port
    https://api.example.com/*       the same
    https://api.example.com/v1/*    what is below /v1/
    https://api.example.com/v1/me   that one path, with any query
    https://*.example.com           every name below example.com, not example.com itself
    http://127.0.0.1:8080/*         a port of one's own

A path is matched in two forms, and both must match: as it is sent, and percent-decoded until nothing is left to decode, as a careless
server may read it. A path that could climb out of its prefix when read carelessly matches no pattern that has a prefix.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from ropewalk.egress.urls import BadUrl, Scheme, Url, parse

_PATTERN = re.compile(r"([Hh][Tt][Tt][Pp][Ss]?)://(\*\.)?([^/?#@*\\\s]+)(/[^?#*\\\s]*)?(\*)?")
_MISTAKES: Final = [
    (re.compile(mistake), words)
    for mistake, words in (
        (r"(?s).*[\s\\]", "it holds a space or a backslash"),
        (r"\{|.*://\{", "it names an option, and there is none to fill in"),
        (r"(?i)(?!https?://)", "it begins neither with https:// nor with http://"),
        (r".*[?#]", "it has a query or a fragment, which patterns do not match: leave it out"),
        (r".*//[^/]*@", "it has a user name"),
        (r".*//[^/]*:\*", "a port is a number, and without one it is the scheme's own"),
        (r".*//\*(/|$)", "any host is *, alone"),
        (r".*//.[^/]*\*|.*//\*[^.]", "in a host * stands only at its beginning, before a dot"),
        (r".*\*", "in a path * stands only at its end, after a slash"),
    )
]

_DECODINGS: Final = 8
_UNRESERVED = re.compile(r"%(?:4[1-9a-fA-F]|5[0-9aA]|6[1-9a-fA-F]|7[0-9aA]|3[0-9]|2[dDeE]|5[fF]|7[eE])")
# Bytes that are in no well-formed UTF-8 but that lax decoders turn into dots and slashes.
_OVERLONG = re.compile(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|%u[0-9A-Fa-f]{4}")
_SEPARATOR = re.compile(r"[/\\]")


class BadPattern(ValueError):
    """The text is no pattern; the message says why and shows one that is."""


class Pattern(Struct, frozen=True, kw_only=True):
    """A declared pattern. `text` is as it was written.

    `host` None is any host; `below` means the names below it. `path` None is every path; else the path itself, or with `prefix` all
    that begins with it; `decoded` is its percent-decoded form.
    """

    text: str
    scheme: Scheme | None = None
    host: str | None = None
    below: bool = False
    port: int | None = None
    path: str | None = None
    decoded: str = ""
    prefix: bool = False

    def matches(self, url: Url) -> bool:
        """Whether the URL is one of those that the pattern means."""
        if self.host is None:
            return url.port in (80, 443)
        if self.scheme != url.scheme or self.port != url.port:
            return False
        if not (url.host.endswith(f".{self.host}") if self.below else url.host == self.host):
            return False
        return self.path is None or self._matches_path(url.path)

    def contains(self, other: Pattern) -> bool:
        """Whether the pattern means every URL that `other` means."""
        if self.host is None:
            return other.host is None or other.port in (80, 443)
        if other.host is None or (self.scheme, self.port) != (other.scheme, other.port):
            return False
        return self._contains_host(other) and self._contains_path(other)

    def _contains_host(self, other: Pattern) -> bool:
        if not self.below:
            return not other.below and other.host == self.host
        return f"{other.host}".endswith(f".{self.host}") or (other.below and other.host == self.host)

    def _contains_path(self, other: Pattern) -> bool:
        if self.path is None:
            return True
        if other.path is None:
            return False
        if self.prefix:
            return other.path.startswith(self.path) and other.decoded.startswith(self.decoded)
        return not other.prefix and (other.path, other.decoded) == (self.path, self.decoded)

    def _matches_path(self, path: str) -> bool:
        sent, decoded = _UNRESERVED.sub(_decode_one, path), _decode_wholly(path)
        if decoded is None:
            return False
        if self.prefix:
            return sent.startswith(self.path or "") and decoded.startswith(self.decoded)
        return sent == self.path and decoded == self.decoded


@lru_cache(maxsize=1024)
def parse_pattern(text: str) -> Pattern:
    """Return the pattern that `text` spells.

    Raises:
        BadPattern: it is none.
    """
    if text == "*":
        return Pattern(text=text)
    parts = _PATTERN.fullmatch(text)
    if parts is None or (parts[5] and not (parts[4] or "").endswith("/")):
        why = next((words for mistake, words in _MISTAKES if mistake.match(text)), "it has no host")
        raise BadPattern(
            f"{text[:200]!r} is no URL pattern: {why}. "
            "Write *, https://api.example.com/*, https://api.example.com/v1/* or https://*.example.com"
        )
    try:
        url = parse(f"{parts[1]}://{parts[3]}{parts[4] or '/'}")
    except BadUrl as error:
        raise BadPattern(f"{text[:200]!r} is no URL pattern: {error}") from None
    if parts[2] and url.address is not None:
        raise BadPattern(f"{text[:200]!r} is no URL pattern: nothing is below an IP address")
    everything = parts[4] is None or (parts[4] == "/" and parts[5] is not None)
    path = _UNRESERVED.sub(_decode_one, url.path)
    decoded = _decode_wholly(path)
    if decoded is None or url.path.count("/") != (parts[4] or "/").count("/"):
        raise BadPattern(f"{text[:200]!r} is no URL pattern: its path has dot segments or control characters")
    return Pattern(
        text=text,
        scheme=url.scheme,
        host=url.host,
        below=parts[2] is not None,
        port=url.port,
        path=None if everything else path,
        decoded=decoded,
        prefix=parts[5] is not None,
    )


def first_match(patterns: Iterable[Pattern], url: Url) -> Pattern | None:
    """Return the first pattern that means the URL."""
    return next((pattern for pattern in patterns if pattern.matches(url)), None)


def _decode_one(escape: re.Match[str]) -> str:
    return chr(int(escape[0][1:], 16))


def _decode_wholly(path: str) -> str | None:
    """Return the path decoded until nothing changes, None when a careless reader could see it climb, or cannot be followed."""
    before, now = b"", path.encode("ascii")
    for _ in range(_DECODINGS):
        before, now = now, unquote_to_bytes(now)
        if before == now:
            break
    else:
        return None
    if _OVERLONG.search(now):
        return None
    text = unicodedata.normalize("NFKC", now.decode("utf-8", "replace"))
    if _CONTROL.search(text):
        return None
    if any(segment.partition(";")[0].strip() == ".." for segment in _SEPARATOR.split(text)):
        return None
    return text
