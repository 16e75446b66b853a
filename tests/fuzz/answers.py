"""Everything that a guest may say after its start, to a real attempt on a real database, and what must hold whatever it says.

- Every call is answered once, with what its `answer` type says or with an error that guests know; nothing fails on the host.
- What was answered as done can be committed, and the database is sound afterwards.
- Nobody else's rows change, and nothing of theirs is told.

Each input has a copy of the same database, so that it alone decides what happens.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ropewalk import errors
from ropewalk.answers.interface import AnswerLimits
from ropewalk.dispatch.attempt import Attempt
from ropewalk.dispatch.outcome import Failed, Succeeded
from ropewalk.dispatch.settling import Settler
from ropewalk.dispatch.versions import LoadedVersion
from ropewalk.egress.fetch import Fetcher
from ropewalk.sandbox.interface import Image, Limits
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import ActivityQuery, PutCallback, PutValue
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.control import Manifest, Method, RetryInfo, ToolInfo
from ropewalk.wire.frames import MESSAGE_LIMIT_FROM_HOST, FrameDecoder, encode_frames
from ropewalk.wire.messages import (
    ActivitiesCreate,
    Answer,
    AnyCall,
    Failure,
    Finished,
    GuestMessage,
    HostMessage,
    PriorityRecord,
    Start,
    Target,
)
from tests.answers.authors import Author, new, note
from tests.fuzz.choices import Choices
from tests.fuzz.messages import CALLS, SPOKEN, UUIDS, Tongue, packed
from tests.fuzz.stand import Stand
from tests.storage.scene import NODE, Scene, StillClock

SECRET: Final = b"what is nobody else's business"

MANIFEST: Final = Manifest(
    protocol=1,
    python="3.11",
    cls="Syncer",
    description="",
    methods=[Method(ns=ns, name=name) for ns in ("", "calendar", "calendar.contacts") for name in ("go", "sync")],
    tools=[
        ToolInfo(ns="plot", kind="Plot"),
        ToolInfo(ns="web", kind="Network", options=b'{"urls":["*"]}'),
        ToolInfo(ns="calendar", kind="custom"),
        ToolInfo(ns="calendar.contacts", kind="custom"),
    ],
)

_LIMITS: Final = (
    AnswerLimits(),
    AnswerLimits(value=2_000, store=5_000, effect_bytes=20_000, effect_rows=20, batch=5, listing=3, queue=4),
)
_KNOWN: Final = {"ValueError", "TypeError"} | {
    name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.RopewalkError)
}
_ANSWERS: Final = {kind: msgspec.msgpack.Decoder(kind.answer) for kind in AnyCall.__args__}
_OF_THE_HOST: Final = {"internal_error", "conflict"}
"""Errors that say that an answer failed, or that what was answered as done could not be committed."""

_MOST_MESSAGES: Final = 40
PATIENCE: Final = 20.0
"""Seconds for which a call may go unanswered, on however busy a machine."""

decode_guest = msgspec.msgpack.Decoder(GuestMessage).decode
decode_host = msgspec.msgpack.Decoder(HostMessage).decode


class Guest:
    """The guest's end of a connection: says what it is told to, and holds what it hears against the schema."""

    def __init__(self, connection: socket.socket, heard: list[str], over: Callable[[], bool]) -> None:
        self.heard = heard
        self.conflicts = False
        """Whether it said of an id of its own choosing that it was not: what it made then may be there already, to its own harm."""
        self._connection = connection
        self._over = over
        self._frames = FrameDecoder(MESSAGE_LIMIT_FROM_HOST)
        self._asked: dict[int, list[type[Any]]] = {}

    async def say(self, message: bytes) -> None:
        """Say what may be a message, unless it was ended."""
        self._expect(message)
        left = memoryview(encode_frames(message))
        while left and not self._over():
            try:
                left = left[self._connection.send(left) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return
            await asyncio.sleep(0)
            self._listen()

    async def answered(self) -> None:
        """Return when every call is answered, or it was ended."""
        give_up_at = time.monotonic() + PATIENCE
        while self._asked and not self._over():
            assert time.monotonic() < give_up_at, f"not answered: {self._asked}"
            await asyncio.sleep(0)
            self._listen()

    def _expect(self, said: bytes) -> None:
        """Take note of what has to be answered."""
        try:
            message = decode_guest(said)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return
        if isinstance(message, AnyCall) and message.id:
            self._asked.setdefault(message.id, []).append(type(message))
        if isinstance(message, ActivitiesCreate):
            self.conflicts |= not all(item.own_id for item in message.items)

    def _listen(self) -> None:
        try:
            data = self._connection.recv(1 << 20)
        except (BlockingIOError, ConnectionResetError):
            return
        for said in self._frames.feed(data):
            assert SECRET not in said, "it was told what is another's"
            self._hear(decode_host(said))

    def _hear(self, reply: Start | Answer | Failure) -> None:
        if isinstance(reply, Start) or not reply.id:
            return
        kinds = self._asked[reply.id]
        kind = kinds.pop(0)
        if not kinds:
            del self._asked[reply.id]
        if isinstance(reply, Failure):
            assert reply.error in _KNOWN, f"{kind.__name__} failed with {reply.error}, which guests do not know: {reply.message}"
        else:
            self._learn(_ANSWERS[kind].decode(reply.value))

    def _learn(self, answer: Any) -> None:
        for found in answer if isinstance(answer, list) else [answer]:
            told = found if isinstance(found, str) else getattr(found, "id", None) or getattr(found, "cursor", None)
            if isinstance(told, str):
                self.heard.append(told)


class Bed:
    """A database with an instance whose attempt has just begun, and with two others that it has no business with.

    `i1` is the one; `i2` is of the same twist, in a priority beside; `i9` is another twist's in the same priority.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stand = Stand(asyncio.get_running_loop())
        self._clock = StillClock()
        self._heard: list[str] = []
        self._fetcher = Fetcher(resolve=_nowhere)

    @classmethod
    async def made(cls, folder: Path) -> Bed:
        """Return one, its database filled."""
        bed = cls(folder)
        await bed._make()
        return bed

    async def _make(self) -> None:
        await self._fetcher.start()
        storage = await open_sqlite(self._folder / "made.db", clock=self._clock, create=True)
        scene = Scene(storage, self._clock)
        await scene.prepare()
        root = scene.priority
        for name in ("home", "beside"):
            await storage.create_priority(PriorityRecord(id=name, title=name, parent=root))
        scene.priority = "beside"
        await self._fill(scene, "i2", SECRET.decode())
        scene.priority, mine = "home", scene.twist
        scene.twist = (await scene.deploy("b2", "other")).twist
        await self._fill(scene, "i9", SECRET.decode())
        scene.twist = mine
        await self._fill(scene, "i1", "go")
        await storage.create_priority(PriorityRecord(id="below", title="below", parent="home"))
        self._heard += ["home", "below", root]
        session = (await Author.begin(scene, "i1")).session
        self._claim, self._host = session.claim, replace(session.host, fetcher=self._fetcher)
        self._others = await self._rows(storage)
        await storage.close()

    async def close(self) -> None:
        """Let go of everything."""
        await self._fetcher.stop()
        self._stand.close()

    async def _fill(self, scene: Scene, instance: str, text: str) -> None:
        """Give an instance something of everything."""
        await scene.active(instance)
        author = await Author.begin(scene, instance)
        (activity,) = await author.create(
            new(text, id=f"{instance[1:]:0>8}{UUIDS[0][8:]}", source=f"s:{instance[1:]}", meta=b'{"a":1}')
        )
        (said,) = await author.add_notes(activity.id, note(text, key="a"))
        token = f"cb_{instance}"
        author.session.add(PutValue(ns="", key="a", value=msgspec.json.encode(text)))
        author.session.add(PutCallback(ns="", token=token, target=Target(ns="", method=text), at=self._clock.now()))
        author.session.add(scene.task(text, 60.0, instance, key="a"))
        await author.finish()
        self._heard += [activity.id, said.id, token, scene.priority, *(task.id for task in await scene.storage.tasks(instance))]

    async def _rows(self, storage: Storage) -> list[object]:
        """Return all that the others have."""
        return [
            (
                await storage.instance(one),
                await storage.read_values(one, "", await storage.read_keys(one, "", "", 0), 0),
                [await storage.callback(one, token) for token in await storage.callback_tokens(one, "")],
                await storage.tasks(one),
                [
                    (owned, await storage.notes(owned.activity.id))
                    for owned in await storage.activities(ActivityQuery(limit=None))
                    if owned.instance == one
                ],
            )
            for one in ("i2", "i9")
        ]

    async def run(self, data: bytes) -> None:
        """Say what `data` decides, and see that all is well."""
        path = self._folder / "copy.db"
        shutil.copyfile(self._folder / "made.db", path)
        storage = await open_sqlite(path, clock=self._clock, create=False)
        try:
            await self._attempt(Choices(data), storage)
        finally:
            await storage.close()
            for left in self._folder.glob("copy.db*"):
                left.unlink()

    async def _attempt(self, choices: Choices, storage: Storage) -> None:
        limits = choices.pick(_LIMITS)
        host = replace(self._host, storage=storage, limits=limits)
        attempt = Attempt(host, self._claim, _VERSION, PriorityRecord(id="home", title="home"), lambda: True)
        with self._stand.process() as (process, theirs):
            running = asyncio.create_task(attempt.run(process))
            guest = Guest(theirs, [*self._heard], running.done)
            await _talk(choices, guest)
            outcome = await running
        held = len(msgspec.msgpack.encode(outcome.effects))
        assert held < 4 * limits.effect_bytes + 1_000 * limits.effect_rows, f"{held:,} bytes of effects are held"
        assert isinstance(outcome.ending, Succeeded | Failed), outcome.ending
        await Settler(storage, self._clock, NODE).settle(outcome, RetryInfo(), claim_next=False)
        (ended,) = await storage.attempts(self._claim.execution.id)
        allowed = {"conflict"} if guest.conflicts else set[str]()
        assert ended.error is None or ended.error.type not in _OF_THE_HOST - allowed, ended.error.message
        assert await storage.audit(self._clock.now(), repair=False) == []
        assert await self._rows(storage) == self._others, "rows of other instances changed"


async def _talk(choices: Choices, guest: Guest) -> None:
    """Say one message after another, then the last word."""
    tongue = Tongue(choices, guest.heard)
    for _ in range(_MOST_MESSAGES):
        if not choices.more:
            break
        among = SPOKEN if choices.once_in(24) else CALLS
        await guest.say(_garbled(choices, packed(tongue.message(among))))
        if not choices.once_in(4):
            await guest.answered()
    await guest.answered()
    await guest.say(packed(Finished(result=b"null")))


def _garbled(choices: Choices, message: bytes) -> bytes:
    """Return a message with, now and then, one byte changed."""
    if not choices.once_in(50):
        return message
    at = choices.number(len(message))
    return message[:at] + choices.raw(1) + message[at + 1 :]


async def _nowhere(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


_VERSION: Final = LoadedVersion(
    image=Image(bundle="b1", module="twist", cls="Syncer", limits=Limits()), manifest=MANIFEST, limits=Limits()
)
