"""What the rest of the host may ask of storage: verbs of the domain, not SQL.

Every write is one transaction and durable when it returns; a backend may commit many callers' writes together. Reads see everything
that was committed before they began. A backend translates its driver's errors into the tree below, in one place.

    claim ──► the instance is leased: `epoch` rises, `wake_at` is empty, one execution runs
      │            (only the holder of `epoch` may commit anything for the instance)
      ▼
    settle / commit_part ──► conditional on `epoch`; gives the lease back, or takes the next execution with it

An instance's `wake_at` says when it may be claimed: at once (something is ready), at a time (a task's, the end of a back-off, or when
its pace lets it), or not at all (nothing pending; leased; suspended; failed). An execution becomes ready when it is stored, or when its time comes; that
gives it the next number of its instance's sequence, and `Rank` and that number order the instance's ready executions. Before anything
is made ready, whatever of the instance's timers has come due is, so that the order is that of readiness.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from ropewalk.clock import Micros
from ropewalk.storage.records import (
    Accepted,
    ActivityQuery,
    Attempt as AttemptRecord,
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
    StorageStats,
    Suspension,
    Twist,
    Use,
    Version,
    Webhook,
    Workload,
)
from ropewalk.wire.messages import Json, NoteRecord, PriorityRecord, Target


class StorageError(Exception):
    """Base of what storage raises. Nothing of the write that raised was kept."""


class Fenced(StorageError):
    """The lease was lost: the instance's epoch is another now, or the execution is no longer running."""


class DoesNotApply(StorageError):
    """An effect cannot be applied to what is there now (an id, key or source taken or gone meanwhile): run the method again."""


class UnknownInstance(StorageError):
    """There is no such instance, or it is deactivated."""


class UnknownWebhook(StorageError):
    """There is no such webhook, or its instance takes no more events."""


class QueueIsFull(StorageError):
    """The instance has as many pending executions, or bytes of them, as it may."""


class StorageFull(StorageError):
    """The disk or quota is full; the same write may succeed once there is room."""


class StorageUnavailable(StorageError):
    """The database is locked, unreachable or cannot be read; the same call may succeed later."""


class StorageUnusable(StorageError):
    """The database cannot be used at all: not ours, damaged, from a newer release, or on a network file system."""


