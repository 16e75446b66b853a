"""What a twist says about itself as class attributes: `limits` and `retry`."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from ropewalk.sdk.checks import positive_seconds, seconds


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


def _check_count(count: object, name: str, least: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} is a whole number, not {count!r:.80}")
    if count < least:
        raise ValueError(f"{name}{count} is below {least}")
