"""The host's answers about tasks: executions asked for by an execution, now or later."""

from __future__ import annotations

import os
import secrets

import msgspec

from ropewalk.answers.callbacks import check_arguments, check_target, resolve
from ropewalk.answers.interface import Session
from ropewalk.answers.store import check_key
from ropewalk.clock import Micros
from ropewalk.errors import InvalidValue, QueueFull, ValueTooLarge
from ropewalk.storage.records import CancelTask, CancelTasks, Enqueue, NewExecution, PutRecurring
from ropewalk.storage.recurrence import BadRecurrence, Recurrence, recurrence
from ropewalk.wire.messages import Json, Target, TaskCancel, TaskRecur, TaskRun, WebhookCreate

CHAIN_GAP: Micros = 60_000_000
"""A task due within this long of being asked for goes on its asker's chain; a later one begins a new chain."""

RECURRING_ARGUMENTS = 16 * 1024
"""Most bytes of a recurring task's arguments: they are kept for as long as it is."""

_UNBOUND = b"[[],{}]"


_DRAWN_AT_ONCE = 32

_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)  # parent and child would both give them out


def new_id() -> str:
    """Return a new id: 96 random bits as text, so that a few characters of it name it.

    The first 16 are the same for some in a row: what is stored together then lies together in the index by id, wherever that is. All else
    of them is drawn from the system at once too.
    """
    while True:
        try:
            return _drawn.pop()
        except IndexError:  # also when another thread was quicker
            alike, other = secrets.token_hex(2), secrets.token_hex(10 * _DRAWN_AT_ONCE)
            _drawn.extend(alike + other[start : start + 20] for start in range(0, len(other), 20))


class TaskOverlay:
    """What the attempt has asked for so far: how many executions, of how many bytes, which hold keys, what recurs, and what it has
    cancelled (None: everything).
    """

    __slots__ = ("bytes", "cancelled", "count", "holders", "recurring")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.holders: dict[tuple[str, str], str] = {}
        self.cancelled: set[tuple[str, str | None]] = set()
        self.recurring: set[tuple[str, str]] = set()

    def cancel(self, ns: str, token_or_key: str | None) -> None:
        """Take note of what is cancelled."""
        self.cancelled.add((ns, token_or_key))
        for place, held in list(self.holders.items()):
            if place[0] == ns and token_or_key in (None, place[1], held):
                del self.holders[place]

    def has_cancelled(self, ns: str, key: str, held: str) -> bool:
        """Whether a stored task is cancelled by what was noted."""
        return not self.cancelled.isdisjoint({(ns, None), (ns, key), (ns, held)})


async def task_run(session: Session, call: TaskRun) -> str:
    """Ask for an execution and return its id, which is the task's token."""
    session.require_staying("run_task()")
    target = await what_to_run(session, call)
    now = session.host.clock.now()
    run_at = _due(call, now)
    if call.key is not None:
        check_key(call.key)
    _check_queue(session, len(target.arguments))
    running = session.claim.execution
    on_chain = run_at is None or run_at - now <= CHAIN_GAP
    execution = NewExecution(
        id=new_id() if call.id else session.next_task(),
        instance=running.instance,
        trigger="task",
        target=target,
        callback=call.callback,
        ns=call.ns,
        key=call.key,
        coalesce=call.coalesce,
        run_at=run_at,
        cause=running.id,
        depth=running.depth + 1 if on_chain else 0,
        at=now,
    )
    session.add(Enqueue(execution=execution), len(target.arguments) + 200)
    return execution.id if call.key is None else await _holder(session, call, call.key, execution.id)


async def _holder(session: Session, call: TaskRun, key: str, new: str) -> str:
    """Return the task that holds the key from now on: the one that was there already when they coalesce."""
    overlay = session.overlay(TaskOverlay)
    held = overlay.holders.get((call.ns, key))
    if held is None and call.coalesce:
        held = await session.host.storage.task_of_key(session.claim.instance.id, call.ns, key)
        if held is not None and overlay.has_cancelled(call.ns, key, held):
            held = None
    holder = held if held is not None and call.coalesce else new
    overlay.holders[call.ns, key] = holder
    return holder


