"""One strict parser for the URLs that twists ask for: what it returns is both what is judged and, byte for byte, what is sent.

Where parsers of URLs are known to differ, this one refuses instead of guessing: user names, backslashes, whitespace and control
characters anywhere, a percent sign in the host, IPv4 addresses spelt otherwise than as four decimal numbers. What all agree on it
brings to one form: lower case, IDNA (UTS 46, not transitional), no trailing dot, no default port, dot segments resolved (`%2e` is a
dot), unsafe characters percent-encoded, no fragment. Parsing the result's text gives the result again.

After it: `patterns` judges the URL, `fetch` sends it without another parser in between.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal
from urllib.parse import quote

from msgspec import Struct

from ropewalk.egress import names

Address = IPv4Address | IPv6Address

URL_LIMIT: Final = 16 * 1024
"""Most characters in a URL."""

Scheme = Literal["http", "https"]

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_SCHEMES: Final[dict[str, Scheme]] = {"http": "http", "https": "https"}
_FORBIDDEN = re.compile(r"[\s\\\x00-\x20\x7f-\x9f\ud800-\udfff]")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]*))?")
_NAMED = re.compile(r"([^:\[\]]*)(?::([0-9]*))?")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")

# The characters that WHATWG's URL standard leaves as they are in a path and in the query of an http URL.
_PATH_SAFE = "/%!$&'()*+,-.:;=@_~[]|"
_QUERY_SAFE = "/%!$&()*+,-.:;=@_~[]|?`{}^"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/!$&'()*+,\-.:;=@_~\[\]|]*")
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9/!$&()*+,\-.:;=@_~\[\]|?`{}^]*")


class BadUrl(ValueError):
    """The text is no URL that can be sent; the message says why and, where it can be helped, what to write instead."""


class Url(Struct, frozen=True, kw_only=True):
    """A URL in its one form.

    `host` is a lower-case name in ASCII or an IP address (IPv6 without brackets), `address` that address; `path` begins with a slash;
    `query` is without its question mark, None when there is none.
    """

    scheme: Scheme
    host: str
    port: int
    path: str
    query: str | None = None
    address: Address | None = None

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: what the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """Path and query: what the request line says."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def text(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """The URL as messages and logs show it: without its query, which may hold secrets, and not too long."""
        text = f"{self.scheme}://{self.authority}{self.path}"
        return text if len(text) <= 200 else text[:199] + "…"

    def same_origin(self, other: Url) -> bool:
        """Whether scheme, host and port are the same."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port)


def parse(text: str) -> Url:
    """Return the URL that `text` spells.

    Raises:
        BadUrl: it is relative, not http(s), too long, or spelt in a way that not all software reads alike.
    """
    if len(text) > URL_LIMIT:
        raise BadUrl(f"the URL has {len(text):,} characters and may have {URL_LIMIT:,}: send long values in the body")
    if found := _FORBIDDEN.search(text):
        raise BadUrl(f"the URL holds {_name(found[0])} at position {found.start()}: percent-encode it, or pass it in `params`")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise BadUrl("the URL is not of the form https://host/path")
    scheme = _SCHEMES.get(parts[1].lower())
    if scheme is None:
        raise BadUrl(f"the URL's scheme is {parts[1][:20]!r}, and only http and https can be fetched")
    host, address, port = _authority(parts[2])
    return Url(
        scheme=scheme,
        host=host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        path=canonical_path(parts[3] or "/"),
        query=None if parts[4] is None else _encode(parts[4], _PLAIN_QUERY, _QUERY_SAFE),
        address=address,
    )


def join(base: Url, reference: str) -> Url:
    """Return the URL that `reference`, a redirect's Location, means at `base` (RFC 3986, 5.2).

    Raises:
        BadUrl: as `parse`.
    """
    origin = f"{base.scheme}://{base.authority}"
    if _SCHEME.match(reference):
        return parse(reference)
    if reference.startswith("//"):
        return parse(f"{base.scheme}:{reference}")
    if reference.startswith("/"):
        return parse(origin + reference)
    if reference.startswith("?"):
        return parse(origin + base.path + reference)
    if not reference or reference.startswith("#"):
        return base
    return parse(origin + base.path[: base.path.rindex("/") + 1] + reference)


