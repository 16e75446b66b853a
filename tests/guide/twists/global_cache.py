"""Limitations 4, wrong: globals, class attributes and caches of modules are lost with the process."""

import functools
import os
import random

from ropewalk import Twist

global_cache: dict[str, str] = {}


@functools.cache
def computed(name: str) -> str:
    """Return something that is remembered in memory."""
    return name


class GlobalCache(Twist):
    """Keeps its cache where it cannot stay."""

    seen: list[str] = []

    async def fill(self) -> None:
        """Leave a mark everywhere in memory."""
        global_cache["key1"] = "value1"
        self.seen.append("value1")
        computed("value1")
        os.environ["VALUE"] = "value1"
        random.seed(1)

    async def look(self) -> list[int]:
        """Count the marks that are there."""
        return [len(global_cache), len(self.seen), computed.cache_info().currsize, int("VALUE" in os.environ)]

    async def roll(self) -> float:
        """Return a random number."""
        return random.random()
