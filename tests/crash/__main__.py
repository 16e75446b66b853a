"""Kill nodes thousands of times, at their commits and amid them, and hold what is left against what must be.

python -m tests.crash                        2,000 kills, from a seed that is printed
python -m tests.crash --seed 7 --kills 500   the same episodes again
python -m tests.crash --mutants              plant bugs, one after the other: each has to be seen
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from tests.crash.episode import Broken, Episode, Ground, lay_ground, shrunk
from tests.crash.mutants import MUTANTS


def main() -> None:
    """Do what the command line says; exits 1 when something does not hold, or a planted bug was not seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill nodes and look at what is left.")
    parser.add_argument("--seed", type=int, help="the same seed gives the same episodes  [default: another each time]")
    parser.add_argument("--kills", type=int, default=2000, help="after so many it ends  [default: 2000]")
    parser.add_argument("--shrink", type=float, default=60.0, help="seconds for which fewer steps are looked for  [default: 60]")
    parser.add_argument("--mutants", action="store_true", help="plant each bug in turn, for at most so many kills each")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant this bug")
    given = parser.parse_args()
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    with lay_ground() as ground:
        if given.mutants:
            sys.exit(plant_all(ground, seed, given.kills))
        sys.exit(campaign(ground, seed, given.kills, given.mutant, given.shrink))


def campaign(ground: Ground, seed: int, kills: int, mutant: str | None, shrink: float) -> int:
    """Live episodes until there were so many kills; the summary is JSON on stdout."""
    began, killed, episodes = time.monotonic(), 0, 0
    tell(f"seed {seed}")
    while killed < kills:
        episode = Episode.drawn(f"{seed}.{episodes}", mutant=mutant)
        try:
            killed += episode.run(ground).kills
        except Broken as broken:
            report(episode, broken, ground, shrink)
            return 1
        episodes += 1
        if episodes % 10 == 0:
            tell(f"{killed:,} kills in {episodes:,} episodes, {time.monotonic() - began:.0f} s")
    print(
        json.dumps(
            {"seed": seed, "kills": killed, "episodes": episodes, "seconds": round(time.monotonic() - began, 1), "broken": []}
        )
    )
    return 0


def report(episode: Episode, broken: Broken, ground: Ground, shrink: float) -> None:
    """Say what does not hold, and the fewest steps that show it."""
    tell(f"BROKEN in episode {episode.seed}:\n{broken}\nlooking for fewer steps")
    small = shrunk(episode, ground, seconds=shrink)
    document = {"seed": episode.seed, "broken": str(broken).splitlines(), "kills": small.kills, "steps": small.steps}
    print(json.dumps(document, indent=1))


def plant_all(ground: Ground, seed: int, kills: int) -> int:
    """Plant each bug until it is seen; returns how many were not."""
    found = {name: seen(ground, name, seed, kills) for name in MUTANTS}
    print(json.dumps(found, indent=1))
    return sum(how is None for how in found.values())


def seen(ground: Ground, mutant: str, seed: int, kills: int) -> str | None:
    """Return what a planted bug was seen by, None when it was not within so many kills."""
    killed, number = 0, 0
    while killed < kills:
        episode = Episode.drawn(f"{seed}.{number}", mutant=mutant)
        try:
            killed += episode.run(ground).kills
        except Broken as broken:
            Episode.drawn(f"{seed}.{number}").run(ground)  # without the bug nothing is to be seen
            first = str(broken).splitlines()[0]
            tell(f"{mutant}: seen after {killed:,} kills: {first[:150]}")
            return first
        number += 1
    tell(f"{mutant}: NOT SEEN in {killed:,} kills")
    return None


def tell(text: str) -> None:
    """Say something to people."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
