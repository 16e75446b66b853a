"""When something that recurs is due: the arithmetic of `every` and of cron expressions, and what becomes of ticks that come late. Pure.

A tick is a nominal time: `first + n * every`, or a time that a cron expression gives in a time zone. When it is looked at does not move
it, so that no delay adds up. Cron follows Debian's rules where clocks change (cron(8), "DAYLIGHT SAVINGS TIME"): an expression with a
fixed minute and hour runs once for each day, at the end of a gap that swallows its time, and at the first of two equal times; one with a
`*` in either follows the time that really passes, and runs whenever clocks show what it means. The table of zones may change between two
ticks: only the next one is ever kept.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from datetime import UTC, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from msgspec import Struct

from ropewalk.clock import Micros, from_datetime, to_datetime
from ropewalk.wire.messages import CatchUp

log = logging.getLogger(__name__)

SECOND: Final[Micros] = 1_000_000
DAY: Final[Micros] = 86_400 * SECOND

SHORTEST: Final[Micros] = SECOND
"""The least `every`."""

LONGEST: Final[Micros] = 36_525 * DAY
"""The longest `every`: a hundred years."""

NEVER: Final[Micros] = (1 << 62) - 1
"""A tick that does not come: after the last one that a calendar has (the year 9999)."""

MOST: Final = 1_000
"""Missed runs that one time of catching up knows of: older ones are neither run nor, of a cron expression, counted."""

AT_ONCE: Final = 64
"""Most runs that one write queues."""

LATE: Final[Micros] = 60 * SECOND
"""How late a run may begin that is not to be caught up with; half the time to the next tick, if that is less."""

CRON_LENGTH: Final = 200
"""Most characters of a cron expression."""


class BadRecurrence(ValueError):
    """A recurrence that cannot be; the message says what of it, and what could."""


class Recurrence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When something recurs. Exactly one of `every` and `cron` is given; `first` is the first tick, from which `every` counts on."""

    every: Micros | None = None
    cron: str | None = None
    tz: str = "UTC"
    first: Micros = 0
    catch_up: CatchUp = "one"


class Turn(Struct, frozen=True, kw_only=True):
    """What becomes of the ticks that have come.

    Attributes:
        runs: the nominal times of the runs that begin now, in order.
        next: the next tick to look at; a time that has come when more runs follow these.
        owed: ticks up to this time are caught up with, whatever ran when they came.
        skipped: ticks that came while the run before was not over.
        missed: ticks that came while nothing could run, and that get no run of their own.
    """

    runs: list[Micros]
    next: Micros
    owed: Micros
    skipped: int
    missed: int


# ── Checking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def recurrence(
    *, every: Micros | None, cron: str | None, tz: str, catch_up: CatchUp, first: Micros | None, now: Micros
) -> Recurrence:
    """Return a recurrence that is asked for at `now`.

    Raises:
        BadRecurrence: it cannot be.
    """
    if (every is None) == (cron is None):
        raise BadRecurrence("a schedule has either every= or cron=, and not both")
    if every is not None and not SHORTEST <= every <= LONGEST:
        raise BadRecurrence(f"every={every / SECOND:g} s is not between {SHORTEST // SECOND} s and 100 years")
    if first is not None and not -NEVER < first < NEVER:
        raise BadRecurrence("first_run_at is too far away")
    _check_zone(tz)
    asked = Recurrence(every=every, cron=cron, tz=tz, catch_up=catch_up)
    if cron is not None:
        _check_cron(cron)
        if _cron_after(asked, now) == NEVER:
            raise BadRecurrence(f"cron={cron!r} never comes: no date of the next 50 years is like that")
    if first is None:
        first = _cron_after(asked, now) if every is None else now + every
    return Recurrence(every=every, cron=cron, tz=tz, catch_up=catch_up, first=first)


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, a path that leads out, no name at all
        raise BadRecurrence(
            f"tz={name[:80]!r} is no time zone that this host knows: use an IANA name, such as 'Europe/Paris' or 'UTC'"
        ) from None


def _check_cron(text: str) -> None:
    fields = len(text.split())
    if fields != 5 or len(text) > CRON_LENGTH:
        raise BadRecurrence(
            f"cron={text[:80]!r} has {fields} fields in {len(text):,} characters: write five, minute hour day month weekday, "
            f"in at most {CRON_LENGTH}, such as '0 9 * * 1-5'"
        )
    try:
        CronSim(text, to_datetime(0))
    except (CronSimError, ValueError, TypeError, AssertionError) as error:  # the last two are what it makes of some odd fields
        why = f": {error}" if str(error) else ""
        raise BadRecurrence(
            f"cron={text!r} cannot be read{why}: write minute hour day month weekday, such as '0 9 * * 1-5'"
        ) from None


