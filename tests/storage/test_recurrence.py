"""The arithmetic of what recurs, against a model that walks through every minute."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from ropewalk.clock import Micros, from_datetime, to_datetime
from ropewalk.storage.recurrence import (
    AT_ONCE,
    DAY,
    MOST,
    NEVER,
    SECOND,
    BadRecurrence,
    Recurrence,
    after,
    recurrence,
    set_back,
    ticks,
    turn,
)
from ropewalk.wire.messages import CatchUp

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

CHANGES = [
    ("Europe/Paris", "2026-03-29"),
    ("Europe/Paris", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Africa/Cairo", "2025-04-25"),
    ("Africa/Cairo", "2025-10-31"),
    ("America/Havana", "2025-03-09"),
    ("America/Havana", "2025-11-02"),
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Kwajalein", "1969-09-30"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("UTC", "2026-02-28"),
    ("Asia/Kathmandu", "2024-02-29"),
]
"""Zones, and days around which their clocks change: by an hour, two, or half of one, at night or at midnight, and by a whole day."""


def utc(text: str) -> Micros:
    """Return a time in UTC."""
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def local(at: Micros, zone: str) -> str:
    """Return a time as clocks in a zone show it."""
    return to_datetime(at).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %z")


def cron(text: str, tz: str = "UTC", *, now: Micros = 0, **rest: Any) -> Recurrence:
    """Return a recurrence by a cron expression."""
    return recurrence(every=None, cron=text, tz=tz, catch_up=rest.pop("catch_up", "one"), first=rest.pop("first", None), now=now)


def every(interval: Micros, *, now: Micros = 0, catch_up: CatchUp = "one", first: Micros | None = None) -> Recurrence:
    """Return a recurrence by an interval."""
    return recurrence(every=interval, cron=None, tz="UTC", catch_up=catch_up, first=first, now=now)


# ── What can be asked for ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"every": None}, "either every= or cron="),
        ({"cron": "* * * * *"}, "either every= or cron="),
        ({"every": SECOND - 1}, "not between 1 s and 100 years"),
        ({"every": 200 * 366 * DAY}, "not between 1 s and 100 years"),
        ({"every": None, "cron": "* * * *"}, "has 4 fields"),
        ({"every": None, "cron": "* * * * * *"}, "has 6 fields"),
        ({"every": None, "cron": "60 * * * *"}, "Bad minute"),
        ({"every": None, "cron": "0 9 * * LUNDI"}, "Bad day-of-week"),
        ({"every": None, "cron": "1," * 120 + "1 * * * *"}, "at most 200"),
        ({"every": None, "cron": "0 0 30 2 *"}, "cannot be read: Bad day-of-month"),
        ({"every": None, "cron": "0 0 31 2,4,6,9,11 *"}, "cannot be read"),
        ({"tz": "Europe/Atlantis"}, "no time zone"),
        ({"tz": "../etc/passwd"}, "no time zone"),
        ({"tz": "Europe"}, "no time zone"),
        ({"tz": ""}, "no time zone"),
        ({"tz": "\0"}, "no time zone"),
        ({"first": 1 << 62}, "too far away"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(asked: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {"every": HOUR, "cron": None, "tz": "UTC", "catch_up": "one", "first": None, "now": 0}
    with pytest.raises(BadRecurrence, match=why):
        recurrence(**given | asked)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789*/-,#LWMON? ", max_size=30))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        found = cron(text)
    except BadRecurrence:
        return
    assert found.first > 0


# ── Intervals ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_interval_begins_after_itself_or_at_its_first_time() -> None:
    assert every(HOUR, now=utc("2026-01-01 10:00")).first == utc("2026-01-01 11:00")
    assert every(HOUR, now=utc("2026-01-01 10:00"), first=utc("2026-01-01 10:30")).first == utc("2026-01-01 10:30")


@settings(deadline=None)
@given(
    st.integers(SECOND, 400 * DAY),
    st.integers(utc("1900-01-01"), utc("2100-01-01")),
    st.integers(utc("1900-01-01"), utc("2100-01-01")),
)
def test_the_next_of_an_interval_is_the_first_after(interval: Micros, first: Micros, at: Micros) -> None:
    found = after(every(interval, first=first), at)
    assert found > at
    assert (found - first) % interval == 0
    assert found >= first
    assert found == first or found - interval <= at


def test_what_comes_after_the_calendar_never_comes() -> None:
    far = recurrence(every=100 * 365 * DAY, cron=None, tz="UTC", catch_up="one", first=NEVER - DAY, now=0)
    assert after(far, NEVER - DAY) == NEVER
    assert after(cron("0 0 1 1 *"), utc("9999-06-01")) == NEVER


# ── Cron ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_FIELDS = {
    "minute": ["*", "*/15", "0", "30", "5,35", "0-10/5", "59"],
    "hour": ["*", "*/2", "0", "2", "1,2,3", "0-3", "9", "23"],
    "day": ["*", "*/2", "1", "29", "30", "8-14", "L"],
    "month": ["*", "3", "10,11", "JAN-JUN"],
    "weekday": ["*", "0", "7", "1-5", "SUN", "MON#1", "5L"],
}


def _matches(text: str, low: int, high: int) -> set[int]:
    """Return the numbers that a plain field stands for."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            begin, end = low, high
        elif "-" in span:
            begin, end = map(int, span.split("-"))
        else:
            begin = int(span)
            end = high if step else begin
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


