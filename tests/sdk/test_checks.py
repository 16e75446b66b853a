"""Keys, durations, times, settings and options."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from ropewalk import InvalidValue, Limits, Options, RetryPolicy, ValueTooLarge
from ropewalk.sdk.checks import check_batch, check_key, check_prefix, micros, positive_seconds, seconds
from ropewalk.sdk.tokens import TaskToken


@pytest.mark.parametrize("key", ["a", "a b", "é" * 256, "k" * 512, "sync:état/1", TaskToken("t")])
def test_a_key_may_be_any_short_text(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "kind", "words"),
    [
        ("", InvalidValue, "empty"),
        ("k" * 513, ValueTooLarge, "513 bytes and may have 512"),
        ("é" * 257, ValueTooLarge, "514 bytes"),
        ("a\0", InvalidValue, "NUL"),
        ("\udfff", InvalidValue, "lone surrogates"),
        (None, TypeError, "not NoneType"),
        (b"a", TypeError, "not bytes"),
    ],
)
def test_other_keys_are_refused(key: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        check_key(key)


def test_a_prefix_may_be_empty() -> None:
    assert check_prefix("") == ""


def test_a_batch_has_at_most_a_thousand_items() -> None:
    check_batch(1_000, "keys")
    with pytest.raises(ValueTooLarge, match="1,001 keys in one call are over the limit of 1,000"):
        check_batch(1_001, "keys")


@pytest.mark.parametrize(("given", "expected"), [(5, 5.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (-1, -1.0)])
def test_durations_are_seconds_or_timedeltas(given: object, expected: float) -> None:
    assert seconds(given, "delay") == expected


@pytest.mark.parametrize("given", [True, "5", None, 1j])
def test_nothing_else_is_a_duration(given: object) -> None:
    with pytest.raises(TypeError, match="delay is a timedelta or a number of seconds"):
        seconds(given, "delay")


@pytest.mark.parametrize("given", [float("nan"), float("inf"), 0, -1, timedelta(0)])
def test_some_numbers_are_no_positive_durations(given: object) -> None:
    with pytest.raises(ValueError, match="ttl="):
        positive_seconds(given, "ttl")


def test_times_are_aware() -> None:
    assert micros(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "run_at") == 0
    with pytest.raises(ValueError, match="no time zone"):
        micros(datetime(2030, 1, 1), "run_at")  # noqa: DTZ001 — that is what is refused
    with pytest.raises(TypeError, match="run_at is a datetime"):
        micros("2030-01-01", "run_at")
    assert micros(datetime(1970, 1, 1, microsecond=7, tzinfo=UTC), "run_at") == 7


@pytest.mark.parametrize("name", ["cpu", "wall", "memory", "requests", "logs"])
def test_limits_are_positive_figures(name: str) -> None:
    assert getattr(Limits(**{name: 5}), name) == 5
    with pytest.raises(ValueError, match=name):
        Limits(**{name: -1})
    with pytest.raises(TypeError, match=name):
        Limits(**{name: "5"})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first": -1}, {"first": 10, "maximum": 5}, {"maximum": float("inf")}])
def test_a_retry_policy_makes_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="RetryPolicy"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


class Base(Options):
    url: str
    count: int = 1


class Derived(Base):
    tags: list[str] = []
    name: str


def test_options_are_frozen_and_by_name() -> None:
    one = Derived(url="x", name="n")
    assert (one.url, one.count, one.tags, one.name) == ("x", 1, [], "n")
    with pytest.raises(AttributeError):
        one.count = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Derived("x", name="n")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="url"):
        Derived(name="n")  # type: ignore[call-arg]
