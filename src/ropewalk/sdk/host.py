"""The seam between what authors call and what carries it out.

A `Running` is one attempt as the SDK sees it; its `Host` sends the messages. In the sandbox that is `guest.channel`; nothing here
knows how a message travels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ropewalk.clock import SystemClock
from ropewalk.errors import PermissionDenied
from ropewalk.sdk.store_view import StoreView
from ropewalk.wire.messages import Call, Start

if TYPE_CHECKING:
    from ropewalk.sdk.unit import Unit


class Host(Protocol):
    """Carries out the calls of one attempt."""

    def next_id(self) -> int:
        """Return the id of the next call; each is used once."""
        ...

    def write_id(self, size: int) -> int:
        """Return the id of a write of so many bytes: 0 when it will not fail, so that nobody needs to wait for its answer."""
        ...

    async def call(self, message: Call) -> Any:
        """Send a call and return its answer, as the message's own `answer` type says. Raises what the answer raises."""
        ...

    def answered_here(self) -> None:
        """Count a request that the host was not needed for."""
        ...

    @property
    def requests(self) -> int:
        """How many calls were made so far."""
        ...


class Running:
    """One attempt: the twist and its tools by namespace, the event it runs for, and the host that answers.

    Attributes:
        start: the event, once there is one.
        store: what is known of the instance's store.
        tasks: how many tasks were asked for that nobody waited for.
        began: seconds since boot at which the attempt was started.
        no_commit: why `commit()` is refused just now, "" when it is not.
    """

    __slots__ = ("began", "host", "no_commit", "start", "store", "tasks", "units")

    start: Start
    store: StoreView

    def __init__(self, host: Host) -> None:
        self.host = host
        self.began = 0.0
        self.tasks = 0
        self.units: dict[str, Unit] = {}
        self.no_commit = ""

    def begin(self, start: Start) -> None:
        """Take the event: from here on the units may be used."""
        self.start = start
        self.store = StoreView(start.store)
        self.began = SystemClock().boottime()

    def next_task(self) -> str:
        """Return the token of a task that has just been asked for and that nobody waited for."""
        self.tasks += 1
        return self.start.task_id(self.tasks - 1)

    def check_commit(self) -> None:
        """Raise PermissionDenied where the work happens as a whole or not at all."""
        if self.no_commit:
            raise PermissionDenied(f"commit() cannot be used in {self.no_commit}: it happens as a whole or not at all")
