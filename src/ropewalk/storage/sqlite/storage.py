"""`SqliteStorage`: the verbs of the storage interface, each handed to the module that knows it.

Writes go through the committer, reads run at once. Coroutines that read never wait for anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from ropewalk.clock import Clock, Micros
from ropewalk.storage.interface import StorageUnusable
from ropewalk.storage.records import (
    Accepted,
    ActivityQuery,
    Attempt,
    Behind,
    Claim,
    DataKey,
    Delivery,
    Execution,
    ExecutionQuery,
    FailureQuery,
    Finding,
    Instance,
    InstanceStatus,
    LogLine,
    LogQuery,
    NewDelivery,
    NewExecution,
    NewInstance,
    NewOptions,
    NewVersion,
    Node,
    NumberedLogLine,
    Offer,
    OwnedActivity,
    Part,
    Progress,
    Recurring,
    Sealed,
    Settled,
    Settlement,
    StorageLimits,
    StorageStats,
    Suspension,
    Twist,
    Use,
    Version,
    Webhook,
    Workload,
)
from ropewalk.storage.sqlite import (
    audit,
    callbacks,
    claiming,
    deliveries,
    deploying,
    executions,
    forgetting,
    keys,
    lifecycle,
    nodes,
    options,
    recording,
    settling,
    upgrading,
    upkeep,
    workspace,
)
from ropewalk.storage.sqlite.committer import Committer
from ropewalk.storage.sqlite.driver import Connection
from ropewalk.storage.sqlite.effects import LONG, are_heavy
from ropewalk.storage.sqlite.reading import Reader
from ropewalk.storage.sqlite.values import write_values
from ropewalk.wire.messages import Json, NoteRecord, PriorityRecord, Target


class SqliteStorage:
    """A SQLite database, open; implements `Storage`. Used from one event loop."""

    reads_at_once = True

    def __init__(self, path: Path, writer: Connection, reader: Connection, clock: Clock, limits: StorageLimits) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._writer = writer
        self._committer = Committer(writer, str(path), limits)
        self._write = self._committer.run
        self._read = Reader(reader, str(path))

    async def close(self) -> None:
        """Commit what is queued and close the file; the last process to do so folds the log back into it."""
        await self._committer.close()
        self._read.close()
        await asyncio.to_thread(self._writer.close)

    # ── Twists and versions ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def deploy(self, new: NewVersion) -> Version:
        """Store a version."""
        return await self._write(lambda tx: deploying.deploy(tx, new), heavy=True)

    async def twists(self) -> list[Twist]:
        """All twists."""
        return self._read.twists()

    async def version(self, twist: str, number: int | None = None) -> Version | None:
        """A version of a twist."""
        return self._read.version(twist, number)

    async def versions(self, twist: str) -> list[Version]:
        """All versions of a twist."""
        return self._read.versions(twist)

    async def keep_bundle(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Store a bundle's files."""
        missing = files.keys() - self._read.bundle_paths(digest)
        for part in deploying.parts({path: files[path] for path in missing}):
            await self._write(partial(deploying.keep_files, digest=digest, files=part), heavy=True)

    async def bundle(self, digest: str) -> dict[str, bytes]:
        """The files of a bundle."""
        files = self._read.bundle(digest)
        if not files:
            raise StorageUnusable(f"{self._path} lacks bundle {digest}, which a version in it names: restore it from a backup")
        return files

    # ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def activate(self, new: NewInstance) -> None:
        """Store an instance and its `activate` execution. Raises DoesNotApply."""
        await self._write(lambda tx: lifecycle.activate(tx, new))

    async def instance(self, instance: str) -> Instance | None:
        """One instance."""
        return self._read.instance(instance)

    async def instances(self) -> list[Instance]:
        """All instances."""
        return self._read.instances()

    async def live_uses(self, instance: str) -> list[Use]:
        """What of an instance names methods."""
        return self._read.live_uses(instance)

    async def options(self, instance: str) -> tuple[Json, bytes | None]:
        """An instance's options."""
        return self._read.options(instance)

    async def change_options(self, new: NewOptions) -> None:
        """Replace an instance's options."""
        await self._write(lambda tx: options.change_options(tx, new))

    async def behind(self, limit: int) -> list[Behind]:
        """Instances that were not offered their twist's latest version."""
        return self._read.behind(limit)

    async def offer(self, twist: str, number: int, offers: Sequence[Offer]) -> list[str]:
        """Offer a version to instances."""
        return await self._write(lambda tx: upgrading.offer(tx, twist, number, offers), heavy=True)

    async def grant(self, version: int, execution: NewExecution) -> None:
        """Grant an instance what a version asks for."""
        await self._write(lambda tx: upgrading.grant(tx, version, execution))

    async def upgrades(self, twist: str, number: int) -> list[str]:
        """The executions that are to upgrade instances to a version."""
        return self._read.upgrades(twist, number)

    async def suspend(self, instance: str, suspension: Suspension) -> None:
        """Have nothing more of an instance run."""
        await self._write(lambda tx: lifecycle.suspend(tx, instance, suspension))

    async def resume(self, instance: str, at: Micros) -> bool:
        """Lift an instance's suspension."""
        return await self._write(lambda tx: lifecycle.resume(tx, instance, at))

    async def begin_deactivation(self, execution: NewExecution) -> None:
        """Fence an instance off."""
        await self._write(lambda tx: lifecycle.begin_deactivation(tx, execution), heavy=True)

    async def erase(self, limit: int) -> int:
        """Erase rows of deactivated instances."""
        return await self._write(lambda tx: upkeep.erase(tx, limit, self._clock.now()), heavy=True)

    # ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def master_key(self) -> str | None:
        """The id of the master key in force."""
        return self._read.master_key()

    async def adopt_master_key(self, new: str, *, instead_of: str | None) -> str:
        """Put a master key in force."""
        return await self._write(lambda tx: keys.adopt_master_key(tx, new, instead_of))

    async def data_key(self, instance: str) -> bytes | None:
        """An instance's wrapped data key."""
        return self._read.data_key(instance)

    async def keep_data_key(self, key: DataKey) -> bytes:
        """Give an instance its data key."""
        return await self._write(lambda tx: keys.keep_data_key(tx, key))

    async def sealed(self, after: str, limit: int) -> list[Sealed]:
        """What is sealed of instances."""
        return self._read.sealed(after, limit)

    async def data_keys(self, *, other_than: str, limit: int) -> list[DataKey]:
        """Data keys that are wrapped by another master key."""
        return self._read.data_keys(other_than, limit)

    async def rewrap(self, changed: Sequence[tuple[DataKey, DataKey]]) -> None:
        """Replace data keys by the same ones wrapped anew."""
        await self._write(lambda tx: keys.rewrap(tx, changed), heavy=True)

    # ── Executions ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def enqueue(self, new: NewExecution) -> str:
        """Store an event."""
        return await self._write(lambda tx: executions.enqueue(tx, new), heavy=len(new.event) > LONG)

    async def claim(self, node: str, limit: int, *, only: str | None = None) -> list[Claim]:
        """Lease instances. One who cancels this may hold leases that it doesn't know of, until `release`."""
        return await self._write(lambda tx: claiming.claim(tx, node, limit, only, self._clock.now()), promised=False)

    async def settle(self, settlement: Settlement) -> Settled:
        """End an attempt."""
        heavy = are_heavy(settlement.effects) or len(settlement.record or b"") > LONG
        return await self._write(lambda tx: settling.settle(tx, settlement), heavy=heavy)

    async def commit_part(self, part: Part) -> Instance:
        """Keep what a running attempt did so far."""
        return await self._write(lambda tx: settling.commit_part(tx, part), heavy=are_heavy(part.effects))

    async def next_wake(self) -> Micros | None:
        """When the next claim can find something."""
        return self._read.next_wake()

    async def workload(self) -> Workload:
        """How busy the database is."""
        return self._read.workload(self._clock.now())

    async def execution(self, execution: str) -> Execution | None:
        """One execution."""
        return self._read.execution(execution)

    async def progress(self, execution: str) -> Progress | None:
        """How far an execution is."""
        return self._read.progress(execution)

    async def executions(self, query: ExecutionQuery) -> list[Execution]:
        """Executions, newest first."""
        return self._read.executions(query)

    async def tasks(self, instance: str | None = None) -> list[Execution]:
        """Pending tasks, newest first."""
        return self._read.tasks(instance)

    async def recurring(self, instance: str | None = None) -> list[Recurring]:
        """What recurs, newest first."""
        return self._read.recurring(instance)

    async def cancel_recurring(self, recurring: str, at: Micros) -> bool:
        """End what recurs."""
        return await self._write(lambda tx: executions.cancel_recurring(tx, recurring, at))

    async def follow_clock(self, at: Micros) -> int:
        """Have instances go on from now that a clock, set back since, would hold up."""
        held_up = self._read.held_up_by_clock(at, self._limits.pace)
        for instance in held_up:
            await self._write(partial(executions.follow_clock, instance=instance, at=at))
        return len(held_up)

    async def task_of_key(self, instance: str, ns: str, key: str) -> str | None:
        """The task that holds a key."""
        return self._read.task_of_key(instance, ns, key)

    async def attempts(self, execution: str) -> list[Attempt]:
        """The ended attempts of an execution."""
        return self._read.attempts(execution)

    async def recorded(self, execution: str) -> list[int]:
        """The attempts of an execution that have a record."""
        return self._read.recorded(execution)

    async def record(self, execution: str, attempt: int) -> bytes | None:
        """The sealed record of an attempt."""
        return self._read.record(execution, attempt)

    async def retry(self, execution: str, at: Micros) -> None:
        """Queue an execution again."""
        await self._write(lambda tx: executions.retry(tx, execution, at))

    async def failures(self, query: FailureQuery) -> list[str]:
        """Executions that may be retried."""
        return self._read.failures(query)

    async def cancel(self, execution: str, at: Micros) -> bool:
        """Cancel an execution."""
        return await self._write(lambda tx: executions.cancel(tx, execution, at))

    async def find(self, kind: str, prefix: str) -> list[str]:
        """Ids that begin with `prefix`."""
        return self._read.find(kind, prefix)

    # ── Logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def append_logs(self, instance: str, execution: str, lines: Sequence[LogLine]) -> None:
        """Keep log lines of an attempt that goes on. Not synced by itself: what power loss takes, it takes with the attempt."""
        await self._write(lambda tx: executions.append_logs(tx, instance, execution, lines), promised=False)

    async def logs(self, query: LogQuery) -> list[NumberedLogLine]:
        """Log lines, oldest first."""
        return self._read.logs(query)

    # ── The store and callbacks ───────────────────────────────────────────────────────────────────────────────────────────────

    async def read_values(self, instance: str, ns: str, keys: Sequence[str], at: Micros) -> dict[str, Json]:
        """Unexpired values."""
        return self._read.read_values(instance, ns, keys, at)

    async def read_small_store(self, instance: str, most: int) -> dict[str, dict[str, Json]] | None:
        """Every value of an instance by namespace and key; None when there are more than `most`, or one that expires some time."""
        return self._read.read_small_store(instance, most)

    async def read_keys(
        self, instance: str, ns: str, prefix: str, at: Micros, *, without: Sequence[str] = (), limit: int | None = None
    ) -> list[str]:
        """Unexpired keys."""
        return self._read.read_keys(instance, ns, prefix, at, without, limit)

    async def write_values(self, instance: str, ns: str, values: dict[str, Json | None], at: Micros) -> None:
        """Write values from outside an execution."""
        await self._write(lambda tx: write_values(tx, instance, ns, values, at))

    async def callback(self, instance: str, token: str) -> Target | None:
        """What a callback stands for."""
        return self._read.callback(instance, token)

    async def callback_tokens(self, instance: str, ns: str) -> list[str]:
        """The callbacks that a namespace made."""
        return self._read.callback_tokens(instance, ns)

    # ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def webhook(self, instance: str, token: str) -> Webhook | None:
        """The webhook with this token."""
        return self._read.webhook(instance, token)

    async def webhooks(self, instance: str | None = None) -> list[Webhook]:
        """All webhooks."""
        return self._read.webhooks(instance)

    async def accept(self, new: NewDelivery) -> Accepted:
        """Store a delivery."""
        return await self._write(lambda tx: deliveries.accept(tx, new), heavy=len(new.execution.event) > LONG)

    async def deliveries(self, instance: str | None = None, limit: int | None = None) -> list[Delivery]:
        """What webhooks received."""
        return self._read.deliveries(instance, limit)

    async def delivery(self, execution: str) -> Delivery | None:
        """The delivery that an execution answers."""
        return self._read.delivery(execution)

    async def redeliver(self, original: str, new: NewExecution) -> None:
        """Store a delivery's request once more."""
        await self._write(lambda tx: deliveries.redeliver(tx, original, new), heavy=True)

    async def forget_deliveries(self, limit: int, before: Micros) -> int:
        """Forget old deliveries."""
        return await self._write(lambda tx: deliveries.forget_deliveries(tx, limit, before), promised=False, heavy=True)

    async def fact(self, name: str) -> str | None:
        """What was last noted under a name."""
        return self._read.fact(name)

    async def note_fact(self, name: str, value: str) -> None:
        """Note something about this installation."""
        await self._write(lambda tx: tx.run("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value)))

    # ── The workspace ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def root_priority(self) -> PriorityRecord:
        """The root priority."""
        return self._read.root_priority()

    async def priority(self, priority: str) -> PriorityRecord | None:
        """One priority."""
        return self._read.priority(priority)

    async def priorities(self) -> list[PriorityRecord]:
        """All priorities, parents first."""
        return self._read.priorities()

    async def create_priority(self, new: PriorityRecord) -> None:
        """Store a priority."""
        await self._write(lambda tx: workspace.create_priority(tx, new))

    async def activities(self, query: ActivityQuery) -> list[OwnedActivity]:
        """Activities, newest first."""
        return self._read.activities(query)

    async def activities_by_id(self, ids: Sequence[str]) -> dict[str, OwnedActivity]:
        """Activities by id."""
        return self._read.activities_by_id(ids)

    async def activities_by_source(self, priority: str, sources: Sequence[str]) -> dict[str, OwnedActivity]:
        """Activities by source."""
        return self._read.activities_by_source(priority, sources)

    async def notes(
        self, activity: str, *, after: tuple[Micros, str] | None = None, limit: int | None = None
    ) -> list[NoteRecord]:
        """Notes of an activity."""
        return self._read.notes(activity, after, limit)

    async def notes_by_id(self, ids: Sequence[str]) -> dict[str, NoteRecord]:
        """Notes by id."""
        return self._read.notes_by_id(ids)

    async def notes_by_key(self, activity: str, keys: Sequence[str]) -> dict[str, NoteRecord]:
        """Notes by key."""
        return self._read.notes_by_key(activity, keys)

    async def notes_by_keys(self, activities: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str], NoteRecord]:
        """Notes of several activities by key."""
        return self._read.notes_by_keys(activities, keys)

    # ── Nodes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def register(self, node: Node) -> None:
        """Make a node known."""
        await self._write(lambda tx: nodes.register(tx, node), promised=False)

    def heartbeat(self, node: str, expires: float) -> bool:
        """Move a node's expiry, on a connection of its own: called from any thread, it waits for no event loop."""
        return nodes.heartbeat(self._path, node, expires)

    async def nodes(self) -> list[Node]:
        """Nodes that are known."""
        return self._read.nodes()

    async def leases(self, node: str) -> dict[str, tuple[int, InstanceStatus]]:
        """The instances that a node holds."""
        return self._read.leases(node)

    async def give_up(self, node: str, instance: str, epoch: int, at: Micros) -> bool:
        """End one lease of a node's."""
        return await self._write(lambda tx: nodes.give_up(tx, node, instance, epoch, at))

    async def release(self, node: str, at: Micros) -> int:
        """End a node's leases."""
        return await self._write(lambda tx: nodes.release(tx, node, at), heavy=True)

    # ── Upkeep and liveness ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def sweep(self, limit: int) -> int:
        """Remove expired values."""
        return await self._write(lambda tx: upkeep.sweep(tx, limit, self._clock.now()), promised=False, heavy=True)

    async def forget(self, limit: int, before: Micros) -> int:
        """Remove executions of long ago."""
        return await self._write(lambda tx: upkeep.forget(tx, limit, before), promised=False, heavy=True)

    async def forget_bundles(self, keep: int, before: Micros, at: Micros) -> int:
        """Remove the files of an old version."""
        return await self._write(lambda tx: forgetting.forget_bundles(tx, keep, before, at), heavy=True)

    async def bundles(self) -> set[str]:
        """The digests of all bundles."""
        return self._read.bundles()

    async def forget_callbacks(self, after: str, limit: int, before: Micros) -> str | None:
        """Remove callbacks of one instance that nothing mentions."""
        found = await asyncio.to_thread(callbacks.unmentioned, self._path, after, before)
        if found is None:
            return None
        for first in range(0, len(found.tokens), limit):
            some = found.tokens[first : first + limit]
            if not await self._write(partial(callbacks.remove, found=found, tokens=some), promised=False, heavy=True):
                break
        return found.instance

    async def forget_records(self, limit: int, before: Micros) -> int:
        """Remove records of long ago."""
        return await self._write(lambda tx: recording.forget_records(tx, limit, before), promised=False, heavy=True)

    def changed(self) -> bool:
        """Whether another process wrote."""
        return self._committer.changed()

    def stats(self) -> StorageStats:
        """What this has done since it was opened."""
        return self._committer.stats()

    async def audit(self, at: Micros, *, repair: bool, dead: Collection[Node] = ()) -> list[Finding]:
        """Find what is stuck, and mend it."""
        return await audit.audit(self._path, self._write, self._limits, at, repair=repair, dead=dead)
