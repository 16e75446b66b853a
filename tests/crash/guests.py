"""Light guests: methods that speak the wire's messages from a task of the node's own, in place of sandboxed processes.

What the campaign is about is what the host makes durable, and that sees messages and nothing else of a guest. So thousands of executions,
and of nodes, take as long as they take the database. Each guest writes into the journal, beyond the reach of any transaction, when it
begins and which requests it sends.

`work(name, spec)` writes down in its store and in an activity that it ran, in the same transaction as what else `spec` asks of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec

from ropewalk.sandbox.interface import Ended, Figures, Image, Limits, OnConnection, OnEnd, OnMessage, ProcessUsage, Tap
from ropewalk.wire.control import Manifest, Method, RetryInfo, ScheduleInfo, ToolInfo
from ropewalk.wire.messages import (
    PROTOCOL,
    ActivitiesCreate,
    ActivityRecord,
    Answer,
    CallbackCreate,
    Commit,
    Failure,
    Fetch,
    Finished,
    NewActivityRecord,
    NoteRecord,
    Raised,
    Start,
    StoreRead,
    StoreWrite,
    Target,
    TaskRecur,
    TaskRun,
    WebhookCreate,
)
from ropewalk.wire.replay import ReplayingHostMessage

Journal = Callable[..., None]
METHODS = ("work", "hook", "tick", "daily")
EVERY = 600.0
"""Seconds between the ticks of `tick`."""


def manifest(number: int) -> Manifest:
    """Return what the version with this number declares. Later ones declare a schedule too."""
    schedules = [ScheduleInfo(ns="", method="daily", key="daily", every=round(EVERY * 2e6))] if number % 2 == 0 else []
    return Manifest(
        protocol=PROTOCOL,
        python="3.11",
        cls="Clerk",
        description="",
        methods=[Method(ns="", name=name) for name in METHODS],
        tools=[ToolInfo(ns="plot", kind="Plot"), ToolInfo(ns="web", kind="Network", options=b'{"urls": ["*"]}')],
        retry=RetryInfo(attempts=4, first=1.0, maximum=8.0),
        schedules=schedules,
    )


def target(method: str, *arguments: object) -> Target:
    """Return a call of a method."""
    return Target(ns="", method=method, arguments=msgspec.json.encode([arguments, {}]))


class Crash(Exception):
    """Ends the process, by itself (None) or by a limit."""

    def __init__(self, limit: str | None) -> None:
        self.limit = limit


class Raise(Exception):
    """Ends the method with what it raised."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


class Guest:
    """One attempt, from its Start to its last word."""

    def __init__(self, start: Start, say: OnMessage, journal: Journal) -> None:
        self.start = start
        self.journal = journal
        self.waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._say = say
        self._last_id = 0

    async def call(self, kind: Any, **fields: Any) -> Any:
        """Ask the host and return its answer."""
        self._last_id += 1
        answered = self.waiting[self._last_id] = asyncio.get_running_loop().create_future()
        self._say(kind(**{"id": self._last_id, "ns": ""} | fields))
        raw = await answered
        return None if kind.answer is None else msgspec.msgpack.decode(raw, type=kind.answer)

    async def count(self, key: str) -> int:
        """Add one to a stored number and return what it was."""
        found = await self.call(StoreRead, keys=[key])
        before = msgspec.json.decode(found.get(key, b"0"), type=int)
        await self.call(StoreWrite, items={key: msgspec.json.encode(before + 1)})
        return before

    async def note(self, title: str, source: str | None = None) -> None:
        """Make an activity with a note."""
        activity = ActivityRecord(id=str(uuid4()), type="note", title=title, source=source)
        about = NoteRecord(id=str(uuid4()), content=title)
        await self.call(ActivitiesCreate, ns="plot", items=[NewActivityRecord(activity=activity, notes=[about])])

    async def run(self) -> None:
        """Run the method that the event is for."""
        methods: dict[str, Callable[..., Awaitable[None]]] = {
            "activate": self.activate,
            "upgrade": self.upgrade,
            "deactivate": self.deactivate,
            "work": self.work,
            "hook": self.hook,
            "tick": self.tick,
            "daily": self.tick,
        }
        arguments: tuple[list[Any], dict[str, Any]] = msgspec.json.decode(
            self.start.target.arguments, type=tuple[list[Any], dict[str, Any]]
        )
        events = [] if self.start.trigger in ("activate", "upgrade", "deactivate") else msgspec.json.decode(self.start.event)
        await methods[self.start.target.method](*events, *arguments[0])

    # ── The methods ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def activate(self) -> None:
        await self.call(WebhookCreate, ns="web", target=target("hook"))
        await self.call(TaskRecur, key="tick", target=target("tick"), every=EVERY)
        await self.note(f"activated:{self.start.instance}")

    async def upgrade(self) -> None:
        await self.count(f"upgraded:{self.start.version}")
        await self.note(f"upgraded:{self.start.instance}:{self.start.version}")

    async def deactivate(self) -> None:
        await self.note(f"deactivated:{self.start.instance}")

    async def tick(self) -> None:
        await self.note(f"tick:{self.start.execution}")

    async def hook(self, request: dict[str, Any]) -> None:
        await self.count(f"hook:{request['id']}")
        await self.note(f"hook:{request['id']}:{self.start.execution}")

    async def work(self, name: str, spec: dict[str, Any]) -> None:
        part = bool(spec.get("part"))
        if not (part and await self.has_run(name)):
            await self.first_part(name, spec)
        if part:
            await self.second_part(name)
        for kid in spec.get("kids", ()):
            await self.ask_for(kid)
        fails = spec.get("fails", [])
        if self.start.attempt <= len(fails):
            self.fail(fails[self.start.attempt - 1])

    async def first_part(self, name: str, spec: dict[str, Any]) -> None:
        await self.count(f"ran:{name}")
        await self.append("order", name)
        await self.note(f"ran:{name}:{self.start.execution}")
        if source := spec.get("source"):
            await self.note(f"sourced:{name}", source)
        if spec.get("fetch"):
            key = f"{self.start.execution}:{name}"
            self.journal(request=key, execution=self.start.execution, name=name)
            await self.call(Fetch, ns="web", method="POST", url="http://origin.example/", headers=[("idempotency-key", key)])
        if spec.get("part"):
            await self.call(Commit)

    async def has_run(self, name: str) -> bool:
        return bool(await self.call(StoreRead, keys=[f"ran:{name}"]))

    async def second_part(self, name: str) -> None:
        await self.count(f"part:{name}")
        await self.note(f"part:{name}:{self.start.execution}")

    async def append(self, key: str, value: str) -> None:
        found = await self.call(StoreRead, keys=[key])
        before = msgspec.json.decode(found.get(key, b"[]"), type=list[str])
        await self.call(StoreWrite, items={key: msgspec.json.encode([*before, value])})

    async def ask_for(self, kid: dict[str, Any]) -> None:
        wanted = target("work", kid["name"], kid["spec"])
        fields: dict[str, Any] = {"target": wanted}
        if kid.get("callback"):
            fields = {"callback": await self.call(CallbackCreate, target=wanted)}
        await self.call(TaskRun, delay=kid.get("delay"), key=kid.get("key"), coalesce=kid.get("coalesce", False), **fields)

    def fail(self, how: str) -> None:
        if how in ("crash", "cpu_limit", "memory_limit"):
            raise Crash(None if how == "crash" else how)
        raise Raise(how)


