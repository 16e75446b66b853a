"""Processes forked from zygotes: the source that a node uses.

One root zygote; a version zygote for each image that was asked for lately; for each of those a few processes that wait, so that an event
finds one ready. The pool of a version grows with how many processes it had taken from it at once and shrinks when nobody asks; what a
version needs beyond its pool is forked on demand. Zygotes that ended, for whatever reason, are replaced when next one is needed. All of it
stays within the node's memory (`room`): what is kept for later is let go of first, the least recently used before others; then takers wait.

Before: `zygotes`. After: the dispatcher, through `interface.Source`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.authority import Authority
from ropewalk.sandbox.cgroups import ControlGroup, put_into
from ropewalk.sandbox.facts import HostFacts, gather_facts
from ropewalk.sandbox.interface import Figures, Image, RefusedImport, SandboxError
from ropewalk.sandbox.launch import launch
from ropewalk.sandbox.memory import memory_for_guests
from ropewalk.sandbox.processes import ForkedProcess
from ropewalk.sandbox.profile import HASH_SEED, describe_profile, make_plan
from ropewalk.sandbox.reactor import Deadline, Reactor
from ropewalk.sandbox.room import PROCESS, Room
from ropewalk.sandbox.watch import CPUS
from ropewalk.sandbox.zygotes import RootZygote, VersionZygote, ZygoteGone, ZygoteMisbehaved
from ropewalk.wire.control import FORK, FORK_AHEAD, Manifest
from ropewalk.wire.plan import Plan

START_SECONDS: Final = 30.0
"""How long a root zygote may take until it stands by."""

ROUNDS: Final = 10.0
"""Seconds between two looks at what nobody waits for. A fork that was asked for, or a new zygote, takes less (`zygotes.CONFINE_SECONDS`), so
that a process which is unknown for that long was not asked for."""

_OTHERWISE: Final = "`ropewalk doctor` says more; --unsafe-no-sandbox runs code that you trust without any isolation"

_HASH_SEEDS: Final = 2**32
"""How many there are (Python's own bound)."""

_TRIES: Final = 4
"""How many zygotes may end under one `take` before it gives up."""


_logger: Final = logging.getLogger(__name__)


class PoolSettings(Struct, frozen=True, kw_only=True):
    """How many zygotes and waiting processes are kept.

    `least` wait for a version that was used within `fresh` seconds, up to `most` when it is busy, none after `stale` seconds without use;
    `total` over all versions. A refill begins `delay` seconds after a process was taken, so as not to slow down the one that was taken.
    """

    zygotes: int = 64
    least: int = 2
    most: int = 8
    total: int = 64
    fresh: float = 10.0
    stale: float = 120.0
    delay: float = 0.002


class ForkSource:
    """Gives processes forked from version zygotes; see `interface.Source`.

    Args:
        bundles: the host's folder whose folders are the bundles, readable by every user.
        settings: how much is kept ready.
        facts: what is known of the host; asked of it when None.
        unsafe: give processes that nothing isolates.
        memory: bytes for everything in the sandbox; what the host can spare when None.
        hash_seed: what its processes hash texts by; a random one when None.
    """

    def __init__(
        self,
        bundles: str,
        settings: PoolSettings | None = None,
        facts: HostFacts | None = None,
        *,
        unsafe: bool = False,
        memory: int | None = None,
        hash_seed: int | None = None,
    ) -> None:
        self.hash_seed = secrets.randbelow(_HASH_SEEDS) if hash_seed is None else hash_seed
        self._bundles = os.path.realpath(bundles)
        self._settings = settings or PoolSettings()
        self._root: RootZygote | None = None
        self._reactor: Reactor | None = None
        self._plan: Plan | None = None
        self._cgroup: ControlGroup | None = None
        self._facts = facts
        self._unsafe = unsafe
        self._pools: OrderedDict[Image, Pool] = OrderedDict()
        self._memory = memory
        self._room: Room | None = None
        self._zygotes = 0
        self._authority: Authority | None = None

    # ── Start and stop ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Assess the host, enter the sandbox and wait until the root zygote stands by."""
        if self._facts is None:
            self._facts = await asyncio.to_thread(gather_facts)
        found = assess(self._facts, unsafe=self._unsafe)
        if found.problems:
            listed = "; ".join(f"{problem.means}: {problem.detail}" for problem in found.problems)
            raise SandboxError(f"this host cannot isolate what the node would run: {listed}. {_OTHERWISE}")
        memory = memory_for_guests() if self._memory is None else self._memory
        profile = describe_profile(self._facts, self._bundles, found.profile, memory, self.authority.certificate)
        plan = make_plan(profile, self._facts)
        self._plan = replace(plan, environment={**plan.environment, HASH_SEED: str(self.hash_seed)})
        self._cgroup = profile.cgroup
        self._reactor = Reactor(asyncio.get_running_loop())
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._room = Room(memory, descriptors, self._kept)
        try:
            await self._root_zygote()
        except BaseException:
            await self.stop()
            raise
        self._reactor.call_later(self._settings.fresh, self._tidy)
        self._reactor.call_later(ROUNDS, self._make_rounds)

    @property
    def authority(self) -> Authority:
        """See `Source.authority`."""
        if self._authority is None:
            self._authority = Authority()
        return self._authority

    async def stop(self) -> None:
        """End the root zygote, and with it every process."""
        if self._root is not None:
            self._root.close()
        if self._reactor is not None:
            self._reactor.close()
            self._reactor = None

    async def _root_zygote(self) -> RootZygote:
        """Return the root zygote, starting one when there is none."""
        if self._plan is None or self._facts is None or self._reactor is None:
            raise SandboxError("the sandbox is not running")
        root = self._root
        if root is None:
            launched = launch(self._plan, self._facts.package, self._facts.msgspec)
            root = self._root = RootZygote(self._reactor, launched, self._root_gone)
            root.ready.add_done_callback(partial(self._group, root))
            self._reactor.call_later(START_SECONDS, root.close_unless_ready)
        await asyncio.shield(root.ready)
        return root

    def _group(self, root: RootZygote, ready: asyncio.Future[None]) -> None:
        """Put a root zygote that stands by into the guests' control group, before anyone who waited for it has it fork."""
        if self._cgroup is None or ready.cancelled() or ready.exception() is not None:
            return
        try:
            put_into(self._cgroup, root.pid)
        except OSError as error:
            _logger.warning("the control group %s cannot be used, the node's own account stands in: %s", self._cgroup.path, error)

    def _root_gone(self, root: RootZygote) -> None:
        self._root = None
        for pool in list(self._pools.values()):
            pool.close("the root zygote ended")

    # ── Versions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def describe(self, image: Image) -> Manifest:
        """Import a version's module, unless that was done lately, and return what it declares.

        What a strict image's process has imported is not kept: it is described by one that is then thrown away.
        """
        room = await self._enter(image)
        try:
            pool, manifest = await self._ready_pool(replace(image, strict=False))
        finally:
            room.give_back(image.limits.memory_bound)
        if image.strict:
            pool.close("it was there to describe its version")
        assert manifest is not None, "what has imported describes itself"
        return manifest

    async def take(self, image: Image) -> ForkedProcess:
        """Return a process that waits, or wait for one, and before that for the room that it may need."""
        room, memory = await self._enter(image), image.limits.memory_bound
        try:
            process = await self._take(image)
        except BaseException:
            room.give_back(memory)
            raise
        process.call_when_over(partial(room.give_back, memory))
        return process

    async def _take(self, image: Image) -> ForkedProcess:
        pool = self._pools.get(image)
        if pool is not None:
            self._pools.move_to_end(image)
            process = pool.take_waiting()
            if process is not None:
                return process
        for _ in range(_TRIES):
            try:
                if pool is None or not pool.ready:
                    pool, _ = await self._ready_pool(image)
                return await pool.take()
            except ZygoteMisbehaved as misbehaved:
                raise RefusedImport(
                    "protocol", f"importing {image.module} broke what the sandbox runs it with: {misbehaved}"
                ) from None
            except ZygoteGone:
                pool = None
        raise SandboxError(f"{_TRIES} zygotes of {image.module} ended one after another, before they gave a process")

    async def _ready_pool(self, image: Image) -> tuple[Pool, Manifest | None]:
        """Return the version's pool, its zygote ready, and what it declares: None when nothing was imported, the image being strict."""
        for _ in range(_TRIES):
            try:
                pool = await self._pool(image)
                return pool, await asyncio.shield(pool.zygote.ready)
            except ZygoteGone:
                continue
        raise SandboxError(f"{_TRIES} zygotes of {image.module} ended one after another, before they had imported it")

    async def _pool(self, image: Image) -> Pool:
        pool = self._pools.get(image)
        if pool is None:
            root = await self._root_zygote()
            pool = self._pools.get(image) or self._open(root, image)
        self._pools.move_to_end(image)
        return pool

    def _open(self, root: RootZygote, image: Image) -> Pool:
        folder = os.path.join(self._bundles, image.bundle)
        if os.path.dirname(folder) != self._bundles or image.bundle in {"", ".", ".."} or not os.path.isdir(folder):
            raise SandboxError(f"there is no bundle {image.bundle!r} in {self._bundles}: deploy the version again")
        idle = [other for other in self._pools.values() if not other.busy]
        for other in idle[: max(0, len(self._pools) + 1 - self._settings.zygotes)]:
            other.close("another version's zygote took its place")
        pool = Pool(root, image, self._settings, self._may_wait, self._pool_gone)
        self._pools[image] = pool
        pool.zygote.ready.add_done_callback(self._weigh_zygotes)
        self._weigh_zygotes()
        return pool

    def _pool_gone(self, pool: Pool) -> None:
        if self._pools.get(pool.image) is pool:
            del self._pools[pool.image]
        self._weigh_zygotes()

    def _may_wait(self, pool: Pool) -> bool:
        """Whether one more process of `pool` may wait; the least recently used pool gives up one of its own for it."""
        waiting = sum(len(other.waiting) + len(other.zygote.newborn) for other in self._pools.values())
        if self._room is None or self._room.crowded or not self._room.has(PROCESS, beside=waiting):
            return False
        if waiting < self._settings.total:
            return True
        for other in self._pools.values():
            if other is not pool and other.waiting:
                other.give_up_one()
                return True
        return False

    # ── Room ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def room(self) -> Figures:
        """The node's memory, and how much of it is taken."""
        return Figures() if self._room is None else self._room.figures

    async def _enter(self, image: Image) -> Room:
        """Set aside what a process of this image may need, as soon as there is so much; who asks gives it back."""
        room = self._room
        if room is None:
            raise SandboxError("the sandbox is not running")
        memory = image.limits.memory_bound
        if not room.crowded and self._has_room_for(image):
            room.take(memory)
        else:
            await room.wait(memory, partial(self._has_room_for, image))
        return room

    def _has_room_for(self, image: Image) -> bool:
        """Whether a process of this image may come in, with the import that it needs first; lets go of what is kept if that helps."""
        room = self._room
        if room is None:
            return True  # it is told when it asks for its process
        needed = image.limits.memory_bound + (0 if image in self._pools else image.memory_to_import)
        if room.fits(needed):
            return True
        spare = [pool for pool in self._pools.values() if pool.image != image]
        if not room.has(needed, letting_go=sum(pool.memory_for_later for pool in spare)):
            return False
        for pool in spare:
            while pool.waiting and not room.has(needed):
                pool.give_up_one()
        for pool in spare:
            if not pool.busy and not room.has(needed):
                pool.close("its memory was needed for another version")
        return True

    def _kept(self) -> int:
        """Return the bytes that zygotes and living processes take, beside what was set aside for those that were taken."""
        return self._zygotes + (self._root.living * PROCESS if self._root is not None else 0)

    def _weigh_zygotes(self, _: object = None) -> None:
        self._zygotes = sum(pool.zygote.memory for pool in self._pools.values())
        if self._room is not None:
            self._room.look_soon()

    def _tidy(self) -> None:
        for pool in self._pools.values():
            pool.tidy()
        if self._reactor is not None:
            self._reactor.call_later(self._settings.fresh, self._tidy)

    def _make_rounds(self) -> None:
        for pool in list(self._pools.values()):
            pool.look_again()
        if self._root is not None and self._root.ready.done():
            self._root.end_strays()
        if self._reactor is not None:
            self._reactor.call_later(ROUNDS, self._make_rounds)


class Pool:
    """A version's zygote with the processes that wait, and the takers who wait for one.

    Args:
        root: forks the zygote.
        image: what the processes are made of.
        settings: how many may wait.
        may_wait: asked before one more is forked to wait.
        on_gone: called once, when the zygote is of no more use.
    """

    def __init__(
        self,
        root: RootZygote,
        image: Image,
        settings: PoolSettings,
        may_wait: Callable[[Pool], bool],
        on_gone: Callable[[Pool], None],
    ) -> None:
        self.image = image
        self.waiting: deque[ForkedProcess] = deque()
        self._root = root
        self._reactor = root.reactor
        self._loop = root.reactor.loop
        self._settings = settings
        self._may_wait = may_wait
        self._on_gone = on_gone
        self._takers: deque[asyncio.Future[ForkedProcess]] = deque()
        self._target = settings.least
        self._used_at = self._loop.time()
        self._refill: Deadline | None = None
        self.zygote = VersionZygote(root.reactor, root, image, self._arrived, self._gone)

    def close(self, why: str) -> None:
        """End the zygote and what waits; takers get ZygoteGone. Processes that were taken live on."""
        self.zygote.close(why)

    @property
    def busy(self) -> bool:
        """Whether somebody waits for its zygote or for a process."""
        return bool(self._takers) or not self.zygote.ready.done()

    @property
    def memory_for_later(self) -> int:
        """Bytes that nobody needs at this moment."""
        return len(self.waiting) * PROCESS + (0 if self.busy else self.zygote.memory)

    @property
    def ready(self) -> bool:
        """Whether the zygote has imported its module and forks."""
        return self.zygote.ready.done() and not self.zygote.closed

    def take_waiting(self) -> ForkedProcess | None:
        """Return a process that waits, if there is one."""
        while self.waiting:
            process = self.waiting.popleft()
            if not process.over:
                self._used_at = self._loop.time()
                self._refill_soon()
                return process
        return None

    async def take(self) -> ForkedProcess:
        """Return a process that waits, or the next one. The zygote must be ready. Raises ZygoteGone."""
        process = self.take_waiting()
        if process is not None:
            return process
        if self.zygote.closed:
            raise self.zygote.gone
        self._used_at = self._loop.time()
        self._target = min(self._settings.most, self._target + 1)
        taker: asyncio.Future[ForkedProcess] = self._loop.create_future()
        self._takers.append(taker)
        if len(self.zygote.newborn) < len(self._takers):
            self.zygote.fork()
        try:
            return await taker
        except asyncio.CancelledError:
            if taker.done() and not taker.cancelled() and not taker.exception():
                taker.result().kill()  # it came at the moment when nobody waited for it any more
            raise

    def _arrived(self, process: ForkedProcess) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(process)
                break
        else:
            self.waiting.append(process)
        self._refill_soon()

    def _refill_soon(self) -> None:
        if self._refill is None and not self.zygote.newborn and not self.zygote.closed:
            self._refill = self._reactor.call_later(self._settings.delay, self._fork_to_wait)

    def _fork_to_wait(self) -> None:
        """Fork one more to wait; when it arrives the next is thought of."""
        self._refill = None
        if self.zygote.newborn or len(self.waiting) >= self._target or self.zygote.closed:
            return
        if self._may_wait(self):
            # While the machine is busy, a process that prepares itself takes time from one that is waited for.
            self.zygote.fork(FORK if self._root.living - len(self.waiting) >= CPUS else FORK_AHEAD)

    def tidy(self) -> None:
        """Let go of what waits for a version that is not asked for."""
        unused = self._loop.time() - self._used_at
        if unused >= self._settings.stale:
            self._target = 0
        elif unused >= self._settings.fresh:
            self._target = self._settings.least
        while len(self.waiting) > self._target:
            self.give_up_one()

    def look_again(self) -> None:
        """End what does more than it was asked to: the zygote, and processes that wait."""
        if self.ready:
            self.zygote.look_again()
        for process in [one for one in self.waiting if one.does_more_than_wait(self.image.limits.memory)]:
            _logger.warning("a process of %s was ended: it did more than wait for its event", self.image.module)
            process.kill()

    def give_up_one(self) -> None:
        """End one of the processes that wait."""
        self.waiting.popleft().kill()

    def _gone(self, zygote: VersionZygote) -> None:
        if self._refill is not None:
            self._reactor.cancel(self._refill)
        for process in self.waiting:
            process.kill()
        self.waiting.clear()
        for taker in self._takers:
            if not taker.done():
                taker.set_exception(zygote.gone)
        self._takers.clear()
        self._on_gone(self)
