"""The order of one instance's executions against a model that knows no database (G5), whatever is done in whatever order.

Hypothesis chooses what happens. Everything goes through the verbs of storage, under a clock that is moved
by hand, back as well as forth.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ropewalk.storage.interface import Fenced
from ropewalk.storage.records import Claim, Execution, Node, PutRecurring, Rank, Suspension
from ropewalk.storage.recurrence import recurrence
from ropewalk.storage.sqlite import open_sqlite, scheduling
from ropewalk.wire.messages import CatchUp, Target
from tests.storage.ordering import Event, Model
from tests.storage.scene import NODE, SECOND, START, Scene, StillClock

IN_MEMORY = Path("/dev/shm")
SECONDS = st.one_of(st.none(), st.integers(-3, 12))
KEYS = st.sampled_from([None, None, "a", "b"])
Recurs = tuple[str, int, int | None, CatchUp]
RECURS = st.tuples(st.sampled_from(["a", "r"]), st.sampled_from([2, 7]), SECONDS, st.sampled_from(["one", "all", "none"]))
FEW = 1
"""How many timers a write makes ready here, so that it often leaves others."""


class Place:
    """A database for all examples: each has a twist and an instance of its own in it."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        self.clock = StillClock()
        self.numbers = count(1)
        self.scene: Scene = self.runner.run(self._open())

    async def _open(self) -> Scene:
        storage = await open_sqlite(Path(self.folder.name) / "ropewalk.db", clock=self.clock, create=True)
        scene = Scene(storage, self.clock)
        await scene.prepare()
        return scene

    def close(self) -> None:
        """Let go of it: whatever was done, the audit finds nothing wrong."""
        assert self.runner.run(self.scene.problems()) == []
        self.runner.run(self.scene.storage.close())
        self.runner.close()
        self.folder.cleanup()


