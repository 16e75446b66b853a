"""A node: everything that runs executions, assembled, started and stopped in order.

    membership (lock, lease, heartbeats) ─► doorbell, poll ─► dispatcher ─► sandbox
                                                                  └─► answers ─► storage, egress

`run` is a node for life, `drain` one until nothing is left to do, `run_until_finished` one until one execution is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from ropewalk.answers.interface import AnswerLimits, Host
from ropewalk.answers.secrets import OptionsReader
from ropewalk.answers.throttle import Throttle
from ropewalk.dispatch.dispatcher import Counts, Dispatcher
from ropewalk.dispatch.versions import Versions
from ropewalk.egress.fetch import Fetcher
from ropewalk.egress.patterns import parse_pattern
from ropewalk.recording.recorder import Recorder
from ropewalk.sandbox.interface import Figures, Source
from ropewalk.service.doorbell import SUFFIX, Doorbell
from ropewalk.service.membership import Membership
from ropewalk.service.old_versions import OldVersions
from ropewalk.service.service import Service
from ropewalk.storage.interface import StorageError
from ropewalk.storage.pace import Pace
from ropewalk.storage.records import PENDING, Execution, Workload

log = logging.getLogger(__name__)

_HOUSEKEEPING = 5.0
_WATCH = 0.05
_COLLECT_EVERY = 50_000
_REMOVED_AT_ONCE = 500
_BETWEEN_BATCHES = 0.1
_KEEP_CALLBACKS = 86_400_000_000
_BETWEEN_ROUNDS = 3600.0
_LOOK_FOR = 1.0


class NodeLost(Exception):
    """This node was declared dead by another, or could not renew its lease in time: everything that it ran was ended."""


class _OutOfTime(Exception):
    """Leaves a node's block before what runs there is over: it is ended, and runs again."""


