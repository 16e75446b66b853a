"""What every answer works on: the session of one attempt.

An answer is an async function of the session and a call of the wire; it returns what the call's `answer` type says, or raises an
error of `ropewalk.errors` that is raised again at the author's `await`. It writes nothing: it appends effects, which the settlement
applies. What the attempt itself has done so far shows in its reads, through an overlay that each topic keeps for itself.

A call comes from a guest: every field of it may be hostile, and only its types have been checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
from msgspec import Struct

from ropewalk.answers.secrets import InstanceOptions
from ropewalk.egress.bodies import Turn
from ropewalk.errors import InvalidValue, PermissionDenied, ValueTooLarge
from ropewalk.storage.records import AnyEffect, Claim

if TYPE_CHECKING:
    from ropewalk.answers.throttle import Throttle
    from ropewalk.clock import Clock, Micros
    from ropewalk.egress.fetch import Fetcher
    from ropewalk.egress.sent import Sent
    from ropewalk.recording.recorder import Recorder
    from ropewalk.storage.interface import Storage
    from ropewalk.vault.vault import Vault
    from ropewalk.wire.control import Manifest, ToolInfo
    from ropewalk.wire.messages import Json, Start

MIB = 1024 * 1024

MOST_NOTED = 1_000
"""HTTP requests of an attempt that are listed; of more it is said how many there were."""

Answering = Callable[["Session", Any], Awaitable[Any]]
"""An answer: `async def store_read(session, call)`."""

OverlayT = TypeVar("OverlayT")


class LeaseOver(Exception):
    """The node's lease is over by its own clock: the attempt counts as lost, and no error of this goes to its author."""


class AnswerLimits(Struct, frozen=True, kw_only=True):
    """The operator's bounds on what a guest may ask for. Bytes and counts."""

    value: int = MIB
    store: int = 100 * MIB
    effect_bytes: int = 16 * MIB
    effect_rows: int = 10_000
    batch: int = 1_000
    listing: int = 10_000
    queue: int = 200_000
    queue_bytes: int = 512 * MIB
    callbacks: int = 100_000
    webhooks: int = 1_000
    recurring: int = 1_000


class Host(Struct, frozen=True, kw_only=True):
    """What attempts and their answers need of the node. Without a `recorder` no attempt is recorded.

    `public_url` is what webhooks' URLs begin with, "" where only other nodes may know.
    """

    storage: Storage
    clock: Clock
    fetcher: Fetcher
    egress: Throttle
    limits: AnswerLimits
    vault: Vault
    recorder: Recorder | None = None
    public_url: str = ""


