"""The heart of a node: claims what is ready, runs it, settles it.

One task holds one instance's lease at a time. It runs the claimed execution, and those that its settlements claim with them, for
`QUANTUM` seconds at most; then the lease goes back, so that others get their turn. The dispatcher sleeps until it is woken: by a write
of this node's, by another process's ring, by the next timer; a slow poll is the safety net.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from msgspec import Struct

from ropewalk.answers.interface import Host
from ropewalk.answers.secrets import InstanceOptions, OptionsReader
from ropewalk.clock import Micros
from ropewalk.dispatch.attempt import Attempt
from ropewalk.dispatch.outcome import Cancelled, Ending, Failed, Fenced, Lost, Outcome, Succeeded
from ropewalk.dispatch.settling import Settler
from ropewalk.dispatch.versions import LoadedVersion, Versions
from ropewalk.egress.patterns import BadPattern
from ropewalk.queue import retries
from ropewalk.queue.retries import Failure
from ropewalk.sandbox.interface import RefusedImport, SandboxError, Source
from ropewalk.storage.interface import StorageError, StorageUnusable
from ropewalk.storage.records import Claim, ErrorInfo, Usage
from ropewalk.vault.errors import KeyMissing, KeyRefused, Tampered, VaultError
from ropewalk.wire.control import RetryInfo
from ropewalk.wire.messages import PriorityRecord

log = logging.getLogger(__name__)

QUANTUM = 0.1
"""Seconds for which one lease goes on to the instance's next executions."""

_PAUSE = 0.05
"""Seconds to wait after a claim that gave nothing though something was due, or that failed: others were quicker, or storage is busy."""

POLL = 1.0
"""Seconds after which a sleeping dispatcher looks by itself whether there is work."""

DEACTIVATION_GRACE = 10.0
"""Seconds that a running execution gets once its instance is being deactivated."""


class Counts(Struct):
    """What this node has done since it started."""

    executions: int = 0
    succeeded: int = 0
    failed: int = 0
    lost: int = 0


