"""A real service and node in a folder of their own, in this process, with the bench's twist deployed: what is measured.

Nothing is left out: SQLite with synchronous=FULL, the sandbox, the queue. The only thing added is a `Witness` before storage, which notes
when each settlement has become durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ropewalk.answers.tasks import new_id
from ropewalk.clock import SystemClock
from ropewalk.service.bundles import pack
from ropewalk.service.config import Settings
from ropewalk.service.node import Node
from ropewalk.service.releasing import Releases
from ropewalk.service.service import Service, storage_limits
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import Instance, NewExecution, NewInstance, Rank, Settled, Settlement, Version
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.messages import Json, Target

IN_FLIGHT = 8
"""Executions at once: what a node runs unless told otherwise."""

UNBOUNDED: dict[str, Any] = {"pace_burst": 10**9, "limit_daily": 10**9, "limit_chain": 10**9, "limit_queue": 10**9}
"""Budgets that are charged as ever, and that nothing here uses up: what is measured is the machine."""

TWIST = Path(__file__).with_name("twist.py")


class Executed(Struct, frozen=True):
    """One execution, by the machine's monotonic clock in nanoseconds: when its event was handed to a process, and when its settlement
    was durable.
    """

    started: int
    settled: int
    result: Json


class Witness:
    """Storage that notes when settlements are durable."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._awaited: dict[str, asyncio.Future[Executed]] = {}
        self.left = 0
        """How many of the settlements that are waited for are not durable yet."""
        self._end: asyncio.Future[None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def awaited(self, execution: str) -> Awaitable[Executed]:
        """Wait for the end of an execution. To be asked for before its event is stored."""
        self._awaited[execution] = asyncio.get_running_loop().create_future()
        return self._awaited[execution]

    def settlements(self, count: int) -> Awaitable[None]:
        """Wait for that many settlements from now on."""
        self.left, self._end = count, asyncio.get_running_loop().create_future()
        return self._end

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0 and self._end is not None:
            self._end.set_result(None)

    async def settle(self, settlement: Settlement) -> Settled:
        settled = await self._storage.settle(settlement)
        now, wall = time.monotonic_ns(), time.time_ns()
        if settlement.verdict.status != "succeeded":
            raise RuntimeError(f"an execution was to succeed: {settlement.attempt.error}")
        self._count()
        waiter = self._awaited.pop(settlement.execution, None)
        if waiter is not None:
            started = now - (wall - settlement.attempt.usage.started_at * 1000)
            waiter.set_result(Executed(started, now, settlement.verdict.result or b"null"))
        return settled


class Rig:
    """The node under measurement."""

    def __init__(self, service: Service, node: Node, witness: Witness) -> None:
        self.service = service
        self.node = node
        self.witness = witness

    async def deploy(self, module: Path = TWIST, name: str = "bench") -> Version:
        """Deploy a module as a twist's next version."""
        await Releases(self.service).deploy(pack(module), name=name, dry_run=False)
        twist = next(twist for twist in await self.service.storage.twists() if twist.name == name)
        version = await self.service.storage.version(twist.id)
        assert version is not None
        return version

    async def activate(self, version: Version, count: int) -> list[Instance]:
        """Make instances and wait until they are active."""
        root = (await self.service.storage.root_priority()).id
        news = [self._new_instance(version, root) for _ in range(count)]
        done = [self.witness.awaited(new.activate.id) for new in news]
        await asyncio.gather(*(self.service.storage.activate(new) for new in news))
        self.node.wake()
        await asyncio.gather(*done)
        found = [await self.service.storage.instance(new.id) for new in news]
        return [instance for instance in found if instance is not None]

    async def hand_over(self, instance: str, method: str, *arguments: object) -> str:
        """Store an event durably, as a source in the node's own process does; returns the execution's id."""
        execution = event(instance, method, *arguments)
        await self.service.storage.enqueue(execution)
        self.node.wake()
        return execution.id

    async def execute(self, instance: str, method: str, *arguments: object) -> tuple[int, Executed]:
        """Store an event and wait for its end; returns the monotonic nanosecond at which it began to be stored, and its execution."""
        execution = event(instance, method, *arguments)
        done = self.witness.awaited(execution.id)
        began = time.monotonic_ns()
        await self.service.storage.enqueue(execution)
        self.node.wake()
        return began, await done

    def syncs(self) -> int:
        """Return how often the disk was told to keep what was written to it."""
        return self.service.storage.stats().syncs

    def _new_instance(self, version: Version, priority: str) -> NewInstance:
        instance = new_id()
        return NewInstance(
            id=instance,
            twist=version.twist,
            version=version.number,
            priority=priority,
            options=b"{}",
            secret=secrets.token_bytes(32),
            activate=replace(event(instance, "activate"), trigger="activate", rank=Rank.BARRIER),
        )


def event(instance: str, method: str, *arguments: object) -> NewExecution:
    """Return a task's event that calls `method`."""
    return NewExecution(
        id=new_id(),
        instance=instance,
        trigger="task",
        target=Target(ns="", method=method, arguments=msgspec.json.encode((arguments, {}))),
        at=time.time_ns() // 1000,
    )


@contextlib.asynccontextmanager
async def serving(folder: Path, *, concurrency: int = IN_FLIGHT, **more: Any) -> AsyncIterator[Rig]:
    """Run a node on the database in `folder`, made if it is not there; `more` are settings of the measurement's own."""
    settings = Settings(database=f"sqlite:///{database_path(folder)}", concurrency=concurrency, **UNBOUNDED | more)
    storage = await open_sqlite(settings.database_path, clock=SystemClock(), create=True, limits=storage_limits(settings))
    witness = Witness(storage)
    service = Service(settings, cast("Storage", witness), SystemClock())
    node = Node(service)
    stop, ready = asyncio.Event(), asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(node.run(stop, ready.set))
            await ready.wait()
            yield Rig(service, node, witness)
            stop.set()
    finally:
        await service.close()


@contextlib.asynccontextmanager
async def storing(folder: Path) -> AsyncIterator[Storage]:
    """Open the database in `folder`, with no node on it."""
    storage = await open_sqlite(database_path(folder), clock=SystemClock(), create=False)
    try:
        yield storage
    finally:
        await storage.close()


def database_path(folder: Path) -> Path:
    """Return the file of the database in `folder`."""
    return folder / "bench.db"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a folder on the disk that this repository is on, so that a sync is a real one."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path(__file__).parent) as path:
        yield Path(path)
