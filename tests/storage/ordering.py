"""Which execution of an instance runs next, told by a model that knows no database: the words of G5, one method each.

The model keeps a list of events and a number that counts readiness. It is slow and says what is meant; storage is fast and has to say
the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ropewalk.clock import Micros
from ropewalk.storage.records import Rank

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
            self.cancel(older)
        self.stored += 1
        event = Event(name, self.stored, rank, trigger, due if due is not None and due > now else None, key=key)
        self._join(event, now)
        self.waiting.append(event)
        return name

    def _coalesce(self, older: Event, now: Micros, due: Micros | None) -> str:
        """The one that holds the key stays, at the earlier of both times: what is ready already keeps its place."""
        if older.due is not None and (due is None or due < older.due):
            older.due = due if due is not None and due > now else None
            self._join(older, now)
        return older.name

    def _join(self, event: Event, now: Micros) -> None:
        if event.due is None:
            self._come_due(now)
            self._make_ready(event)

    def _make_ready(self, event: Event) -> None:
        self.seq += 1
        event.seq, event.due = self.seq, None

    def _come_due(self, now: Micros) -> None:
        due = [event for event in self.waiting if event.due is not None and event.due <= now]
        for event in sorted(due, key=lambda event: (event.due, event.number)):
            self._make_ready(event)

    # ── What runs next ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, now: Micros) -> Event | None:
        """Start what runs next, if anything may."""
        if self.running is not None or self.suspended or self.status in ("failed", "gone"):
            return None
        self._come_due(now)
        may = [event for event in self.waiting if event.due is None and self._may_run(event)]
        if not may:
            return None
        self.running = min(may, key=lambda event: (event.rank, event.seq))
        self.waiting.remove(self.running)
        self.running.started = True
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

    def over(self, *, succeeded: bool) -> None:
        """What ran is over for good."""
        assert self.running is not None
        trigger, self.running = self.running.trigger, None
        if trigger == "activate" and self.status == "activating":
            self.status = "active" if succeeded else "failed"
            if not succeeded:
                self._drop_upgrade()
        elif trigger == "upgrade":
            self.upgrading = False
        elif trigger == "deactivate":
            self.status = "gone"
            self.waiting.clear()

    def failed(self, due: Micros, *, ordered: bool) -> None:
        """What ran steps aside until its time comes, and then goes to the front; with `ordered` what is later waits for it."""
        event = self._stop_running()
        if event is None:
            return
        self.stored_again(event)
        event.due = due
        if ordered and event.rank > Rank.BARRIER:
            self.held = event

    def lost(self) -> None:
        """The node died: what ran is the first of those that return, unless that has happened too often."""
        assert self.running is not None
        self.running.lost += 1
        if self.running.lost == LOST_FOR_GOOD:
            self.over(succeeded=False)
            return
        event = self._stop_running()
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

    def _stop_running(self) -> Event | None:
        """Return what ran if it is to run again: not what its instance's leaving has cancelled."""
        assert self.running is not None
        event, self.running = self.running, None
        if event.trigger == "activate":
            self._drop_upgrade()
        if self.status == "deactivating" and event.trigger != "deactivate":
            return None
        return event

    # ── What people do ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def cancel(self, event: Event) -> None:
        """End an event that waits."""
        self.waiting.remove(event)
        self.cancelled.add(event.name)
        if self.held is event:
            self.held = None

    def upgrade(self, name: str, now: Micros) -> None:
        """Deploy: `upgrade` goes before everything else of the instance. One that is not active yet moves without one."""
        if self.status == "deactivating":
            return
        self._drop_upgrade()
        if self.status in ("activating", "failed") and self.running is None:
            return
        self.upgrading = True
        self.store(name, now, rank=Rank.BARRIER, trigger="upgrade")

    def _drop_upgrade(self) -> None:
        for event in [one for one in self.waiting if one.trigger == "upgrade"]:
            self.cancel(event)
        self.upgrading = False

    def deactivate(self, name: str, now: Micros) -> None:
        """Fence the instance off: everything that waits is cancelled, `deactivate` goes before everything."""
        if self.status == "deactivating":
            return
        for event in [*self.waiting]:
            self.cancel(event)
        self.status, self.suspended, self.upgrading, self.held = "deactivating", False, False, None
        self.store(name, now, rank=Rank.DEACTIVATE, trigger="deactivate")

    @property
    def times(self) -> list[Micros]:
        """When the timers are due."""
        return [event.due for event in self.waiting if event.due is not None]