# ── Ticks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def after(recurrence: Recurrence, at: Micros) -> Micros:
    """Return the first tick after `at`."""
    if at < recurrence.first:
        return recurrence.first
    if recurrence.every is None:
        return _cron_after(recurrence, at)
    following = recurrence.first + ((at - recurrence.first) // recurrence.every + 1) * recurrence.every
    return min(following, NEVER)


def ticks(recurrence: Recurrence, first: Micros, last: Micros) -> tuple[list[Micros], int]:
    """Return the newest `MOST` of the ticks from `first`, which is one, to `last`; and how many older ones are left out, where that is known."""
    if recurrence.every is not None:
        start = after(recurrence, first)
        later = max(0, (last - start) // recurrence.every + 1)
        kept = min(later, MOST)
        newest = [start + number * recurrence.every for number in range(later - kept, later)]
        return ([first, *newest], 0) if later < MOST else (newest, later + 1 - kept)
    # Backwards the library's rules for changing clocks are others, so what is newest is found in ever longer stretches.
    stretch = 3_600 * SECOND
    while True:
        found = list(_cron_ticks(recurrence, max(first, last - stretch), last))
        if len(found) >= MOST:
            return found[-MOST:], 0
        if last - stretch <= first:
            return [first, *found], 0
        stretch *= 4


def _cron_ticks(recurrence: Recurrence, after: Micros, last: Micros) -> Iterator[Micros]:
    """Yield the ticks of a cron expression after one time and up to another."""
    for tick in _cron(recurrence, after):
        if tick > last:
            return
        yield tick


def _cron_after(recurrence: Recurrence, at: Micros) -> Micros:
    return next(_cron(recurrence, at), NEVER)


def _cron(recurrence: Recurrence, at: Micros) -> Iterator[Micros]:
    """Yield the ticks of a cron expression after a time, each later than the one before."""
    assert recurrence.cron is not None
    minute, hour, *_ = recurrence.cron.split()
    found = _passing if minute.startswith("*") or hour.startswith("*") else _daily
    try:
        for tick in found(recurrence.cron, _zone(recurrence.tz), at):
            if tick > at:
                yield tick
                at = tick
    except (OverflowError, ValueError):  # the calendar's end
        return


def _daily(cron: str, zone: tzinfo, at: Micros) -> Iterator[Micros]:
    """Yield the ticks of an expression with a fixed minute and hour, from the first of two equal times on where that is where `at` is."""
    return map(from_datetime, CronSim(cron, to_datetime(at).astimezone(zone)))


def _passing(cron: str, zone: tzinfo, at: Micros) -> Iterator[Micros]:
    """Yield the ticks of an expression with a `*`, and perhaps some before `at`: whenever clocks show what it means.

    The library is asked for what clocks would show if they never changed. By PEP 495 a time that they leave out is later as the first of
    two equal times than as the second, and one that they show twice is earlier.
    """
    shown, in_a_day = (to_datetime(time).astimezone(zone).replace(tzinfo=None) for time in (at, at + DAY))
    soon_again = max(timedelta(), shown + timedelta(days=1) - in_a_day)
    twice: deque[Micros] = deque()
    for one in CronSim(cron, shown - soon_again):
        first, second = (from_datetime(one.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
        if first > second:
            continue
        while twice and twice[0] < first:
            yield twice.popleft()
        yield first
        if second > first:
            twice.append(second)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        log.warning("schedules in the time zone %s run by UTC, since this host no longer knows it: %s", name, error)
        return UTC


# ── What becomes of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


def turn(recurrence: Recurrence, next: Micros, owed: Micros, at: Micros, free_from: Micros, room: int) -> Turn:  # noqa: A002 — its name
    """Return what becomes of the ticks from `next` to `at`.

    Args:
        recurrence: what recurs.
        next: the first tick that nothing has become of yet; it has come.
        owed: as of the turn before.
        at: now.
        free_from: when the run before was over: a time after `at` when it is not.
        room: how many runs may be queued.
    """
    come, left_out = ticks(recurrence, next, at)
    promised = come[: bisect_right(come, owed)]
    others = come[len(promised) :]
    fresh = others[bisect_left(others, free_from) :]
    skipped = len(others) - len(fresh)
    following = after(recurrence, at)
    if recurrence.catch_up == "all":
        most = min(AT_ONCE, room)
        if len(promised) > most == AT_ONCE:
            return Turn(runs=promised[:most], next=promised[most], owed=owed, skipped=0, missed=left_out)
        wanted = promised + fresh
        if len(wanted) > most == AT_ONCE:
            return Turn(runs=wanted[:most], next=wanted[most], owed=at, skipped=skipped, missed=left_out)
        missed = left_out + max(0, len(wanted) - most)
        return Turn(runs=wanted[:most], next=following, owed=at, skipped=skipped, missed=missed)
    runs = fresh[-1:] if room > 0 else []
    if recurrence.catch_up == "none" and runs and at - runs[0] > min(LATE, (following - runs[0]) // 2):
        runs = []
    return Turn(runs=runs, next=following, owed=owed, skipped=skipped, missed=left_out + len(fresh) - len(runs))


def set_back(recurrence: Recurrence, next: Micros, at: Micros) -> Micros | None:  # noqa: A002 — its name
    """Return the tick to go on from where the clock was set back so far, by more than a day, that `next` would be long in coming.

    A smaller step is waited for, so that no tick runs twice.
    """
    nominal = after(recurrence, at)
    return nominal if next - nominal > DAY else None


def shown(recurrence: Recurrence) -> str:
    """Return a recurrence in words."""
    if recurrence.every is not None:
        return f"every {recurrence.every / SECOND:g} s"
    return f"{recurrence.cron} {recurrence.tz}"