class Node:
    """One node of a database.

    Args:
        service: the database, open.
        only: limits it to one instance.
        settled: called with each execution that it has settled.
    """

    def __init__(self, service: Service, *, only: str | None = None, settled: Callable[[str], None] = lambda _: None) -> None:
        self._service = service
        self._only = only
        self._settled = settled
        self._lost = asyncio.Event()
        self._membership = Membership(service.storage, service.clock, service.nodes_directory, self._lost.set)
        self._dispatcher: Dispatcher | None = None
        self._source: Source | None = None
        self._old_versions = OldVersions(service)
        self._looked_at = ""
        self._next_round = float("-inf")

    @property
    def id(self) -> str:
        """This node's name among the others."""
        return self._membership.node

    @property
    def counts(self) -> Counts:
        """What it has done since it started."""
        return self._dispatcher.counts if self._dispatcher else Counts()

    @property
    def running(self) -> int:
        """How many executions run here now."""
        return self._dispatcher.running if self._dispatcher else 0

    @property
    def room(self) -> Figures:
        """Its memory for executions, and how much of it is taken."""
        return self._source.room if self._source else Figures()

    def wake(self) -> None:
        """Have it look for work now: for what stores events in this very process, and has no need to ring."""
        if self._dispatcher is not None:
            self._dispatcher.wake()

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Run executions until `stop` is set; then see running ones through.

        Raises:
            NodeLost: its leases were taken from it.
            SandboxError: this host cannot isolate.
        """
        async with self._started():
            ready()
            await stop.wait()

    async def drain(self, *, until_idle: bool, timeout: float, progress: Callable[[Workload], None] = lambda _: None) -> bool:
        """Run what is due; with `until_idle` what is in back-off too. Returns whether nothing was left within `timeout` seconds."""

        async def is_idle() -> bool:
            load = await self._service.storage.workload()
            progress(load)
            return not (load.ready or load.running or (until_idle and load.backing_off))

        return await self._run_until(is_idle, timeout)

    async def run_until_finished(self, execution: str, timeout: float = float("inf")) -> Execution | None:
        """Run executions until this one is over, and return it; None when it is gone.

        It is returned as it is when it is not over after `timeout` seconds, or when its instance is suspended.
        """

        async def is_over() -> bool:
            found = await self._service.storage.execution(execution)
            return found is None or found.status not in PENDING or await self._service.is_held(found)

        await self._run_until(is_over, timeout)
        return await self._service.storage.execution(execution)

    async def _run_until(self, is_reached: Callable[[], Awaitable[bool]], timeout: float) -> bool:
        """Run executions until something holds; False when it did not within `timeout` seconds."""
        deadline = self._service.clock.boottime() + timeout
        try:
            async with self._started():
                while not await is_reached():
                    if self._service.clock.boottime() > deadline:
                        raise _OutOfTime
                    await asyncio.sleep(_WATCH)
        except _OutOfTime:
            return False
        return True

    # ── Starting and stopping ────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def _started(self) -> AsyncIterator[None]:
        """Be a node within the block; on leaving it see running executions through, on an error end them."""
        async with contextlib.AsyncExitStack() as stack:
            dispatcher = self._dispatcher = await self._assemble(stack)
            doorbell = Doorbell(self._service.nodes_directory / (self.id + SUFFIX), self._on_ring)
            doorbell.start()
            stack.callback(doorbell.stop)
            stack.enter_context(quiet_collector())
            async with _one_failure(), asyncio.TaskGroup() as group:
                dispatching = group.create_task(dispatcher.run())
                keeping = group.create_task(self._keep_house())
                watching = group.create_task(self._watch_lease())
                try:
                    yield
                except BaseException:
                    dispatching.cancel()
                    raise
                else:
                    dispatcher.stop()
                    await asyncio.wait([dispatching])
                finally:
                    keeping.cancel()
                    watching.cancel()

    async def _assemble(self, stack: contextlib.AsyncExitStack) -> Dispatcher:
        """Start the parts, each before those that need it; the stack stops them in reverse."""
        service, settings = self._service, self._service.settings
        await service.vault.check()
        source = self._source = await service.sandbox()
        fetcher = Fetcher(private=[parse_pattern(text) for text in settings.allow_private])
        await fetcher.start()
        stack.push_async_callback(fetcher.stop)
        await self._membership.join()
        stack.push_async_callback(self._membership.leave)
        await service.roll_out()
        limits = AnswerLimits(
            value=settings.limit_value,
            store=settings.limit_store,
            queue=settings.limit_queue,
            queue_bytes=settings.limit_queue_bytes,
            callbacks=settings.limit_callbacks,
            webhooks=settings.limit_webhooks,
        )
        recorder = Recorder(service.vault, service.clock, settings.record, settings.limit_record, source.hash_seed)
        egress = Throttle(Pace(burst=settings.egress_burst, rate=settings.egress_rate), service.clock)
        return Dispatcher(
            Host(
                storage=service.storage,
                clock=service.clock,
                fetcher=fetcher,
                egress=egress,
                limits=limits,
                vault=service.vault,
                recorder=recorder,
                public_url=service.public_url,
            ),
            source,
            Versions(
                service.storage,
                settings.limits,
                service.materialise,
                strict=settings.isolation == "strict",
                import_memory=settings.limit_import,
            ),
            OptionsReader(service.storage, service.vault),
            node=self.id,
            concurrency=settings.concurrency,
            holds_lease=self._membership.holds_lease,
            only=self._only,
            settled=self._settled,
        )

    async def _watch_lease(self) -> None:
        await self._lost.wait()
        raise NodeLost(
            f"node {self.id} lost its leases: everything that it ran was ended, and runs again elsewhere or when it is restarted"
        )

    # ── What keeps it going ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _on_ring(self) -> None:
        """Another process wrote something: look for work, and whether a lease was taken away."""
        assert self._dispatcher is not None
        self._dispatcher.wake()
        self._dispatcher.look_at_leases()

    async def _keep_house(self) -> None:
        """Now and then: take over from dead nodes and from deploys that were killed, remove what has expired, look at the leases in case a ring
        was lost.
        """
        assert self._dispatcher is not None
        while True:
            try:
                await self._membership.bury_the_dead()
                await self._dispatcher.check_leases()
                await self._service.roll_out()
                await self._look_at_the_clock()
                removed = await self._remove_some()
                await self._forget_callbacks()
                await self._old_versions.look()
            except StorageError as error:
                log.warning("housekeeping waits: %s", error)
                removed = 0
            await asyncio.sleep(_HOUSEKEEPING if removed < _REMOVED_AT_ONCE else _BETWEEN_BATCHES)

    async def _look_at_the_clock(self) -> None:
        """Have instances go on from now that a clock, set back, would hold up."""
        moved = await self._service.storage.follow_clock(self._service.clock.now())
        if moved:
            log.warning(
                "the clock was set back: %d instances, whose recurring tasks or pace would wait for it, go on from now", moved
            )
            self.wake()

    async def _remove_some(self) -> int:
        """Remove a batch of each thing whose time is over; returns how much of the largest there was."""
        storage = self._service.storage
        settings, now = self._service.settings, self._service.clock.now()
        return max(
            await storage.erase(_REMOVED_AT_ONCE),
            await storage.sweep(_REMOVED_AT_ONCE),
            await storage.forget(_REMOVED_AT_ONCE, now - round(settings.keep_executions * 1e6)),
            await storage.forget_deliveries(_REMOVED_AT_ONCE, now - round(settings.keep_deliveries * 1e6)),
            await storage.forget_records(_REMOVED_AT_ONCE, now - round(settings.keep_records * 1e6)),
        )

    async def _forget_callbacks(self) -> None:
        """Go on, for a moment, with looking at one instance after another for callbacks that nothing mentions; begin again an hour later."""
        storage, clock = self._service.storage, self._service.clock
        until = clock.boottime() + _LOOK_FOR
        while self._next_round <= clock.boottime() < until:
            found = await storage.forget_callbacks(self._looked_at, _REMOVED_AT_ONCE, clock.now() - _KEEP_CALLBACKS)
            self._looked_at = found or ""
            if found is None:
                self._next_round = clock.boottime() + _BETWEEN_ROUNDS


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep what a node starts with out of the garbage collector's sight: going through it again and again takes some percent of the CPU."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.asynccontextmanager
async def _one_failure() -> AsyncIterator[None]:
    """Raise a task group's first failure as itself."""
    try:
        yield
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        raise first from first.__cause__