async def task_recur(session: Session, call: TaskRecur) -> None:
    """Have a method run again and again."""
    session.require_staying("schedule_recurring()")
    check_key(call.key)
    target = await what_to_run(session, call)
    if len(target.arguments) > RECURRING_ARGUMENTS:
        raise ValueTooLarge(
            f"the arguments of a recurring {target.method}() have {len(target.arguments):,} bytes and may have {RECURRING_ARGUMENTS:,}: "
            "keep large values in the store and pass their keys"
        )
    now = session.host.clock.now()
    wanted = _recurrence(call, now)
    await _check_recurring(session, call)
    effect = PutRecurring(
        id=new_id(),
        ns=call.ns,
        key=call.key,
        target=target,
        callback=call.callback,
        recurrence=wanted,
        first_given=call.first_run_at is not None,
        at=now,
    )
    session.add(effect, len(target.arguments) + 200)


def _recurrence(call: TaskRecur, now: Micros) -> Recurrence:
    if call.every is not None and not 0 < call.every < 1e11:
        raise InvalidValue(f"every={call.every!r} is no time between two runs: give seconds or a timedelta")
    every = None if call.every is None else round(call.every * 1e6)
    try:
        return recurrence(every=every, cron=call.cron, tz=call.tz, catch_up=call.catch_up, first=call.first_run_at, now=now)
    except BadRecurrence as error:
        raise InvalidValue(str(error)) from None


async def _check_recurring(session: Session, call: TaskRecur) -> None:
    """Raise QueueFull when this would be one recurring task more than the instance may have."""
    asked, limit = session.overlay(TaskOverlay).recurring, session.host.limits.recurring
    stored = {(one.ns, one.key) for one in await session.host.storage.recurring(session.claim.instance.id) if not one.declared}
    asked.add((call.ns, call.key))
    if len(stored | asked) > limit:
        raise QueueFull(
            f"this instance has {len(stored):,} recurring tasks and may have {limit:,}: cancel_task() those that are over"
        )


async def task_cancel(session: Session, call: TaskCancel) -> None:
    """Cancel one pending task, or all that the namespace made."""
    if call.token_or_key is None:
        session.add(CancelTasks(ns=call.ns))
    else:
        session.add(CancelTask(ns=call.ns, token_or_key=call.token_or_key), len(call.token_or_key))
    session.overlay(TaskOverlay).cancel(call.ns, call.token_or_key)


async def what_to_run(session: Session, call: TaskRun | TaskRecur | WebhookCreate) -> Target:
    """Return what a call asks to be run: a method, or a callback with further arguments bound to it.

    Raises:
        CallbackNotFound: there is no such method or callback.
        InvalidValue, ValueTooLarge: the arguments are not as they should be.
    """
    if (call.callback is None) == (call.target is None):
        raise InvalidValue("it runs either a callback or a method")
    if call.target is not None:
        check_target(session, call.target)
        return call.target
    target = await resolve(session, call.callback or "")
    if call.arguments == _UNBOUND:
        return target
    bound = Target(ns=target.ns, method=target.method, arguments=_joined(target.arguments, call.arguments, target))
    check_arguments(session, bound)
    return bound


def _joined(first: Json, then: Json, target: Target) -> Json:
    """Bind further arguments, as `functools.partial` does: positions after positions, names over names."""
    try:
        one, two = (
            msgspec.json.decode(arguments, type=tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]) for arguments in (first, then)
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"the arguments of {target.method}() are not JSON of a list and an object: {error}") from None
    return msgspec.json.encode((one[0] + two[0], one[1] | two[1]))


def _due(call: TaskRun, now: Micros) -> Micros | None:
    if call.run_at is not None and call.delay is not None:
        raise InvalidValue("a task has run_at or delay, not both")
    if call.delay is not None:
        if not call.delay < 1e11:
            raise InvalidValue(f"delay={call.delay!r} is no time to wait: give seconds or a timedelta")
        return None if call.delay <= 0 else now + round(call.delay * 1e6)
    if call.run_at is None or call.run_at <= now:
        return None
    if call.run_at >= 1 << 62:
        raise InvalidValue("run_at is too far away")
    return call.run_at


def _check_queue(session: Session, size: int) -> None:
    """Raise QueueFull when the instance has no room for one more event whose arguments have `size` bytes."""
    instance, limits, asked = session.claim.instance, session.host.limits, session.overlay(TaskOverlay)
    pending, kept = instance.pending + asked.count, instance.pending_bytes + asked.bytes
    if pending >= limits.queue:
        raise QueueFull(f"this instance has {pending:,} pending events, which is the limit: let some run, or cancel_all_tasks()")
    if kept + size > limits.queue_bytes:
        raise QueueFull(
            f"the pending events of this instance have {kept:,} bytes and may have {limits.queue_bytes:,}, and this one has {size:,}: "
            "let some run, or keep large values in the store and pass their keys"
        )
    asked.count += 1
    asked.bytes += size