class Storage(Protocol):
    """A database of Ropewalk's, open.

    Attributes:
        reads_at_once: reads return without giving way to the event loop, so that a caller may step them by hand.
    """

    reads_at_once: bool

    async def close(self) -> None:
        """Finish what was asked and let go of everything."""
        ...

    # Twists and versions

    async def deploy(self, new: NewVersion) -> Version:
        """Store a version under its twist's next number; an unchanged bundle and manifest give the latest version as it is.

        Raises DoesNotApply when packages that it stands on are not there.
        """
        ...

    async def twists(self) -> list[Twist]:
        """All twists, newest first."""
        ...

    async def version(self, twist: str, number: int | None = None) -> Version | None:
        """A version of the twist with this id, the latest when `number` is None."""
        ...

    async def versions(self, twist: str) -> list[Version]:
        """All versions of a twist, newest first."""
        ...

    async def keep_bundle(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Store a bundle's files, unless they are there; big ones over several transactions, so as not to hold others up."""
        ...

    async def bundle(self, digest: str) -> dict[str, bytes]:
        """The files of a bundle, by relative path. Raises StorageUnusable when it is not there."""
        ...

    # Instances

    async def activate(self, new: NewInstance) -> None:
        """Store an instance and its `activate` execution."""
        ...

    async def instance(self, instance: str) -> Instance | None:
        """One instance by its whole id."""
        ...

    async def instances(self) -> list[Instance]:
        """All instances that are not deactivated, newest first."""
        ...

    async def live_uses(self, instance: str) -> list[Use]:
        """What of an instance names methods: callbacks and events that are not over, grouped by what they ask of the method."""
        ...

    async def options(self, instance: str) -> tuple[Json, bytes | None]:
        """An instance's options as they are now, both of one moment: the open ones, and the secret ones sealed, None when it has none.

        Raises UnknownInstance.
        """
        ...

    async def change_options(self, new: NewOptions) -> None:
        """Replace an instance's options, for executions that start from then on, and queue its hook as the next to run.

        Raises UnknownInstance (not there, or being deactivated), DoesNotApply (they are not what they were before).
        """
        ...

    async def behind(self, limit: int) -> list[Behind]:
        """Up to `limit` instances that were not offered their twist's latest version; those that leave need not be."""
        ...

    async def offer(self, twist: str, number: int, offers: Sequence[Offer]) -> list[str]:
        """Offer a twist's latest version to instances: each runs its `upgrade` before anything else, or waits for a grant.

        Returns the executions that were queued; an upgrade to an older version that is queued is replaced. Left out are instances that are
        no longer as they were seen, and all of them when the version is the latest no more. A suspension by a budget is lifted with an
        upgrade, and the instance's budgets begin anew; an operator's is left.
        """
        ...

    async def grant(self, version: int, execution: NewExecution) -> None:
        """Grant the instance of `execution` what the version asks for that it waits for, and have it run that `upgrade`.

        Raises UnknownInstance, DoesNotApply (it waits for no grant of this version).
        """
        ...

    async def upgrades(self, twist: str, number: int) -> list[str]:
        """The executions that are to upgrade instances of a twist to a version, and are not over."""
        ...

    async def suspend(self, instance: str, suspension: Suspension) -> None:
        """Have nothing more of an instance run until `resume`; what runs may end, what comes waits, an earlier suspension is replaced.

        Raises UnknownInstance, DoesNotApply (it is being deactivated).
        """
        ...

    async def resume(self, instance: str, at: Micros) -> bool:
        """Lift an instance's suspension and begin its budgets anew; False when it was not suspended. Raises UnknownInstance."""
        ...

    async def begin_deactivation(self, execution: NewExecution) -> None:
        """Fence an instance: status `deactivating`, its waiting executions cancelled, `deactivate` queued as the next to run.

        From then on nothing is accepted for it; a running execution may still settle (its node ends it after 10 s), but what it
        would enqueue is dropped. When `deactivate` has succeeded or is dead, the settlement makes the instance unreachable.
        Beginning again changes nothing.
        """
        ...

    async def erase(self, limit: int) -> int:
        """Erase up to `limit` rows of deactivated instances; returns how many there were. Activities and notes stay."""
        ...

    # Keys

    async def master_key(self) -> str | None:
        """The id of the master key in force, which wraps new data keys; None when nothing was ever sealed."""
        ...

    async def adopt_master_key(self, new: str, *, instead_of: str | None) -> str:
        """Put a master key in force unless another than `instead_of` is; returns the id of the one that is in force then."""
        ...

    async def data_key(self, instance: str) -> bytes | None:
        """An instance's wrapped data key, if it has one."""
        ...

    async def keep_data_key(self, key: DataKey) -> bytes:
        """Give an instance its data key, unless it has one; returns the one that it has. It is destroyed when the instance is deactivated.

        Raises UnknownInstance, DoesNotApply (another master key than the one that wrapped it is in force).
        """
        ...

    async def sealed(self, after: str, limit: int) -> list[Sealed]:
        """What is sealed of up to `limit` instances, those after an id, by id."""
        ...

    async def data_keys(self, *, other_than: str, limit: int) -> list[DataKey]:
        """Up to `limit` data keys that are wrapped by another master key."""
        ...

    async def rewrap(self, changed: Sequence[tuple[DataKey, DataKey]]) -> None:
        """Replace data keys by the same ones wrapped anew; one that is another by now, or gone, is left."""
        ...

    # Executions

    async def enqueue(self, new: NewExecution) -> str:
        """Store an event and return the id of the execution that will answer it (with `coalesce`, maybe an older one).

        Raises UnknownInstance, QueueIsFull.
        """
        ...

    async def claim(self, node: str, limit: int, *, only: str | None = None) -> list[Claim]:
        """Lease up to `limit` instances that have something ready, least recently served first, and start one execution of each.

        `only` limits it to one instance. Costs O(log n) of everything pending. An instance whose next execution would be over a budget is
        suspended instead, with its owner's note in the same transaction; so it is when a settlement would claim it.
        """
        ...

    async def settle(self, settlement: Settlement) -> Settled:
        """End an attempt. Raises Fenced, DoesNotApply (nothing was kept: settle again as a failed attempt), StorageFull."""
        ...

    async def commit_part(self, part: Part) -> Instance:
        """Make the work of a running attempt so far durable; returns the instance, with what it keeps now.

        Raises Fenced, DoesNotApply, StorageFull.
        """
        ...

    async def next_wake(self) -> Micros | None:
        """When the next claim can find something: 0 for now, a time, or None for not until something is stored."""
        ...

    async def workload(self) -> Workload:
        """How busy the database is."""
        ...

    async def execution(self, execution: str) -> Execution | None:
        """One execution by its whole id."""
        ...

    async def progress(self, execution: str) -> Progress | None:
        """How far an execution is: what those ask again and again who wait for it."""
        ...

    async def executions(self, query: ExecutionQuery) -> list[Execution]:
        """Executions that became ready or ran, newest first."""
        ...

    async def tasks(self, instance: str | None = None) -> list[Execution]:
        """Pending executions that `run_task` made: queued (later ones too), in back-off and running, newest first."""
        ...

    async def recurring(self, instance: str | None = None) -> list[Recurring]:
        """What recurs, newest first."""
        ...

    async def cancel_recurring(self, recurring: str, at: Micros) -> bool:
        """End what recurs, by its id, with those of its runs that wait for their start; False when there is none."""
        ...

    async def follow_clock(self, at: Micros) -> int:
        """Have instances go on from now that a clock, set back since, would hold up: whose next tick of what recurs lies more than a day after
        the one that now follows, or that wait for their pace. Returns how many there were. Cheap where the clock was not set back.
        """
        ...

    async def task_of_key(self, instance: str, ns: str, key: str) -> str | None:
        """The id of the task that holds a key: one that waits and was never started."""
        ...

    async def attempts(self, execution: str) -> list[AttemptRecord]:
        """The ended attempts of an execution, oldest first."""
        ...

    async def recorded(self, execution: str) -> list[int]:
        """The numbers of an execution's attempts that have a record, rising."""
        ...

    async def record(self, execution: str, attempt: int) -> bytes | None:
        """The sealed record of an attempt, None when there is none (any more)."""
        ...

    async def retry(self, execution: str, at: Micros) -> None:
        """Queue a dead, failed or backing-off execution again, with its attempts counted anew. An activation's makes its failed
        instance `activating`. Raises DoesNotApply when it is none of these.
        """
        ...

    async def failures(self, query: FailureQuery) -> list[str]:
        """The ids of executions that may be retried, oldest first."""
        ...

    async def cancel(self, execution: str, at: Micros) -> bool:
        """Cancel a pending execution; a running one is fenced off and its instance released. False when it was over."""
        ...

    async def find(self, kind: str, prefix: str) -> list[str]:
        """Whole ids of `kind` ("execution", "recurring" or "instance") that begin with `prefix`; at most 10."""
        ...

    # Logs

    async def append_logs(self, instance: str, execution: str, lines: Sequence[LogLine]) -> None:
        """Keep log lines of an attempt that goes on."""
        ...

    async def logs(self, query: LogQuery) -> list[NumberedLogLine]:
        """Log lines, oldest first."""
        ...

    # The store and callbacks

    async def read_values(self, instance: str, ns: str, keys: Sequence[str], at: Micros) -> dict[str, Json]:
        """Unexpired values of those keys that have one."""
        ...

    async def read_small_store(self, instance: str, most: int) -> dict[str, dict[str, Json]] | None:
        """Every value of an instance by namespace and key; None when there are more than `most`, or one that expires some time."""
        ...

    async def read_keys(
        self, instance: str, ns: str, prefix: str, at: Micros, *, without: Sequence[str] = (), limit: int | None = None
    ) -> list[str]:
        """Unexpired keys that begin with `prefix`, sorted by code point: the first `limit` of those that begin with none of `without`,
        of which none begins with another.
        """
        ...

    async def write_values(self, instance: str, ns: str, values: dict[str, Json | None], at: Micros) -> None:
        """Write or (None) remove values from outside an execution; waits for no lease but raises its epoch-holder's conflict:
        StorageUnavailable while an execution of the instance runs.
        """
        ...

    async def callback(self, instance: str, token: str) -> Target | None:
        """What a callback stands for."""
        ...

    async def callback_tokens(self, instance: str, ns: str) -> list[str]:
        """The callbacks that `ns` made."""
        ...

    # Webhooks

    async def webhook(self, instance: str, token: str) -> Webhook | None:
        """The webhook with this token, unless its instance takes no more events."""
        ...

    async def webhooks(self, instance: str | None = None) -> list[Webhook]:
        """All webhooks of an instance, or of all that take events, newest first."""
        ...

    async def accept(self, new: NewDelivery) -> Accepted:
        """Store a webhook's delivery, unless it was stored before.

        Raises UnknownWebhook (the webhook is not there any more, or another is that was made in its place), QueueIsFull, StorageFull.
        """
        ...

    async def deliveries(self, instance: str | None = None, limit: int | None = None) -> list[Delivery]:
        """What webhooks received and is still known, newest first; requests that are large are left out."""
        ...

    async def delivery(self, execution: str) -> Delivery | None:
        """The delivery that an execution answers, with its request."""
        ...

    async def redeliver(self, original: str, new: NewExecution) -> None:
        """Store the request of a delivery, named by its execution, once more, as the event of `new`.

        Raises UnknownInstance, QueueIsFull, DoesNotApply (it is no delivery, or its request is not kept any more).
        """
        ...

    async def forget_deliveries(self, limit: int, before: Micros) -> int:
        """Forget up to `limit` deliveries that were received before a time, and drop the requests of those whose executions are over.

        What an instance has beyond `StorageLimits.delivery_bytes` goes with the deliveries that bring more.
        """
        ...

    # What is known of the installation

    async def fact(self, name: str) -> str | None:
        """What was last noted under a name."""
        ...

    async def note_fact(self, name: str, value: str) -> None:
        """Note something about this installation that other processes need."""
        ...

    # The workspace

    async def root_priority(self) -> PriorityRecord:
        """The priority that everything is below; made with the database."""
        ...

    async def priority(self, priority: str) -> PriorityRecord | None:
        """One priority by its id."""
        ...

    async def priorities(self) -> list[PriorityRecord]:
        """All priorities, parents before children."""
        ...

    async def create_priority(self, new: PriorityRecord) -> None:
        """Store a priority. Raises DoesNotApply when its parent is not there."""
        ...

    async def activities(self, query: ActivityQuery) -> list[OwnedActivity]:
        """Activities, newest first."""
        ...

    async def activities_by_id(self, ids: Sequence[str]) -> dict[str, OwnedActivity]:
        """Those of the given activities that exist, by id."""
        ...

    async def activities_by_source(self, priority: str, sources: Sequence[str]) -> dict[str, OwnedActivity]:
        """Activities of a priority, by source."""
        ...

    async def notes(
        self, activity: str, *, after: tuple[Micros, str] | None = None, limit: int | None = None
    ) -> list[NoteRecord]:
        """Notes of an activity, oldest first (`created_at`, then `id`), those after a place."""
        ...

    async def notes_by_id(self, ids: Sequence[str]) -> dict[str, NoteRecord]:
        """Those of the given notes that exist, by id."""
        ...

    async def notes_by_key(self, activity: str, keys: Sequence[str]) -> dict[str, NoteRecord]:
        """Notes of an activity, by key."""
        ...

    async def notes_by_keys(self, activities: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str], NoteRecord]:
        """Notes that are of one of the activities and have one of the keys, by (activity, key): a batch's in one question."""
        ...

    # Nodes and leases

    async def register(self, node: Node) -> None:
        """Make a node known. Its leases hold until `expires`."""
        ...

    def heartbeat(self, node: str, expires: float) -> bool:
        """Move a node's expiry and wait until that is stored; False when it was declared dead meanwhile and must stop at once.

        Called from a thread of its own, so that a busy event loop loses no lease.
        """
        ...

    async def nodes(self) -> list[Node]:
        """Nodes that are known."""
        ...

    async def leases(self, node: str) -> dict[str, tuple[int, InstanceStatus]]:
        """The instances that a node holds, each with its epoch and status: what a node runs besides these it must end."""
        ...

    async def give_up(self, node: str, instance: str, epoch: int, at: Micros) -> bool:
        """End one lease that a node holds at this epoch and cannot use; what ran under it counts as lost. False when it is held no more."""
        ...

    async def release(self, node: str, at: Micros) -> int:
        """Declare a node dead or stopped: its leases end (epochs raised), its running executions are ready again, first in line,
        with a lost attempt noted; one lost 20 times is `dead` with `node_lost`. Returns how many executions were running.
        """
        ...

    # Upkeep

    async def sweep(self, limit: int) -> int:
        """Remove up to `limit` values whose time is over; returns how many there were."""
        ...

    async def forget(self, limit: int, before: Micros) -> int:
        """Remove up to `limit` executions that were over before a time, with all that tells of them; returns how many there were."""
        ...

    async def forget_bundles(self, keep: int, before: Micros, at: Micros) -> int:
        """Remove the files of a version that no instance has been in, gone to or waited for since before a time; returns how many there were.

        The newest `keep` versions of each twist count as used. The version stays, and says when; packages go with the last that has them.
        """
        ...

    async def bundles(self) -> set[str]:
        """The digests of all bundles that have files, packages included."""
        ...

    async def forget_callbacks(self, after: str, limit: int, before: Micros) -> str | None:
        """Remove callbacks that were last asked for before a time, and that nothing of the instance mentions, `limit` in a transaction.

        Of one instance: the first after `after`, by id, that has some that old and nothing running; returns its id, None when there is none.
        """
        ...

    async def forget_records(self, limit: int, before: Micros) -> int:
        """Remove up to `limit` records of attempts that were over before a time, oldest first; returns how many there were.

        What an instance has of them beyond `StorageLimits.record_bytes` goes with the settlements that bring more.
        """
        ...

    def changed(self) -> bool:
        """Whether another process may have written since this was last asked. Cheap enough to ask often."""
        ...

    def stats(self) -> StorageStats:
        """What the backend has done since it was opened."""
        ...

    # Liveness

    async def audit(self, at: Micros, *, repair: bool, dead: Collection[Node] = ()) -> list[Finding]:
        """Find what is pending without a timer, a lease that will end or a named hold, and mend it when `repair` is true.

        `dead` are nodes of which the caller knows that they are dead and their time is over. Others may work meanwhile: what is right is
        left alone, however often this is asked.
        """
        ...
