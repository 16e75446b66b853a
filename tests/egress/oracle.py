"""What the guard should say of a URL, worked out without the guard: the other side of verdicts.jsonl's labels.

    spelling    ada, the URL parser of Node.js (WHATWG's standard), and STRICTER: what it accepts or repairs and the guard refuses on purpose
    patterns    the rules of docs/authoring.md as comparisons of ada's parts of the URL
    addresses   IANA's registries (`registries`), Python's `ipaddress` for what they don't list, and CLOUD and PRIVATE_NAMES

Nothing here imports ropewalk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from ada_url import URL

from tests.egress.registries import said_reachable


class Asked(NamedTuple):
    """A URL that ada can read: its text, the authority and host as they are written there, and what ada makes of it."""

    text: str
    authority: str
    host: str
    read: URL


class Stricter(NamedTuple):
    """URLs that WHATWG's standard lets pass and the guard does not: which, and why."""

    name: str
    reason: str
    is_one: Callable[[Asked], bool]


_AUTHORITY: Final = re.compile(r"https?://([^/?#\\]*)", re.IGNORECASE)
_BLANK: Final = re.compile(r"[\s\x00-\x20\x7f-\x9f]")


def _label_is_odd(label: str) -> bool:
    return not re.fullmatch(r"[a-z0-9_-]{1,63}", label)


def _is_no_name(asked: Asked) -> bool:
    host = asked.read.hostname.removesuffix(".")
    return not host.startswith("[") and (len(host) > 253 or any(map(_label_is_odd, host.split("."))))


def _is_odd_ipv4(asked: Asked) -> bool:
    return _address(asked.read.hostname) is not None and not asked.host.startswith("[") and asked.host != asked.read.hostname


def _stands_for_nothing(label: str) -> bool:
    """Whether no name is written as this label: what it decodes to is no label, or encodes to another one."""
    if not label.startswith("xn--"):
        return False
    try:
        return URL(f"https://{label.removeprefix('xn--').encode().decode('punycode')}.example").hostname != f"{label}.example"
    except ValueError:
        return True


def _decoded(asked: Asked) -> list[str]:
    """Return the labels of the name as people read them."""
    labels = asked.read.hostname.split(".")
    try:
        return [label.removeprefix("xn--").encode().decode("punycode") if label.startswith("xn--") else label for label in labels]
    except UnicodeError:
        return labels


def _reads_both_ways(label: str) -> bool:
    directions = set(map(unicodedata.bidirectional, label))
    return "L" in directions and bool(directions & {"R", "AL", "AN"})


STRICTER: Final = [
    Stricter(
        "blanks and control characters",
        "WHATWG drops tabs and line ends and trims the rest; other clients send them, cut there, or refuse",
        lambda asked: _BLANK.search(asked.text) is not None,
    ),
    Stricter(
        "backslashes",
        "WHATWG reads them as slashes, RFC 3986 as part of a name or user: the classic way around checks of hosts",
        lambda asked: "\\" in asked.text,
    ),
    Stricter(
        "no authority after the scheme",
        "`https:host`, `https:/host` and `https:///host` name a host to browsers only",
        lambda asked: not asked.authority,
    ),
    Stricter(
        "user names",
        "what stands before @ is easily taken for the host; credentials belong in a header, where they are not logged",
        lambda asked: "@" in asked.authority,
    ),
    Stricter(
        "percent signs in the host", "WHATWG decodes them, RFC 3986 allows them, resolvers take them literally", lambda asked: "%" in asked.host
    ),
    Stricter(
        "odd spellings of IPv4 addresses",
        "octal, hexadecimal, short and whole-number forms, digits that fold: each library reads another address",
        _is_odd_ipv4,
    ),
    Stricter("names that DNS does not have", "labels are 1 to 63 letters, digits, hyphens or underscores, names 253 characters", _is_no_name),
    Stricter(
        "xn-- labels that stand for no name",
        "ada, as browsers, sends them as they are; registries have none, and who decodes them sees anything",
        lambda asked: any(map(_stands_for_nothing, asked.read.hostname.split("."))),
    ),
    Stricter(
        "underscores in internationalised names",
        "no registry has them, and Python's own clients refuse them: an underscore is for names of ASCII, such as _dmarc",
        lambda asked: not asked.host.isascii() and "_" in asked.read.hostname,
    ),
    Stricter(
        "labels that read both ways",
        "the Bidi rule of RFC 5893, which WHATWG demands and ada does not see to behind a joiner: they show otherwise than they are",
        lambda asked: any(map(_reads_both_ways, _decoded(asked))),
    ),
    Stricter("more than 16 KiB", "servers refuse them, and each keeps another part", lambda asked: len(asked.text) > 16 * 1024),
    Stricter("port 0", "nothing listens there; some systems take it for any port", lambda asked: asked.read.port == "0"),
]  # fmt: skip


CLOUD: Final = {"168.63.129.16": "Azure's wire server, on a public address"}
PRIVATE_NAMES: Final = {
    "localhost": "RFC 6761",
    "local": "RFC 6762",
    "home.arpa": "RFC 8375",
    "internal": "kept for private use by ICANN, and clouds' metadata",
}
"""Names that lead somewhere else for everybody: refused whatever they resolve to here."""

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
_ISATAP: Final = (0x5EFE, 0x0200_5EFE)


