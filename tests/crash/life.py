"""One life of a node: the production node on a real database, with light guests, that does steps until it is killed or has done them.

What it has done is told line by line on a pipe, which outlives it. A step is told of when it begins and when it is acknowledged: what lies
between may have happened or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from ropewalk.answers.tasks import new_id
from ropewalk.sandbox.interface import Source
from ropewalk.service import node as node_module
from ropewalk.service.config import Settings
from ropewalk.service.node import Node
from ropewalk.service.options import Chosen
from ropewalk.service.rolling_out import RollOut
from ropewalk.service.service import Service, storage_limits
from ropewalk.sources.receiving import Received, Receiver
from ropewalk.storage.interface import StorageError, UnknownInstance
from ropewalk.storage.records import PENDING, ExecutionQuery, Instance, NewVersion
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.messages import HttpAnswer
from tests.crash.guests import LightSource, manifest, target
from tests.crash.workload import Step
from tests.harness.clock import SteppedClock

JUMPS = 400
"""Times that the clock is moved on before what is left counts as stuck."""


class Stuck(Exception):
    """There is no end to the work."""


class Fetcher:
    """Answers every request at once: what was sent is in the journal."""

    def __init__(self, **_: Any) -> None:
        """Take what the production fetcher takes."""

    async def start(self) -> None:
        """There is nothing to start."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    async def fetch(self, request: Any, asker: Any) -> HttpAnswer:
        asker.about_to_send()
        await asyncio.sleep(0)
        return HttpAnswer(status=200, headers=[], body=b"", url=request.url)


class LightService(Service):
    """A service whose sandbox is light guests, and whose bundles need no disk."""

    light: LightSource

    async def sandbox(self, hash_seed: int | None = None) -> Source:
        return self.light

    async def materialise(self, digest: str) -> None:
        """Nothing reads the files."""
        await self.storage.bundle(digest)


async def open_light(database: Path, clock: SteppedClock, journal: Any, *, create: bool = False) -> LightService:
    """Open a database for light guests."""
    settings = Settings(database=f"sqlite:///{database}", concurrency=3)
    storage = await open_sqlite(database, clock=clock, create=create, limits=storage_limits(settings))
    service = LightService(settings, storage, clock)
    service.light = LightSource(journal)
    return service


async def deploy(service: Service, number: int) -> None:
    """Deploy a version, as `Service.deploy` does once it has imported the module."""
    new = NewVersion(
        name="clerk",
        bundle=f"bundle-{number}",
        module="twist",
        manifest=manifest(number),
        files={"twist.py": b"# %d" % number},
        at=service.clock.now(),
    )
    await service.storage.deploy(new)
    await RollOut(service.storage, service.clock).finish()


