"""Readiness and deadlines beside the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial

import pytest

from ropewalk.sandbox.reactor import Reactor


@pytest.fixture
async def reactor() -> AsyncIterator[Reactor]:
    with closing(Reactor(asyncio.get_running_loop())) as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def test_a_readable_descriptor_is_called_back_until_it_is_read(reactor: Reactor, pipe: tuple[int, int]) -> None:
    calls: list[bytes] = []
    done = asyncio.Event()

    def read() -> None:
        calls.append(os.read(pipe[0], 1))
        if len(calls) == 3:
            done.set()

    reactor.watch(pipe[0], read)
    os.write(pipe[1], b"abc")
    await asyncio.wait_for(done.wait(), 5)
    assert calls == [b"a", b"b", b"c"]


async def test_a_descriptor_has_one_callback_the_last(reactor: Reactor, pipe: tuple[int, int]) -> None:
    done = asyncio.Event()
    reactor.watch(pipe[0], lambda: pytest.fail("replaced"))

    def read() -> None:
        os.read(pipe[0], 1)
        done.set()

    reactor.watch(pipe[0], read)
    os.write(pipe[1], b"a")
    await asyncio.wait_for(done.wait(), 5)


async def test_what_is_forgotten_in_the_same_turn_is_not_called(reactor: Reactor, pipe: tuple[int, int]) -> None:
    other = os.pipe()
    called: list[int] = []

    def on(fd: int) -> None:
        called.append(fd)
        reactor.forget(pipe[0])
        reactor.forget(other[0])

    for fd in (pipe[0], other[0]):
        reactor.watch(fd, partial(on, fd))
    os.write(pipe[1], b"a")
    os.write(other[1], b"a")
    await asyncio.sleep(0.01)
    for end in other:
        os.close(end)
    assert len(called) == 1


async def test_deadlines_come_in_order_whenever_they_were_set(reactor: Reactor) -> None:
    order: list[str] = []
    done = asyncio.Event()
    reactor.call_later(0.02, done.set)
    reactor.call_later(0.01, lambda: order.append("second"))
    reactor.call_later(0.0, lambda: order.append("first"))
    await asyncio.wait_for(done.wait(), 5)
    assert order == ["first", "second"]


async def test_a_cancelled_deadline_does_not_come(reactor: Reactor) -> None:
    done = asyncio.Event()
    cancelled = reactor.call_later(0.0, lambda: pytest.fail("cancelled"))
    reactor.cancel(cancelled)
    reactor.cancel(cancelled)
    reactor.call_later(0.001, done.set)
    await asyncio.wait_for(done.wait(), 5)


async def test_a_deadline_may_set_another(reactor: Reactor) -> None:
    done = asyncio.Event()
    reactor.call_later(0.0, lambda: reactor.call_later(0.0, done.set))
    await asyncio.wait_for(done.wait(), 5)


async def test_cancelled_deadlines_do_not_pile_up(reactor: Reactor) -> None:
    done = asyncio.Event()
    for _ in range(10_000):
        reactor.cancel(reactor.call_later(1000, lambda: None))
    assert reactor.pending < 3000
    reactor.call_later(0.0, done.set)
    await asyncio.wait_for(done.wait(), 5)
