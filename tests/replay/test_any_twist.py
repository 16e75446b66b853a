"""Any method made of these steps, in any order, replays to the same outcome; and with one step changed it is seen to differ."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path

import pytest

from tests.harness.runtime import Runtime
from tests.harness.web import Web
from tests.replay.playing import play, written
from tests.replay.reading import last_execution

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEAD = """
import asyncio, random, time, uuid
from datetime import UTC, datetime
from ropewalk import ActivityType, NewActivity, Options, Twist
from ropewalk.tools import Network, Plot

class Where(Options):
    base_url: str = "http://127.0.0.1:1"

class Anything(Twist):
    options: Where
    plot = Plot()
    network = Network(urls=["{base_url}/*"])

    async def noop(self, *_: object) -> None: ...

    async def one(self, number: int) -> int:
        await asyncio.sleep(number / 100)
        await self.set(f"one-{number}", number)
        return (await self.network.fetch(f"{self.options.base_url}/one/{number}")).status

    async def work(self) -> list[object]:
        seen: list[object] = []
"""

STEPS = (
    "await self.set('key-{n}', {{'n': {n}, 'r': random.random()}})",
    "seen.append(await self.get('key-{n}'))",
    "seen.append(await self.keys())",
    "await self.clear('key-{n}')",
    "await self.set('long-{n}', 'x' * {n}000)",
    "seen.append(str(await self.run_task(self.noop, {n})))",
    "await self.run_task(self.noop, random.randrange(1000), delay={n} + 1, key='k{n}')",
    "await self.cancel_task('k{n}')",
    "await self.run(await self.callback(self.noop, {n}))",
    "seen.append(await asyncio.gather(*(self.one(i) for i in range({n}))))",
    "await asyncio.sleep(random.random() / 50)",
    "await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title='t{n}', source='s:{n}'))",
    "await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title='own', id=uuid.uuid4()))",
    "await self.set('when-{n}', [datetime.now(UTC), time.time()])",
    "await self.set('id-{n}', str(uuid.uuid4()))",
    "await self.commit()",
    "self.log.info('step {n}: %s', random.random())",
    "seen += list({{f'{{x}}' for x in range({n})}})",
    "seen.append(await asyncio.to_thread(sum, range({n})))",
)

ENDS = ("return seen", "return seen[:2]", "raise ValueError(f'{len(seen)} seen')", "return seen + [str(random.random())]")


def method(chance: random.Random) -> list[str]:
    """Return the lines of a method."""
    return [*(chance.choice(STEPS).format(n=chance.randrange(1, 6)) for _ in range(chance.randrange(1, 14))), chance.choice(ENDS)]


def source(lines: list[str]) -> str:
    """Return the module whose method has these lines."""
    return HEAD + textwrap.indent("\n".join(lines), " " * 8) + "\n"


@pytest.mark.parametrize("seed", range(8))
async def test_any_method_replays_to_its_own_outcome_and_no_other(runtime: Runtime, web: Web, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = method(chance)
    instance = await runtime.run(source(lines), base_url=web.url)
    await runtime.finish(await runtime.queue(instance, "work"))
    execution = await last_execution(runtime, instance, "work")
    asked = len(web.requests)
    played = await play(runtime, execution)
    assert played.shown.same, f"{played.told}\n{source(lines)}"
    place = chance.randrange(len(lines))
    edited = [*lines[:place], "await self.set('added', 1)", *lines[place:]]
    played = await play(runtime, execution, code=written(tmp_path / "code", source(edited)))
    assert not played.shown.same, source(edited)
    assert len(web.requests) == asked