@lru_cache(maxsize=1024)
def parse_host(raw: str) -> tuple[str, IPv4Address | None]:
    """Return a host name's one form, and its address when it is an IPv4 address.

    Raises:
        BadUrl: it is no name, or an address in an odd spelling.
    """
    if "%" in raw:
        raise BadUrl("the URL's host holds a percent sign: write the name itself")
    name = _to_ascii(raw)
    labels = name.removesuffix(".").split(".")
    if not all(map(_LABEL.fullmatch, labels)) or len(name) > 254:
        raise BadUrl(f"the URL's host {raw[:80]!r} is no host name" if raw else "the URL has no host")
    if not _NUMERIC_LABEL.fullmatch(labels[-1]):
        return name.removesuffix("."), None
    try:
        address = IPv4Address(raw)
    except AddressValueError:
        raise BadUrl(f"the URL's host {raw[:80]!r} is an odd spelling of an IPv4 address: write four decimal numbers") from None
    if str(address) != raw:
        raise BadUrl(f"the URL's host {raw[:80]!r} is an odd spelling of {address}")
    return raw, address


def canonical_path(path: str) -> str:
    """Return a path percent-encoded where it must be, with its dot segments resolved."""
    path = _encode(path, _PLAIN_PATH, _PATH_SAFE)
    return _resolve_dots(path) if "/." in path or "%2" in path else path


def _authority(text: str) -> tuple[str, Address | None, int | None]:
    if "@" in text:
        raise BadUrl("the URL holds a user name: send credentials in a header")
    if text.startswith("["):
        bracketed = _BRACKETED.fullmatch(text)
        if bracketed is None:
            raise BadUrl(f"the URL's host {text[:80]!r} is no IPv6 address")
        address = _ipv6(bracketed[1])
        return address.compressed, address, _port(bracketed[2])
    named = _NAMED.fullmatch(text)
    if named is None:
        raise BadUrl(f"the URL's host and port {text[:80]!r} cannot be told apart")
    return *parse_host(named[1]), _port(named[2])


def _ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise BadUrl(f"the URL's host [{text[:80]}] is no IPv6 address") from None


def _port(text: str | None) -> int | None:
    if not text:
        return None
    digits = text.lstrip("0")
    if not digits or len(digits) > 5 or int(digits) > 65535:
        raise BadUrl(f"the URL's port {text[:20]} is not between 1 and 65535")
    return int(digits)


def _to_ascii(raw: str) -> str:
    if len(raw) > 254:
        raise BadUrl(f"the URL's host has {len(raw):,} characters and may have 253")
    try:
        return names.check(raw.lower()) if raw.isascii() else names.to_ascii(raw)
    except (UnicodeError, ValueError) as error:
        raise BadUrl(f"the URL's host {raw[:80]!r} is no internationalised name: {str(error)[:120]}") from None


def _encode(text: str, plain: re.Pattern[str], safe: str) -> str:
    return text if plain.fullmatch(text) else quote(_STRAY_PERCENT.sub("%25", text), safe=safe)


def _resolve_dots(path: str) -> str:
    kept: list[str] = []
    segments = path[1:].split("/")
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        match segment.lower().replace("%2e", ".") if len(segment) <= 6 else segment:
            case ".":
                up = False
            case "..":
                up = True
            case _:
                kept.append(segment)
                continue
        if up and kept:
            kept.pop()
        if index == last:
            kept.append("")
    return "/" + "/".join(kept)


def _name(character: str) -> str:
    match character:
        case " ":
            return "a space"
        case "\\":
            return "a backslash"
        case _:
            return f"the character U+{ord(character):04X}"