class LightProcess:
    """A task in place of a process; implements `sandbox.interface.Process`."""

    pid = 0

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._guest: Guest | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    def welcome(self, on_connection: OnConnection) -> None:
        """Light guests make no connections."""

    def listen(self, on_message: OnMessage, on_end: OnEnd, tap: Tap | None = None) -> None:
        self._say, self._on_end = on_message, on_end

    def start(self, message: ReplayingHostMessage, limits: Limits) -> None:
        assert isinstance(message, Start)
        self._guest = Guest(message, self._say, self._journal)
        self._task = asyncio.create_task(self._run(self._guest))

    async def _run(self, guest: Guest) -> None:
        start = guest.start
        self._journal(began=start.execution, instance=start.instance, attempt=start.attempt, trigger=start.trigger)
        try:
            await asyncio.sleep(0)
            await guest.run()
            self._say(Finished(result=b"null"))
            self._end(Ended(code=0))
        except Raise as raised:
            self._say(
                Raised(
                    kind=raised.kind,
                    type="Failed",
                    message=raised.kind,
                    traceback="",
                    after=3.0 if raised.kind == "retry" else None,
                )
            )
            self._end(Ended(code=0))
        except Crash as crash:
            self._end(Ended(signal=9, limit=crash.limit))
        except Exception as fault:  # noqa: BLE001 - a fault of this file's own is told, and ends the process as any would
            self._journal(fault=repr(fault))
            self._end(Ended(code=1))
        finally:
            self._journal(ended=start.execution, instance=start.instance)

    def pause(self) -> None:
        """Guests wait for their answers anyhow."""

    def resume(self) -> None:
        """Nothing was paused."""

    def send(self, message: ReplayingHostMessage) -> None:
        if self._guest is None or self._is_over:
            return
        if isinstance(message, Failure):
            self._guest.waiting.pop(message.id).set_exception(Raise("error"))
        elif isinstance(message, Answer):
            self._guest.waiting.pop(message.id).set_result(message.value)

    async def taken(self) -> None:
        """What is sent is taken at once."""

    def usage(self) -> ProcessUsage:
        return ProcessUsage(cpu=0.001, memory_peak=0, wall=0.001)

    def kill(self, limit: str | None = None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._end(Ended(signal=9, limit=limit))

    def _end(self, ended: Ended) -> None:
        if not self._is_over:
            self._is_over = True
            asyncio.get_running_loop().call_soon(self._on_end, ended)


class LightSource:
    """Gives light guests; implements `sandbox.interface.Source`."""

    room = Figures()
    authority: Any = None
    hash_seed = 0

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def start(self) -> None:
        """There is nothing to start."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    async def describe(self, image: Image) -> Manifest:
        return manifest(1)

    async def take(self, image: Image) -> LightProcess:
        return LightProcess(self._journal)
