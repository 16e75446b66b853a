"""Plays the host to a replayed attempt: each call is held against the record and answered from it, up to the first that differs.

Pure: what the guest says goes in, what it is told comes out. Nothing of this asks storage, sends a request or writes anything. The guest is as
hostile as ever: what it may say is bounded, and what it says wrong ends its replay.
"""

from __future__ import annotations

import re
from typing import Final, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ropewalk.recording.exchanges import Exchange, Headers
from ropewalk.recording.hiding import without_credentials
from ropewalk.replay.likeness import Likeness
from ropewalk.replay.script import Script, Step
from ropewalk.storage.records import ErrorInfo
from ropewalk.wire.messages import AnyCall, Call, Counted, Fetch, Finished, Raised
from ropewalk.wire.replay import Played, ReplayedMessage, Stalled, Standing

_SHOWN: Final = 2_000
"""Characters of a call that are shown."""


_ANOTHER: Final = {
    "clock": "times that the method reads differ by how fast it runs: they count as the same",
    "randomness": "what the method draws from the system's randomness is another now: of the same form, it counts as the same",
}


class End(Struct, frozen=True, kw_only=True):
    """How an attempt ended: `succeeded` with a result, or `failed` with an error. `cancelled` only ever in a record."""

    status: str
    result: msgspec.Raw | None = None
    error: ErrorInfo | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """Where a replay first differs from its record.

    Attributes:
        what: `call`, `outcome`, or `record` when it could not go on for want of what the record does not have.
        recorded: what was said then, in words; None when there was nothing more.
        replayed: what was said now; None when nothing was.
        where: the author's lines from which it was said, the innermost last.
    """

    what: str
    recorded: str | None
    replayed: str | None
    where: list[str] = []