class Dispatcher:
    """Runs executions, at most `concurrency` at once.

    Args:
        host: what answers need; its storage is where claims come from.
        source: where processes come from.
        versions: finds what to run.
        options: opens what instances were given.
        node: this node's id.
        concurrency: executions at once.
        holds_lease: whether this node may still act in the outside world.
        only: limits it to one instance.
        settled: called with each execution that it has settled.
    """

    def __init__(
        self,
        host: Host,
        source: Source,
        versions: Versions,
        options: OptionsReader,
        *,
        node: str,
        concurrency: int,
        holds_lease: Callable[[], bool],
        only: str | None = None,
        settled: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.counts = Counts()
        self._host = host
        self._storage = host.storage
        self._source = source
        self._versions = versions
        self._options = options
        self._keyless: VaultError | None = None
        self._node = node
        self._concurrency = concurrency
        self._holds_lease = holds_lease
        self._only = only
        self._settled = settled
        self._settler = Settler(host.storage, host.clock, node)
        self._woken = asyncio.Event()
        self._leases: set[asyncio.Task[None]] = set()
        self._running: dict[str, Attempt] = {}
        self._leaving: set[str] = set()
        self._abandoned: dict[str, int] = {}
        self._priorities: dict[str, PriorityRecord] = {}
        self._looking: asyncio.Task[None] | None = None
        self._stopping = False
        self._paused = False

    # ── Claiming ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Claim and run until `stop()`; then see running executions through. Cancelling ends them at once.

        Raises:
            KeyMissing, KeyRefused: an instance's secrets cannot be opened, since the master key is not at hand here: nothing was lost.
        """
        try:
            while not self._stopping:
                self._woken.clear()
                await self._claim()
                await self._sleep()
            while self._leases:
                await asyncio.wait(self._leases)
            if self._keyless is not None:
                raise self._keyless
        finally:
            await self._end_all()

    def wake(self) -> None:
        """Have the dispatcher look for work now."""
        self._woken.set()

    def stop(self) -> None:
        """Claim nothing more; `run()` returns when what is running has settled."""
        self._stopping = True
        self._woken.set()

    @property
    def running(self) -> int:
        """How many leases this node holds."""
        return len(self._leases)

    async def _claim(self) -> None:
        free = self._concurrency - len(self._leases)
        self._paused = False
        if free <= 0:
            return
        try:
            if await self._seconds_to_next() > 0:
                return
            claims = await self._storage.claim(self._node, free, only=self._only)
            self._paused = not claims
        except StorageError as error:
            log.warning("nothing can be claimed now: %s", error)
            self._paused = True
            return
        for claim in claims:
            self._fence(claim.instance.id)
            self._leases.add(asyncio.create_task(self._hold(claim)))

    async def _sleep(self) -> None:
        """Wait until there may be something to claim."""
        if self._woken.is_set() and not self._paused:
            return
        wait = _PAUSE if self._paused else POLL
        if not self._paused and len(self._leases) < self._concurrency:
            with contextlib.suppress(StorageError):
                wait = await self._seconds_to_next()
        waker = asyncio.get_running_loop().call_later(wait, self._woken.set)
        await self._woken.wait()
        waker.cancel()

    async def _seconds_to_next(self) -> float:
        """Return how long it is until something can be claimed; the time of a poll when nothing is known of."""
        wake = await self._storage.next_wake()
        return POLL if wake is None else min(POLL, max(0.0, (wake - self._host.clock.now()) / 1e6))

    # ── One lease ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _hold(self, claim: Claim) -> None:
        """Run what is claimed and what its settlements claim with them, until the lease is given back."""
        until = self._host.clock.boottime() + QUANTUM
        held = claim
        try:
            while (following := await self._execute(held, until)) is not None:
                held = following
        except Exception:  # whatever went wrong, the instance is not to wait for the end of this node
            log.exception("the lease of instance %s could not be given back, and will be", held.instance.id)
            self._abandoned[held.instance.id] = held.epoch
        finally:
            self._let_go(held)
            self._woken.set()

    def _let_go(self, held: Claim) -> None:
        """Forget a lease that is over here. The instance may be leased to this node once more by now."""
        task = asyncio.current_task()
        assert task is not None
        self._leases.remove(task)
        attempt = self._running.get(held.instance.id)
        if attempt is not None and attempt.claim.epoch <= held.epoch:
            del self._running[held.instance.id]
            self._leaving.discard(attempt.claim.execution.id)

    def _fence(self, instance: str) -> None:
        """End what still runs here for an instance that this node has claimed anew: it was cancelled, and no ring has told of it yet."""
        earlier = self._running.get(instance)
        if earlier is not None:
            earlier.end(Fenced())

    async def _execute(self, claim: Claim, until: float) -> Claim | None:
        """Run one claimed execution and settle it: the way of every event."""
        loaded = await self._load(claim)
        if isinstance(loaded, Outcome):
            return await self._settler.settle(loaded, RetryInfo(), claim_next=False)
        outcome = await self._invoke(claim, loaded)
        self._count(outcome.ending)
        goes_on = not self._stopping and self._host.clock.boottime() < until
        following = await self._settler.settle(outcome, loaded.retry_of(claim.execution.target), claim_next=goes_on)
        self._settled(claim.execution.id)
        return following

    async def _load(self, claim: Claim) -> LoadedVersion | Outcome:
        """Find the version to run; a version whose files are gone or damaged is a failure that a person can mend."""
        began = self._host.clock.now()
        try:
            loaded = await self._versions.of(claim)
            if claim.execution.trigger == "deactivate":
                return loaded.within((retries.DEACTIVATION_TIME - claim.spent) / 1e6)
            return loaded
        except StorageUnusable as error:
            return self._not_run(
                claim, began, Failed(Failure(type="bundle", kind="error"), ErrorInfo(type="bundle", message=str(error)))
            )
        except StorageError as error:
            return self._not_run(claim, began, Lost(f"the version could not be read: {error}"))

    async def _invoke(self, claim: Claim, loaded: LoadedVersion) -> Outcome:
        """Have a fresh process run the execution."""
        began = self._host.clock.now()
        options = await self._read_options(claim, loaded)
        if not isinstance(options, InstanceOptions):
            return self._not_run(claim, began, options)
        attempt = Attempt(self._host, claim, loaded, await self._priority(claim), self._holds_lease, options)
        self._running[claim.instance.id] = attempt
        try:
            process = await attempt.obtain(self._source)
        except RefusedImport as refused:
            error = ErrorInfo(type=refused.type, message=refused.message, traceback=refused.traceback)
            return self._not_run(claim, began, Failed(Failure(type=refused.type, kind="error"), error))
        except SandboxError as broken:
            log.warning("no process for execution %s: %s", claim.execution.id, broken)
            return self._not_run(claim, began, Lost(str(broken)))
        return await attempt.run(process) if process is not None else self._not_run(claim, began, attempt.ending)

    async def _read_options(self, claim: Claim, loaded: LoadedVersion) -> InstanceOptions | Ending:
        """Open the instance's options. A node that lacks the key to them stops: another, or the same with the key, goes on."""
        try:
            return await self._options.read(claim.instance, loaded.manifest)
        except (KeyMissing, KeyRefused) as error:
            self._keyless = error
            self.stop()
            return Lost(str(error))
        except (Tampered, BadPattern) as error:
            kind = type(error).__name__
            return Failed(Failure(type=kind, kind="error"), ErrorInfo(type=kind, message=str(error)))
        except StorageError as error:
            return Lost(f"the options could not be read: {error}")

    def _not_run(self, claim: Claim, began: Micros, ending: Ending) -> Outcome:
        return Outcome(claim=claim, ending=ending, usage=Usage(started_at=began, finished_at=self._host.clock.now()))

    async def _priority(self, claim: Claim) -> PriorityRecord:
        known = self._priorities.get(claim.instance.priority)
        if known is None:
            known = await self._storage.priority(claim.instance.priority)
            known = known or PriorityRecord(id=claim.instance.priority, title="")
            self._priorities[known.id] = known
        return known

    def _count(self, ending: Ending) -> None:
        self.counts.executions += 1
        match ending:
            case Succeeded():
                self.counts.succeeded += 1
            case Failed():
                self.counts.failed += 1
            case Cancelled() | Lost() | Fenced():
                self.counts.lost += 1

    # ── What others did to this node's leases ────────────────────────────────────────────────────────────────────────────────

    def look_at_leases(self) -> None:
        """Have `check_leases` done soon, once however often it is asked for."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self.check_leases())

    async def check_leases(self) -> None:
        """End what runs here for instances whose lease is no longer this node's, and soon what is being deactivated."""
        if not self._running and not self._abandoned:
            return
        try:
            await self._give_up_abandoned()
            held = await self._storage.leases(self._node)
        except StorageError as error:
            log.warning("the leases cannot be looked at now: %s", error)
            return
        for instance, attempt in list(self._running.items()):
            epoch, status = held.get(instance, (-1, "active"))
            if epoch != attempt.claim.epoch:
                attempt.end(Fenced())
            elif status == "deactivating" and attempt.claim.execution.trigger != "deactivate":
                self._let_finish(attempt)

    async def _give_up_abandoned(self) -> None:
        """End the leases that this node holds and that nothing here uses any more."""
        for instance, epoch in list(self._abandoned.items()):
            await self._storage.give_up(self._node, instance, epoch, self._host.clock.now())
            self._abandoned.pop(instance, None)
            self._woken.set()

    def _let_finish(self, attempt: Attempt) -> None:
        """Give the running execution of an instance that leaves its grace, once."""
        if attempt.claim.execution.id not in self._leaving:
            self._leaving.add(attempt.claim.execution.id)
            leaving = Cancelled("its instance is being deactivated")
            asyncio.get_running_loop().call_later(DEACTIVATION_GRACE, attempt.end, leaving)

    async def _end_all(self) -> None:
        """End every lease's task at once; their executions are lost with this node."""
        tasks = list(self._leases)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
