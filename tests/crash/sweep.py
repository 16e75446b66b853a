"""The sweep: a fixed workload, killed right before and right after every commit that it comes by, one after the other, and once with the power.

A rehearsal tells which commits there are. Each is known by its rarest kind, and by how many of that kind came before in the life: so the
same one is killed at, whatever runs beside it. Between them the kills have to come by every kind that there is (`points.KINDS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from tests.crash.episode import Broken, Episode, Ground, Kills, Told, kills_of
from tests.crash.everything import everything
from tests.crash.kills import Kill, Place
from tests.crash.points import KINDS

LOST = 1.0
"""With the power goes everything that is not synced."""


class Swept(Struct):
    """What a sweep has done.

    Attributes:
        places: where nodes were killed, and how often.
        kills: how many were.
        missed: commits that did not come again.
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
    """Kill at every commit of the workload, in an episode each. Raises Broken."""
    swept = Swept()
    commits = rehearsed(ground, mutant)
    for number, (kind, nth) in enumerate(commits):
        for kill in (
            Kill(kind=kind, nth=nth),
            Kill(kind=kind, nth=nth, after=True),
            Kill(kind=kind, nth=nth, after=True, lost=LOST),
        ):
            try:
                told = _episode(f"sweep {kind} {nth}", kills_of([kill]), mutant).run(ground)
            except Broken as broken:
                raise Broken([f"it was killed as {kill} says:", str(broken)], swept.kills + broken.kills) from None
            swept.missed += not told.kills
            swept.take(told)
        if (number + 1) % 20 == 0:
            tell(f"swept {number + 1:,} of {len(commits):,} commits, {swept.kills:,} kills")
    return swept


def rehearsed(ground: Ground, mutant: str | None) -> list[tuple[str, int]]:
    """Return the commits of the workload."""
    told = _episode("rehearsal", kills_of([]), mutant, tells_all=True).run(ground)
    commits: list[dict[str, int]] = [line["point"] for line in told.lines if "point" in line and not line["after"]]
    often = {kind: sum(kind in commit for commit in commits) for commit in commits for kind in commit}
    return [min(commit.items(), key=lambda one: often[one[0]]) for commit in commits]


def each_kind(ground: Ground, mutant: str | None = None, episodes: int = 12) -> Swept:
    """Kill right before and right after a commit of each kind, as soon as one comes whose place was not killed at. Raises Broken."""
    swept = Swept()
    for number in range(episodes):
        swept.take(_episode(f"kinds {number}", _where_none_was(swept), mutant).run(ground))
        if not swept.unreached:
            break
    return swept


def _where_none_was(swept: Swept) -> Kills:
    return lambda told: Kill(but_at=frozenset([*swept.places, *_ends(told)]))


def _ends(told: Told) -> list[Place]:
    """Return where the lives of an episode ended that ended at a commit."""
    return [(kind, line["after"]) for line in told.lines if "point" in line for kind in line["point"]]


def _episode(seed: str, kills: Kills, mutant: str | None, **how: Any) -> Episode:
    return Episode(seed, everything(), kills, mutant, **how)
