"""What a measurement gives back: figures, each beside its target, and the raw rounds they were made of."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field


class Figure(Struct, frozen=True, kw_only=True):
    """One number under its name in `latest.json`.

    `target` is the bound that `bound` says it must keep, None when there is none. `absolute` marks what means nothing on another machine.
    """

    name: str
    value: float
    unit: str = "×"
    bound: Literal["≥", "≤"] = "≤"
    target: float | None = None
    absolute: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is kept; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.bound == "≥" else self.value <= self.target


class Measured(Struct, kw_only=True):
    """The figures of one measurement, and its rounds as they came."""

    figures: list[Figure]
    rounds: dict[str, list[float]] = field(default_factory=dict)


def ratio(ours: Sequence[float], floor: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios: each round of ours is held against the one measured beside it."""
    return statistics.median(a / b for a, b in zip(ours, floor, strict=True))


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
