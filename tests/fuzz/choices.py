"""Decisions read out of bytes: what makes a random string, or one that a fuzzer has mutated, into something with a shape.

The same bytes always give the same decisions, so that an input says everything about a run. When they are used up every decision is the
first one, and whoever loops stops by `more`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Decisions out of `data`, from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether there is anything left to decide by."""
        return self._at < len(self._data)

    def number(self, below: int) -> int:
        """Return a number from 0 to `below` - 1."""
        size = max(1, ((below - 1).bit_length() + 7) // 8)
        return int.from_bytes(self.raw(size)) % below

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.number(len(options))]

    def once_in(self, times: int) -> bool:
        """Return True once in so many times, and never when there is nothing left."""
        return self.number(times) == times - 1

    def raw(self, most: int) -> bytes:
        """Return the next `most` bytes, or what is left."""
        taken = self._data[self._at : self._at + most]
        self._at += len(taken)
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.raw(len(self._data))
