"""Room for processes: what is free is given out in the order of arrival, and once."""

from __future__ import annotations

import asyncio

import pytest

from ropewalk.sandbox.interface import Figures
from ropewalk.sandbox.room import Room

pytestmark = pytest.mark.asyncio

MANY = 10_000


class Taker:
    """Wants some of a room, and waits for it."""

    def __init__(self, room: Room, amount: int) -> None:
        self.amount = amount
        self.task = asyncio.create_task(room.wait(amount, lambda: room.fits(amount)))

    @property
    def is_in(self) -> bool:
        """Whether it has got what it wants."""
        return self.task.done() and not self.task.cancelled()


def room(memory: int, descriptors: int = MANY, kept: int = 0) -> Room:
    """Return a room in which `kept` bytes are taken by nobody."""
    return Room(memory, descriptors, lambda: kept)


async def settle() -> None:
    """Let everybody who can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_there_is_room_for_what_is_free() -> None:
    node = room(100, kept=10)
    assert node.fits(90)
    node.take(60)
    assert (node.fits(30), node.fits(31)) == (True, False)
    assert node.figures == Figures(memory=100, taken=70, waiting=0)


async def test_the_first_comes_in_whatever_it_needs() -> None:
    node = room(100, kept=50)
    assert node.fits(1000)
    node.take(1000)
    assert not node.fits(1)


async def test_what_could_be_let_go_of_counts_when_it_is_named() -> None:
    node = room(100, kept=50)
    node.take(20)
    assert (node.fits(40), node.fits(40, letting_go=10)) == (False, True)


async def test_who_waits_comes_in_in_order() -> None:
    node = room(100)
    node.take(80)
    large, small = Taker(node, 50), Taker(node, 10)
    await settle()
    assert node.crowded
    assert (large.is_in, small.is_in) == (False, False)  # the small one would fit, and does not overtake
    node.give_back(80)
    await settle()
    assert (large.is_in, small.is_in) == (True, True)
    assert node.figures == Figures(memory=100, taken=60, waiting=0)


async def test_who_gives_up_waiting_lets_the_next_in() -> None:
    node = room(100)
    node.take(80)
    large, small = Taker(node, 50), Taker(node, 10)
    await settle()
    large.task.cancel()
    await settle()
    assert small.is_in
    assert node.figures.taken == 90


async def test_who_gives_up_at_the_moment_it_may_come_in_takes_nothing() -> None:
    node = room(100)
    node.take(80)
    one = Taker(node, 50)
    await settle()
    node.give_back(80)
    node._look()
    one.task.cancel()
    await settle()
    assert node.figures == Figures(memory=100, taken=0, waiting=0)


async def test_descriptors_are_room_too() -> None:
    node = room(MANY, descriptors=12)  # half of them, at three each: two processes
    node.take(1)
    assert node.fits(1)
    node.take(1)
    assert not node.fits(1)


async def test_processes_that_wait_have_descriptors_too() -> None:
    narrow = room(100, descriptors=2 * 3 * 4)
    narrow.take(1)
    assert narrow.has(1, beside=2)
    assert not narrow.has(1, beside=3)
