"""The sweep: a fixed workload, killed right before and right after every commit that it comes by, or of each kind of commit that there is.

A rehearsal tells which commits there are. Each is known by its step, its rarest kind, and how many of that kind came since the step began: so
the same one is killed at, whatever ran before. Between them the kills have to come by every kind (`points.KINDS`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field

from tests.crash.episode import Episode, Ground, Kills, Told, kills_of
from tests.crash.everything import everything
from tests.crash.kills import Commit, Kill, Place
from tests.crash.points import KINDS

APART = 10
"""Every tenth commit is killed at in the same episode."""

EPISODES = 12
"""Most in which kinds are looked for that were not killed at."""

LOST = 1.0
"""With the power goes everything that is not synced."""


class Swept(Struct):
    """What a sweep has done.

    Attributes:
        places: where nodes were killed, and how often.
        kills: how many were.
        missed: commits that did not come again, not even in an episode of their own.
    """

    places: dict[Place, int] = field(default_factory=dict[Place, int])
    kills: int = 0
    missed: int = 0

    def take(self, told: Told) -> None:
        """Take down where the lives of an episode ended."""
        for place in _ends(told):
            self.places[place] = self.places.get(place, 0) + 1
        self.kills += told.kills

    @property
    def unreached(self) -> list[str]:
        """The kinds at which no node was killed, before or after."""
        sides = {False: "before", True: "after"}
        return sorted(f"{sides[after]} {kind}" for kind in KINDS for after in (False, True) if (kind, after) not in self.places)


def whole(ground: Ground, mutant: str | None, tell: Callable[[str], None]) -> Swept:
    """Kill right before and right after every commit of the workload, at many that lie apart in each episode. Raises Broken."""
    swept = Swept()
    commits = rehearsed(ground, mutant)
    apart = [commits[first::APART] for first in range(APART)]
    for number, some in enumerate(apart):
        missed = _sweep(ground, mutant, swept, some)
        swept.missed += len([one for commit, after in missed for one in _sweep(ground, mutant, swept, [commit], sides=[after])])
        tell(f"swept {number + 1} of {APART} parts of {len(commits):,} commits, {swept.kills:,} kills")
    return each_kind(ground, mutant, swept)


def _sweep(
    ground: Ground, mutant: str | None, swept: Swept, commits: list[Commit], sides: Sequence[bool] = (False, True)
) -> list[tuple[Commit, bool]]:
    """Kill at each of some commits, in an episode for each side; returns those that did not come, since kills before had changed the way."""
    missed: list[tuple[Commit, bool]] = []
    for after in sides:
        told = _episode(f"sweep {commits[0]}", _at_each(commits, after), mutant).run(ground)
        swept.take(told)
        missed += [(commit, after) for commit in set(commits) - _reached(told)]
    return missed


def _at_each(commits: list[Commit], after: bool) -> Kills:
    """Return a kill at each of some commits; of every second right after one the power goes too."""

    def kill(told: Told) -> Kill:
        left = frozenset(commits) - _reached(told)
        return Kill(commits=left, after=after, lost=LOST if after and told.kills % 2 else None)

    return kill


def _reached(told: Told) -> set[Commit]:
    return {(line["step"], kind, nth) for line in told.lines if "point" in line for kind, nth in line["point"].items()}


def rehearsed(ground: Ground, mutant: str | None) -> list[Commit]:
    """Return the commits of the workload, in order, each by its rarest kind."""
    told = _episode("rehearsal", kills_of([]), mutant, tells_all=True).run(ground)
    lines = [
        line for line in told.lines if "point" in line and not line["after"] and "heartbeat" not in line["point"]
    ]  # comes by the clock
    often = Counter[str](kind for line in lines for kind in line["point"])
    return [(line["step"], *_rarest(line["point"], often)) for line in lines]


def _rarest(kinds: dict[str, int], often: Counter[str]) -> tuple[str, int]:
    kind = min(kinds, key=lambda one: often[one])
    return kind, kinds[kind]


def each_kind(ground: Ground, mutant: str | None = None, swept: Swept | None = None) -> Swept:
    """Kill right before and right after a commit of each kind, as soon as one comes whose place was not killed at. Raises Broken."""
    swept = swept or Swept()
    for number in range(EPISODES):
        if swept.unreached:
            swept.take(_episode(f"kinds {number}", _where_none_was(swept), mutant).run(ground))
    return swept


def _where_none_was(swept: Swept) -> Kills:
    return lambda told: Kill(but_at=frozenset([*swept.places, *_ends(told)]))


def _ends(told: Told) -> list[Place]:
    """Return where the lives of an episode ended that ended at a commit."""
    return [(kind, line["after"]) for line in told.lines if "point" in line for kind in line["point"]]


def _episode(seed: str, kills: Kills, mutant: str | None, **how: Any) -> Episode:
    return Episode(seed, everything(), kills, mutant, **how)
