"""Random generators: what an attempt draws is its own, and can be drawn again from its record.

A fork has its parent's generators, in their state. So those of `random` and of numpy's old interface are seeded anew when the event comes,
and so is every `random.Random()` that the author's module has made while it was imported. One that was given a seed keeps what it was given.

Before: `author`, which has them noted. After: `invocation`, which has them seeded.
"""

from __future__ import annotations

import _random
import random
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

# What `random.seed` does, without the pages that its Python code is on: this runs in every process.
_generator: Final[Any] = vars(random)["_inst"]
_reseed: Final[Callable[[int], None]] = _random.Random.seed.__get__(_generator)

_seed_one: Final = random.Random.seed
_have_seed: Final = partial(setattr, random.Random, "seed")
"""Puts another method in the place of `random.Random.seed`."""

_unseeded: Final[dict[int, weakref.ref[random.Random]]] = {}
"""The generators that have no seed of the author's, by identity, in the order in which they were made."""


def note_generators() -> None:
    """From now on note which generators are made without a seed."""

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        _unseeded.pop(id(self), None)
        if a is None:
            _unseeded[id(self)] = weakref.ref(self)
        _seed_one(self, a, version)

    _have_seed(seed)


def stop_noting() -> None:
    """Note no more: what a method makes is its own already."""
    _have_seed(_seed_one)


def seed_all(seed: bytes) -> None:
    """Make this attempt's randomness its own, and repeatable from its record."""
    number = int.from_bytes(seed)
    _reseed(number)
    if _generator.gauss_next is not None:
        _generator.gauss_next = None
    for place, one in enumerate(_unseeded.values(), 1):
        generator = one()
        if generator is not None:
            _seed_one(generator, number + place)
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed(int.from_bytes(seed[:4]))
