"""The watch over processes: what it does with any process, a guest's or not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager

import pytest

from ropewalk.sandbox.inspection import Status, status_of
from ropewalk.sandbox.watch import Bounds, Watch, Watcher

pytestmark = pytest.mark.asyncio

PLENTY = Bounds(cpu=60.0, wall=60.0, memory=1 << 40)
SLEEPS = "import time; time.sleep(60)"
SPINS = "while True: pass"


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    with closing(Watcher(asyncio.get_running_loop())) as made:
        yield made


class Watched:
    """A process under watch."""

    def __init__(self, watcher: Watcher, process: subprocess.Popen[bytes], pidfd: int, bounds: Bounds) -> None:
        self.told = asyncio.Event()
        self.process = process
        self.watch: Watch = watcher.add(process.pid, pidfd, bounds, self.look, self.told.set)

    def look(self) -> Status:
        """Look at the process."""
        return status_of(self.process.pid)

    async def passed(self) -> str | None:
        """Wait until it is told that the process was ended and return for what; the process has gone then."""
        async with asyncio.timeout(30):
            await self.told.wait()
        assert self.process.wait(30) == -9
        return self.watch.passed


@contextmanager
def process_of(code: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start an interpreter; gives it and its handle."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    pidfd = os.pidfd_open(process.pid)
    try:
        yield process, pidfd
    finally:
        process.kill()
        process.wait(30)
        os.close(pidfd)


@pytest.mark.parametrize(
    ("code", "bounds", "limit"),
    [
        (SPINS, Bounds(cpu=0.1, wall=60.0, memory=1 << 40), "cpu_limit"),
        (SLEEPS, Bounds(cpu=60.0, wall=0.1, memory=1 << 40), "timeout"),
        (SPINS, Bounds(cpu=60.0, wall=60.0, memory=1 << 20), "memory_limit"),
    ],
)
async def test_what_passes_a_bound_is_ended(watcher: Watcher, code: str, bounds: Bounds, limit: str) -> None:
    with process_of(code) as (process, pidfd):
        watched = Watched(watcher, process, pidfd, bounds)
        assert await watched.passed() == limit
        assert watched.watch.status is not None


async def test_it_is_ended_before_the_event_loop_has_time_for_it(watcher: Watcher) -> None:
    with process_of(SLEEPS) as (process, pidfd):
        watched = Watched(watcher, process, pidfd, Bounds(cpu=60.0, wall=0.1, memory=1 << 40))
        assert process.wait(30) == -9  # in the event loop's own thread: nothing else is served
        assert not watched.told.is_set()
        assert await watched.passed() == "timeout"


async def test_what_is_no_longer_watched_lives_on(watcher: Watcher) -> None:
    with process_of(SLEEPS) as (process, pidfd), process_of(SLEEPS) as (other, its):
        watched = Watched(watcher, process, pidfd, Bounds(cpu=60.0, wall=0.2, memory=1 << 40))
        later = Watched(watcher, other, its, Bounds(cpu=60.0, wall=0.3, memory=1 << 40))
        watcher.remove(watched.watch)
        assert await later.passed() == "timeout"
        assert process.poll() is None
        assert not watched.told.is_set()


async def test_what_ended_by_itself_is_nobodys_fault(watcher: Watcher) -> None:
    with process_of("") as (process, pidfd), process_of(SLEEPS) as (other, its):
        process.wait(30)
        watched = Watched(watcher, process, pidfd, Bounds(cpu=60.0, wall=0.05, memory=1 << 40))
        later = Watched(watcher, other, its, Bounds(cpu=60.0, wall=0.3, memory=1 << 40))
        assert await later.passed() == "timeout"
        assert watched.watch.passed is None
        assert not watched.told.is_set()


async def test_what_cannot_be_looked_at_is_ended_and_others_are_watched_on(
    watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    with process_of(SPINS) as (process, pidfd), process_of(SPINS) as (other, its):
        watched = Watched(watcher, process, pidfd, PLENTY)
        watched.watch._look = lambda: 1 / 0  # type: ignore[assignment,return-value]
        later = Watched(watcher, other, its, Bounds(cpu=0.3, wall=60.0, memory=1 << 40))
        assert await watched.passed() == "unwatched"
        assert await later.passed() == "cpu_limit"
    assert "cannot be watched" in caplog.text


async def test_the_thread_ends_with_the_watcher() -> None:
    watcher = Watcher(asyncio.get_running_loop())
    with process_of(SLEEPS) as (process, pidfd):
        Watched(watcher, process, pidfd, PLENTY)
        began = time.monotonic()
        watcher.close()
        assert watcher._thread is not None
        assert not watcher._thread.is_alive()
        assert time.monotonic() - began < 30
