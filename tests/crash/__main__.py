"""Kill nodes thousands of times, at their commits and amid them, and hold what is left against what must be.

python -m tests.crash                        a commit of each kind, then 2,000 kills from a seed that is printed
python -m tests.crash --seed 7 --kills 500   the same episodes again
python -m tests.crash --sweep                every commit of a fixed workload: right before it, right after it, and with the power
python -m tests.crash --mutants              plant bugs, one after the other: each has to be seen
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from typing import Any

from tests.crash import sweep
from tests.crash.episode import Broken, Episode, Ground, lay_ground, shrunk
from tests.crash.mutants import MUTANTS

SANDBOXED = 10
"""Of so many episodes one has guests that are real processes: that takes ten times as long."""


def main() -> None:
    """Do what the command line says; exits 1 when something does not hold, a kind of commit was not reached, or a planted bug not seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill nodes and look at what is left.")
    parser.add_argument("--seed", type=int, help="the same seed gives the same episodes  [default: another each time]")
    parser.add_argument("--kills", type=int, default=2000, help="after so many it ends  [default: 2000]")
    parser.add_argument("--shrink", type=float, default=60.0, help="seconds for which fewer steps are looked for  [default: 60]")
    parser.add_argument(
        "--sweep", action="store_true", help="kill at every commit of a fixed workload, many that lie apart in an episode"
    )
    parser.add_argument("--mutants", action="store_true", help="plant each bug in turn, for at most so many kills each")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant this bug")
    given = parser.parse_args()
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    with lay_ground() as ground:
        if given.mutants:
            sys.exit(plant_all(ground, seed, given.kills))
        if given.sweep:
            sys.exit(swept(ground, given.mutant))
        sys.exit(campaign(ground, seed, given.kills, given.mutant, given.shrink))


def campaign(ground: Ground, seed: int, kills: int, mutant: str | None, shrink: float) -> int:
    """Kill at a commit of each kind, then live episodes until there were so many kills; the summary is JSON on stdout."""
    began, episodes = time.monotonic(), 0
    tell(f"seed {seed}")
    try:
        kinds = sweep.each_kind(ground, mutant)
    except Broken as broken:
        tell(f"BROKEN in the sweep:\n{broken}")
        return 1
    killed = kinds.kills
    tell(f"{killed:,} kills at {len(kinds.places):,} places, {time.monotonic() - began:.0f} s")
    while killed < kills:
        sandboxed = episodes % SANDBOXED == SANDBOXED - 1
        episode = Episode.drawn(f"{seed}.{episodes}", mutant=mutant, sandboxed=sandboxed)
        try:
            killed += episode.run(ground).kills
        except Broken as broken:
            report(episode, broken, ground, shrink)
            return 1
        episodes += 1
        if episodes % 10 == 0:
            tell(f"{killed:,} kills in {episodes:,} episodes, {time.monotonic() - began:.0f} s")
    return summed_up(kinds, began, seed=seed, kills=killed, episodes=episodes)


def swept(ground: Ground, mutant: str | None) -> int:
    """Kill at every commit of the fixed workload."""
    began = time.monotonic()
    try:
        done = sweep.whole(ground, mutant, tell)
    except Broken as broken:
        tell(f"BROKEN in the sweep:\n{broken}")
        return 1
    return summed_up(done, began, kills=done.kills, missed=done.missed)


def summed_up(kinds: sweep.Swept, began: float, **figures: Any) -> int:
    """Print the summary; returns whether a kind of commit was not reached."""
    places = {f"{'after' if after else 'before'} {kind}": count for (kind, after), count in sorted(kinds.places.items())}
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({**figures, "seconds": seconds, "broken": [], "places": places, "unreached": kinds.unreached}, indent=1))
    return int(bool(kinds.unreached))


def report(episode: Episode, broken: Broken, ground: Ground, shrink: float) -> None:
    """Say what does not hold, and the fewest steps that show it."""
    tell(f"BROKEN in episode {episode.seed}:\n{broken}\nlooking for fewer steps")
    small = shrunk(episode, ground, seconds=shrink)
    document = {"seed": episode.seed, "broken": str(broken).splitlines(), "kills": broken.kills, "steps": small.steps}
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
            tell(f"{mutant}: seen after {killed + broken.kills:,} kills: {first[:150]}")
            return first
        number += 1
    try:
        killed += sweep.each_kind(ground, mutant).kills
    except Broken as broken:
        first = str(broken).splitlines()[0]
        tell(f"{mutant}: seen after {killed + broken.kills:,} kills, at a commit of its own: {first[:150]}")
        return first
    tell(f"{mutant}: NOT SEEN in {killed:,} kills")
    return None


def tell(text: str) -> None:
    """Say something to people."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
