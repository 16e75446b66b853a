"""One event's way through the author's code: bound, run, and turned into the last word to the host.

Before: `attempt`, which waits for the event. After: `loop`, which runs the coroutine, and `raised`, which says what it raised.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import msgspec

from ropewalk.errors import CallbackNotFound, InvalidValue, NotSerializable, ValueTooLarge
from ropewalk.guest.channel import Channel, encode_message
from ropewalk.guest.logs import OUTPUT
from ropewalk.guest.loop import Driver
from ropewalk.guest.plan import LIFECYCLE, OPTIONS_CHANGED, Plan, build, steps
from ropewalk.guest.raised import raised
from ropewalk.guest.randomness import seed_all
from ropewalk.sdk.host import Running
from ropewalk.sdk.methods import methods_of
from ropewalk.sdk.twist import Twist
from ropewalk.sdk.unit import find_target
from ropewalk.sdk.values import decode, encode
from ropewalk.sdk.webhooks import WebhookResponse, request_of
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
        seed_all(start.seed)
        last_word = self._carry_out(start, part)
        OUTPUT.flush()
        return last_word

    def close(self) -> None:
        """Give back what a loop has opened. An attempt's own process ends instead."""
        self._driver.close()

    def _carry_out(self, start: Start, part: Part | None) -> bytes:
        plan, twist = self._plan, self._twist
        try:
            begin = self._bound(start) if part is None else partial(part, twist)
        except (TypeError, InvalidValue, CallbackNotFound) as error:
            return encode_message(raised(error, unretried=True))
        try:
            if plan.prepares:
                plan.cls.__init__(twist)  # the author's own, after everything that it may use is there
            coroutine = begin()
            result = None if coroutine is None else self._driver.run(coroutine)
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001 — whatever ends the method is told to the host
            return encode_message(raised(error))
        return _finished_with_nothing if result is None or start.trigger in LIFECYCLE else _finished(result, start)

    def _bound(self, start: Start) -> Callable[[], Coroutine[Any, Any, Any] | None]:
        """Return what begins the coroutine that the event runs, if it runs any. Raises what does not fit."""
        if self._plan.options is not None:
            vars(self._twist)["options"] = decode(start.options, self._plan.options, "the options of this instance")
        if start.trigger in LIFECYCLE:
            return partial(steps, self._plan, self._running, self._twist, start.trigger)
        if start.trigger == "options":
            return self._options_changed(start)
        unit, method = find_target(self._running, start.target)
        if start.trigger == "webhook":
            args, kwargs = method.bind_after([request_of(start.event)], start.target.arguments)
        else:
            args, kwargs = method.bind(start.event, start.target.arguments)
        return partial(getattr(unit, method.name), *args, **kwargs)

    def _options_changed(self, start: Start) -> Callable[[], Coroutine[Any, Any, Any] | None]:
        """Return what tells the twist of its options as they were; a version that has no such method is told nothing."""
        wanted = self._plan.options
        if wanted is None or OPTIONS_CHANGED not in methods_of(self._plan.cls):
            return lambda: None
        (before,) = msgspec.json.decode(start.event, type=tuple[msgspec.Raw])
        self._running.no_commit = f"{OPTIONS_CHANGED}()"
        return partial(self._twist.options_changed, decode(bytes(before), wanted, "the options before the change"))


def _finished(result: object, start: Start) -> bytes:
    try:
        if isinstance(result, WebhookResponse):
            result = result.record(start.value)
        return encode_message(Finished(result=encode(result, "the result of", start.target.method, start.value)))
    except (NotSerializable, ValueTooLarge) as error:
        return encode_message(raised(error, unretried=True))
