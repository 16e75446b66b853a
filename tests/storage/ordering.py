"""Which execution of an instance runs next, told by a model that knows no database: the words of G5, one method each.

The model keeps a list of events and a number that counts readiness. It is slow and says what is meant; storage is fast and has to say
the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ropewalk.clock import Micros
from ropewalk.storage.records import Rank
from ropewalk.wire.messages import CatchUp

LOST_FOR_GOOD = 20


@dataclass
class Event:
    """An event that waits: a timer while it has `due`, ready once it has `seq`."""

    name: str
    number: int
    rank: Rank = Rank.ORDINARY
    trigger: str = "task"
    due: Micros | None = None
    seq: int = 0
    key: str | None = None
    started: bool = False
    lost: int = 0
    schedule: str | None = None
    over_at: Micros | None = None


@dataclass
class Schedule:
    """What recurs: a tick every so often, counted from the first."""

    name: str
    every: Micros
    first: Micros
    catch_up: CatchUp
    next: Micros
    last: Event | None = None

    def after(self, at: Micros) -> Micros:
        """Return the first tick after a time."""
        tick = self.first
        while tick <= at:
            tick += self.every
        return tick


@dataclass
class Model:
    """One instance: what waits, what runs, and what holds it up."""

    status: str = "activating"
    suspended: bool = False
    upgrading: bool = False
    waiting: list[Event] = field(default_factory=list)
    running: Event | None = None
    held: Event | None = None
    seq: int = 0
    stored: int = 0
    cancelled: set[str] = field(default_factory=set)
    schedules: dict[str, Schedule] = field(default_factory=dict)

    # ── An event is ready when it is stored; a task with a time, when that time comes ─────────────────────────────────────────

    def store(
        self,
        name: str,
        now: Micros,
        *,
        rank: Rank = Rank.ORDINARY,
        trigger: str = "task",
        due: Micros | None = None,
        key: str | None = None,
        coalesce: bool = False,
    ) -> str:
        """Store an event by its key's rules; returns the name of the one that will answer it."""
        older = next((one for one in self.waiting if key is not None and one.key == key and not one.started), None)
        if older is not None and coalesce:
            return self._coalesce(older, now, due)
        if older is not None:
            self.cancel(older, now)
        self.stored += 1
        event = Event(name, self.stored, rank, trigger, due if due is not None and due > now else None, key=key)
        self._join(event, now)
        self.waiting.append(event)
        return name

    def _coalesce(self, older: Event, now: Micros, due: Micros | None) -> str:
        """The one that holds the key stays, at the earlier of both times: what is ready already keeps its place."""
        if older.due is not None and max(now, due or now) < older.due:
            older.due = due if due is not None and due > now else None
            self._join(older, now)
        return older.name

    def _join(self, event: Event, now: Micros) -> None:
        """What goes before all that has a time is ready whatever has come due."""
        if event.due is None:
            if event.rank == Rank.ORDINARY:
                self._come_due(now)
            self._make_ready(event)

    def _make_ready(self, event: Event) -> None:
        self.seq += 1
        event.seq, event.due = self.seq, None

    def _come_due(self, now: Micros) -> None:
        self._tick(now)
        due = [event for event in self.waiting if event.due is not None and event.due <= now]
        for event in sorted(due, key=lambda event: (event.due, event.number)):
            self._make_ready(event)

    # ── What recurs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def recur(self, name: str, key: str, now: Micros, every: Micros, first: Micros | None, catch_up: CatchUp) -> None:
        """Have something recur: what is the same stays as it is, another takes the place of what there was under its key."""
        older = self.schedules.get(key)
        if older is not None and (older.every, older.catch_up) == (every, catch_up) and first in (None, older.first):
            return
        self.end(key, now)
        first = now + every if first is None else first
        last = None if older is None else older.last
        self.schedules[key] = Schedule(name, every, first, catch_up, max(first, now), last)

    def end(self, key: str, now: Micros) -> None:
        """Have it recur no more: those of its runs that were never started are cancelled, one that was goes on."""
        ended = self.schedules.pop(key, None)
        for event in [one for one in self.waiting if ended is not None and one.schedule == ended.name and not one.started]:
            self.cancel(event, now)

    def _tick(self, now: Micros) -> None:
        for schedule in sorted(self.schedules.values(), key=lambda one: one.next):
            if schedule.next <= now:
                come = schedule.next
                schedule.next = schedule.after(now)
                for tick in self._runs(schedule, come, now):
                    self.stored += 1
                    schedule.last = Event(f"{schedule.name}@{tick}", self.stored, due=tick, schedule=schedule.name)
                    self.waiting.append(schedule.last)

    def _runs(self, schedule: Schedule, come: Micros, now: Micros) -> list[Micros]:
        """Return the ticks that become runs: none that came while the newest run was not over; of the others one, all, or none that is late."""
        ticks: list[Micros] = []
        while come <= now:
            ticks, come = [*ticks, come], schedule.after(come)
        if schedule.last is not None:
            over = schedule.last.over_at
            ticks = [] if over is None else [tick for tick in ticks if tick >= over or over > now]
        if schedule.catch_up == "all":
            return ticks
        return [tick for tick in ticks[-1:] if schedule.catch_up == "one" or now - tick <= (schedule.next - tick) // 2]

    # ── What runs next ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, now: Micros) -> Event | None:
        """Start what runs next, if anything may."""
        if self.running is not None or self.suspended or self.status in ("failed", "gone"):
            return None
        if self.status == "active" and not self.upgrading and self.held is None:
            self._come_due(now)
        may = [event for event in self.waiting if self._may_run(event) and (event.due is None or event.due <= now)]
        if not may:
            return None
        self.running = min(may, key=lambda event: (event.rank, event.due is not None, event.due or event.seq))
        self.waiting.remove(self.running)
        self.running.started, self.running.due = True, None
        if self.held is self.running:
            self.held = None
        return self.running

    def _may_run(self, event: Event) -> bool:
        if self.status == "deactivating":
            return event.trigger == "deactivate"
        if self.status == "activating":
            return event.trigger == "activate"
        if self.upgrading:
            return event.trigger == "upgrade"
        return self.held is None or event is self.held

    # ── How it ends ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def over(self, now: Micros, *, succeeded: bool) -> None:
        """What ran is over for good."""
        assert self.running is not None
        self.running.over_at = now
        trigger, self.running = self.running.trigger, None
        if trigger == "activate" and self.status == "activating":
            self.status = "active" if succeeded else "failed"
            if not succeeded:
                self._drop_upgrade(now)
        elif trigger == "upgrade":
            self.upgrading = self._has_upgrade()
        elif trigger == "deactivate":
            self.status = "gone"
            self.waiting.clear()

    def failed(self, now: Micros, due: Micros, *, ordered: bool) -> None:
        """What ran steps aside until its time comes, and then goes to the front; with `ordered` what is later waits for it."""
        event = self._stop_running(now)
        if event is None:
            return
        self.stored_again(event)
        event.due = due
        if ordered and event.rank > Rank.BARRIER:
            self.held = event

    def lost(self, now: Micros) -> None:
        """The node died: what ran is the first of those that return, unless that has happened too often."""
        assert self.running is not None
        self.running.lost += 1
        if self.running.lost == LOST_FOR_GOOD:
            self.over(now, succeeded=False)
            return
        event = self._stop_running(now)
        if event is not None:
            self.stored_again(event)
            others = [one.seq for one in self.waiting if one.due is None and one.rank == event.rank and one is not event]
            if others:
                event.seq = min(others) - 1
            else:
                self._make_ready(event)

    def stored_again(self, event: Event) -> None:
        """Put what ran back among what waits, as one that returns."""
        event.rank = min(event.rank, Rank.RETURNING)
        self.waiting.append(event)

    def _stop_running(self, now: Micros) -> Event | None:
        """Return what ran if it is to run again: not what its instance's leaving has cancelled, nor an upgrade that a newer one replaced."""
        assert self.running is not None
        event, self.running = self.running, None
        if event.trigger == "activate":
            self._drop_upgrade(now)
        left = self.status == "deactivating" and event.trigger != "deactivate"
        return None if left or (event.trigger == "upgrade" and self._has_upgrade()) else event

    # ── What people do ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def cancel(self, event: Event, now: Micros) -> None:
        """End an event that waits."""
        self.waiting.remove(event)
        event.over_at = now
        self.cancelled.add(event.name)
        if self.held is event:
            self.held = None

    def upgrade(self, name: str, now: Micros) -> None:
        """Deploy: `upgrade` goes before everything else of the instance. One that is not active yet moves without one."""
        if self.status == "deactivating":
            return
        self._drop_upgrade(now)
        if self.status in ("activating", "failed") and self.running is None:
            return
        self.upgrading = True
        self.store(name, now, rank=Rank.BARRIER, trigger="upgrade")

    def _has_upgrade(self) -> bool:
        return any(one.trigger == "upgrade" for one in self.waiting)

    def _drop_upgrade(self, now: Micros) -> None:
        for event in [one for one in self.waiting if one.trigger == "upgrade"]:
            self.cancel(event, now)
        self.upgrading = False

    def deactivate(self, name: str, now: Micros) -> None:
        """Fence the instance off: everything that waits is cancelled, `deactivate` goes before everything."""
        if self.status == "deactivating":
            return
        for event in [*self.waiting]:
            self.cancel(event, now)
        self.status, self.suspended, self.upgrading, self.held = "deactivating", False, False, None
        self.store(name, now, rank=Rank.DEACTIVATE, trigger="deactivate")

    @property
    def times(self) -> list[Micros]:
        """When the timers are due."""
        return [event.due for event in self.waiting if event.due is not None]
