"""One event's way through the author's code: bound, run, and turned into the last word to the host.

Before: `attempt`, which waits for the event. After: `loop`, which runs the coroutine, and `raised`, which says what it raised.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ropewalk.errors import CallbackNotFound, InvalidValue, NotSerializable, ValueTooLarge
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.logs import OUTPUT
from ropewalk.guest.loop import Driver
from ropewalk.guest.plan import LIFECYCLE, Plan, build, steps
from ropewalk.guest.raised import raised
from ropewalk.sdk.host import Running
from ropewalk.sdk.twist import Twist
from ropewalk.sdk.unit import find_target
from ropewalk.sdk.values import decode, encode
from ropewalk.wire.messages import Finished, Start

_finished_with_nothing: Final = encode_message(Finished(result=b"null"))


Part = Callable[[Twist], Coroutine[Any, Any, None]]
"""What is rehearsed in a method's place."""


class Invocation:
    """The twist and its tools, made before the event is known, and what runs the event."""

    def __init__(self, plan: Plan, channel: Channel) -> None:
        self._plan = plan
        self._channel = channel
        self._running = Running(channel)
        self._twist = build(plan, self._running)
        self._driver = Driver(channel.attach)

    def run(self, start: Start, part: Part | None = None) -> bytes:
        """Run the event (in a rehearsal `part` in its method's place) and return the last word, encoded.

        Raises:
            MemoryError: the method needed more than it may have.
        """
        self._running.begin(start)
        OUTPUT.book.open(self._channel, start.logs)
        _seed(start.seed)
        try:
            coroutine = self._coroutine(start) if part is None else part(self._twist)
        except (TypeError, InvalidValue, CallbackNotFound) as error:
            return encode_message(raised(error, unretried=True))
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 — the author's __init__
            return encode_message(raised(error))
        last_word = _finished_with_nothing if coroutine is None else self._last_word(coroutine, start)
        OUTPUT.flush()
        return last_word

    def close(self) -> None:
        """Give back what a loop has opened. An attempt's own process ends instead."""
        self._driver.close()

    def _coroutine(self, start: Start) -> Coroutine[Any, Any, Any] | None:
        """Return what the event runs, None when there is nothing to run. Raises what does not fit."""
        plan, twist = self._plan, self._twist
        if plan.options is not None:
            vars(twist)["options"] = decode(start.options, plan.options, "the options of this instance")
        if plan.prepares:
            plan.cls.__init__(twist)  # the author's own, after everything that it may use is there
        if start.trigger in LIFECYCLE:
            return steps(plan, self._running, twist, start.trigger)
        unit, method = find_target(self._running, start.target)
        args, kwargs = method.bind(start.event, start.target.arguments)
        coroutine: Coroutine[Any, Any, Any] = getattr(unit, method.name)(*args, **kwargs)
        return coroutine

    def _last_word(self, coroutine: Coroutine[Any, Any, Any], start: Start) -> bytes:
        try:
            result = self._driver.run(coroutine)
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 — whatever ends the method is told to the host
            return encode_message(raised(error))
        if result is None or start.trigger in LIFECYCLE:
            return _finished_with_nothing
        try:
            return encode_message(Finished(result=encode(result, "the result of", start.target.method, start.value)))
        except (NotSerializable, ValueTooLarge) as error:
            return encode_message(raised(error, unretried=True))


def _seed(seed: bytes) -> None:
    """Make this attempt's randomness its own, and repeatable from its record."""
    random.seed(int.from_bytes(seed))
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed(int.from_bytes(seed[:4]))