_NAMES = {"JAN-JUN": "1-6", "SUN": "0"}


def _is_day(day: datetime, days: str, months: str, weekdays: str) -> bool:
    """Return whether an expression means a day."""
    last = (day + timedelta(days=1)).month != day.month
    in_month = last if days == "L" else day.day in _matches(days, 1, 31)
    weekday = day.isoweekday()
    if "#" in weekdays:
        in_week = weekday == 1 and day.day <= 7
    elif weekdays == "5L":
        in_week = weekday == 5 and (day + timedelta(days=7)).month != day.month
    else:
        in_week = bool({weekday, weekday % 7} & _matches(_NAMES.get(weekdays, weekdays), 0, 7))
    both = days.startswith("*") or weekdays.startswith("*")
    right_month = day.month in _matches(_NAMES.get(months, months), 1, 12)
    return right_month and (in_month and in_week if both else in_month or in_week)


def model(text: str, zone: str, begin: Micros, end: Micros) -> list[Micros]:
    """Return the ticks after one time and up to another, by looking at every minute."""
    minutes, hours, *date = text.split()
    right_minutes, right_hours, tz = _matches(minutes, 0, 59), _matches(hours, 0, 23), ZoneInfo(zone)
    is_day = cache(lambda day: _is_day(day, *date))

    def is_meant(shown: datetime) -> bool:
        right_time = shown.minute in right_minutes and shown.hour in right_hours
        return right_time and is_day(datetime.combine(shown.date(), time()))

    every_minute = (
        to_datetime(begin - begin % MINUTE) + timedelta(minutes=n) for n in range(-3 * 1440, (end - begin) // MINUTE + 2 * 1440)
    )
    if zone == "UTC" or minutes.startswith("*") or hours.startswith("*"):
        found = {at for at in every_minute if is_meant(at.astimezone(tz))}
    else:
        found = {_real(shown.replace(tzinfo=tz)) for shown in every_minute if is_meant(shown)}
    return sorted(tick for tick in map(from_datetime, found) if begin < tick <= end)


def _real(shown: datetime) -> datetime:
    """Return the first minute, from one that clocks may leave out, that they show."""
    while shown.astimezone(UTC).astimezone(shown.tzinfo) != shown:
        shown = (shown.replace(tzinfo=None) + timedelta(minutes=1)).replace(tzinfo=shown.tzinfo)
    return shown.astimezone(UTC)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*(st.sampled_from(field) for field in _FIELDS.values())),
    st.sampled_from(CHANGES),
    st.integers(-36 * 60, 36 * 60),
    st.integers(0, 59_999_999),
)
def test_cron_follows_the_model_where_clocks_change(
    fields: tuple[str, ...], change: tuple[str, str], minutes: int, fraction: int
) -> None:
    text, (zone, day) = " ".join(fields), change
    begin = utc(f"{day} 00:00") + minutes * MINUTE + fraction
    end = begin + 2 * DAY
    asked = Recurrence(cron=text, tz=zone, first=begin)
    found: list[Micros] = []
    at = begin
    while (at := after(asked, at)) <= end:
        found.append(at)
    assert found == model(text, zone, begin, end)


