"""What a light guest does with an event: the clerk's methods, as messages. `clerk` has the same ones for the sandbox.

`work(name, spec)` writes down in its store and in an activity that it ran, in the same transaction as what else `spec` asks of it. What is
made of randomness is made of the event's seed, so that an attempt can be run again.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec

from ropewalk.sandbox.interface import OnMessage
from ropewalk.wire.messages import (
    ActivitiesCreate,
    ActivityDelete,
    ActivityRecord,
    ActivityUpdate,
    Answer,
    CallbackCreate,
    CallbackDelete,
    Commit,
    Failure,
    Fetch,
    Log,
    NewActivityRecord,
    NoteRecord,
    NotesCreate,
    NoteUpdate,
    Start,
    StoreClear,
    StoreDelete,
    StoreRead,
    StoreWrite,
    Target,
    TaskCancel,
    TaskRecur,
    TaskRun,
    WebhookCreate,
    WebhookDelete,
)
from tests.crash.versions import EVERY, Code

LIFECYCLE = ("activate", "upgrade", "deactivate")


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
    """One attempt, from its Start to its last word.

    Args:
        start: the event.
        code: the version that runs.
        say: takes what it says.
    """

    def __init__(self, start: Start, code: Code, say: OnMessage) -> None:
        self.start = start
        self.code = code
        self.tone: str = msgspec.json.decode(start.options)["tone"]
        self._say = say
        self._chance = random.Random(start.seed)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._last_id = 0

    def hear(self, message: Answer | Failure) -> None:
        """Take the answer to a call."""
        waiting = self._waiting.pop(message.id)
        if isinstance(message, Answer):
            waiting.set_result(message.value)
        else:
            waiting.set_exception(Raise("error"))

    async def run(self) -> None:
        """Run the method that the event is for."""
        methods: dict[str, Callable[..., Awaitable[None]]] = {
            "activate": self.activate,
            "upgrade": self.upgrade,
            "deactivate": self.deactivate,
            "options_changed": self.options_changed,
            "work": self.work,
            "hook": self.hook,
            "tick": self.tick,
            "daily": self.tick,
        }
        arguments: tuple[list[Any], dict[str, Any]] = msgspec.json.decode(
            self.start.target.arguments, type=tuple[list[Any], dict[str, Any]]
        )
        events = [] if self.start.trigger in LIFECYCLE else msgspec.json.decode(self.start.event)
        self._say(Log(time=self.start.started_at, level=20, message=self.start.execution))
        await methods[self.start.target.method](*events, *arguments[0])

    # ── The methods ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def activate(self) -> None:
        await self.call(WebhookCreate, ns="web", target=target("hook"))
        await self.call(TaskRecur, key="tick", target=target("tick"), every=EVERY)
        await self.note(f"activated:{self.start.instance}")
        if ":unfit" in self.tone:
            raise Raise("give_up")

    async def upgrade(self) -> None:
        await self.note(f"upgraded:{self.start.instance}:{self.start.version}:{self.code.number}")
        self.fail_as(self.code.upgrade)

    async def deactivate(self) -> None:
        await self.note(f"deactivated:{self.start.instance}")
        if ":stay" in self.tone:
            raise Raise("error")

    async def options_changed(self, before: dict[str, Any]) -> None:
        await self.append("told", before["tone"])
        await self.note(f"told:{self.start.execution}")
        self.fail_as(["error"] if ":error" in self.tone else ["error"] * 40 if ":dead" in self.tone else [])

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
        if chores := spec.get("chores"):
            await getattr(self, f"{chores}_chores")()
        await asyncio.sleep(spec.get("slow", 0))
        self.fail_as(spec.get("fails", []))

    async def first_part(self, name: str, spec: dict[str, Any]) -> None:
        await self.count(f"ran:{name}")
        await self.append("order", name)
        await self.note(f"ran:{name}:{self.start.execution}")
        if source := spec.get("source"):
            await self.note(f"sourced:{name}", source)
        if spec.get("fetch"):
            await self.post(name)
        if spec.get("part"):
            await self.call(Commit)

    async def has_run(self, name: str) -> bool:
        return bool(await self.call(StoreRead, keys=[f"ran:{name}"]))

    async def second_part(self, name: str) -> None:
        await self.count(f"part:{name}")
        await self.note(f"part:{name}:{self.start.execution}")

    async def leave_chores(self) -> None:
        """Leave something that goes by itself."""
        await self.call(StoreWrite, items={"soon gone": b"1"}, ttl=1.0)

    async def make_chores(self) -> None:
        """Make one of each thing that can be unmade."""
        activity, note = self.new_id(), self.new_id()
        await self.call(StoreWrite, items={"chore": b"1", "chores:1": b"1"})
        made = ActivityRecord(id=activity, type="action", title="sourced:chore")
        await self.call(ActivitiesCreate, ns="plot", items=[NewActivityRecord(activity=made)])
        await self.call(NotesCreate, ns="plot", activity=activity, notes=[NoteRecord(id=note, content="made")])
        await self.call(TaskRun, target=target("tick"), delay=EVERY, key="chore")
        things = {
            "activity": activity,
            "note": note,
            "callback": await self.call(CallbackCreate, target=target("work", "never", {})),
            "url": await self.call(WebhookCreate, ns="web", target=target("hook")),
        }
        await self.call(StoreWrite, items={"things": msgspec.json.encode(things)})

    async def change_chores(self) -> None:
        """Change and unmake things by their names."""
        if not (things := await self.things()):
            return
        await self.call(StoreDelete, keys=["chore"])
        await self.call(ActivityUpdate, ns="plot", activity=things["activity"], changes=b'{"title":"sourced:changed"}')
        await self.call(NoteUpdate, ns="plot", note=things["note"], changes=b'{"content":"changed"}')
        await self.call(TaskCancel, token_or_key="chore")
        await self.call(CallbackDelete, token=things["callback"])
        await self.call(WebhookDelete, ns="web", url=things["url"])

    async def drop_chores(self) -> None:
        """Unmake the rest, whatever there is of each."""
        if not (things := await self.things()):
            return
        await self.call(StoreClear, prefix="chores")
        await self.call(ActivityDelete, ns="plot", activity=things["activity"])
        await self.call(TaskCancel)
        await self.call(CallbackDelete)

    async def things(self) -> dict[str, str]:
        """Return the names of what was made; none when whoever was to ask for it was killed."""
        found = await self.call(StoreRead, keys=["things"])
        return msgspec.json.decode(found.get("things", b"{}"), type=dict[str, str])

    # ── What they do with the host ────────────────────────────────────────────────────────────────────────────────────────────

    async def call(self, kind: Any, **fields: Any) -> Any:
        """Ask the host and return its answer."""
        self._last_id += 1
        answered = self._waiting[self._last_id] = asyncio.get_running_loop().create_future()
        self._say(kind(**{"id": self._last_id, "ns": ""} | fields))
        raw = await answered
        return None if kind.answer is None else msgspec.msgpack.decode(raw, type=kind.answer)

    async def count(self, key: str) -> None:
        """Add one to a stored number."""
        found = await self.call(StoreRead, keys=[key])
        before = msgspec.json.decode(found.get(key, b"0"), type=int)
        await self.call(StoreWrite, items={key: msgspec.json.encode(before + 1)})

    async def append(self, key: str, value: str) -> None:
        """Add to a stored list."""
        found = await self.call(StoreRead, keys=[key])
        before = msgspec.json.decode(found.get(key, b"[]"), type=list[str])
        await self.call(StoreWrite, items={key: msgspec.json.encode([*before, value])})

    async def note(self, title: str, source: str | None = None) -> None:
        """Make an activity with a note."""
        activity = ActivityRecord(id=self.new_id(), type="note", title=title, source=source)
        about = NoteRecord(id=self.new_id(), content=title)
        await self.call(ActivitiesCreate, ns="plot", items=[NewActivityRecord(activity=activity, notes=[about])])

    async def post(self, name: str) -> None:
        """Send the origin a request."""
        key = hashlib.sha256(f"{self.start.execution}\0{name}".encode()).hexdigest()[:40]
        url = f"{self.code.origin}/{self.start.execution}/{self.start.attempt}"
        headers = [("idempotency-key", key), ("x-code", str(self.code.number))]
        await self.call(Fetch, ns="web", method="POST", url=url, headers=headers)

    async def ask_for(self, kid: dict[str, Any]) -> None:
        """Have another `work` run, now or later."""
        wanted = target("work", kid["name"], kid["spec"])
        fields: dict[str, Any] = {"target": wanted}
        if kid.get("callback"):
            fields = {"callback": await self.call(CallbackCreate, target=wanted)}
        await self.call(TaskRun, delay=kid.get("delay"), key=kid.get("key"), coalesce=kid.get("coalesce", False), **fields)

    def fail_as(self, ways: list[str]) -> None:
        """End as the ways to end say for this attempt, when they reach that far."""
        if self.start.attempt > len(ways):
            return
        how = ways[self.start.attempt - 1]
        if how in ("crash", "cpu_limit", "memory_limit"):
            raise Crash(None if how == "crash" else how)
        raise Raise(how)

    def new_id(self) -> str:
        """Draw an id."""
        return str(UUID(int=self._chance.getrandbits(128), version=4))
