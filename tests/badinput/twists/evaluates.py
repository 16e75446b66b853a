"""Does what it is told, in Python: the tests say in one line what an author might write."""

import asyncio
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from ropewalk import ActivityType, NewActivity, NewNote, RopewalkError, Twist
from ropewalk.tools import Network, Plot

NAMES = (asyncio, math, dataclass, UTC, date, datetime, timedelta, UUID, uuid4, ActivityType, NewActivity, NewNote)
NAN = float("nan")
NOTE = ActivityType.NOTE


@dataclass
class Point:
    """Two numbers."""

    x: int
    y: int


def nested(depth: int) -> list[Any]:
    """Return a list within a list within a list."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def circle() -> list[Any]:
    """Return a list within itself."""
    found: list[Any] = []
    found.append(found)
    return found


class Evaluates(Twist):
    """Evaluates expressions."""

    plot = Plot()
    network = Network(urls=["https://api.example.com/v1/*"])

    async def do(self, expression: str) -> Any:
        """Leave something half done, then await what the expression gives."""
        await self.set("half", True)
        return await eval(expression, {**globals(), "self": self})  # noqa: S307 — the tests' own words

    async def caught(self, expression: str) -> str:
        """Do the same, and go on after an error."""
        await self.set("before", True)
        try:
            await self.do(expression)
        except (RopewalkError, ValueError, TypeError) as error:
            await self.set("after", True)
            return type(error).__name__
        return "nothing was raised"

    async def typed(self, number: int, point: Point, *, when: datetime | None = None) -> int:
        """Take arguments of several types."""
        return number + point.x

    async def benign(self) -> str:
        """Do what is right."""
        await self.set("benign", True)
        return "fine"

    def not_async(self) -> None:
        """Be no method that can be called back."""
