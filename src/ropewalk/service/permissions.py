"""What versions ask to be allowed, compared: which of it is new beside what was granted before. Pure functions of texts.

A permission is a line of words. Where two differ only in the last, and that is a URL pattern, the wider one covers the narrower; every other
is covered by its own text alone.
"""

from __future__ import annotations

from collections.abc import Collection

from ropewalk.egress.patterns import BadPattern, Pattern, parse_pattern


def added(asked: Collection[str], had: Collection[str]) -> list[str]:
    """Return what of the permissions asked for those that were had before do not cover."""
    return sorted(one for one in set(asked) if not any(covers(other, one) for other in had))


def covers(wide: str, narrow: str) -> bool:
    """Whether who has the permission `wide` needs nothing more for `narrow`."""
    if wide == narrow:
        return True
    wide_words, _, wide_pattern = wide.rpartition(" ")
    narrow_words, _, narrow_pattern = narrow.rpartition(" ")
    if wide_words != narrow_words:
        return False
    try:
        return contains(parse_pattern(wide_pattern), parse_pattern(narrow_pattern))
    except BadPattern:  # no URL pattern, or one with an option's place in it: what that holds may change
        return False


def contains(outer: Pattern, inner: Pattern) -> bool:
    """Whether every URL that `inner` means, `outer` means too."""
    if outer.host is None:
        return inner.host is None or inner.port in (80, 443)
    if inner.host is None or (outer.scheme, outer.port) != (inner.scheme, inner.port):
        return False
    return _contains_hosts(outer, inner) and _contains_paths(outer, inner)


def _contains_hosts(outer: Pattern, inner: Pattern) -> bool:
    if not outer.below:
        return not inner.below and inner.host == outer.host
    return str(inner.host).endswith(f".{outer.host}") or (inner.below and inner.host == outer.host)


def _contains_paths(outer: Pattern, inner: Pattern) -> bool:
    if outer.path is None:
        return True
    if inner.path is None:
        return False
    if outer.prefix:
        return inner.path.startswith(outer.path) and inner.decoded.startswith(outer.decoded)
    return not inner.prefix and (inner.path, inner.decoded) == (outer.path, outer.decoded)
