"""What recurs, while its node is killed with SIGKILL again and again: no tick is lost, none runs twice, and the next one always comes."""

from __future__ import annotations

import os
import random
import time

from tests.harness.checks import assert_idle, assert_whole, one, rows
from tests.harness.commands import Cli

RECURS = """
from ropewalk import Priority, Twist

class Recurs(Twist):
    async def activate(self, priority: Priority) -> None:
        await self.schedule_recurring("all", self.tick, "all", every=1, catch_up="all")
        await self.schedule_recurring("one", self.tick, "one", every=1)

    async def tick(self, key: str) -> None:
        await self.set(key, await self.get(key, int, default=0) + 1)
"""

COUNTS = "select key, id, recurrence ->> 'first', next, runs, skipped, missed from recurring"
SECOND = 1_000_000


def test_ticks_survive_the_kills_of_their_node(cli: Cli) -> None:
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1 << 32)))
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    cli.json("deploy", cli.write(RECURS))
    instance = cli.json("activate", "recurs", "--wait")["instance"]
    for _ in range(4):
        node = cli.start()
        time.sleep(0.5 + chance.expovariate(1 / 0.7))  # the moment of the fault, not a wait for anything
        node.kill()
    cli.json("drain", "--until-idle")
    for key, id_, first, next_, runs, skipped, missed in rows(cli.database, COUNTS):
        times = rows(cli.database, "select run_at from executions where cause = ? order by run_at", id_)
        assert len(times) == len(set(times)) == runs, f"{key} ran a tick twice"
        assert all((at - first) % SECOND == 0 for at in times)
        assert runs + skipped + missed == (next_ - first) // SECOND, f"{key} lost a tick"
        assert runs >= 4
        assert cli.json("store", "get", instance, key) == runs
    assert one(cli.database, "select missed from recurring where key = 'all'") == 0
    assert_whole(cli.database)
    assert_idle(cli.database)