class Player:
    """Answers one replayed attempt.

    Args:
        script: the record.
        requests: how many requests the attempt may make.
        has_door: whether the requests of its HTTP clients are answered from the record too.

    Attributes:
        end: how the replay ended, once it has ended by itself.
        difference: where it first differed, if it has.
    """

    def __init__(self, script: Script, requests: int, *, has_door: bool = True) -> None:
        self.end: End | None = None
        self.difference: Difference | None = None
        self._script = script
        self._likeness = Likeness(script.start.started_at, script.record.times[-1])
        self._requests_left = requests
        self._has_door = has_door
        self._made_by_clients = bool(script.exchanges)
        self.longest_body = max((len(one.body) for one in script.exchanges), default=0)
        """Bytes of the longest body that its clients sent then."""
        self._standing = Standing()

    @property
    def execution(self) -> str:
        """The id of its execution."""
        return self._script.start.execution

    @property
    def over(self) -> bool:
        """Whether there is nothing more to be heard."""
        return self.end is not None or self.difference is not None

    def hear(self, message: ReplayedMessage) -> Played | None:
        """Take what the guest says and return what it is told, if it waits for something."""
        match message:
            case Standing():
                self._standing = message
                self._likeness.note(message.drawn, read_clock=message.read_clock)
            case Counted():
                self.count(message.requests)
            case Finished() | Raised():
                self._hear_end(message)
            case Stalled():
                self._stalled(message)
            case Call():
                return self._answer(message)
            case _:
                pass  # log lines, and what is said to a person, are for others
        return None

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, call: AnyCall) -> Played | None:
        self.count(1)
        if self.over:
            return None
        if isinstance(call, Fetch):
            call = replace(call, headers=without_credentials(call.headers)[0])
        for step in self._script.next_steps():
            if self._likeness.alike(call, step.call):
                step.played = True
                return _played(call, step)
        return Played(at=0) if self._was_never_sent(call) else self._differs(call)

    def _was_never_sent(self, call: AnyCall) -> bool:
        """Whether the attempt's process was ended before it had sent such a call, for whose answer nobody waits."""
        script = self._script
        # The last word of a process without memory was made beforehand, and goes before what waits to be sent.
        ended = script.last is None or (isinstance(script.last, Raised) and script.last.type == "memory_limit")
        return not call.id and ended and not script.cut and not script.next_steps()

    def _differs(self, call: AnyCall) -> Played:
        step = next(iter(self._script.next_steps()), None)
        told = self._end_then() if step is None else shown(step.call)
        if step is None and self._script.cut:
            told = self._cut()
        what = "record" if step is None and self._script.cut else "call"
        self.difference = Difference(what=what, recorded=told, replayed=shown(call), where=self._standing.lines)
        return Played(at=0, difference=_in_words(self.difference))

    def count(self, requests: int) -> None:
        """Count requests that it made; those beyond what it may make end it."""
        self._requests_left -= max(0, requests)
        if self._requests_left < 0:
            self.ended("request_limit", "it made more requests than it may")

    # ── Requests of its HTTP clients ─────────────────────────────────────────────────────────────────────────────────────────

    def request(self, method: str, url: str, headers: Headers, body: bytes) -> Exchange | None:
        """Return what was recorded of such a request that the replay has not made yet; None ends it, as a difference."""
        if self.over:
            return None
        now = Exchange(method=method, url=url, headers=without_credentials(headers)[0], body=body)
        for then in self._script.exchanges:
            if self._same_request(now, then):
                self._script.exchanges.remove(then)
                return then
        left = self._script.exchanges
        told = shown_exchange(left[0]) if left else self._cut() if self._script.cut else self._next_then()
        what = "record" if self._script.cut and not left else "call"
        self.difference = Difference(what=what, recorded=told, replayed=shown_exchange(now))
        return None

    def tunnel(self, url: str) -> Exchange | None:
        """Return what was recorded of a tunnel that was refused, None when it was not."""
        for then in self._script.exchanges:
            if (then.method, then.url) == ("CONNECT", url):
                self._script.exchanges.remove(then)
                return then
        return None

    def _same_request(self, now: Exchange, then: Exchange) -> bool:
        if now.method != then.method or not self._likeness.alike(now.url, then.url):
            return False
        body = _with_boundary(now, then)
        return self._likeness.alike(body, then.body) if then.asked_whole else body.startswith(then.body)

    def _next_then(self) -> str:
        step = next(iter(self._script.next_steps()), None)
        return self._end_then() if step is None else shown(step.call)

    # ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear_end(self, last: Finished | Raised) -> None:
        if isinstance(last, Finished):
            self._ends(End(status="succeeded", result=msgspec.Raw(last.result)))
        else:
            error = ErrorInfo(type=last.type, message=last.message, traceback=last.traceback)
            self._ends(End(status="failed", error=error))

    def ended(self, kind: str, message: str) -> None:
        """Have the process have been ended, or have ended by itself; `kind` is its error's type."""
        if not self.over:
            self._ends(End(status="failed", error=ErrorInfo(type=kind, message=message)))

    def _stalled(self, message: Stalled) -> None:
        """The method waits for what the record does not have."""
        if self.over:
            return
        if message.out_of_time:
            self.ended("timeout", "its time was over")
        elif self._script.cut:
            self.difference = Difference(what="record", recorded=self._cut(), replayed=None, where=self._standing.lines)
        elif self._script.last is None:
            self._ends(self.recorded_end)  # it had waited so when it was ended
        else:
            self.difference = Difference(
                what="call", recorded=self._end_then(), replayed="it waits, with nothing to wait for", where=self._standing.lines
            )

    def _ends(self, end: End) -> None:
        if self.over:
            return
        left = [step for step in self._script.steps if not step.played]
        if left and not self._like_recorded_end(end, ended_early=True):
            self.difference = Difference(
                what="call", recorded=shown(left[0].call), replayed=in_words(end), where=self._standing.lines
            )
        elif self._unasked and not self._like_recorded_end(end, ended_early=True):
            self.difference = Difference(what="call", recorded=shown_exchange(self._unasked[0]), replayed=in_words(end))
        elif self._script.cut and self._script.last is None:
            self.difference = Difference(what="record", recorded=self._cut(), replayed=in_words(end))
        elif not self._like_recorded_end(end):
            self.difference = Difference(
                what="outcome", recorded=self._end_then(), replayed=in_words(end), where=self._standing.lines
            )
        self.end = end

    @property
    def _unasked(self) -> list[Exchange]:
        """The requests of its clients that are missing now; those that they gave up may come late, or not at all."""
        return [one for one in self._script.exchanges if one.over] if self._has_door else []

    def _like_recorded_end(self, end: End, *, ended_early: bool = False) -> bool:
        """Return whether the attempt ended so. One that was ended from outside may have come less far, or further, by then."""
        then = self.recorded_end
        if self._script.last is not None and ended_early:
            return False
        if end.error is not None and then.error is not None and self._script.last is None:
            return end.error.type == then.error.type
        if end.status != then.status:
            return False
        if end.error is None or then.error is None:
            return self._likeness.alike(_bytes(end.result), _bytes(then.result))
        last = self._script.last
        said = last.message if isinstance(last, Raised) and last.type == then.error.type else then.error.message
        return end.error.type == then.error.type and self._likeness.alike(end.error.message, said)

    @property
    def recorded_end(self) -> End:
        """How the attempt ended when it was recorded."""
        record, last = self._script.record, self._script.last
        if isinstance(last, Finished) and record.status == "succeeded":
            return End(status="succeeded", result=msgspec.Raw(last.result))
        return End(status=record.status, error=record.error)

    def _end_then(self) -> str:
        return in_words(self.recorded_end)

    def _cut(self) -> str:
        missing = self._script.record.missing
        return f"the record was cut here, at its limit (limit_record): {missing:,} messages and requests more are not in it"

    # ── What to say of it ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def notes(self) -> list[str]:
        """What a person should know who reads the outcome."""
        likeness = self._likeness
        notes = [_ANOTHER[what] for what in sorted(likeness.differed)]
        if self._made_by_clients and not self._has_door:
            notes.append(
                "the requests of HTTP clients other than Network.fetch are not answered from the record outside the sandbox"
            )
        if self.difference is None:
            return notes
        if likeness.read_clock and "clock" not in likeness.differed:
            notes.append("the method reads the clock, whose readings are not recorded: it went on from when the attempt began")
        if likeness.drew and "randomness" not in likeness.differed:
            notes.append("the method draws from the system's randomness, which is never recorded")
        return notes + [f"not in the record: {hidden}" for hidden in self._script.record.hidden]


