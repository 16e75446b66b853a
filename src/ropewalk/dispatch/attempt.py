"""One attempt at one execution: a process, its session, and the answers to its calls.

The process is told what to run, its calls are answered in the order in which they come (those that wait for the network beside the
others), and its end becomes an `Outcome`. Nothing is written here but what `commit()` asks for: the outcome goes on to `settling`.
Before: `dispatcher` has claimed. Every message comes from a guest and is hostile until shown otherwise; what breaks the protocol ends
this attempt only.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from ropewalk import errors
from ropewalk.answers.interface import Host, LeaseOver, Session
from ropewalk.answers.secrets import InstanceOptions
from ropewalk.answers.table import AHEAD, ANSWERS, WAITING
from ropewalk.dispatch.lines import Flooded, Lines
from ropewalk.dispatch.outcome import Cancelled, Ending, Failed, Fenced, Lost, Outcome, Succeeded, described
from ropewalk.dispatch.starting import start_message
from ropewalk.dispatch.versions import LoadedVersion
from ropewalk.door import outside
from ropewalk.door.interface import Answered
from ropewalk.door.proxy import Left
from ropewalk.door.visit import Visit
from ropewalk.egress.bodies import Turn
from ropewalk.egress.hops import Hop
from ropewalk.egress.urls import Url
from ropewalk.queue.retries import Failure
from ropewalk.sandbox.authority import Authority
from ropewalk.sandbox.interface import Ended, Process, Source
from ropewalk.storage.interface import DoesNotApply, Fenced as LeaseLost, StorageError
from ropewalk.storage.records import Claim, ErrorInfo, LogLine, Part, Usage
from ropewalk.wire.control import THREADS
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_GUEST, MESSAGE_LIMIT_FROM_HOST
from ropewalk.wire.messages import (
    Answer,
    AnyCall,
    Commit,
    Counted,
    Failure as FailureMessage,
    Fetch,
    Finished,
    GuestMessage,
    Log,
    PriorityRecord,
    Raised,
)

log = logging.getLogger(__name__)

_TEXT_LIMIT = 64 * 1024
_ANSWER_LIMIT = MESSAGE_LIMIT_FROM_HOST - 64 * 1024
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = msgspec.Raw(_encode(None))


class Attempt:
    """One attempt, from Start to the last word of its process.

    Args:
        host: what answers need.
        claim: the execution and the lease.
        loaded: the version to run.
        priority: the instance's.
        holds_lease: whether this node may still act in the outside world.
        options: the instance's, opened; without it those that the claim has, none of them secret.
    """

    def __init__(
        self,
        host: Host,
        claim: Claim,
        loaded: LoadedVersion,
        priority: PriorityRecord,
        holds_lease: Callable[[], bool],
        options: InstanceOptions | None = None,
    ) -> None:
        self.claim = claim
        self._host = host
        self._loaded = loaded
        self._priority = priority
        self._session = Session(host, claim, loaded.manifest, holds_lease, options)
        self._redactor = self._session.options.redactor
        self._process: Process | None = None
        self._taker: asyncio.Task[Any] | None = None
        self._tape = None if host.recorder is None else host.recorder.tape()
        self._authority: Authority | None = None
        self._visit: Visit | None = None
        self._started_at = host.clock.now()
        self._requests = 0
        self._lines = Lines(loaded.limits.logs, claim.execution.attempt, host.clock, self._redactor, self._store_lines)
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._bytes_waiting = 0
        self._committing: list[GuestMessage] | None = None
        self._commit: asyncio.Task[None] | None = None
        self._ended: Ended | None = None
        self._ending: Ending | None = None
        self._usage: Usage | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # ── What the dispatcher sees ─────────────────────────────────────────────────────────────────────────────────────────────

    async def obtain(self, source: Source) -> Process | None:
        """Return a process for it, or None when it was ended while it waited for one. Raises as `Source.take`."""
        self._taker = asyncio.current_task()
        self._authority = source.authority
        try:
            return await source.take(self._loaded.image)
        except asyncio.CancelledError:
            if self._ending is None or self._taker is None or self._taker.uncancel():
                raise
            return None
        finally:
            self._taker = None

    @property
    def ending(self) -> Ending:
        """How it ended, when it did before it had a process."""
        assert self._ending is not None
        return self._ending

    async def run(self, process: Process) -> Outcome:
        """Have the process run the execution and return how it ended. The process has ended, or is about to, when this returns."""
        self._process = process
        self._started_at = self._host.clock.now()
        process.listen(self._on_message, self._on_end, None if self._tape is None else self._tape.take)
        if self._loaded.image.network:
            process.welcome(self._on_connection)
        try:
            self._session.turn = Turn(process.taken)
            self._session.start = await start_message(self._session, self._loaded, self._priority, self._started_at)
            process.start(self._session.start, self._loaded.limits)
            await self._over
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            await self._let_go()
        assert self._ending is not None
        assert self._usage is not None
        return Outcome(
            claim=self.claim,
            ending=self._ending,
            usage=self._usage,
            effects=self._session.effects,
            logs=self._lines.take(),
            record=await self._record(self._ending),
        )

    def end(self, ending: Fenced | Cancelled | Lost) -> None:
        """End the attempt, if it still runs, for a reason of the host's own."""
        self._end_with(ending)
        if self._process is not None:
            self._process.kill("ended")
        elif self._taker is not None:
            self._taker.cancel()

    # ── What its HTTP clients ask ────────────────────────────────────────────────────────────────────────────────────────────

    def _on_connection(self, connection: socket.socket) -> None:
        if self._ending is not None or self._authority is None:
            connection.close()
            return
        if self._visit is None:
            self._visit = Visit(self, self._authority)
        self._visit.admit(connection)

    @property
    def execution(self) -> str:
        """See `Guest.execution`."""
        return self.claim.execution.id

    @asynccontextmanager
    async def exchange(self, hop: Hop) -> AsyncGenerator[Answered, None]:
        """See `Guest.exchange`."""
        try:
            async with outside.exchange(self._session, self._tape, hop) as answered:
                yield answered
        except LeaseOver:
            self.end(Lost("the node's lease is over"))
            raise Left from None

    def check_origin(self, url: Url) -> None:
        """See `Guest.check_origin`."""
        outside.check_origin(self._session, self._tape, url)

    def count_request(self) -> bool:
        """See `Guest.count_request`."""
        self._count(1)
        return self._ending is None

    def warn(self, text: str) -> None:
        """See `Guest.warn`."""
        self._lines.warn(text)

    # ── What the guest says ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, message: GuestMessage) -> None:
        if self._ending is not None:
            return
        if type(message) is Log:
            self._on_log(message)
        elif self._committing is not None:
            self._committing.append(message)
        elif type(message) is Counted:
            self._count(message.requests)
        elif type(message) is Finished:
            self._on_finished(message)
        elif type(message) is Raised:
            self._on_raised(message)
        else:
            self._on_call(message)  # type: ignore[arg-type]  # what is left of the union

    def _on_call(self, call: AnyCall) -> None:
        self._count(1)
        if self._ending is not None:
            return
        if call.id in self._waiting:
            self._end_by_limit("protocol", f"its call {call.id} has the id of a call that is not answered yet")
        elif type(call) is Commit:
            self._begin_commit(call)
        elif type(call) in WAITING:
            self._take_in(call)
            self._waiting[call.id] = asyncio.create_task(self._answer_outside(call))
        elif not call.id:
            self._take_ahead(call)
        elif self._host.storage.reads_at_once:
            self._answer_at_once(call)
        else:
            self._waiting[call.id] = asyncio.create_task(self._answer(call))

    def _count(self, requests: int) -> None:
        self._requests += max(0, requests)
        limit = self._loaded.limits.requests
        if self._requests > limit:
            self._requests = limit + 1
            self._end_by_limit("request_limit", f"it made more than {limit:,} requests, which is the limit")

    def _answer_at_once(self, call: AnyCall) -> None:
        """Step an answer that never waits, without a task of its own."""
        if not self._step(call):
            raise RuntimeError(f"the answer to {type(call).__name__} waited, and storage says that its reads do not")

    def _take_ahead(self, call: AnyCall) -> None:
        """Take a write whose answer nobody waits for, before whatever comes next."""
        if type(call) not in AHEAD or not self._step(call):
            self._end_by_limit("protocol", f"its {type(call).__name__} is none that need not be waited for, and has the id 0")

    def _step(self, call: AnyCall) -> bool:
        """Answer a call here and now; False when that would have to wait."""
        answering = self._answer(call)
        try:
            answering.send(None)
        except StopIteration:
            return True
        answering.close()
        return False

    async def _answer_outside(self, call: AnyCall) -> None:
        try:
            await self._answer(call)
        finally:
            self._session.turn.end()
        self._let_out(call)

    def _take_in(self, call: AnyCall) -> None:
        """Take note of a call that is kept while it waits, and listen to no more when the guest has as much in flight as it may."""
        self._bytes_waiting += _size(call)
        if self._bytes_waiting > MESSAGE_LIMIT_FROM_GUEST:
            self._require_process().pause()

    def _let_out(self, call: AnyCall) -> None:
        self._bytes_waiting -= _size(call)
        if self._bytes_waiting <= MESSAGE_LIMIT_FROM_GUEST and self._committing is None:
            self._require_process().resume()

    async def _answer(self, call: AnyCall) -> None:
        """Answer one call. Whatever goes wrong here is the guest's error, or ends this attempt."""
        try:
            if call.ns:
                self._session.require_tool(call.ns)
            value = await ANSWERS[type(call)](self._session, call)
            reply: Answer | FailureMessage = Answer(id=call.id, value=_NOTHING if value is None else _encoded(value))
        except (errors.RopewalkError, ValueError, TypeError) as error:
            reply = FailureMessage(id=call.id, error=type(error).__name__, message=str(error))
        except StorageError as error:
            self.end(Lost(f"storage failed: {error}"))
            return
        except LeaseOver:
            self.end(Lost("the node's lease is over"))
            return
        except Exception:
            # A fault of the host's own must not take the node, nor the other instances, with it.
            log.exception("the answer to %s failed", type(call).__name__)
            self._end_by_limit("internal_error", f"the host could not answer {type(call).__name__}: its log says why")
            return
        finally:
            self._waiting.pop(call.id, None)
        if self._ending is not None or self._process is None:
            return
        if call.id:
            self._process.send(reply)
        elif type(reply) is FailureMessage:
            self._fail(Failure(type=reply.error, kind="error"), ErrorInfo(type=reply.error, message=self._hide(reply.message)))
            self._process.kill()

    def _on_finished(self, message: Finished) -> None:
        limit = self._host.limits.value
        if len(message.result) > limit:
            text = f"the result has {len(message.result):,} bytes and may have {limit:,}: store it and return its key"
            self._fail(Failure(type="ValueTooLarge", kind="unretried"), ErrorInfo(type="ValueTooLarge", message=text))
            return
        try:
            msgspec.json.decode(message.result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._end_by_limit("protocol", f"its result is not JSON: {error}")
            return
        self._end_with(Succeeded(message.result))

    def _on_raised(self, message: Raised) -> None:
        error = ErrorInfo(
            type=self._hide(message.type)[:200],
            message=self._hide(message.message)[:_TEXT_LIMIT],
            traceback=self._hide(message.traceback)[:_TEXT_LIMIT],
        )
        self._fail(Failure.of(message), error)

    def _hide(self, text: str) -> str:
        return text if self._redactor is None else self._redactor.hide(text)

    def _on_log(self, message: Log) -> None:
        try:
            self._lines.add(message)
        except Flooded as flooded:
            self._end_by_limit("protocol", str(flooded))

    async def _store_lines(self, lines: list[LogLine]) -> None:
        await self._host.storage.append_logs(self.claim.instance.id, self.claim.execution.id, lines)

    # ── commit() ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_commit(self, call: Commit) -> None:
        if self.claim.execution.trigger in ("upgrade", "deactivate", "options"):
            text = f"commit() cannot be used in {self.claim.execution.target.method}(): it happens as a whole or not at all"
            self._require_process().send(FailureMessage(id=call.id, error="PermissionDenied", message=text))
            return
        self._committing = []
        self._require_process().pause()  # what it says meanwhile is kept: let it not be much
        self._commit = asyncio.create_task(self._commit_part(call))

    async def _commit_part(self, call: Commit) -> None:
        """Make the work so far durable. Other messages wait meanwhile: they must see either all of it or none."""
        claim = self.claim
        part = Part(
            instance=claim.instance.id,
            epoch=claim.epoch,
            execution=claim.execution.id,
            effects=self._session.effects,
            logs=self._lines.take(),
            at=self._host.clock.now(),
        )
        try:
            instance = await self._host.storage.commit_part(part)
        except LeaseLost:
            self.end(Fenced())
        except DoesNotApply as error:
            self._lines.put_back(part.logs)
            self._require_process().kill()
            self._fail(Failure(type="conflict", kind="conflict"), ErrorInfo(type="conflict", message=str(error)))
        except StorageError as error:
            self.end(Lost(f"storage failed: {error}"))
        else:
            self._session.committed()
            renewed = msgspec.structs.replace(claim.execution, tries=0, error=None)
            self.claim = self._session.claim = msgspec.structs.replace(claim, execution=renewed, instance=instance)
            self._require_process().send(Answer(id=call.id, value=_NOTHING))
        held, self._committing = self._committing or [], None
        if self._bytes_waiting <= MESSAGE_LIMIT_FROM_GUEST:
            self._require_process().resume()
        for message in held:
            self._on_message(message)
        if self._ended is not None:
            self._on_end(self._ended)

    # ── How it ends ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_end(self, ended: Ended) -> None:
        """The connection is over without a last word: the process was ended, or ended by itself."""
        if self._ending is not None:
            return
        if self._committing is not None:
            self._ended = ended  # its last word may be among what waits for the commit
            return
        kind, text = _explain(ended, self._loaded)
        failure = Failure(type=kind, kind="crash" if kind == "crash" else "limit")
        self._fail(failure, ErrorInfo(type=kind, message=text))

    def _end_by_limit(self, kind: str, text: str) -> None:
        failure = Failure(type=kind, kind="limit" if kind == "request_limit" else "crash")
        self._fail(failure, ErrorInfo(type=kind, message=f"the execution was ended: {text}"))
        self._require_process().kill(kind)

    def _fail(self, failure: Failure, error: ErrorInfo) -> None:
        self._end_with(Failed(failure, error))

    def _end_with(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._usage = self._measured()
            if not self._over.done():  # cancelled, when the node ends at once
                self._over.set_result(None)

    async def _let_go(self) -> None:
        if self._visit is not None:
            await self._visit.end()
        await self._lines.close()
        if not (self._waiting or self._commit):
            return
        for task in self._waiting.values():
            task.cancel()
        left = [*self._waiting.values(), *([] if self._commit is None else [self._commit])]
        await asyncio.gather(*left, return_exceptions=True)

    async def _record(self, ending: Ending) -> bytes | None:
        """Return the sealed record of what was said, of an attempt whose end is settled."""
        recorder, tape = self._host.recorder, self._tape
        if recorder is None or tape is None or isinstance(ending, Lost | Fenced):
            return None
        status, error = described(ending)
        tape.sent, tape.unlisted = self._session.sent, self._session.unlisted
        return await recorder.record(tape, self.claim, status, error, self._redactor)

    def _measured(self) -> Usage:
        if self._process is None:
            return Usage(started_at=self._started_at, finished_at=self._host.clock.now())
        used = self._process.usage()
        return Usage(
            started_at=self._started_at,
            finished_at=self._started_at + round(used.wall * 1e6),
            cpu=round(used.cpu * 1e6),
            memory_peak=used.memory_peak,
            requests=self._requests,
        )

    def _require_process(self) -> Process:
        assert self._process is not None
        return self._process


def _size(call: AnyCall) -> int:
    """Return about how many bytes a call takes that waits for the network."""
    if type(call) is not Fetch:
        return 0
    return len(call.body) + len(call.url) + sum(len(name) + len(value) for name, value in call.headers)


def _encoded(value: object) -> msgspec.Raw:
    """Return an answer as it is sent.

    Raises:
        ValueTooLarge: it is larger than a message may be.
    """
    raw = _encode(value)
    if len(raw) > _ANSWER_LIMIT:
        raise errors.ValueTooLarge(
            f"the answer would have {len(raw):,} bytes and may have {_ANSWER_LIMIT:,}: ask for less at once"
        )
    return msgspec.Raw(raw)


def _explain(ended: Ended, loaded: LoadedVersion) -> tuple[str, str]:
    """Return the error type and message for a process that ended without a last word."""
    limits = loaded.limits
    split = "do less at once and go on in another task with self.run_task()"
    match ended.limit:
        case None:
            how = (
                f" by signal {ended.signal}"
                if ended.signal
                else f" with exit status {ended.code}"
                if ended.code is not None
                else ""
            )
            return "crash", f"the process ended by itself{how} before the method returned"
        case "timeout":
            text = f"it ran for {limits.wall:g} s, which is the limit: {split}"
        case "cpu_limit":
            text = f"it used {limits.cpu:g} s of CPU, which is the limit: {split}"
        case "memory_limit":
            text = f"it used {limits.memory:,} bytes of memory, which is the limit: load less at once"
        case "thread_limit":
            text = f"it had more than {THREADS} threads, which is the limit: start fewer at once"
        case "protocol":
            text = "it said what is no message of the protocol"
        case other:
            text = other
    return ended.limit, f"the execution was ended: {text}"
