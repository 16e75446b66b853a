"""What a verb costs does not grow with what is pending: counted in steps of SQLite's machine, which no other process disturbs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from ropewalk.clock import Micros
from ropewalk.storage.records import ExecutionQuery, LogQuery, StorageLimits
from ropewalk.storage.sqlite import SqliteStorage
from ropewalk.storage.sqlite.connection import open_database
from tests.storage.scene import SECOND, START, Scene, StillClock

FILL = """
    WITH RECURSIVE numbers (x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM numbers WHERE x + 1 < ?1)
    INSERT INTO executions (id, instance, status, rank, due, run_at, trigger, ns, target_ns, method, cause, depth, size, queued_at,
        arguments, event)
    SELECT 'later' || x, 'i' || (x % ?2), 'queued', 4, ?3 + x, ?3 + x, 'task', '', '', 'later', '', 0, 4, ?3, x'5b5d', x'5b5d' FROM numbers
    """

COUNT = """
    UPDATE instances SET
        wake_at = (SELECT min(due) FROM executions WHERE instance = instances.id AND due IS NOT NULL),
        pending = (SELECT count(*) FROM executions WHERE instance = instances.id AND due IS NOT NULL),
        pending_bytes = (SELECT 4 * count(*) FROM executions WHERE instance = instances.id AND due IS NOT NULL)
    """


class Metered:
    """A scene with tasks pending in the far future, that counts the steps of what is done."""

    def __init__(self, folder: Path, pending: int, instances: int) -> None:
        self.clock = StillClock()
        path = folder / f"{pending}-{instances}.db"
        self.writer, self.reader = open_database(path, create=True)
        limits = StorageLimits(pending=10**9, pending_bytes=10**12)
        self.storage = SqliteStorage(path, self.writer, self.reader, self.clock, limits)
        self.scene = Scene(self.storage, self.clock)
        self.pending, self.instances = pending, instances
        self.steps: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Fill it."""
        await self.scene.prepare()
        for number in range(self.instances):
            await self.scene.active(f"i{number}")
        far: Micros = self.clock.now() + 86_400 * SECOND
        self.writer.execute(FILL, (self.pending, self.instances, far))
        self.writer.execute(COUNT)
        for connection in (self.writer, self.reader):
            cast("apsw.Connection", connection).trace_v2(apsw.SQLITE_TRACE_PROFILE, self.note)

    def note(self, event: dict[str, Any]) -> None:
        """Add the steps of a statement that ended."""
        self.steps["all"] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    async def cost(self, what: Callable[[], Awaitable[Any]]) -> tuple[Any, int]:
        """Do something and return its result and its steps."""
        before = self.steps["all"]
        result = await what()
        return result, self.steps["all"] - before

    async def hop(self) -> dict[str, int]:
        """Do once what a node does all the time, and return what each verb cost."""
        scene, costs = self.scene, {}
        id_, costs["enqueue"] = await self.cost(lambda: scene.after("i0", "soon", 1))
        self.clock.move(2)
        _, costs["next_wake"] = await self.cost(self.storage.next_wake)
        claims, costs["claim"] = await self.cost(lambda: self.storage.claim("node-1", 8))
        assert [claim.execution.id for claim in claims] == [id_]
        _, costs["commit"] = await self.cost(lambda: scene.commit(claims[0], scene.task("far", 10**7, "i0", key="k")))
        _, costs["settle"] = await self.cost(lambda: scene.succeed(claims[0], scene.task("far", 10**7, "i0", key="k"), next=True))
        _, costs["find"] = await self.cost(lambda: self.storage.find("execution", "later5"))
        _, costs["read"] = await self.cost(lambda: self.storage.execution(id_))
        _, costs["history"] = await self.cost(lambda: self.storage.executions(ExecutionQuery(instance="i0", limit=5)))
        _, costs["logs"] = await self.cost(lambda: self.storage.logs(LogQuery(instance="i0")))
        _, costs["sweep"] = await self.cost(lambda: self.storage.sweep(10))
        _, costs["erase"] = await self.cost(lambda: self.storage.erase(10))
        _, costs["forget"] = await self.cost(lambda: self.storage.forget(1, START + 1))
        _, costs["record"] = await self.cost(lambda: self.storage.record(id_, 1))
        _, costs["forget_records"] = await self.cost(lambda: self.storage.forget_records(1, START))
        _, costs["cancel"] = await self.cost(lambda: self.storage.cancel("later0", self.clock.now()))
        return costs


@pytest.mark.parametrize("instances", [1, 20])
async def test_the_cost_of_a_hop_does_not_grow_with_what_is_pending(tmp_path: Path, instances: int) -> None:
    costs: list[dict[str, int]] = []
    for pending in (100, 20_000):
        metered = Metered(tmp_path, pending, instances)
        await metered.prepare()
        await metered.hop()
        costs.append(await metered.hop())
        assert await metered.scene.problems() == []
        await metered.storage.close()
    few, many = costs
    assert min(few.values()) > 0
    grown = {verb: (few[verb], many[verb]) for verb in few if many[verb] > few[verb] * 1.2 + 20}
    assert grown == {}
