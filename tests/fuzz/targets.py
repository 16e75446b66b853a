"""What is fuzzed, by name: each target makes its world once, and then takes one input after another.

Beside what each says of itself this holds for all: an input takes a bounded time, and leaves no memory and no descriptor behind.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tests.fuzz import answers, connection, egress, manifests, workspace
from tests.fuzz.choices import Choices
from tests.fuzz.messages import SPOKEN, Tongue, packed

T = TypeVar("T")
Run = Callable[[bytes], None]

LONGEST: Final = 5.0
"""Seconds of CPU that one input may take: far more than any needs, instrumented, and far less than would hold a node up."""

_LOOK: Final = 200
"""Inputs between two looks at what is left behind."""

_OBJECTS: Final = 20_000
"""Objects that caches may come to hold."""


class Loop:
    """An event loop into which nothing may be raised."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._raised)
        self._errors: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    def _raised(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end, and see that nothing else failed meanwhile."""
        result = self._loop.run_until_complete(work)
        assert self._errors == []
        return result


@contextmanager
def _answers() -> Iterator[Run]:
    with Loop() as loop, tempfile.TemporaryDirectory() as folder:
        bed = loop.run(answers.Bed.made(Path(folder)))
        yield lambda data: loop.run(bed.run(data))
        loop.run(bed.close())


@contextmanager
def _connection() -> Iterator[Run]:
    host = connection.Host()
    yield lambda data: connection.run(host, data)
    host.close()


@contextmanager
def _egress() -> Iterator[Run]:
    with Loop() as loop:
        server = egress.Server()
        loop.run(server.start())
        yield lambda data: loop.run(server.run(data))
        loop.run(server.stop())


TARGETS: Final[dict[str, Callable[[], AbstractContextManager[Run]]]] = {
    "answers": _answers,
    "connection": _connection,
    "egress": _egress,
    "manifests": lambda: nullcontext(manifests.run),
    "workspace": lambda: nullcontext(workspace.run),
}


def watched(run: Run) -> Run:
    """Return what also sees that an input takes its time only, and that nothing is left behind."""
    runs = 0
    before: tuple[int, int] | None = None

    def one(data: bytes) -> None:
        nonlocal runs, before
        began = time.process_time()
        run(data)
        took = time.process_time() - began
        assert took < LONGEST, f"an input of {len(data):,} bytes took {took:.1f} s of CPU"
        runs += 1
        if runs % _LOOK == 0:
            left = _left_behind()
            before = before or left
            assert left[0] <= before[0], f"{left[0] - before[0]} descriptors were left open"
            assert left[1] <= before[1] + _OBJECTS, f"{left[1] - before[1]:,} objects were left behind"

    return one


def _left_behind() -> tuple[int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(gc.get_objects())


def seeds() -> list[bytes]:
    """Return what to begin with: decisions of every kind, and every message as it is on the wire."""
    chance = random.Random(1)
    decisions = [chance.randbytes(length) for length in (8, 30, 100, 300, 1000) for _ in range(20)]
    tongue = Tongue(Choices(chance.randbytes(100_000)), [])
    spoken = [packed(tongue.struct(kind)) for kind in SPOKEN for _ in range(2)]
    return [*decisions, *(b"\x03" + len(body).to_bytes(4) + body for body in spoken if len(body) < 4096)]
