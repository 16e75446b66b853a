"""One life of a node: the production node on a real database, that does steps until it is killed or has done them.

What it has done is told line by line on a pipe, which outlives it. A step is told of when it begins and when it is acknowledged: what lies
between may have happened or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from ropewalk.dispatch import lines
from ropewalk.egress.connections import verifying_context
from ropewalk.egress.fetch import Fetcher
from ropewalk.errors import RopewalkError
from ropewalk.service import membership, node
from ropewalk.service.auditing import audit
from ropewalk.service.node import Node
from ropewalk.storage.interface import StorageError, UnknownInstance
from tests.crash.actions import Actions
from tests.crash.mutants.planting import put
from tests.crash.services import open_service
from tests.crash.watched import FAULT, Journal
from tests.crash.workload import Step
from tests.harness.clock import SteppedClock

_VERIFYING = verifying_context()
"""Made once: reading the system's authorities takes as long as a life does."""

PATIENCE = 20.0
"""Seconds in which what is ready has to run."""

JUMPS = 400
"""Times that the clock is moved on before what is left counts as stuck."""


class Stuck(Exception):
    """There is no end to the work."""


class Plan(Struct, kw_only=True):
    """What a life is to do.

    Attributes:
        database: where.
        origin: where the clerks' requests go.
        steps: what is done in all lives together.
        first: the first of them that is still to be done.
        offset: how far the clock was moved on before.
        slots: the instances that there are, by the steps' names for them.
        sandboxed: whether guests are real processes.
    """

    database: Path
    origin: str
    steps: list[Step]
    first: int = 0
    offset: int = 0
    slots: dict[int, str] = {}
    sandboxed: bool = False


class _Faults(logging.Handler):
    """Tells of what the host itself says is wrong with it."""

    def __init__(self, tell: Journal) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if FAULT not in self.format(record):
            self._tell(fault=self.format(record)[-1500:])


class Life:
    """What a process does between its start and its end.

    Attributes:
        on_step: told of each step that begins; the last one is to work off what is left.
    """

    def __init__(self, plan: Plan, pipe: int) -> None:
        self.clock = SteppedClock()
        self.clock.offset = plan.offset
        self.on_step: Callable[[int], None] = lambda _: None
        self._plan = plan
        self._pipe = pipe

    def tell(self, **line: Any) -> None:
        """Write a line to the pipe: it is there whatever happens to this process."""
        os.write(self._pipe, json.dumps(line).encode() + b"\n")

    async def live(self) -> None:
        """Do the steps that are left, then work off what is left of them."""
        logging.basicConfig(level=logging.ERROR, handlers=[_Faults(self.tell)], force=True)
        put(lines, FLUSH=0.0)  # stored apart from settlements
        put(membership, BEAT=0.02)
        put(node, Fetcher=partial(Fetcher, tls=_VERIFYING))
        plan = self._plan
        self.service = await open_service(plan.database, self.clock, self.tell, plan.origin, sandboxed=plan.sandboxed)
        self.storage = self.service.storage
        self.node = Node(self.service)
        actions = Actions(self.service, self.node, self.tell, self.move, self._quiet, plan.slots)
        stop, ready = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.node.run(stop, ready.set))
            await ready.wait()
            await self.service.listening_at("http://127.0.0.1:8420")
            await self._look()
            for number in range(plan.first, len(plan.steps)):
                await self._take(actions, number, plan.steps[number])
            self.on_step(len(plan.steps))
            await self._work_off()
            stop.set()
            await running
        await self.service.close()
        self.tell(over=True)

    async def _look(self) -> None:
        """Look for what is wrong once the node is there, and mend it."""
        for found in await audit(self.service, repair=True):
            self.tell(found=found.name, what=found.what, mended=found.repaired)
        if behind := await self.storage.behind(1):
            self.tell(found="behind", what=f"{behind[0]} was offered nothing by a node that has started")

    async def _take(self, actions: Actions, number: int, step: Step) -> None:
        self.on_step(number)
        self.tell(begin=number)
        try:
            answer = await actions.do(step)
        except (StorageError, RopewalkError) as error:
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
            if not await self.storage.tasks() and (await self.storage.workload()).backing_off == 0:
                break
            self.move(max(0, (wake or 0) - self.clock.now()) + 1)
        else:
            raise Stuck(f"there is still something to do after {JUMPS} times that the clock was moved on")
        while await self.node._remove_some():
            pass

    async def _quiet(self) -> None:
        """Wait until nothing runs or can."""
        self.node.wake()
        until = self.clock.boottime() + PATIENCE
        for turn in itertools.count(1):
            load = await self.storage.workload()
            if not load.running and (load.next_wake is None or load.next_wake > self.clock.now()):
                return
            if self.clock.boottime() > until:
                raise Stuck(f"what is ready does not run: {load}")
            if turn % 1000 == 0:
                self.node._on_ring()  # as others do now and then: it looks at its leases, too
            await asyncio.sleep(0 if load.running and turn < 200 else 0.0005)

    def move(self, micros: int) -> None:
        """Move the clock."""
        self.clock.offset += micros
        self.tell(offset=self.clock.offset)
        self.node.wake()
