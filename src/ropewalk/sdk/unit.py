"""What every twist and every tool can do: a store, callbacks and tasks of its own, and the running execution.

A unit is a twist or one of its tools, known by its namespace: the path of attribute names, "" for the twist itself. Each method
below checks what can be known at once and sends one message; the host answers it inside the execution's transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from ropewalk.errors import CallbackNotFound
from ropewalk.sdk.checks import (
    check_batch,
    check_catch_up,
    check_key,
    check_prefix,
    check_text,
    micros,
    positive_seconds,
    seconds,
)
from ropewalk.sdk.execution import Execution
from ropewalk.sdk.host import Host, Running
from ropewalk.sdk.methods import Method, bound_json, method_called, methods_of
from ropewalk.sdk.records import Priority, priority_of
from ropewalk.sdk.store_view import ASK
from ropewalk.sdk.tokens import CALLBACK_PREFIX, Callback, TaskToken
from ropewalk.sdk.values import decode, encode
from ropewalk.wire.messages import (
    CallbackCreate,
    CallbackDelete,
    CallbackResolve,
    CatchUp,
    Commit,
    Json,
    StoreClear,
    StoreDelete,
    StoreKeys,
    StoreRead,
    StoreWrite,
    Target,
    TaskCancel,
    TaskRecur,
    TaskRun,
)

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
D = TypeVar("D")

_SURELY_SHALLOW: Final = 200

AnyMethod = Callable[..., Awaitable[Any]]
"""An async method of a twist or of one of its tools."""


class Bound:
    """A unit's place in the running attempt.

    Attributes:
        running: the attempt.
        ns: the unit's namespace.
        tools: the names of the tools that it declares.
    """

    __slots__ = ("ns", "running", "tools")

    def __init__(self, running: Running, ns: str, tools: Collection[str] = ()) -> None:
        self.running = running
        self.ns = ns
        self.tools = tools


class ToolsView:
    """`self.tools`: the tools that a unit declares, under the names that it gives them."""

    __slots__ = ("_unit",)

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    def __getattr__(self, name: str) -> Any:
        if name not in self._unit._ropewalk.tools:  # noqa: SLF001 — the view is a part of its unit
            raise AttributeError(f"{type(self._unit).__qualname__} declares no tool {name!r}")
        return getattr(self._unit, name)


class Unit:
    """Base of `Twist` and `Tool`."""

    _ropewalk: Bound

    # ── Where it runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def execution(self) -> Execution:
        """The running execution: its id, attempt, deadline and what is left of its budget."""
        return Execution(self._ropewalk.running)

    @property
    def priority(self) -> Priority:
        """The priority that the instance is active in."""
        return priority_of(self._ropewalk.running.start.priority)

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines belong to the execution; `extra=` becomes their fields."""
        return logging.getLogger(type(self).__qualname__)

    @property
    def tools(self) -> ToolsView:
        """The declared tools by name: `self.tools.plot` is `self.plot`."""
        return ToolsView(self)

    # ── Store ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    async def get(self, key: str, type: None = None, *, default: Any = None) -> Any: ...

    @overload
    async def get(self, key: str, type: TypeForm[T]) -> T | None: ...

    @overload
    async def get(self, key: str, type: TypeForm[T], *, default: D) -> T | D: ...

    async def get(self, key: str, type: Any = None, *, default: Any = None) -> Any:  # noqa: A002 — the contract's name
        """Return the value stored under `key`, or `default` when there is none.

        Args:
            key: 1 to 512 bytes.
            type: any type expression; the value is converted to it. Without it the JSON form is returned.
            default: what to return when the key holds nothing. A stored None is a value.

        Raises:
            InvalidValue: the value does not fit `type`; the message has the path.
        """
        bound = self._ropewalk
        host = bound.running.host
        text = bound.running.store.find(bound.ns, check_key(key))
        if text == ASK:
            found: dict[str, Json] = await host.call(StoreRead(id=host.next_id(), ns=bound.ns, keys=[key]))
            text = found.get(key)
        else:
            host.answered_here()
        return default if text is None else decode(text, type, "the value of", key)

    async def set(self, key: str, value: object, *, ttl: float | timedelta | None = None) -> None:
        """Store `value` under `key`, over what was there.

        Args:
            key: 1 to 512 bytes.
            value: anything with a JSON form.
            ttl: seconds, or a timedelta, after which it is gone; None keeps it.

        Raises:
            NotSerializable: something in the value has no JSON form; the message has the path.
            ValueTooLarge: the key or the value is over its limit.
        """
        bound = self._ropewalk
        text = encode(value, "the value of", check_key(key), bound.running.start.value)
        certain = ttl is None and not _may_be_deep(text)
        await self._write({key: text}, _lifetime(ttl), 4 * len(key) + len(text) if certain else None)

    @overload
    async def get_many(self, keys: Iterable[str], type: None = None) -> dict[str, Any]: ...

    @overload
    async def get_many(self, keys: Iterable[str], type: TypeForm[T]) -> dict[str, T]: ...

    async def get_many(self, keys: Iterable[str], type: Any = None) -> dict[str, Any]:  # noqa: A002 — the contract's name
        """Return the values of the keys that hold one, in one request; at most 1,000 keys."""
        bound = self._ropewalk
        host = bound.running.host
        asked = [check_key(key) for key in dict.fromkeys(_several(keys))]
        check_batch(len(asked), "keys")
        if not asked:
            return {}
        store = bound.running.store
        found = {key: store.find(bound.ns, key) for key in asked}
        unknown = [key for key, text in found.items() if text == ASK]
        if unknown:
            found |= dict.fromkeys(unknown) | await host.call(StoreRead(id=host.next_id(), ns=bound.ns, keys=unknown))
        else:
            host.answered_here()
        return {key: decode(text, type, "the value of", key) for key, text in found.items() if text is not None}

    async def set_many(self, mapping: Mapping[str, object], *, ttl: float | timedelta | None = None) -> None:
        """Store several values in one request; at most 1,000."""
        check_batch(len(mapping), "values")
        limit = self._ropewalk.running.start.value
        items = {check_key(key): encode(value, "the value of", key, limit) for key, value in mapping.items()}
        lifetime = _lifetime(ttl)
        if items:
            certain = ttl is None and not any(_may_be_deep(text) for text in items.values())
            await self._write(items, lifetime, _size(items) if certain else None)

    async def _write(self, items: dict[str, Json], lifetime: float | None, size: int | None) -> None:
        """Write values of about `size` bytes, None when only the host can say whether they can be written."""
        bound = self._ropewalk
        host, store = bound.running.host, bound.running.store
        number = host.next_id() if size is None else host.write_id(size)
        if number:
            store.doubt(bound.ns, items)
        await host.call(StoreWrite(id=number, ns=bound.ns, items=items, ttl=lifetime))
        if not number:
            store.note(bound.ns, items)

    async def clear(self, key: str) -> None:
        """Remove a key; no error when it holds nothing."""
        bound = self._ropewalk
        host = bound.running.host
        number = host.write_id(_size({check_key(key): b""}))
        if number:
            bound.running.store.doubt(bound.ns, (key,))
        await host.call(StoreDelete(id=number, ns=bound.ns, keys=[key]))
        if not number:
            bound.running.store.note(bound.ns, {key: None})

    async def clear_all(self, prefix: str = "") -> None:
        """Remove every key that begins with `prefix`."""
        bound = self._ropewalk
        host = bound.running.host
        bound.running.store.doubt_all(bound.ns, check_prefix(prefix))
        await host.call(StoreClear(id=host.next_id(), ns=bound.ns, prefix=prefix))

    async def keys(self, prefix: str = "") -> list[str]:
        """Return the keys that begin with `prefix`, sorted; at most 10,000."""
        bound = self._ropewalk
        host = bound.running.host
        return cast("list[str]", await host.call(StoreKeys(id=host.next_id(), ns=bound.ns, prefix=check_prefix(prefix))))

    # ── Callbacks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def callback(self, method: AnyMethod | str, /, *args: object, **kwargs: object) -> Callback:
        """Return a durable reference to a method, with arguments bound after those that an event will bring.

        Args:
            method: an async method of the twist or of one of its tools, or the name of one of this unit's own.
            *args: stored as `set` stores values, and converted back by the method's annotations.
            **kwargs: the same.

        Raises:
            CallbackNotFound: there is no such method.
            TypeError: the arguments cannot fit the method.
            NotSerializable: an argument has no JSON form.
        """
        bound = self._ropewalk
        host = bound.running.host
        unit, found = self._find(method)
        found.check_bound(len(args), kwargs)
        target = _target(unit, found, args, kwargs)
        return Callback(await host.call(CallbackCreate(id=host.next_id(), ns=bound.ns, target=target)))

    async def run(self, callback: Callback | str, *event_args: object) -> Any:
        """Call a callback now, within this execution and on its budget, and return what its method returns.

        Raises:
            CallbackNotFound: it was deleted or never made, or its method is gone.
            TypeError: the arguments do not fit the method.
        """
        bound = self._ropewalk
        host = bound.running.host
        token = _text(callback, "a callback")
        target: Target = await host.call(CallbackResolve(id=host.next_id(), ns=bound.ns, token=token))
        unit, method = find_target(bound.running, target)
        args, kwargs = method.bind_after(event_args, target.arguments)
        return await getattr(unit, method.name)(*args, **kwargs)

    async def delete_callback(self, callback: Callback | str) -> None:
        """Forget a callback and cancel the tasks that use it; no error when it is gone already."""
        bound = self._ropewalk
        host = bound.running.host
        await host.call(CallbackDelete(id=host.next_id(), ns=bound.ns, token=_text(callback, "a callback")))

    async def delete_all_callbacks(self) -> None:
        """Forget every callback that this twist or tool made, and cancel the tasks that use them."""
        bound = self._ropewalk
        host = bound.running.host
        await host.call(CallbackDelete(id=host.next_id(), ns=bound.ns))

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run_task(
        self,
        callback_or_method: Callback | AnyMethod | str,
        /,
        *args: object,
        run_at: datetime | None = None,
        delay: float | timedelta | None = None,
        key: str | None = None,
        coalesce: bool = False,
    ) -> TaskToken:
        """Ask for a new execution, with a fresh budget; tasks that are due at once run in the order of the calls.

        Args:
            callback_or_method: a callback, or a method as `callback` takes it.
            *args: bound arguments; after those of the callback, if it has any.
            run_at: when, an aware datetime; past times are due now.
            delay: or how long from now, in seconds or as a timedelta.
            key: at most one such task is pending; a second replaces it.
            coalesce: with `key`, keep the earlier time of the two.

        Raises:
            CallbackNotFound: there is no such callback or method.
            TypeError: the arguments do not fit the method.
            ValueError: `run_at` is naive, or comes with `delay`.
            QueueFull: the instance has as many pending events as it may.
        """
        bound = self._ropewalk
        host = bound.running.host
        if run_at is not None and delay is not None:
            raise ValueError("a task has run_at or delay, not both")
        token, target, arguments = self._what_to_run(callback_or_method, args)
        is_special = run_at is not None or delay is not None or key is not None
        message = TaskRun(
            id=host.next_id() if target is None or is_special else _id_of_task(host, target),
            ns=bound.ns,
            callback=token,
            target=target,
            arguments=arguments,
            run_at=None if run_at is None else micros(run_at, "run_at"),
            delay=None if delay is None else max(0.0, seconds(delay, "delay")),
            key=None if key is None else check_key(key),
            coalesce=coalesce,
        )
        answer = await host.call(message)
        return TaskToken(answer if message.id else bound.running.next_task())

    async def schedule_recurring(
        self,
        key: str,
        callback_or_method: Callback | AnyMethod | str,
        /,
        *args: object,
        every: float | timedelta | None = None,
        cron: str | None = None,
        tz: str = "UTC",
        first_run_at: datetime | None = None,
        catch_up: CatchUp = "one",
    ) -> None:
        """Run a method again and again; whatever becomes of a run, the next one comes. Nothing but `cancel_task(key)` ends it.

        The times are nominal: `first + n * every`, or those of the cron expression. A time that comes while the run before is not over is
        skipped. Asking again for the same changes nothing; for something else under the same key, replaces it.

        Args:
            key: names it, among this unit's.
            callback_or_method: as `run_task` takes it.
            *args: bound arguments, at most 16 KiB.
            every: seconds between two runs, or a timedelta; at least a second.
            cron: or when, in five fields: minute, hour, day of the month, month, day of the week.
            tz: the time zone of the cron expression, such as "Europe/Paris".
            first_run_at: when the first run is, an aware datetime; past times are due now. Else it is after one interval, or at the next
                time of the cron expression.
            catch_up: of the runs that were missed while nothing could run: `one` of them, `all` one after another (the newest 1,000), `none`.

        Raises:
            CallbackNotFound: there is no such callback or method.
            TypeError: the arguments do not fit the method.
            ValueError: neither or both of `every` and `cron` are given, or `first_run_at` is naive.
            InvalidValue: the interval, the expression or the zone is none, or the expression never comes.
            QueueFull: the instance has 1,000 of them.
        """
        bound = self._ropewalk
        host = bound.running.host
        if (every is None) == (cron is None):
            raise ValueError("schedule_recurring() takes either every= or cron=, and not both")
        token, target, arguments = self._what_to_run(callback_or_method, args)
        message = TaskRecur(
            id=host.next_id(),
            ns=bound.ns,
            key=check_key(key),
            callback=token,
            target=target,
            arguments=arguments,
            every=None if every is None else positive_seconds(every, "every"),
            cron=None if cron is None else check_text(cron, "cron"),
            tz=check_text(tz, "tz"),
            first_run_at=None if first_run_at is None else micros(first_run_at, "first_run_at"),
            catch_up=check_catch_up(catch_up),
        )
        await host.call(message)

    async def cancel_task(self, token_or_key: TaskToken | str) -> None:
        """Cancel a pending task by its token or key, or end a recurring one; a running one finishes, and none is no error."""
        bound = self._ropewalk
        host = bound.running.host
        await host.call(TaskCancel(id=host.next_id(), ns=bound.ns, token_or_key=_text(token_or_key, "a task's token or key")))

    async def cancel_all_tasks(self) -> None:
        """Cancel every pending task that this twist or tool asked for, recurring ones too."""
        bound = self._ropewalk
        host = bound.running.host
        await host.call(TaskCancel(id=host.next_id(), ns=bound.ns))

    # ── Transaction ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def commit(self) -> None:
        """Make everything done so far durable, the tools' work included; what follows is a new part.

        Raises:
            PermissionDenied: in `upgrade`, `deactivate` and hooks.
        """
        bound = self._ropewalk
        bound.running.check_commit()
        await bound.running.host.call(Commit(id=bound.running.host.next_id(), ns=bound.ns))

    # ── Finding methods ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _find(self, method: AnyMethod | str) -> tuple[Unit, Method]:
        """Return the unit and the method that an author means by a bound method, a function of the class, or a name."""
        if isinstance(method, str):
            return self, _method(self, method)
        owner = getattr(method, "__self__", self)
        function = getattr(method, "__func__", method)
        name = getattr(function, "__name__", "")
        if not isinstance(owner, Unit) or getattr(type(owner), name, None) is not function:
            raise TypeError(
                f"{method!r:.120} cannot be called back: pass an async method of the twist or of one of its tools, such as self.sync_page"
            )
        return owner, _method(owner, name)

    def _what_to_run(self, given: Callback | AnyMethod | str, args: tuple[object, ...]) -> tuple[str | None, Target | None, Json]:
        """Return a token with further arguments, or a target that holds them."""
        return self._token_or_target(given, args, lambda method: method.check(len(args), ()))

    def _token_or_target(
        self, given: Callback | AnyMethod | str, args: tuple[object, ...], check: Callable[[Method], None]
    ) -> tuple[str | None, Target | None, Json]:
        limit = self._ropewalk.running.start.value
        if isinstance(given, str) and (isinstance(given, Callback) or _is_token(self, given)):
            return str(given), None, bound_json("the callback", args, {}, limit)
        unit, method = self._find(given)
        check(method)
        target = _target(unit, method, args, {})
        return None, target, target.arguments


