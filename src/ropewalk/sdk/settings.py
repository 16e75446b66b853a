"""What a twist says about itself as class attributes, `limits` and `retry`, and what a method says with `@retry`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.sdk.checks import positive_seconds, seconds

AnyCoroutineT = TypeVar("AnyCoroutineT", bound=Callable[..., Coroutine[Any, Any, Any]])

_RETRY: Final = "__ropewalk_retry__"


class Limits(Struct, frozen=True, kw_only=True):
    """What one execution may use, where that is less than the operator allows. None leaves the operator's figure.

    Attributes:
        cpu: seconds of CPU, or a timedelta.
        wall: seconds from start to end, or a timedelta.
        memory: bytes beyond what the twist has after import.
        requests: host calls and HTTP requests.
        logs: bytes of log lines.
    """

    cpu: float | timedelta | None = None
    wall: float | timedelta | None = None
    memory: int | None = None
    requests: int | None = None
    logs: int | None = None

    def __post_init__(self) -> None:
        for name, duration in (("cpu", self.cpu), ("wall", self.wall)):
            if duration is not None:
                positive_seconds(duration, f"Limits({name}=)")
        for name, count in (("memory", self.memory), ("requests", self.requests), ("logs", self.logs)):
            if count is not None:
                _check_count(count, f"Limits({name}=)", 1 if name == "memory" else 0)


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """When an execution that failed runs again. The wait grows from `first` to `maximum`, with full jitter.

    Attributes:
        attempts: how often it is tried in all, at least 1.
        first: seconds, or a timedelta.
        maximum: seconds, or a timedelta.
        ordered: whether the instance's later events wait meanwhile.
    """

    attempts: int = 5
    first: float | timedelta = 1.0
    maximum: float | timedelta = 300.0
    ordered: bool = False

    def __post_init__(self) -> None:
        _check_count(self.attempts, "RetryPolicy(attempts=)", 1)
        first = seconds(self.first, "RetryPolicy(first=)")
        maximum = seconds(self.maximum, "RetryPolicy(maximum=)")
        if not 0 <= first <= maximum:
            raise ValueError(f"RetryPolicy: first={self.first!r} is below zero or above maximum={self.maximum!r}")
        if self.ordered not in (True, False):
            raise TypeError(f"RetryPolicy(ordered=) is True or False, not {self.ordered!r:.80}")

    def __call__(
        self,
        *,
        attempts: int | None = None,
        first: float | timedelta | None = None,
        maximum: float | timedelta | None = None,
        ordered: bool | None = None,
    ) -> Callable[[AnyCoroutineT], AnyCoroutineT]:
        """Do what `@retry(...)` does: in a class that has said `retry = RetryPolicy(...)`, that is what the name stands for."""
        return retry(attempts=attempts, first=first, maximum=maximum, ordered=ordered)


def retry(
    *,
    attempts: int | None = None,
    first: float | timedelta | None = None,
    maximum: float | timedelta | None = None,
    ordered: bool | None = None,
) -> Callable[[AnyCoroutineT], AnyCoroutineT]:
    """Give a method a retry policy of its own. The arguments are `RetryPolicy`'s; what is left out is as the twist's policy has it."""
    given = {"attempts": attempts, "first": first, "maximum": maximum, "ordered": ordered}
    asked = {name: value for name, value in given.items() if value is not None}
    _merged(RetryPolicy(), asked)

    def mark(method: AnyCoroutineT) -> AnyCoroutineT:
        setattr(method, _RETRY, asked)
        return method

    return mark


def retry_of(method: object, policy: RetryPolicy) -> RetryPolicy | None:
    """Return the policy that `@retry` gives a method of a twist whose own is `policy`; None when it has no such mark."""
    asked: dict[str, Any] | None = getattr(method, _RETRY, None)
    return None if asked is None else _merged(policy, asked)


def _merged(policy: RetryPolicy, asked: dict[str, Any]) -> RetryPolicy:
    """Return a policy with some of it changed. Where only one of the two waits is, it takes the other along rather than meet it."""
    if "first" in asked and "maximum" not in asked:
        asked = {**asked, "maximum": max(asked["first"], policy.maximum, key=lambda wait: seconds(wait, "retry(first=)"))}
    elif "maximum" in asked and "first" not in asked:
        asked = {**asked, "first": min(asked["maximum"], policy.first, key=lambda wait: seconds(wait, "retry(maximum=)"))}
    return replace(policy, **asked)


def _check_count(count: object, name: str, least: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} is a whole number, not {count!r:.80}")
    if count < least:
        raise ValueError(f"{name}{count} is below {least}")