class Ordering(RuleBasedStateMachine):
    """An instance and its model, side by side."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.scene, self.clock = self.place.scene, self.place.clock
        self.model = Model()
        self.claim: Claim | None = None
        self.number = next(self.place.numbers)
        self.instance = f"i{self.number}"
        self.names = count(1)
        self.recurring: set[str] = set()
        self.ticks: dict[str, str] = {}
        self.scene.twist = self.run(self.scene.deploy("first", self.instance)).twist
        self.activation = self.scene.lifecycle(self.instance, "activate")
        self.run(self.scene.activate(self.instance, self.activation))
        self.model.store(self.activation.id, self.now, rank=Rank.BARRIER, trigger="activate")

    @initialize(
        is_active=st.sampled_from([True, True, True, False]),
        recurs=st.lists(RECURS, max_size=2),
        leaves=st.sampled_from([False, False, True]),
        rests=st.sampled_from([False, False, True]),
    )
    def begin(self, is_active: bool, recurs: list[Recurs], leaves: bool, rests: bool) -> None:
        """Most are active before anything else happens, and go on: else little of what is told would be seen to run."""
        self.leaves, self.may_rest = leaves, rests
        if is_active:
            self.start()
            for one in recurs:
                self.recur(one)
            self.succeed([])

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something with storage."""
        return self.place.runner.run(work)

    def teardown(self) -> None:
        """Work off what is left, each in its turn: nothing is stuck."""
        if self.claim is not None:
            self.succeed([])
        if self.model.suspended:
            self.resume()
        for key in [*self.model.schedules]:
            self.end(key)
        while self.model.status not in ("failed", "gone"):
            self.start()
            if self.claim is not None:
                self.succeed([])
            elif times := [time for time in self.model.times if time > self.now]:
                self.clock.at = min(times)
            else:
                break
        assert self.model.status in ("failed", "gone") or self.model.waiting == []

    # ── Words for what the rules say ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def now(self) -> int:
        """Wall time."""
        return self.clock.now()

    def name(self) -> str:
        """Return a new name of an event."""
        return f"{self.instance}.{next(self.names)}"

    def time(self, seconds: int | None) -> int | None:
        """Return a time so many seconds from now."""
        return None if seconds is None else self.now + seconds * SECOND

    def name_of(self, execution: Execution) -> str:
        """Return what the model calls an execution: a run of what recurs is known by its tick, until a back-off gives it another time."""
        is_tick = execution.cause in self.recurring
        return self.ticks.setdefault(execution.id, f"{execution.cause}@{execution.run_at}") if is_tick else execution.id

    def id_of(self, event: Event) -> str:
        """Return what storage calls an event that waits."""
        if event.schedule is None:
            return event.name
        (found,) = [one for one in self.run(self.scene.storage.tasks(self.instance)) if self.name_of(one) == event.name]
        return str(found.id)

    @property
    def takes_events(self) -> bool:
        """Whether the instance accepts events."""
        return self.model.status not in ("deactivating", "gone")

    @contextmanager
    def settling(self) -> Iterator[Claim]:
        """Let go of the claim that is held."""
        assert self.claim is not None
        claim, self.claim = self.claim, None
        yield claim

    # ── Events ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.takes_events)
    @rule(seconds=SECONDS, key=KEYS, coalesce=st.booleans())
    def store(self, seconds: int | None, key: str | None, coalesce: bool) -> None:
        """An event comes from outside."""
        name, run_at = self.name(), self.time(seconds)
        answered_by = self.run(self.scene.enqueue(self.instance, name, id=name, run_at=run_at, key=key, coalesce=coalesce))
        assert answered_by == self.model.store(name, self.now, due=run_at, key=key, coalesce=coalesce)

    @precondition(lambda self: self.takes_events)
    @rule(trigger=st.sampled_from(["invoke", "webhook"]))
    def wait_for(self, trigger: str) -> None:
        """An event comes whose caller waits: an invoke, or a delivery that is answered with what the method returns."""
        name = self.name()
        self.run(self.scene.enqueue(self.instance, name, id=name, trigger=trigger, rank=Rank.WAITED_FOR))
        self.model.store(name, self.now, rank=Rank.WAITED_FOR, trigger=trigger)

    @rule(seconds=st.sampled_from([1, 2, 5, 5, 20, -1, -30]), starts=st.booleans())
    def move_clock(self, seconds: int, starts: bool) -> None:
        """Time passes, or the clock is set back; what has come due may start."""
        self.clock.move(seconds)
        if starts and self.claim is None:
            self.start()

    # ── Executions ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.claim is None)
    @rule()
    def start(self) -> None:
        """What runs next is what the model says."""
        expected = self.model.take(self.now)
        claims = self.run(self.scene.storage.claim(NODE, 1, only=self.instance))
        assert [self.name_of(claim.execution) for claim in claims] == ([expected.name] if expected else [])
        self.claim = claims[0] if claims else None

    @precondition(lambda self: self.claim is not None)
    @rule(tasks=st.lists(st.tuples(SECONDS, KEYS, st.booleans()), max_size=3))
    def succeed(self, tasks: list[tuple[int | None, str | None, bool]]) -> None:
        """What runs ends well, having asked for tasks."""
        with self.settling() as claim:
            names = [self.name() for _ in tasks]
            effects = [
                self.scene.task(name, seconds=seconds, instance=self.instance, id=name, key=key, coalesce=coalesce)
                for name, (seconds, key, coalesce) in zip(names, tasks, strict=True)
            ]
            self.run(self.scene.succeed(claim, *effects))
        if self.takes_events:
            for name, (seconds, key, coalesce) in zip(names, tasks, strict=True):
                self.model.store(name, self.now, due=self.time(seconds), key=key, coalesce=coalesce)
        self.model.over(self.now, succeeded=True)

    @precondition(lambda self: self.claim is not None and self.takes_events)
    @rule(recurs=RECURS)
    def recur(self, recurs: Recurs) -> None:
        """What runs commits that something recurs, and goes on."""
        assert self.claim is not None
        key, seconds, first, catch_up = recurs
        name, every, first_at = self.name(), seconds * SECOND, self.time(first)
        self.recurring.add(name)
        asked = PutRecurring(
            id=name,
            ns="",
            key=key,
            target=Target(ns="", method="tick"),
            callback=None,
            recurrence=recurrence(every=every, cron=None, tz="UTC", catch_up=catch_up, first=first_at, now=self.now),
            first_given=first is not None,
            at=self.now,
        )
        self.run(self.scene.commit(self.claim, asked))
        self.model.recur(name, key, self.now, every, first_at, catch_up)

    @precondition(lambda self: self.model.schedules and self.takes_events)
    @rule(key=st.sampled_from(["a", "r"]))
    def end(self, key: str) -> None:
        """What recurs is ended by a person, whatever its runs do."""
        for one in self.run(self.scene.storage.recurring(self.instance)):
            if one.key == key:
                assert self.run(self.scene.storage.cancel_recurring(one.id, self.now))
        self.model.end(key, self.now)

    @precondition(lambda self: self.claim is not None)
    @rule(seconds=st.integers(0, 8), ordered=st.booleans(), passing=st.integers(0, 8))
    def fail(self, seconds: int, ordered: bool, passing: int) -> None:
        """What runs fails and backs off; some time passes, and something else may start meanwhile."""
        with self.settling() as claim:
            self.run(self.scene.fail(claim, retry_in=seconds, ordered=ordered))
        self.model.failed(self.now, self.now + seconds * SECOND, ordered=ordered)
        self.move_clock(passing, starts=True)

    @precondition(lambda self: self.claim is not None)
    @rule()
    def give_up(self) -> None:
        """What runs fails for good."""
        with self.settling() as claim:
            self.run(self.scene.fail(claim))
        self.model.over(self.now, succeeded=False)

    @precondition(lambda self: self.claim is not None)
    @rule()
    def lose_node(self) -> None:
        """The node dies and comes back; what it ran can settle no more."""
        with self.settling() as claim:
            self.run(self.scene.storage.release(NODE, self.now))
            self.run(self.scene.storage.register(Node(id=NODE, boot="boot", expires=2000.0, started_at=START)))
            self.model.lost(self.now)
            assert self.run(refused(self.scene.succeed(claim)))

    # ── What people do ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: any(event.rank > Rank.BARRIER for event in self.model.waiting))
    @rule(place=st.integers(0, 50))
    def cancel(self, place: int) -> None:
        """A waiting event is cancelled."""
        ordinary = [event for event in self.model.waiting if event.rank > Rank.BARRIER]
        event = ordinary[place % len(ordinary)]
        assert self.run(self.scene.storage.cancel(self.id_of(event), self.now))
        self.model.cancel(event, self.now)

    @precondition(lambda self: self.may_rest and self.model.status not in ("gone", "deactivating"))
    @rule()
    def suspend(self) -> None:
        """Nothing more runs until `resume`."""
        self.run(self.scene.storage.suspend(self.instance, Suspension(reason="why not", since=self.now)))
        self.model.suspended = True

    @precondition(lambda self: self.model.suspended)
    @rule()
    def resume(self) -> None:
        """Everything runs again."""
        assert self.run(self.scene.storage.resume(self.instance, self.now))
        self.model.suspended = False

    @precondition(lambda self: self.may_rest and self.model.status != "gone")
    @rule()
    def deploy(self) -> None:
        """A new version: `upgrade` goes first."""
        self.run(self.scene.deploy(self.name(), self.instance))
        queued = self.run(self.scene.offer())
        self.model.upgrade(next(iter(queued), ""), self.now)

    @precondition(lambda self: self.leaves and self.model.status not in ("gone", "deactivating"))
    @rule()
    def deactivate(self) -> None:
        """The instance leaves: `deactivate` goes before everything."""
        event = self.scene.lifecycle(self.instance, "deactivate")
        self.run(self.scene.storage.begin_deactivation(event))
        self.model.deactivate(event.id, self.now)


async def refused(settling: Coroutine[Any, Any, object]) -> bool:
    """Whether a settlement is refused because its lease is lost."""
    try:
        await settling
    except Fenced:
        return True
    return False


def test_whatever_happens_what_runs_next_is_what_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "PROMOTED", FEW)
    Ordering.place = Place()
    try:
        run_state_machine_as_test(Ordering, settings=EXAMPLES)
    finally:
        Ordering.place.close()


# Shrinking takes minutes: add Phase.shrink when something is found.
EXAMPLES = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
