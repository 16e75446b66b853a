"""A record, taken apart: the event, each call with what became of it, and the last word, in the order in which they were said.

Before: `recording`, which made the record. After: `player`, which answers from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.recording.exchanges import Exchange, decode as decode_exchange
from ropewalk.recording.record import Record
from ropewalk.wire.messages import (
    Answer,
    AnyCall,
    Call,
    Counted,
    Failure,
    Finished,
    GuestMessage,
    HostMessage,
    Log,
    Raised,
    Start,
    TaskRun,
)

_decode: Final = msgspec.msgpack.Decoder(GuestMessage | HostMessage).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_NOTHING: Final = msgspec.Raw(_encode(None))


class Unreadable(Exception):
    """The record lacks even the event that the attempt began with, or was written by another release; the message says which."""


class Step(Struct, eq=False):
    """A call of the recorded attempt.

    Attributes:
        call: as it was made.
        at: when the host read it.
        reply: what it was answered, None when it was not, or when nobody waited.
        replied_at: when.
        played: whether the replay has made this call too.
    """

    call: AnyCall
    at: Micros
    reply: Answer | Failure | None = None
    replied_at: Micros = 0
    played: bool = False


class Script:
    """What one attempt said and was told.

    Args:
        record: what there is of it.

    Attributes:
        start: the event.
        steps: its calls.
        exchanges: the requests of its HTTP clients that the replay has not made yet.
        last: its last word, None when it was ended before it could say one, or when the record is cut before.

    Raises:
        Unreadable: there is no event in the record.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.steps: list[Step] = []
        self.last: Finished | Raised | None = None
        self._order: list[tuple[Step, bool]] = []
        self._unanswered: dict[int, Step] = {}
        self._tasks = 0
        start, *rest = _messages(record)
        if not isinstance(start, Start):
            raise Unreadable("the record does not begin with the event")
        self.start = start
        for message, at in zip(rest, record.times[1:], strict=True):
            self._take(message, at)
        self.exchanges: list[Exchange] = _exchanges(record)

    def _take(self, message: GuestMessage | HostMessage, at: Micros) -> None:
        match message:
            case Answer() | Failure():
                step = self._unanswered.pop(message.id)
                step.reply, step.replied_at = message, at
                self._order.append((step, True))
            case Finished() | Raised():
                self.last = message
            case Call():
                self._take_call(message, at)
            case Start() | Log() | Counted():
                pass

    def _take_call(self, call: AnyCall, at: Micros) -> None:
        step = Step(call=call, at=at)
        self.steps.append(step)
        self._order.append((step, False))
        if call.id:
            self._unanswered[call.id] = step
        else:
            step.reply, step.replied_at = self._answer_ahead(call), at

    def _answer_ahead(self, call: AnyCall) -> Answer:
        """Return what somebody who had waited for a call of the id 0 would have been answered."""
        if not isinstance(call, TaskRun):
            return Answer(id=0, value=_NOTHING)
        self._tasks += 1
        return Answer(id=0, value=msgspec.Raw(_encode(self.start.task_id(self._tasks - 1))))

    def next_steps(self) -> list[Step]:
        """Return the calls that the replay may make now: those that were made before an answer that it has not had.

        Several that were under way at once may come in any order, but those that nobody waited for come in theirs.
        """
        found: list[Step] = []
        ahead = False
        for step, is_reply in self._order:
            if step.played:
                continue
            if is_reply:
                break
            if step.call.id or not ahead:
                found.append(step)
            ahead = ahead or not step.call.id
        return found

    @property
    def cut(self) -> bool:
        """Whether messages of it are missing."""
        return self.record.missing > 0


def _messages(record: Record) -> list[GuestMessage | HostMessage]:
    if not record.messages:
        raise Unreadable(
            f"the record holds none of its {record.missing:,} messages: the first alone was over the limit (limit_record)"
        )
    with _explaining():
        return [_decode(message) for message in record.messages]


def _exchanges(record: Record) -> list[Exchange]:
    with _explaining():
        return [decode_exchange(exchange) for exchange in record.exchanges]


@contextmanager
def _explaining() -> Iterator[None]:
    try:
        yield
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the record was written by another release, and this one cannot read it: {error}") from None