@pytest.mark.parametrize(
    ("text", "zone", "begin", "expected"),
    [
        ("30 2 * * *", "Europe/Paris", "2026-03-28 12:00", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
        ("30 2 * * *", "Europe/Paris", "2026-10-24 12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        ("30 * * * *", "Europe/Paris", "2026-10-25 00:00", ["10-25 02:30 +0200", "10-25 02:30 +0100", "10-25 03:30 +0100"]),
        ("30 * * * *", "Europe/Paris", "2026-03-29 00:00", ["03-29 01:30 +0100", "03-29 03:30 +0200"]),
        ("0 9 * * 1-5", "America/New_York", "2026-10-30 20:00", ["11-02 09:00 -0500", "11-03 09:00 -0500"]),
        ("15 0 * * *", "Africa/Cairo", "2025-04-24 12:00", ["04-25 01:00 +0300", "04-26 00:15 +0300"]),
        ("* */2 * * 0", "America/Havana", "2025-03-09 04:58", ["03-09 02:00 -0400", "03-09 02:01 -0400"]),
        ("0 */2 * * *", "America/Havana", "2025-03-09 02:30", ["03-08 22:00 -0500", "03-09 02:00 -0400"]),
        ("*/30 1-3 * * 0", "America/Havana", "2025-03-09 00:00", ["03-09 01:00 -0400", "03-09 01:30 -0400"]),
        ("40 * * * *", "Australia/Lord_Howe", "2026-10-03 15:20", ["10-04 02:40 +1100", "10-04 03:40 +1100"]),
        ("*/30 3 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", ["10-04 03:00 +1100", "10-04 03:30 +1100"]),
        (
            "40 * * * *",
            "Australia/Lord_Howe",
            "2026-04-04 14:30",
            ["04-05 01:40 +1100", "04-05 01:40 +1030", "04-05 02:40 +1030"],
        ),
        ("0 9 * * *", "Pacific/Apia", "2011-12-29 20:00", ["12-31 00:00 +1400", "12-31 09:00 +1400"]),
        ("0 12 29 2 *", "UTC", "2096-03-01 00:00", ["02-29 12:00 +0000"]),
    ],
)
def test_where_clocks_change(text: str, zone: str, begin: str, expected: list[str]) -> None:
    asked, at, found = Recurrence(cron=text, tz=zone, first=0), utc(begin), []
    for _ in expected:
        at = after(asked, at)
        found.append(local(at, zone))
    assert found == expected


def test_a_zone_that_is_gone_is_taken_for_utc(caplog: pytest.LogCaptureFixture) -> None:
    gone = Recurrence(cron="0 9 * * *", tz="Europe/Atlantis", first=0)
    assert after(gone, utc("2026-01-01 00:00")) == utc("2026-01-01 09:00")
    assert "Europe/Atlantis" in caplog.text


@pytest.mark.parametrize("asked", [every(MINUTE, first=0), cron("* * * * *"), cron("*/7 * * * *", "Europe/Paris")])
@pytest.mark.parametrize("minutes", [0, 3, 59, 1_000, 7_001])
def test_the_newest_of_many_ticks(asked: Recurrence, minutes: int) -> None:
    first = after(asked, utc("2026-10-20 00:00"))
    last = first + minutes * MINUTE + 1
    one_by_one = [first]
    while one_by_one[-1] <= last:
        one_by_one.append(after(asked, one_by_one[-1]))
    one_by_one.pop()
    found, left_out = ticks(asked, first, last)
    assert found == one_by_one[-MOST:]
    assert left_out in (0, len(one_by_one) - len(found))


# ── What becomes of ticks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_run_makes_up_for_all_that_were_missed() -> None:
    found = turn(every(HOUR, first=0), HOUR, 0, 5 * HOUR + 10, 0, 100)
    assert (found.runs, found.next, found.missed, found.skipped) == ([5 * HOUR], 6 * HOUR, 4, 0)


def test_all_run_one_after_another() -> None:
    found = turn(every(HOUR, first=0, catch_up="all"), HOUR, 0, 3 * HOUR + 10, 0, 100)
    assert (found.runs, found.next, found.missed) == ([HOUR, 2 * HOUR, 3 * HOUR], 4 * HOUR, 0)


def test_of_very_many_the_newest_run_some_at_a_time() -> None:
    asked, at = every(HOUR, first=0, catch_up="all"), 5_000 * HOUR
    runs, next_, owed, missed = list[Micros](), HOUR, 0, 0
    while next_ <= at:
        found = turn(asked, next_, owed, at, at + 1 if runs else 0, 10_000)
        assert len(found.runs) <= AT_ONCE
        runs, next_, owed, missed = runs + found.runs, found.next, found.owed, missed + found.missed
    assert runs == [hour * HOUR for hour in range(4_001, 5_001)]
    assert missed == 4_000


@pytest.mark.parametrize(("late", "runs"), [(0, 1), (59, 1), (61, 0), (3_500, 0)])
def test_what_is_not_made_up_for_runs_only_in_time(late: int, runs: int) -> None:
    found = turn(every(HOUR, first=0, catch_up="none"), HOUR, 0, 3 * HOUR + late * SECOND, 0, 100)
    assert len(found.runs) == runs
    assert found.missed == 3 - runs


def test_what_is_late_by_half_its_interval_is_missed() -> None:
    asked = every(2 * SECOND, first=0, catch_up="none")
    assert turn(asked, 2 * SECOND, 0, 11 * SECOND, 0, 100).runs == [10 * SECOND]
    assert turn(asked, 2 * SECOND, 0, 11 * SECOND + 1, 0, 100).runs == []


def test_what_comes_while_a_run_is_not_over_is_skipped() -> None:
    found = turn(every(HOUR, first=0), HOUR, 0, 2 * HOUR + 10, 2 * HOUR + 11, 100)
    assert (found.runs, found.skipped, found.missed, found.next) == ([], 2, 0, 3 * HOUR)


def test_what_came_before_the_run_was_over_is_skipped_and_what_came_later_is_not() -> None:
    found = turn(every(HOUR, first=0), HOUR, 0, 4 * HOUR + 10, 2 * HOUR + 5, 100)
    assert (found.runs, found.skipped, found.missed) == ([4 * HOUR], 2, 1)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(
        [every(MINUTE, first=0), every(7 * SECOND, first=0), cron("*/2 * * * *"), cron("10,40 3 * * *", "Europe/Paris")]
    ),
    st.sampled_from(["one", "all", "none"]),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60), st.integers(0, 100)), max_size=12),
)
def test_every_tick_becomes_a_run_or_is_counted_and_none_twice(
    asked: Recurrence, catch_up: CatchUp, steps: list[tuple[int, int, int]]
) -> None:
    asked = Recurrence(every=asked.every, cron=asked.cron, tz=asked.tz, first=asked.first, catch_up=catch_up)
    begin = utc("2026-10-25 00:00")
    at, owed, free_from = begin, 0, 0
    next_ = first = after(asked, begin)
    runs, lost = list[Micros](), 0
    for minutes, busy, room in steps:
        at += minutes * MINUTE + 1
        if next_ > at:
            continue
        found = turn(asked, next_, owed, at, free_from, room)
        assert found.next > next_
        runs, lost = runs + found.runs, lost + found.skipped + found.missed
        if found.next > at:
            ticks_come, _ = ticks(asked, first, at)
            assert len(runs) + lost == len(ticks_come) or len(ticks_come) == MOST
        free_from = at + busy * MINUTE if found.runs else free_from
        next_, owed = found.next, found.owed
    assert runs == sorted(set(runs))


# ── A clock that was set back ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_small_step_back_is_waited_for_and_a_great_one_is_not() -> None:
    asked = every(HOUR, first=utc("2026-01-01 00:00"))
    next_ = utc("2036-05-05 05:00")
    assert set_back(asked, next_, utc("2036-05-04 06:00")) is None
    assert set_back(asked, next_, utc("2026-02-02 02:02")) == utc("2026-02-02 03:00")


def test_what_is_seldom_by_itself_is_left_alone() -> None:
    yearly = cron("0 0 1 1 *", now=utc("2026-06-01 00:00"))
    assert set_back(yearly, yearly.first, utc("2026-06-01 00:00")) is None
