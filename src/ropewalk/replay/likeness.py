"""Whether what a replay says is what the attempt said: the same, but for what no replay can say again.

Those are times, once the method has asked for one, and seconds between two: they may differ by what the attempt took. And what came from the system's randomness,
which is nobody's to keep: wherever a text shows it (as hexadecimal, base64, a UUID or a number) the recorded text may show something
of the same form, the same each time. Everything else is compared to the letter, JSON by its values.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast
from uuid import UUID

import msgspec
from msgspec import Struct

from ropewalk.clock import Micros, from_datetime

_SLACK: Final = 2_000_000
"""Microseconds by which a replay may be slower or faster than the attempt was."""

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d(?:[T ]\d\d:?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?"  # ISO 8601
    r"|(?<![\d.])\d{10}(?:\.\d+|\d{3}|\d{6}|\d{9})?(?![\d.]))"  # since 1970: seconds, milli-, micro-, nanoseconds
)
_UNITS: Final = (1_000_000, 1_000, 1, 0.001)
_SHORTEST: Final = 4
"""Bytes of randomness below which a text might show them by chance."""


class Likeness:
    """Compares what is said in one replay with its record.

    Args:
        began: when the attempt began.
        ended: when the last thing in the record was said.
    """

    def __init__(self, began: Micros, ended: Micros) -> None:
        self._span = max(0, ended - began) + _SLACK
        self._read_clock = False
        self._drawn: dict[str, str | None] = {}
        self.differed: set[str] = set()
        """What was not the same and could not be: the `clock`, `randomness`."""

    @property
    def read_clock(self) -> bool:
        """Whether the method has asked for the time."""
        return self._read_clock

    @property
    def drew(self) -> bool:
        """Whether it has drawn of the system's randomness."""
        return bool(self._drawn)

    def note(self, drawn: Iterable[bytes], *, read_clock: bool) -> None:
        """Take note of what the method has drawn, and whether it has asked for the time."""
        self._read_clock = self._read_clock or read_clock
        for some in drawn:
            self._drawn.update((text, None) for text in _shown(some) if text not in self._drawn)

    def alike(self, now: object, then: object) -> bool:
        """Return whether what is said now is what was said then."""
        if isinstance(now, Struct) and type(now) is type(then):
            names = (name for name in now.__struct_fields__ if name != "id" or not hasattr(now, "ns"))
            return all(self.alike(getattr(now, name), getattr(then, name)) for name in names)
        match now, then:
            case bool() | None, _:
                return now is then
            case int() | float(), int() | float():
                return now == then or self._near(str(now), str(then))
            case str(), str():
                return now == then or self._alike_texts(now, then)
            case bytes(), bytes():
                return now == then or self._alike_bytes(now, then)
            case Mapping(), Mapping():
                return self._alike_objects(cast("Mapping[str, Any]", now), cast("Mapping[str, Any]", then))
            case (list() | tuple(), list() | tuple()):
                pairs = itertools.zip_longest(cast("list[Any]", now), cast("list[Any]", then), fillvalue=_NOTHING)
                return all(self.alike(one, other) for one, other in pairs)
            case _:
                return now == then

    def _alike_objects(self, now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
        if now.keys() == then.keys():
            return all(self.alike(value, then[key]) for key, value in now.items())
        return self.alike(list(now.items()), list(then.items()))  # a key may be a time, or drawn

    def _alike_bytes(self, now: bytes, then: bytes) -> bool:
        """Compare JSON by its values, other texts as texts."""
        try:
            return self.alike(msgspec.json.decode(now), msgspec.json.decode(then))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            return self._alike_texts(now.decode(), then.decode())
        except UnicodeDecodeError:
            return False

    # ── Texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _alike_texts(self, now: str, then: str) -> bool:
        shown = [text for text in self._drawn if text in now]
        if shown:
            now, then = self._without_drawn(now, then, sorted(shown, key=len, reverse=True))
        pieces, pieces_then = _TIME.split(now), _TIME.split(then)
        return len(pieces) == len(pieces_then) and all(
            one == other or (place % 2 == 1 and self._near(one, other))
            for place, (one, other) in enumerate(zip(pieces, pieces_then, strict=True))
        )

    def _without_drawn(self, now: str, then: str, shown: list[str]) -> tuple[str, str]:
        """Return both texts without what was drawn, if the recorded one has something of the same form in the same places."""
        places = re.compile("|".join(map(re.escape, shown)))
        form = "".join(
            f"({_form(piece)})" if place % 2 else f"({re.escape(piece)})"
            for place, piece in enumerate(re.split(f"({places.pattern})", now))
        )
        found = re.fullmatch(form, then, re.DOTALL)
        if found is None:
            return now, then
        drawn = list(zip(places.findall(now), found.groups()[1::2], strict=True))
        if any(self._drawn[one] not in (None, other) for one, other in drawn):
            return now, then
        self._drawn.update(drawn)
        self.differed.add("randomness")
        literal = "\0".join(found.groups()[::2])
        return literal, literal

    def _near(self, now: str, then: str) -> bool:
        """Return whether both are times, no further from one another than the attempt was long."""
        if not self._read_clock:
            return False
        near = any(abs(one - other) <= self._span for one, other in zip(_times(now), _times(then), strict=False))
        if near or (_is_duration(now, self._span) and _is_duration(then, self._span)):
            self.differed.add("clock")
            return True
        return False


_NOTHING: Final = object()


def _times(text: str) -> Iterator[Micros]:
    """Yield the times that a text may mean."""
    if re.fullmatch(r"\d{10,19}(\.\d+)?", text):
        yield round(float(text) * _UNITS[len(text.partition(".")[0]) // 3 - 3])
        return
    try:
        found = datetime.fromisoformat(text.replace(",", "."))
        yield from_datetime(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return


def _is_duration(text: str, most: Micros) -> bool:
    """Return whether a text is a number of seconds such as the difference of two readings of a clock, not longer than `most`."""
    return bool(re.fullmatch(r"\d+\.\d{4,}(e-\d+)?|\d(\.\d+)?e-\d+", text)) and float(text) * 1e6 <= most


def _shown(drawn: bytes) -> list[str]:
    """Return the texts that show drawn bytes."""
    if len(drawn) < _SHORTEST:
        return []
    texts = [drawn.hex(), drawn.hex().upper(), str(int.from_bytes(drawn)), str(int.from_bytes(drawn, "little"))]
    texts += [base64.urlsafe_b64encode(drawn).decode().rstrip("="), base64.b64encode(drawn).decode().rstrip("=")]
    if len(drawn) == 16:
        one = UUID(bytes=drawn, version=4)
        texts += [str(one), one.hex, str(one).upper(), str(one.int)]
    return texts


def _form(drawn: str) -> str:
    """Return the pattern of texts that could stand in a drawn one's place."""
    if drawn.isdecimal():
        return rf"\d{{{max(1, len(drawn) - 3)},{len(drawn) + 3}}}"
    return "".join("-" if letter == "-" and len(drawn) == 36 else r"[0-9A-Za-z+/_-]" for letter in drawn)
