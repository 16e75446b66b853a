"""What versions ask to be allowed, compared: which of it is new beside what was granted before. Pure functions of texts.

A permission is a line of words. Where two differ only in the last, and that is a URL pattern, the wider one covers the narrower; every other
is covered by its own text alone.
"""

from __future__ import annotations

from collections.abc import Collection

from ropewalk.egress.patterns import BadPattern, parse_pattern


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
        return parse_pattern(wide_pattern).contains(parse_pattern(narrow_pattern))
    except BadPattern:  # no URL pattern, or one with an option's place in it: what that holds may change
        return False
