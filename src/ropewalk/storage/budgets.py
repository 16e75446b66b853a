"""What an instance may spend over time, and what is said about it: executions in a day, and chains of tasks. Pure.

A chain is a task that asks for a task that asks for a task, each due within a minute of being asked for, with no event from outside
between them: `depth` counts them. What is over its budget is not started but suspends its instance, which then does nothing until
somebody looks: a program in a loop is not mended by letting it loop more slowly. How fast it may go is `pace`'s. The backend that starts
executions asks here, and writes what comes of it in the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.records import StorageLimits, Suspension
from ropewalk.wire.messages import ActivityRecord, Json, NoteRecord

Budget = Literal["daily", "chain"]

HOUR: Final[Micros] = 3_600_000_000
HOURS: Final = 24
"""Buckets of the window of a day, the running hour's included: what is in it is never older than 24 hours."""

FORECAST: Final = 0.8
"""The share of a budget at which its owner is told, once a window."""

LOOKED_AT: Final = 64
"""Executions of a chain that are looked at to find its loop."""

_SHOWN: Final = 8


class Spent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an instance has spent.

    Attributes:
        hour: the running hour of its window, counted from 1970.
        daily: executions started in the window.
        past: those of the hours before the running one, the newest first.
        depth: how deep the chain is that the execution started last is in.
        chain_from: executions up to this number begin a chain anew, whatever their own depth: a resumed instance's.
        warned: the hour in which its owner was last told that a budget runs low.
    """

    hour: int = 0
    daily: int = 0
    past: tuple[int, ...] = ()
    depth: int = 0
    chain_from: int = 0
    warned: dict[Budget, int] = {}


read_spent = msgspec.json.Decoder(Spent).decode
write_spent = msgspec.json.Encoder().encode


# ── Spending ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def at_hour(spent: Spent, at: Micros) -> Spent:
    """Return what is spent as of `at`: hours that have left the window no longer count. A clock set back moves nothing."""
    hour = at // HOUR
    gone = hour - spent.hour
    if gone == 0:
        return spent
    if gone < 0:
        return replace(spent, hour=hour)
    if gone >= HOURS:
        return replace(spent, hour=hour, past=(), daily=0)
    running = spent.daily - sum(spent.past)
    past = ((running,) + (0,) * (gone - 1) + spent.past)[: HOURS - 1]
    return replace(spent, hour=hour, past=past, daily=sum(past))


def exceeded(spent: Spent, depth: int, limits: StorageLimits) -> Budget | None:
    """Return the budget that one more first attempt, at this depth of a chain, would be over."""
    if spent.daily >= limits.daily:
        return "daily"
    return "chain" if depth > limits.chain else None


def running_low(spent: Spent, limits: StorageLimits) -> Budget | None:
    """Return a budget of which most is spent and that its owner has not been told of in this window."""
    if spent.daily >= limits.daily * FORECAST and not _is_told(spent, "daily"):
        return "daily"
    if spent.depth >= limits.chain * FORECAST and not _is_told(spent, "chain"):
        return "chain"
    return None


def told(spent: Spent, budget: Budget) -> Spent:
    """Return what is spent once the owner has been told of `budget`."""
    return replace(spent, warned={**spent.warned, budget: spent.hour})


def _is_told(spent: Spent, budget: Budget) -> bool:
    return 0 <= spent.hour - spent.warned.get(budget, -HOURS) < HOURS


# ── Saying so ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Figures(Struct, frozen=True, kw_only=True):
    """What a note is about: the instance, the budget, and the methods that led to the execution in question, it first."""

    instance: str
    twist: str
    budget: Budget
    used: int
    limit: int
    methods: Sequence[str]
    pending: int

    @property
    def share(self) -> str:
        """How much was spent, in words."""
        spent = f"{self.used:,} executions in 24 hours" if self.budget == "daily" else f"a chain of tasks {self.used:,} deep"
        return f"{spent}, and the limit is {self.limit:,}"


_SETTING: Final[dict[Budget, str]] = {"daily": "limit_daily", "chain": "limit_chain"}


def suspended_by(figures: Figures, at: Micros) -> Suspension:
    """Return the suspension of an instance that is over a budget."""
    return Suspension(reason=f"{figures.share} ({loop_of(figures.methods)})", since=at, budget=figures.budget)


def forecast_of(figures: Figures) -> str:
    """Return the warning that a budget runs low."""
    return f"at its limit the instance is suspended: {figures.share} ({loop_of(figures.methods)})"


def loop_of(methods: Sequence[str]) -> str:
    """Return the chain that led to an execution in words: the loop where it is one, else the methods that were last.

    `methods` are the newest first; what is returned reads in the order in which they ran.
    """
    period = next((length for length in range(1, len(methods) // 2 + 1) if _is_period(methods, length)), None)
    if period is not None:
        return " → ".join(reversed(methods[: period + 1]))
    shown = " → ".join(reversed(methods[:_SHOWN]))
    return f"… → {shown}" if len(methods) > _SHOWN else shown


def _is_period(methods: Sequence[str], length: int) -> bool:
    """Whether the newer half of the methods, at least, comes again every `length` steps: what led into the loop does not belong to it."""
    newest = methods[: max(length, len(methods) // 2)]
    return all(one == other for one, other in zip(newest, methods[length:], strict=False))


def suspension_note(figures: Figures, suspension: Suspension) -> tuple[str, str]:
    """Return title and text of what the owner is told of a suspension."""
    lifted = f"A new version of `{figures.twist}` lifts this, or `ropewalk resume {figures.instance}`; both begin the count anew."
    return (
        f"{figures.twist} is suspended: {figures.share}",
        f"Instance `{figures.instance}` is suspended: {suspension.reason}.\n\n"
        f"Nothing is lost: what waits ({figures.pending:,} of its executions now) and what comes will run once that is lifted.\n\n"
        f"{lifted} The limit is the setting `{_SETTING[figures.budget]}`.",
    )


def forecast_note(figures: Figures) -> tuple[str, str]:
    """Return title and text of what the owner is told when a budget runs low."""
    return (
        f"{figures.twist} will soon be suspended: {figures.share}",
        f"Instance `{figures.instance}` is at {figures.share}. There it is suspended: nothing of it runs then, and nothing is lost.\n\n"
        f"What ran last: {loop_of(figures.methods)}.\n\n"
        f"If that is as it should be, raise the setting `{_SETTING[figures.budget]}`, or have `ropewalk resume {figures.instance}` begin "
        "the count anew. If it is a loop, deploy a version without it.",
    )


def owners_note(title: str, text: str, priority: str, at: Micros) -> tuple[ActivityRecord, NoteRecord]:
    """Return the activity, with its note, by which the owner of an instance is told something. Its ids cannot be guessed by a guest."""
    activity = ActivityRecord(
        id=str(uuid.uuid4()), type="note", title=title, priority=priority, unread=True, created_at=at, updated_at=at
    )
    return activity, NoteRecord(id=str(uuid.uuid4()), activity=activity.id, content=text, created_at=at)


# ── How suspensions are kept ──────────────────────────────────────────────────────────────────────────────────────────────────

_read_suspension = msgspec.json.Decoder(Suspension).decode


def write_suspension(suspension: Suspension | None) -> Json | None:
    """Return a suspension as JSON."""
    return None if suspension is None else msgspec.json.encode(suspension)


def read_suspension(kept: Json | None) -> Suspension | None:
    """Return the suspension that was kept; what cannot be read is one without a reason, which the audit gives it."""
    try:
        return None if kept is None else _read_suspension(kept)
    except msgspec.MsgspecError:
        return Suspension(reason="", since=0)