def expected(text: str, patterns: Iterable[str], private: Iterable[str], resolve: dict[str, list[str]]) -> str:
    """Return the verdict: yes, url, declared, public or unresolved."""
    asked = read(text)
    if asked is None or asked.read.protocol not in ("http:", "https:") or any(one.is_one(asked) for one in STRICTER):
        return "url"
    matching = [pattern for pattern in patterns if _matches(pattern, asked.read)]
    if not matching:
        return "declared"
    host = _host(asked.read)
    may_be_private = any(pattern != "*" for pattern in matching) and any(_matches(pattern, asked.read) for pattern in private)
    if not may_be_private and any(host == name or host.endswith(f".{name}") for name in PRIVATE_NAMES):
        return "public"
    answers = [host] if _address(host) is not None else resolve.get(host, resolve.get("*", []))
    if not answers:
        return "unresolved"
    return "yes" if may_be_private or all(is_public(ip_address(answer)) for answer in answers) else "public"


def sent(text: str) -> str:
    """Return what leaves when this URL may: what browsers send, but for the dot at the end of a name and for `%` where it escapes nothing."""
    url = URL(text)
    port = f":{url.port}" if url.port else ""
    target = url.pathname + (url.search or ("?" if _ends_with_mark(text) else ""))
    target = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", target)
    return f"{url.protocol}//{url.hostname.removesuffix('.')}{port}{target}"


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether everyone can reach this address."""
    if str(address) in CLOUD or address.is_multicast:
        return False
    said = said_reachable(address)
    if said is False or isinstance(address, IPv4Address):
        return bool(said) or (said is None and address.is_global)
    number = int(address)
    if address in _TRANSLATED or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return is_public(IPv4Address(number & 0xFFFF_FFFF))
    return bool(said) or (address in _UNICAST and address.is_global)


def read(text: str) -> Asked | None:
    """Return what ada makes of a URL, None when it makes nothing of it."""
    try:
        url = URL(text)
    except ValueError:
        return None
    found = _AUTHORITY.match(text)
    authority = found[1] if found else ""
    host = authority.rpartition("@")[2]
    return Asked(text, authority, host if host.startswith("[") else host.partition(":")[0], url)


def _host(read: URL) -> str:
    return read.hostname.removesuffix(".").strip("[]")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _port(read: URL) -> int:
    return int(read.port or {"http:": 80, "https:": 443}[read.protocol])


def _ends_with_mark(text: str) -> bool:
    return text.partition("#")[0].endswith("?") and text.count("?") == 1


# ── Patterns ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _matches(pattern: str, read: URL) -> bool:
    if pattern == "*":
        return _port(read) in (80, 443)
    prefix = pattern.endswith("*")
    meant = URL(pattern.removesuffix("*").replace("://*.", "://", 1))
    if (meant.protocol, _port(meant)) != (read.protocol, _port(read)):
        return False
    below = "://*." in pattern
    if not (_host(read).endswith(f".{_host(meant)}") if below else _host(read) == _host(meant)):
        return False
    everything = meant.pathname == "/" and (prefix or not re.search(r"://[^/]*/", pattern))
    return everything or _path_matches(meant.pathname, read.pathname, prefix=prefix)


def _path_matches(meant: str, path: str, *, prefix: bool) -> bool:
    """Whether a path is the one meant, or below it: as it is sent, and as whoever decodes it until nothing changes reads it.

    No reading on the way may climb out, not even a careless one.
    """
    readings, as_sent = _readings(path), _plain(path)
    if len(readings) > _DECODINGS or any(_climbs(one) or _CONTROL.search(one) for one in readings) or _is_overlong(path):
        return False
    wanted = [_plain(meant), _readings(_plain(meant))[-1]]
    return all(
        one.startswith(start) if prefix else one == start for one, start in zip([as_sent, readings[-1]], wanted, strict=True)
    )


_DECODINGS: Final = 8
"""A path that changes this often when it is decoded was made to get past somebody."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def _plain(path: str) -> str:
    """Return a path in which no unreserved character is escaped: RFC 3986 says that it is the same one (6.2.2.2)."""
    return re.sub(
        r"%[0-9A-Fa-f]{2}",
        lambda found: unquote(found[0]) if re.match(r"[\w.~-]", unquote(found[0], "latin-1"), re.ASCII) else found[0],
        path,
    )


def _readings(path: str) -> list[str]:
    """Return what a path is when it is decoded never, once, twice, and so on until nothing changes."""
    found = [path.encode()]
    while (after := unquote_to_bytes(found[-1])) != found[-1]:
        found.append(after)
    return [unicodedata.normalize("NFKC", one.decode("utf-8", "replace")) for one in found]


def _climbs(path: str) -> bool:
    return any(part.partition(";")[0].strip() == ".." for part in re.split(r"[/\\]", path))


def _is_overlong(path: str) -> bool:
    """Whether there is something that lax decoders of UTF-8 take for a dot or a slash, or that Microsoft's servers decode by themselves."""
    raw = path.encode()
    while (after := unquote_to_bytes(raw)) != raw:
        raw = after
    return re.search(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]|%u[0-9A-Fa-f]{4}", raw) is not None