def _played(call: AnyCall, step: Step) -> Played:
    if step.reply is None or not call.id:
        return Played(at=step.replied_at or step.at)
    return Played(at=step.replied_at, reply=replace(step.reply, id=call.id))


def shown(call: AnyCall) -> str:
    """Return a call in words: its name and what it was called with."""
    tag = str(type(call).__struct_config__.tag)
    fields = {name: getattr(call, name) for name in call.__struct_fields__ if name not in ("id", "ns")}
    told = {name: _plain(value) for name, value in fields.items() if value not in (None, b"", [], False)}
    text = msgspec.json.encode(told, enc_hook=repr).decode()
    name = f"{call.ns}: {tag}" if call.ns else tag
    if isinstance(call, Fetch):
        name = f"{name} {call.method} {call.url}"
    return f"{name} {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"


def shown_exchange(exchange: Exchange) -> str:
    """Return a request of an HTTP client in words."""
    told = {"headers": exchange.headers, "body": _json_or_text(exchange.body)}
    text = msgspec.json.encode({name: value for name, value in told.items() if value}).decode()
    return f"{exchange.method} {exchange.url} {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"


def _with_boundary(now: Exchange, then: Exchange) -> bytes:
    """Return a body with the recorded boundary between its parts: each client draws one (RFC 2046, 5.1.1)."""
    drawn, recorded = _boundary(now), _boundary(then)
    return now.body.replace(drawn, recorded) if drawn and recorded else now.body


def _boundary(exchange: Exchange) -> bytes:
    kind = next((value for name, value in exchange.headers if name == "content-type"), "")
    found = re.match(r'multipart/.*;\s*boundary="?([^";]+)', kind)
    return found[1].encode("latin-1") if found else b""


def in_words(end: End) -> str:
    """Return how an attempt ended, in words."""
    if end.error is not None:
        return f"it ended with {end.error.type}: {end.error.message[:_SHOWN]}"
    return f"it {end.status} with {_bytes(end.result).decode(errors='replace')[:_SHOWN]}"


def _in_words(difference: Difference) -> str:
    return f"Here the replay differs.\n  recorded: {difference.recorded}\n  now:      {difference.replayed}"


def _bytes(result: msgspec.Raw | None) -> bytes:
    return b"null" if result is None else bytes(result)


def _plain(value: object) -> object:
    """Return a field as JSON shows it."""
    if isinstance(value, bytes):
        return _json_or_text(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("list[object]", value)]
    if isinstance(value, Struct):
        given = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: _plain(one) for name, one in given.items() if one is not None}
    return value


def _json_or_text(value: bytes) -> object:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value.decode(errors="replace")
