"""The running execution, as its author sees it: `self.execution`."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ropewalk.clock import SystemClock, process_cpu, to_datetime
from ropewalk.wire.messages import Trigger

if TYPE_CHECKING:
    from ropewalk.sdk.host import Running


class Execution:
    """The execution that runs now, and what is left of its budget."""

    __slots__ = ("_running",)

    def __init__(self, running: Running) -> None:
        self._running = running

    @property
    def id(self) -> str:
        """Its id, the same over all attempts."""
        return self._running.start.execution

    def key(self, name: str) -> str:
        """Return an idempotency key for the outgoing effect `name`: the same on every attempt, another for each name."""
        return hashlib.sha256(f"{self.id}\0{name}".encode(errors="surrogatepass")).hexdigest()[:40]

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self._running.start.attempt

    @property
    def deadline(self) -> datetime:
        """When it is ended if it still runs, in UTC."""
        return to_datetime(self._running.start.started_at) + timedelta(seconds=self._running.start.wall)

    @property
    def remaining(self) -> timedelta:
        """How long it may still run; never below zero."""
        used = SystemClock().boottime() - self._running.began
        return timedelta(seconds=max(0.0, self._running.start.wall - used))

    @property
    def cpu_remaining(self) -> timedelta:
        """How much CPU time it may still use; never below zero."""
        return timedelta(seconds=max(0.0, self._running.start.cpu - process_cpu()))

    @property
    def requests_left(self) -> int:
        """How many more host calls and HTTP requests it may make."""
        return max(0, self._running.start.requests - self._running.host.requests)

    @property
    def instance_id(self) -> str:
        """The instance that it belongs to."""
        return self._running.start.instance

    @property
    def version(self) -> int:
        """The version of the twist that runs."""
        return self._running.start.version

    @property
    def previous_version(self) -> int | None:
        """The version that the instance had before, in `upgrade`; else None."""
        return self._running.start.previous_version

    @property
    def trigger(self) -> Trigger:
        """What kind of event it runs for."""
        return self._running.start.trigger