class Session:
    """One attempt, as the host's answers see it.

    Attributes:
        host: the node's parts and limits.
        claim: the instance and execution that the connection belongs to: nothing that the guest says changes whose it is.
        manifest: what the running version declared at deploy.
        effects: what the attempt wants to have happened since its start or last commit, in order.
        start: the event as the process was told of it.
        options: the instance's options as they were when the attempt started.
        turn: in which large bodies are read for it.
        sent: its HTTP requests, in the order in which they began, and `unlisted` how many more there were.
    """

    __slots__ = (
        "_asked",
        "_holds_lease",
        "_overlays",
        "_stamped",
        "_tasks",
        "_tools",
        "claim",
        "effect_bytes",
        "effects",
        "host",
        "manifest",
        "options",
        "sent",
        "start",
        "turn",
        "unlisted",
    )

    start: Start

    def __init__(
        self,
        host: Host,
        claim: Claim,
        manifest: Manifest,
        holds_lease: Callable[[], bool] = lambda: True,
        options: InstanceOptions | None = None,
    ) -> None:
        self.host = host
        self.claim = claim
        self.manifest = manifest
        self.options = options or InstanceOptions(told=claim.instance.options, open=claim.instance.options)
        self._holds_lease = holds_lease
        self.turn = Turn()
        self.sent: list[Sent] = []
        self.unlisted = 0
        self.effects: list[AnyEffect] = []
        self.effect_bytes = 0
        self._overlays: dict[type[Any], Any] = {}
        self._tasks = 0
        self._asked: dict[bytes, int] = {}
        self._stamped: Micros = 0
        self._tools: dict[str, ToolInfo] | None = None

    def overlay(self, kind: type[OverlayT]) -> OverlayT:
        """Return this attempt's overlay of that kind, made empty when first asked for."""
        found = self._overlays.get(kind)
        if found is None:
            found = self._overlays[kind] = kind()
        return cast("OverlayT", found)

    def check_lease(self) -> None:
        """Raise LeaseOver when the node may do nothing in the outside world any more, since another one may run the instance."""
        if not self._holds_lease():
            raise LeaseOver

    def note(self, sent: Sent) -> None:
        """Take note of an HTTP request that begins now."""
        if len(self.sent) >= MOST_NOTED:
            self.unlisted += 1
            return
        sent.at = self.host.clock.now()
        self.sent.append(sent)

    def stamp(self) -> Micros:
        """Return the time for something made now: later than any that it returned before, so that what is made stays in order."""
        self._stamped = max(self.host.clock.now(), self._stamped + 1)
        return self._stamped

    def next_task(self) -> str:
        """Return the id of a task whose asker does not wait for it, since it knows it."""
        self._tasks += 1
        return self.start.task_id(self._tasks - 1)

    def how_often(self, what: bytes) -> int:
        """Return how often this was asked, `what` being the same, since the attempt began; 1 at first."""
        self._asked[what] = often = self._asked.get(what, 0) + 1
        return often

    def tool(self, ns: str) -> ToolInfo | None:
        """Return what the manifest declares at the path `ns`."""
        if self._tools is None:
            self._tools = {tool.ns: tool for tool in self.manifest.tools}
        return self._tools.get(ns)

    def require_staying(self, what: str) -> None:
        """Raise PermissionDenied when the instance leaves with this execution: nothing of it runs afterwards, so nothing can be asked for."""
        if self.claim.execution.trigger == "deactivate":
            raise PermissionDenied(
                f"{what} cannot be used while an instance is deactivated: nothing of it runs any more when deactivate() is over; "
                "do what is left to do right here"
            )

    def require_tool(self, ns: str) -> None:
        """Raise PermissionDenied unless the manifest declares a tool at the path `ns`: nothing is kept under another name."""
        if self.tool(ns) is None:
            raise PermissionDenied(f"the twist declares no tool at {ns[:80]!r}: add one as a class attribute and deploy again")

    def add(self, effect: AnyEffect, size: int = 0) -> None:
        """Append an effect whose payload has `size` bytes.

        Raises:
            ValueTooLarge: there are more effects than may be between two commits.
        """
        limits = self.host.limits
        if len(self.effects) >= limits.effect_rows:
            raise ValueTooLarge(
                f"this execution has {limits.effect_rows:,} changes that are not committed, which is the limit: "
                "call self.commit(), or go on in another task with self.run_task()"
            )
        if self.effect_bytes + size > limits.effect_bytes:
            raise ValueTooLarge(
                f"this execution's uncommitted changes would have {self.effect_bytes + size:,} bytes and may have "
                f"{limits.effect_bytes:,}: call self.commit(), or go on in another task with self.run_task()"
            )
        self.effects.append(effect)
        self.effect_bytes += size

    def add_all(self, effects: list[tuple[AnyEffect, int]]) -> None:
        """Append effects, each with its size, or none of them when there is no room for all. Raises as `add`."""
        mark, size = len(self.effects), self.effect_bytes
        try:
            for effect, own_size in effects:
                self.add(effect, own_size)
        except ValueTooLarge:
            del self.effects[mark:]
            self.effect_bytes = size
            raise

    def committed(self) -> None:
        """Forget the effects: they are durable, and reads find them in storage."""
        self.effects = []
        self.effect_bytes = 0
        self._overlays = {}


def check_batch(count: int, limit: int, what: str) -> None:
    """Raise ValueTooLarge when a batch has more than `limit` items."""
    if count > limit:
        raise ValueTooLarge(f"{count:,} {what} in one call are over the limit of {limit:,}: split them")


def check_json(value: Json, what: str) -> Any:
    """Return the JSON text's value.

    Raises:
        InvalidValue: it is no JSON, or nested too deep.
    """
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{what} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidValue(f"{what} is nested too deep") from None
