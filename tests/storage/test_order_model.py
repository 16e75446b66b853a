"""The order of one instance against a model that knows no database: events, timers, back-off and a clock that is set back."""

from __future__ import annotations

import random

import pytest
from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.records import Rank
from tests.storage.scene import SECOND, Scene


class Event(Struct):
    """An event of the model: a timer while it has `due`, ready once it has `seq`."""

    number: int
    rank: Rank
    due: Micros | None = None
    seq: int = 0


class Model:
    """What is waiting, and in which order it became ready."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []
        self.seq = 0

    def promote(self, now: Micros) -> None:
        """Make timers that have come due ready, in the order of their times, then of their storing."""
        due = [event for event in self.waiting if event.due is not None and event.due <= now]
        for event in sorted(due, key=lambda event: (event.due, event.number)):
            event.due = None
            self.make_ready(event)

    def make_ready(self, event: Event) -> None:
        """Give an event its place."""
        self.seq += 1
        event.seq = self.seq

    def add(self, event: Event, now: Micros) -> None:
        """Store an event."""
        if event.due is None or event.due <= now:
            event.due = None
            if event.rank == Rank.ORDINARY:
                self.promote(now)
            self.make_ready(event)
        self.waiting.append(event)

    def take(self, now: Micros) -> Event | None:
        """Start the event that runs next."""
        self.promote(now)
        ready = [event for event in self.waiting if event.due is None]
        if not ready:
            return None
        first = min(ready, key=lambda event: (event.rank, event.seq))
        self.waiting.remove(first)
        return first


@pytest.mark.parametrize("seed", range(10))
async def test_an_instances_order_is_that_of_readiness(scene: Scene, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    await scene.active()
    for number in range(200):
        now = scene.clock.now()
        if chance.random() < 0.55:
            due = chance.choice([None, None, now + chance.randrange(-3, 30) * SECOND])
            event = Event(number=number, rank=chance.choice([Rank.ORDINARY] * 6 + [Rank.WAITED_FOR]), due=due)
            await scene.enqueue("i1", str(number), rank=event.rank, run_at=due)
            model.add(event, now)
        elif chance.random() < 0.7:
            await take_one(scene, model, chance)
        else:
            scene.clock.move(chance.choice([1, 3, 10, -5]))
    scene.clock.move(1000)
    while model.waiting:
        scene.clock.move(10)
        await take_one(scene, model, chance)


async def take_one(scene: Scene, model: Model, chance: random.Random) -> None:
    """Run what is next, on either side; now and then it fails and steps aside."""
    now = scene.clock.now()
    expected = model.take(now)
    claims = await scene.storage.claim("node-1", 1)
    assert [claim.execution.target.method for claim in claims] == ([str(expected.number)] if expected else [])
    if not claims or expected is None:
        return
    if chance.random() < 0.25:
        await scene.fail(claims[0], retry_in=7)
        expected.due, expected.rank = now + 7 * SECOND, min(expected.rank, Rank.RETURNING)
        model.waiting.append(expected)
    else:
        await scene.succeed(claims[0])
