"""One episode: a database, a list of steps, and lives of a node that do them, each but the last killed at some point.

After each kill the database is audited as it lies there; after the last life everything is held against what must be (`checks`). An episode
is its seed: the same steps, and the same points to die at. What runs beside what between two points is the event loop's, so a failure may
need a few tries to be seen again.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import select
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.crash import checks, replays
from tests.crash.everything import LONG_AGO, history
from tests.crash.kills import Kill, install
from tests.crash.life import Life, Plan
from tests.crash.mutants import MUTANTS
from tests.crash.origin import Origin, serving
from tests.crash.services import open_service
from tests.crash.versions import Code
from tests.crash.workload import Drawn, Step
from tests.harness.checks import rows
from tests.harness.clock import SteppedClock

DATABASE = "ropewalk.db"
IN_MEMORY = Path("/dev/shm")
REPLAYS = 12
"""Attempts of an episode that are replayed."""

PATIENCE = 90.0
"""Seconds after which a life that does not end is stuck."""


class Broken(Exception):
    """Something that must hold does not: how many kills it took, and what."""

    def __init__(self, problems: Sequence[str], kills: int) -> None:
        super().__init__("\n".join(problems[:20]))
        self.kills = kills


@dataclass
class Told:
    """What all lives of an episode told, in order, each line with the number of its life."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    kills: int = 0
    offset: int = 0
    """How far the clock was moved."""

    def next_step(self, steps: list[Step]) -> int:
        """Return the step to go on with: the first that was not begun, or one whose sender asks again as long as it hears nothing."""
        last: dict[str, Any] = next((line for line in reversed(self.lines) if line.keys() & {"begin", "done", "refused"}), {})
        if "begin" in last and steps[last["begin"]].get("again"):
            return int(last["begin"])
        return max((line["begin"] + 1 for line in self.lines if "begin" in line), default=0)


class Ground(Struct, kw_only=True):
    """What episodes stand on.

    Attributes:
        template: a folder with a database in which the clerk is deployed, and something was done long ago. It is copied for each.
        origin: where the clerks' requests go.
        past: the executions of long ago.
    """

    template: Path
    origin: Origin
    past: set[str]

    def copy_to(self, place: Path, *, sandboxed: bool) -> Path:
        """Copy the database to a folder, and return its path there. That of sandboxed episodes has no past, and is made when it is first asked for."""
        template = self.template.with_name("sandboxed") if sandboxed else self.template
        if not template.exists():
            template.mkdir()
            asyncio.run(_make(template / DATABASE, self.origin.url, sandboxed=True))
        shutil.copytree(template, place, dirs_exist_ok=True)
        return place / DATABASE


def folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for a database, in memory where that can be: no disk is asked for what a kill leaves."""
    return tempfile.TemporaryDirectory(dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None)


@contextmanager
def lay_ground() -> Iterator[Ground]:
    """Have something for episodes to stand on, for as long as the block runs."""
    with folder() as place, serving(Path(place)) as origin:
        template = Path(place) / "template"
        template.mkdir()
        asyncio.run(_make(template / DATABASE, origin.url))
        past: set[str] = set()
        for when, seconds in enumerate(LONG_AGO):
            steps = Episode("long ago", history(when), kills=kills_of([]))
            steps.live_on(template / DATABASE, origin, Told(offset=round(seconds * 1e6)))
            past.update(rows(template / DATABASE, "SELECT id FROM executions WHERE finished_at IS NOT NULL"))
        gc.collect()
        gc.freeze()  # what lives inherit: a node goes through all that there is when it starts
        try:
            yield Ground(template=template, origin=origin, past=past)
        finally:
            gc.unfreeze()


async def _make(database: Path, origin: str, *, sandboxed: bool = False) -> None:
    service = await open_service(database, SteppedClock(), print, origin, sandboxed=sandboxed, create=True)
    for number in range(2):  # one that nobody will be in, whose files are removed
        await service.releases.deploy(Code(number=number, origin=origin).bundle)
    await service.close()


Kills = Callable[[Told], Kill]
"""Says when the next life ends, after what the others told."""


def drawn_kills(seed: str, count: int) -> Kills:
    """Return so many kills at points of any kind; a third of them with the power."""
    chance = random.Random(f"kills {seed}")
    return kills_of(
        [Kill(at=1 + int(chance.expovariate(1 / 60)), lost=chance.choice([None, None, chance.random()])) for _ in range(count)]
    )


def kills_of(kills: Sequence[Kill]) -> Kills:
    """Return these kills; the life after them comes to its end."""
    return lambda told: kills[told.kills] if told.kills < len(kills) else Kill()


@dataclass
class Episode:
    """What is done: to be done again, with fewer steps or another mutant.

    Attributes:
        seed: names it.
        steps: what is done.
        kills: when its lives end.
        mutant: the bug that is planted in them.
        tells_all: whether every commit is told, and not only those that are killed at.
        sandboxed: whether guests are real processes.
    """

    seed: str
    steps: list[Step]
    kills: Kills
    mutant: str | None = None
    tells_all: bool = False
    sandboxed: bool = False

    @classmethod
    def drawn(cls, seed: str, *, steps: int = 30, kills: int = 10, mutant: str | None = None, sandboxed: bool = False) -> Episode:
        """Draw an episode."""
        return cls(seed, Drawn(seed).steps(steps), drawn_kills(seed, kills), mutant, sandboxed=sandboxed)

    def run(self, ground: Ground) -> Told:
        """Live it. Raises Broken with everything that does not hold."""
        ground.origin.since()
        with folder() as place:
            database = ground.copy_to(Path(place), sandboxed=self.sandboxed)
            told = self.live_on(database, ground.origin, Told())
            problems = checks.at_the_end(database, self.steps, told.lines, ground.origin.since(), ground.past, told.offset)
            problems = problems or replays.differences(database, self.seed, REPLAYS, sandboxed=self.sandboxed)
            if problems:
                raise Broken(problems, told.kills)
        return told

    def live_on(self, database: Path, origin: Origin, told: Told) -> Told:
        """Have nodes live on a database until one comes to its end, and return what they told. Raises Broken."""
        plan = Plan(database=database, origin=origin.url, steps=self.steps, sandboxed=self.sandboxed)
        while not self._live(plan, self.kills(told), told, told.kills):
            told.kills += 1
            if problems := checks.after_a_kill(database, told.lines, told.offset):
                raise Broken(problems, told.kills)
        return told

    def _live(self, plan: Plan, kill: Kill, told: Told, number: int) -> bool:
        """Have a process live until it is killed; returns whether it came to its end instead."""
        plan.first, plan.offset = told.next_step(self.steps), told.offset
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._be(kill, Life(plan, writing))
        os.close(writing)
        status = _follow(reading, child, told, number)
        for line in told.lines:
            if line.get("life") == number and "done" in line and self.steps[line["done"]]["do"] == "activate":
                plan.slots[self.steps[line["done"]]["slot"]] = line["answer"]
        if not any("lives" in line for line in told.lines if line["life"] == number):
            raise AssertionError(f"life {number} did not begin: {told.lines[-1:]}")
        if faults := [line["fault"] for line in told.lines if "fault" in line]:
            raise Broken(faults, told.kills)
        over = any(line.get("over") for line in told.lines)
        if not over and status != -signal.SIGKILL:
            raise Broken(
                [f"life {number} ended by itself: {told.lines[-1].get('failed', status) if told.lines else status}"], told.kills
            )
        return over

    def _be(self, kill: Kill, life: Life) -> None:
        """Be the process. Never returns."""
        try:
            if self.mutant is not None:
                MUTANTS[self.mutant]()
            life.tell(lives=True)
            life.on_step = install(kill, life.tell, tells_all=self.tells_all)
            asyncio.run(life.live())
        except BaseException:  # noqa: BLE001 - whatever it is, it is told, and this process ends here
            life.tell(failed=traceback.format_exc()[-4500:])
            os._exit(1)
        os._exit(0)


def _follow(reading: int, child: int, told: Told, number: int) -> int:
    """Take down what a process tells, until it ends; returns how it did, negative for a signal."""
    text = b""
    until = time.monotonic() + PATIENCE
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            raise Broken([f"life {number} came to no end in {PATIENCE:g} s"], told.kills)
        data = os.read(reading, 1 << 16)
        if not data:
            break
        text += data
    os.close(reading)
    told.lines += [json.loads(line) | {"life": number} for line in text.split(b"\n")[:-1]]
    told.offset = next((line["offset"] for line in reversed(told.lines) if "offset" in line), told.offset)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def shrunk(episode: Episode, ground: Ground, seconds: float) -> Episode:
    """Return an episode that is broken too, with as few steps as can be found in the time."""
    until = time.monotonic() + seconds
    best = episode
    size = max(1, len(best.steps) // 2)
    while size and time.monotonic() < until:
        for start in range(0, len(best.steps), size):
            fewer = Episode(
                best.seed, best.steps[:start] + best.steps[start + size :], best.kills, best.mutant, sandboxed=best.sandboxed
            )
            if _breaks(fewer, ground) or _breaks(fewer, ground):
                best = fewer
                break
            if time.monotonic() > until:
                break
        else:
            size //= 2
    return best


def _breaks(episode: Episode, ground: Ground) -> bool:
    try:
        episode.run(ground)
    except Broken:
        return True
    return False
