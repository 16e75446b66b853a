"""A whole runtime in the test's own process: a real SQLite file, a real sandbox, a real node.

    runtime = …                                          the fixture `runtime`, or `open_runtime(…)` for other settings
    sync = await runtime.run(twists / "page_sync.py")    deploy, activate, and wait until the activation is over
    await runtime.drain()                                until nothing is due, running or in back-off
    assert await runtime.invoke(sync, "count") == 3      the result; raises `Failed` with the whole execution

The node starts with the first thing that needs it and then goes on beside the test, as `ropewalk serve` would. The sandbox is shared by
the tests of a session: versions are told apart by the digests of their files, and no test may end its root zygote.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from ropewalk.sandbox.interface import RefusedImport
from ropewalk.sandbox.source import ForkSource
from ropewalk.service import bundles
from ropewalk.service.actions import call_target
from ropewalk.service.config import Settings
from ropewalk.service.deploying import Deployed
from ropewalk.service.node import Node
from ropewalk.service.options import Given, choose
from ropewalk.service.releasing import Releases
from ropewalk.service.service import Service, storage_limits
from ropewalk.storage.records import (
    PENDING,
    ActivityQuery,
    ErrorInfo,
    Execution,
    ExecutionQuery,
    Instance,
    LogQuery,
    OwnedActivity,
    StorageLimits,
    Version,
)
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.messages import NoteRecord
from tests.harness.clock import SteppedClock
from tests.harness.waiting import PATIENCE, eventually

__all__ = ["Failed", "RefusedImport", "Runtime", "open_runtime", "open_sandbox"]


class Failed(Exception):
    """An execution ended otherwise than by succeeding; `execution` is the whole of it."""

    def __init__(self, execution: Execution) -> None:
        super().__init__(f"{execution.target.method}() is {execution.status}: {execution.error}")
        self.execution = execution

    @property
    def error(self) -> ErrorInfo:
        """Why."""
        assert self.execution.error is not None
        return self.execution.error


class Runtime:
    """One database with its node, to a test.

    Args:
        service: the database, open.
        folder: where the sources that are deployed are written.
        clock: the time that it is told.
    """

    def __init__(self, service: Service, folder: Path, clock: SteppedClock) -> None:
        self.service = service
        self.storage = service.storage
        self.clock = clock
        self._folder = folder
        self._numbers = itertools.count(1)
        self._node: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.service.settings.database_path

    @property
    def limits(self) -> StorageLimits:
        """What each instance may keep and start."""
        return storage_limits(self.service.settings)

    # ── Twists and instances ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def deploy(self, source: str | Path, *, name: str | None = None, **flags: Any) -> Deployed:
        """Deploy a module's source, or the file or folder at a path. Raises RefusedImport, BundleError."""
        path = source if isinstance(source, Path) else self._written(source)
        return await Releases(self.service).deploy(bundles.pack(path), name=name, **flags)

    async def activate(self, twist: str, **options: object) -> str:
        """Make an instance of a twist's latest version and queue its activation; returns the instance."""
        version = await self._latest(twist)
        given = choose(version.manifest.options, {name: Given(str(value), named=True) for name, value in options.items()})
        root = await self.storage.root_priority()
        instance, _ = await self.service.activate(version, root.id, given)
        return instance

    async def run(self, source: str | Path, **options: object) -> str:
        """Deploy, activate, and see the activation through; returns the instance. Raises Failed."""
        deployed = await self.deploy(source)
        instance = await self.activate(deployed.get("twist", ""), **options)
        activation = (await self.executions(instance))[0]
        await self._succeed(activation.id)
        return instance

    async def deactivate(self, instance: str) -> Execution:
        """Remove an instance and return the execution of its `deactivate`."""
        return await self._finish(await self.service.deactivate(instance))

    async def instance(self, instance: str) -> Instance:
        """Return an instance as it stands."""
        found = await self.storage.instance(instance)
        assert found is not None, f"instance {instance} is gone"
        return found

    # ── Executions ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def invoke(self, instance: str, method: str, *args: object, **kwargs: object) -> Any:
        """Call a method and return its result. Raises Failed."""
        execution = await self._finish(await self.queue(instance, method, *args, **kwargs))
        if execution.status != "succeeded":
            raise Failed(execution)
        return msgspec.json.decode(execution.result or b"null")

    async def failure(self, instance: str, method: str, *args: object, **kwargs: object) -> ErrorInfo:
        """Call a method that has to fail and return why it did."""
        execution = await self._finish(await self.queue(instance, method, *args, **kwargs))
        assert execution.error is not None, f"{method}() did not fail but {execution.status}: {execution.result!r}"
        return execution.error

    async def queue(self, instance: str, method: str, *args: object, **kwargs: object) -> str:
        """Queue a call of a method; returns the execution."""
        arguments = msgspec.json.encode([args, kwargs])
        found = await self.instance(instance)
        return await self.service.invoke(found, await call_target(self.storage, found, method, arguments))

    async def drain(self, timeout: float = PATIENCE) -> None:
        """Wait until nothing is due, running or in back-off."""

        async def is_idle() -> bool:
            self._check_node()
            load = await self.storage.workload()
            return not (load.ready or load.running or load.backing_off)

        await self.start()
        await eventually(is_idle, "the queue to be empty", timeout)

    async def execution(self, execution: str) -> Execution:
        """Return an execution as it stands."""
        found = await self.storage.execution(execution)
        assert found is not None, f"execution {execution} is gone"
        return found

    async def executions(self, instance: str, method: str | None = None) -> list[Execution]:
        """Return an instance's executions, oldest first; with `method` only those of it."""
        found = await self.storage.executions(ExecutionQuery(instance=instance))
        return [one for one in reversed(found) if method in (None, one.target.method)]

    async def finish(self, execution: str) -> Execution:
        """Wait until an execution is over and return it."""
        return await self._finish(execution)

    # ── What executions left ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def logs(self, instance: str) -> list[str]:
        """Return the messages of an instance's log lines, oldest first."""
        return [line.line.message for line in await self.storage.logs(LogQuery(instance=instance))]

    async def get(self, instance: str, key: str, ns: str = "") -> Any:
        """Return a stored value, None where there is none."""
        found = await self.storage.read_values(instance, ns, [key], self.clock.now())
        return msgspec.json.decode(found[key]) if key in found else None

    async def keys(self, instance: str, prefix: str = "", ns: str = "") -> list[str]:
        """Return the keys of an instance's store."""
        return await self.storage.read_keys(instance, ns, prefix, self.clock.now())

    async def activities(self) -> list[OwnedActivity]:
        """Return all activities, oldest first."""
        return list(reversed(await self.storage.activities(ActivityQuery(limit=None))))

    async def titles(self) -> list[str]:
        """Return the titles of all activities that twists made, sorted."""
        return sorted(one.activity.title for one in await self.activities() if one.twist is not None)

    async def told(self) -> list[str]:
        """Return the titles of what the runtime itself tells people, oldest first."""
        return [one.activity.title for one in await self.activities() if one.twist is None]

    async def notes(self, activity: str) -> list[NoteRecord]:
        """Return the notes of an activity, oldest first."""
        return await self.storage.notes(activity)

    # ── The node ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Start the node, unless it runs."""
        if self._node is None:
            self._stop = asyncio.Event()
            ready = asyncio.Event()
            self._node = asyncio.create_task(Node(self.service).run(self._stop, ready.set))
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait([self._node, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            self._check_node()

    async def stop(self) -> None:
        """Let the node finish what runs, and end it."""
        if self._node is not None:
            self._stop.set()
            node, self._node = self._node, None
            await asyncio.wait_for(node, PATIENCE)

    def _check_node(self) -> None:
        if self._node is not None and self._node.done():
            self._node.result()
            raise AssertionError("the node ended by itself")

    async def _finish(self, execution: str) -> Execution:
        async def is_over() -> bool:
            self._check_node()
            return (await self.execution(execution)).status not in PENDING

        await self.start()
        await eventually(is_over, f"execution {execution} to be over", 60)
        return await self.execution(execution)

    async def _succeed(self, execution: str) -> Execution:
        finished = await self._finish(execution)
        if finished.status != "succeeded":
            raise Failed(finished)
        return finished

    async def _latest(self, name: str) -> Version:
        twist = next(twist for twist in await self.storage.twists() if twist.name == name)
        version = await self.storage.version(twist.id)
        assert version is not None
        return version

    def _written(self, source: str) -> Path:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(parents=True)
        module = folder / "twist.py"
        module.write_text(textwrap.dedent(source), encoding="utf-8")
        return module


@contextlib.asynccontextmanager
async def open_sandbox(folder: Path) -> AsyncIterator[ForkSource]:
    """Give a started sandbox that sees the bundles in `folder`."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    source = ForkSource(str(folder))
    await source.start()
    try:
        yield source
    finally:
        await source.stop()


@contextlib.asynccontextmanager
async def open_runtime(folder: Path, sandbox: ForkSource, shared_bundles: Path, **settings: Any) -> AsyncIterator[Runtime]:
    """Give a runtime with a new database in `folder`; `settings` are those of `Settings`."""
    clock = SteppedClock()
    chosen = Settings(database=f"sqlite:///{folder}/ropewalk.db", **settings)
    chosen.bundles_directory.symlink_to(shared_bundles)
    storage = await open_sqlite(chosen.database_path, clock=clock, create=True, limits=storage_limits(chosen))
    service = Service(chosen, storage, clock)
    service._source = sandbox
    runtime = Runtime(service, folder / "sources", clock)
    try:
        yield runtime
    finally:
        await runtime.stop()
        service._source = None  # it outlives this database
        await service.close()
