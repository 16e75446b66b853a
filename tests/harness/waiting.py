"""Waiting for real conditions, with a deadline: the only way in which these tests pass time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a condition that does not come true fails the test."""

_PAUSE = 0.005


def until(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Return the first truthy value of `condition`; fails the test, naming `what`, when there is none in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain: {what}")
        time.sleep(_PAUSE)
    return value


async def eventually(condition: Callable[[], Awaitable[T]], what: str, timeout: float = PATIENCE) -> T:
    """Return the first truthy value of the coroutine function `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout
    while not (value := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain: {what}")
        await asyncio.sleep(_PAUSE)
    return value
