"""How an attempt ended: what `attempt` finds out and `settling` makes durable."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ropewalk.queue.retries import Failure
from ropewalk.storage.records import AnyEffect, Claim, ErrorInfo, LogLine, Usage
from ropewalk.wire.messages import Json


class Succeeded(Struct, frozen=True):
    """The method returned."""

    result: Json


class Failed(Struct, frozen=True):
    """The method raised, or its process was ended by a limit or ended by itself."""

    failure: Failure
    error: ErrorInfo


class Cancelled(Struct, frozen=True):
    """It was ended for good; `why` says by what."""

    why: str


class Lost(Struct, frozen=True):
    """The node could not see it through, which is nobody's failure: it is done again."""

    why: str


class Fenced(Struct, frozen=True):
    """The lease is no longer this node's: there is nothing to settle."""


Ending = Succeeded | Failed | Cancelled | Lost | Fenced


class Outcome(Struct, frozen=True, kw_only=True):
    """An attempt that is over.

    `claim` is as it was made, but that `commit()` has counted its tries anew. `effects` and `logs` are those that are not stored yet,
    `record` is the sealed record of all of it, where one is kept.
    """

    claim: Claim
    ending: Ending
    usage: Usage
    effects: list[AnyEffect] = []
    logs: list[LogLine] = []
    record: bytes | None = None


def described(ending: Ending) -> tuple[Literal["succeeded", "failed", "lost", "cancelled"], ErrorInfo | None]:
    """Return the attempt's status, and its error where it has one."""
    match ending:
        case Succeeded():
            return "succeeded", None
        case Failed(_, error):
            return "failed", error
        case Cancelled(why):
            return "cancelled", ErrorInfo(type="cancelled", message=why)
        case Lost(why):
            return "lost", ErrorInfo(type="node_lost", message=why)
        case Fenced():
            return "lost", None