class Life:
    """What a process does between its start and its end."""

    def __init__(self, database: Path, pipe: int, steps: list[Step], first: int, offset: int, slots: dict[int, str]) -> None:
        self.clock = SteppedClock()
        self.clock.offset = offset
        self.slots = slots
        self._database = database
        self._pipe = pipe
        self._steps = steps
        self._first = first

    def tell(self, **line: Any) -> None:
        """Write a line to the pipe: it is there whatever happens to this process."""
        os.write(self._pipe, json.dumps(line).encode() + b"\n")

    async def live(self) -> None:
        """Do the steps that are left, then work off what is left of them."""
        logging.disable()
        setattr(node_module, "Fetcher", Fetcher)  # noqa: B010 - which the module does not export
        self.service = await open_light(self._database, self.clock, self.tell)
        self.storage = self.service.storage
        self.node = Node(self.service)
        stop, ready = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.node.run(stop, ready.set))
            await ready.wait()
            for number in range(self._first, len(self._steps)):
                await self._take(number, self._steps[number])
            await self._work_off()
            stop.set()
            await running
        await self.service.close()
        self.tell(over=True)

    async def _take(self, number: int, step: Step) -> None:
        self.tell(begin=number)
        try:
            answer = await getattr(self, f"_{step['do']}")(step)
        except StorageError as error:
            self.tell(refused=number, error=f"{type(error).__name__}: {error}")
        else:
            self.tell(done=number, answer=answer)
        self.node.wake()

    async def _work_off(self) -> None:
        for one in await self.storage.instances():
            with contextlib.suppress(UnknownInstance):  # it may go while it is looked at
                await self.service.resume(one.id)
        for _ in range(JUMPS):
            await self._quiet()
            wake = await self.storage.next_wake()
            far = wake is None or wake > self.clock.now() + 300 * 1_000_000  # nothing but ticks
            if far and (await self.storage.workload()).backing_off == 0:
                break
            self._move((wake or 0) - self.clock.now() + 1)
        else:
            raise Stuck(f"there is still something to do after {JUMPS} times that the clock was moved on")
        while await self.storage.erase(500):
            pass

    async def _quiet(self) -> None:
        """Wait until nothing runs or can."""
        self.node.wake()
        for _ in range(20_000):
            load = await self.storage.workload()
            if not load.running and (load.next_wake is None or load.next_wake > self.clock.now()):
                return
            await asyncio.sleep(0 if load.running else 0.0005)
        raise Stuck("what is ready does not run")

    def _move(self, micros: int) -> None:
        self.clock.offset += max(0, micros)
        self.tell(offset=self.clock.offset)
        self.node.wake()

    # ── Steps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _instance(self, step: Step) -> Instance | None:
        id_ = self.slots.get(step["slot"])
        return None if id_ is None else await self.storage.instance(id_)

    async def _activate(self, step: Step) -> str:
        version = await self.storage.version((await self.storage.twists())[0].id)
        assert version is not None
        root = await self.storage.root_priority()
        instance, _ = await self.service.activate(version, root.id, Chosen())
        self.slots[step["slot"]] = instance
        return instance

    async def _deploy(self, step: Step) -> None:
        (twist,) = await self.storage.twists()
        await deploy(self.service, twist.latest + 1)

    async def _invoke(self, step: Step) -> str | None:
        instance = await self._instance(step)
        return None if instance is None else await self.service.invoke(instance, target("work", step["name"], step["spec"]))

    async def _deliver(self, step: Step) -> list[Any] | None:
        instance = await self._instance(step)
        webhooks = [] if instance is None else await self.storage.webhooks(instance.id)
        if not webhooks:
            return None
        receiver = Receiver(self.storage, self.service.vault, self.clock, None, new_id=new_id, woken=self.node.wake)  # type: ignore[arg-type]
        request = Received(method="POST", path="", query="", headers=[], body=b"{}")
        accepted = await receiver.accept(webhooks[0], request, step["delivery"])
        return [accepted.execution, accepted.duplicate]

    async def _pause(self, step: Step) -> None:
        for _ in range(step["turns"]):
            await asyncio.sleep(0)

    async def _advance(self, step: Step) -> None:
        self._move(round(step["seconds"] * 1e6))

    async def _set(self, step: Step) -> str | None:
        instance = await self._instance(step)
        if instance is None:
            return None
        await self.storage.write_values(instance.id, "", {step["key"]: b"1"}, self.clock.now())
        return instance.id

    async def _cancel(self, step: Step) -> str | None:
        """Cancel something that waits or runs."""
        found = await self._executions(step, *PENDING)
        mine = [one for one in found if one.trigger in ("task", "invoke", "webhook")]
        if not mine:
            return None
        chosen = mine[step["place"] % len(mine)]
        self.tell(cancelling=chosen.id)
        done = await self.storage.cancel(chosen.id, self.clock.now())
        if step["place"] % 2:
            self.node._dispatcher.look_at_leases()  # type: ignore[union-attr]  # as the ring does that follows, unless it is lost
        return str(chosen.id) if done else None

    async def _retry(self, step: Step) -> str | None:
        """Retry something that is over for bad."""
        found = await self._executions(step, "dead", "failed")
        if not found:
            return None
        self.tell(retrying=found[0].id)
        await self.storage.retry(found[0].id, self.clock.now())
        return str(found[0].id)

    async def _executions(self, step: Step, *statuses: str) -> list[Any]:
        instance = self.slots.get(step["slot"])
        found = await self.storage.executions(ExecutionQuery(instance=instance)) if instance else []
        return [one for one in found if one.status in statuses]

    async def _suspend(self, step: Step) -> None:
        instance = await self._instance(step)
        if instance is not None:
            await self.service.suspend(instance.id, "to look into it")

    async def _resume(self, step: Step) -> None:
        instance = await self._instance(step)
        if instance is not None:
            await self.service.resume(instance.id)

    async def _deactivate(self, step: Step) -> str | None:
        instance = await self._instance(step)
        if instance is None:
            return None
        self.tell(deactivating=instance.id)
        await self.service.deactivate(instance.id)
        return instance.id