def what_an_event_runs(
    bound: Bound, given: Callback | AnyMethod | str, args: tuple[object, ...], brings: int
) -> tuple[str | None, Target | None, Json]:
    """Return what a built-in tool is to have run by events that bring so many arguments, before `args`: a token, or a target.

    A name is that of a method of the unit that declares the tool.
    """
    owner = bound.running.units[bound.ns.rpartition(".")[0]]
    return owner._token_or_target(given, args, lambda method: method.check(brings + len(args), ()))  # noqa: SLF001 — a part of Unit


def find_target(running: Running, target: Target) -> tuple[Unit, Method]:
    """Return the unit and method that a target names.

    Raises:
        CallbackNotFound: this version has no such tool or method.
    """
    unit = running.units.get(target.ns)
    if unit is None:
        raise CallbackNotFound(f"there is no tool {target.ns!r} in this version: cannot run its {target.method}()")
    return unit, _method(unit, target.method)


def _method(unit: Unit, name: str) -> Method:
    found = method_called(type(unit), name)
    if found is None:
        known = "which is not async def" if callable(getattr(type(unit), name, None)) else "which is not there"
        raise CallbackNotFound(f"{type(unit).__qualname__}.{name:.80} cannot be called back: it names a method {known}")
    return found


def _target(unit: Unit, method: Method, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Target:
    bound = unit._ropewalk  # noqa: SLF001 — the function is a part of Unit
    arguments = bound_json(f"{method.function.__qualname__}()", args, kwargs, bound.running.start.value)
    return Target(ns=bound.ns, method=method.name, arguments=arguments)


def _is_token(unit: Unit, text: str) -> bool:
    return text.startswith(CALLBACK_PREFIX) and text not in methods_of(type(unit))


def _size(items: Mapping[str, Json]) -> int:
    """Return as many bytes as a message about these takes, or a few more."""
    return sum(4 * len(key) + len(text) + 16 for key, text in items.items())


def _id_of_task(host: Host, target: Target) -> int:
    if _may_be_deep(target.arguments):
        return host.next_id()
    return host.write_id(_size({target.ns + target.method: target.arguments}))


def _may_be_deep(text: Json) -> bool:
    """Whether a text may be nested deeper than the host can follow: it says so to who waits for its answer."""
    return text.count(b"[") + text.count(b"{") > _SURELY_SHALLOW


def _lifetime(ttl: float | timedelta | None) -> float | None:
    return None if ttl is None else positive_seconds(ttl, "ttl")


def _several(keys: Iterable[str]) -> Iterable[str]:
    if isinstance(keys, str):
        raise TypeError(f"get_many() takes several keys, not one: get_many([{keys!r:.80}]), or get({keys!r:.80})")
    return keys


def _text(token: object, what: str) -> str:
    if not isinstance(token, str):
        raise TypeError(f"{what} is a str, not {type(token).__name__}: {token!r:.80}")
    return check_key(str(token))
