"""What storage keeps and what it is asked to do, as values.

Times are `Micros` of wall time unless a name says otherwise. JSON is kept as its UTF-8 text. Everything of an instance is keyed by the
instance first, so that a database can be distributed by it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.pace import Pace
from ropewalk.storage.recurrence import Recurrence
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import ActivityRecord, Json, NoteRecord, Target, Trigger


class Kept(Struct, frozen=True, kw_only=True):
    """Base of all records."""


ExecutionStatus = Literal["queued", "running", "retrying", "succeeded", "failed", "dead", "cancelled"]
InstanceStatus = Literal["activating", "active", "suspended", "failed", "deactivating"]

LOST_FOR_GOOD = 20
"""Times that an execution may be lost with its node before it is set aside: it may be what kills the nodes."""

PENDING: tuple[ExecutionStatus, ...] = ("queued", "running", "retrying")
"""Statuses of executions that are not over."""


class Rank(IntEnum):
    """What goes before what among the ready executions of one instance; within a rank the readiness sequence decides."""

    DEACTIVATE = 0
    BARRIER = 1
    WAITED_FOR = 2
    RETURNING = 3
    ORDINARY = 4


# ── Twists and their versions ─────────────────────────────────────────────────────────────────────────────────────────────────


class Twist(Kept, frozen=True, kw_only=True):
    """A name under which versions are deployed."""

    id: str
    name: str
    latest: int
    created_at: Micros


class Version(Kept, frozen=True, kw_only=True):
    """One immutable deployment of a twist. `bundle` is the digest that names its files; `grants` whether who deployed it granted every
    instance what it asks for; `removed_at` when its files were removed, since nobody was in it any more.
    """

    twist: str
    number: int
    bundle: str
    module: str
    manifest: Manifest
    created_at: Micros
    grants: bool = True
    removed_at: Micros | None = None


class NewVersion(Kept, frozen=True, kw_only=True):
    """A deployment to be stored. `files` maps relative POSIX paths to contents; `bundle` is their digest. `packages` are the bundles that it stands on."""

    name: str
    bundle: str
    module: str
    manifest: Manifest
    files: dict[str, bytes]
    packages: tuple[str, ...] = ()
    at: Micros
    grants: bool = True


class Behind(Kept, frozen=True, kw_only=True):
    """An instance in `version` that was not offered its twist's `latest`. `granted` as in Instance."""

    instance: str
    twist: str
    version: int
    granted: int
    latest: int


class Offer(Kept, frozen=True, kw_only=True):
    """The latest version, offered to an instance as it was seen, with that `version` and `granted`.

    `execution` is its `upgrade`, None when it has to wait for a grant first; with `grants` it gets the version's permissions.
    """

    instance: str
    version: int
    granted: int
    execution: NewExecution | None
    grants: bool


class Use(Kept, frozen=True, kw_only=True):
    """What is live of an instance and names a method: `count` callbacks, or events that are not over, of one shape.

    `kind` is `callback`, `webhook` and so on, `task`, or for other events their trigger and `event`. An event brings `event` arguments, None for a callback: that depends on who calls.
    Then come `positions` bound ones, and those bound by `names`; `positions` is None when what is kept of them cannot be read.
    """

    kind: str
    ns: str
    method: str
    event: int | None
    positions: int | None
    names: tuple[str, ...]
    count: int


# ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Suspension(Kept, frozen=True, kw_only=True):
    """Why nothing of an instance runs until it is lifted.

    `budget` names the one that was used up, and `resume` or the next version lifts that; None is an operator's own, which only `resume`
    lifts.
    """

    reason: str
    since: Micros
    budget: Literal["daily", "chain"] | None = None


class Instance(Kept, frozen=True, kw_only=True):
    """A twist activated in a priority.

    `secret` makes the instance's callback tokens; it never leaves the host. `target_version` is the version whose `upgrade` is queued
    or running, None when there is none; `awaiting` the one that waits for a grant. `granted` is the version whose permissions it was granted
    beside those of its own, 0 for none. `suspension` is there while `status` is suspended. `pace_at` is the state of its pace, `spent`
    that of its other budgets (`budgets.Spent`, as JSON).
    """

    id: str
    twist: str
    twist_name: str
    version: int
    target_version: int | None
    priority: str
    status: InstanceStatus
    options: Json
    secret: bytes
    created_at: Micros
    pace_at: Micros
    spent: Json
    pending: int
    pending_bytes: int
    store_bytes: int
    callbacks: int
    suspension: Suspension | None = None
    upgrade_error: str | None = None
    granted: int = 0
    awaiting: int | None = None


class DataKey(Kept, frozen=True, kw_only=True):
    """An instance's data key, `wrapped` by the master key with the id `master`."""

    instance: str
    master: str
    wrapped: bytes


class Sealed(Kept, frozen=True, kw_only=True):
    """What is sealed of an instance.

    Attributes:
        instance: the instance.
        key: its wrapped data key, None when it has none.
        options: its secret options, None when it has none.
        webhooks: whether webhooks of its have signing secrets.
    """

    instance: str
    key: bytes | None
    options: bytes | None
    webhooks: bool


class NewInstance(Kept, frozen=True, kw_only=True):
    """An activation: the instance and, in the same transaction, its `activate` execution.

    `sealed` has its secret options and `key` what sealed them, when there are any.
    """

    id: str
    twist: str
    version: int
    priority: str
    options: Json
    secret: bytes
    activate: NewExecution
    key: DataKey | None = None
    sealed: bytes | None = None


class NewOptions(Kept, frozen=True, kw_only=True):
    """A change of an instance's options from what they were `before` to what they are `after`, each the options and the sealed secret ones.

    `hook` tells the instance; it runs before whatever else starts later.
    """

    instance: str
    before: tuple[Json, bytes | None]
    after: tuple[Json, bytes | None]
    hook: NewExecution | None
    at: Micros


# ── Executions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class NewExecution(Kept, frozen=True, kw_only=True):
    """An event to be stored: one execution of `target`, or of the callback `callback`, of `instance`.

    Due at once when `run_at` is None or past, else when that time comes. `ns` is the namespace that asked; with `key` at most one
    not yet started execution of (instance, ns, key) exists: a second replaces it, and with `coalesce` keeps the earlier due time.
    """

    id: str
    instance: str
    trigger: Trigger
    target: Target
    callback: str | None = None
    event: Json = b"[]"
    rank: Rank = Rank.ORDINARY
    ns: str = ""
    key: str | None = None
    coalesce: bool = False
    run_at: Micros | None = None
    cause: str = ""
    depth: int = 0
    at: Micros


class ErrorInfo(Kept, frozen=True, kw_only=True):
    """Why an attempt failed. `type` is an exception's class name or one of the runtime's own words (`timeout`, `crash`, …)."""

    type: str
    message: str
    traceback: str = ""


class Usage(Kept, frozen=True, kw_only=True):
    """What one attempt took. Times in microseconds, memory in bytes beyond what a waiting process has."""

    started_at: Micros
    finished_at: Micros
    cpu: int = 0
    memory_peak: int = 0
    requests: int = 0


class Attempt(Kept, frozen=True, kw_only=True):
    """One try at an execution, ended."""

    number: int
    version: int
    node: str
    usage: Usage
    status: Literal["succeeded", "failed", "lost", "cancelled"]
    error: ErrorInfo | None = None


class LogLine(Kept, frozen=True, kw_only=True):
    """A line of an execution's log, in the order written."""

    time: Micros
    level: int
    message: str
    attempt: int
    fields: Json | None = None


class Execution(Kept, frozen=True, kw_only=True):
    """An execution as it stands. `tries` counts the attempts since the last `commit()` that its retry policy counts; `lost` those
    that ended with their node.
    """

    id: str
    instance: str
    twist: str
    version: int | None
    target: Target
    callback: str | None
    trigger: Trigger
    event: Json
    cause: str
    depth: int
    rank: Rank
    ns: str
    key: str | None
    status: ExecutionStatus
    attempt: int
    tries: int
    lost: int
    run_at: Micros | None
    queued_at: Micros
    started_at: Micros | None = None
    finished_at: Micros | None = None
    cpu: int = 0
    memory_peak: int = 0
    requests: int = 0
    error: ErrorInfo | None = None
    result: Json | None = None


class Recurring(Kept, frozen=True, kw_only=True):
    """A method that runs again and again, until it is cancelled or replaced, or its instance leaves.

    `declared` says that the version's code asks for it (`ns` and `key` are then the method's), not a call. `next` is the next nominal time,
    `last` the execution of the newest run, `last_at` its nominal time. `skipped` counts ticks that came while the run before was not
    over, `missed` those that came while nothing could run and that no run of their own was made for.
    """

    id: str
    instance: str
    ns: str
    key: str
    declared: bool
    recurrence: Recurrence
    target: Target
    callback: str | None
    next: Micros
    last: str | None
    last_at: Micros | None
    runs: int
    skipped: int
    missed: int
    created_at: Micros


class Claim(Kept, frozen=True, kw_only=True):
    """The right to run one execution: nobody else touches the instance until `epoch` changes.

    `execution.attempt` is the number of the attempt that begins now, `instance.version` the version that it runs: for an `upgrade` that
    is the one it upgrades to, and `previous_version` the one that the instance still has. `spent` is the wall time that earlier attempts
    of a `deactivate` took, but for those that were lost with their node.
    """

    instance: Instance
    execution: Execution
    epoch: int
    previous_version: int | None = None
    spent: Micros = 0


# ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Webhook(Kept, frozen=True, kw_only=True):
    """A URL of an instance's whose requests run `target`. `token` is the part of it that cannot be guessed, `id` names it to people.

    With `respond` the method's result is the answer. `secret` is what senders sign with, by the scheme `signature`; it never leaves the host.
    `callback` is the one that it was made of, if any.
    """

    id: str
    token: str
    instance: str
    ns: str
    target: Target
    callback: str | None = None
    respond: bool = False
    signature: str | None = None
    secret: bytes | None = None
    challenge: str | None = None
    created_at: Micros


class NewDelivery(Kept, frozen=True, kw_only=True):
    """A request that a webhook received, and the execution that will answer it. `made_at` is when the webhook was made that the request was
    taken in by; `delivery` is the sender's own id of it, if it has one.
    """

    token: str
    webhook: str
    made_at: Micros
    delivery: str | None
    execution: NewExecution


class Accepted(Kept, frozen=True, kw_only=True):
    """A delivery is stored; with `duplicate` it was before, and `execution` is the first one's."""

    execution: str
    duplicate: bool = False


class Delivery(Kept, frozen=True, kw_only=True):
    """A request that a webhook received, and what has become of its execution.

    `request` is the execution's event: None in listings when it is large, and anywhere when it is not kept any more, which `size` 0 says.
    `redelivers` is the execution whose request a person has sent again by this one.
    """

    execution: str
    instance: str
    webhook: str
    delivery: str | None
    received_at: Micros
    size: int
    redelivers: str | None
    status: ExecutionStatus
    error: ErrorInfo | None
    target: Target
    finished_at: Micros | None
    request: Json | None


class Progress(Kept, frozen=True, kw_only=True):
    """How far an execution is, in short."""

    status: ExecutionStatus
    result: Json | None


# ── Effects: what an execution wants to have happened ──────────────────────────────────────────────────────────────────────────


class Effect(Kept, tag=True, frozen=True, kw_only=True):
    """Base of the operations that are collected while a method runs and applied, in order, in one transaction."""


class PutValue(Effect, frozen=True, kw_only=True):
    """Store a value; `expires_at` None keeps it."""

    ns: str
    key: str
    value: Json
    expires_at: Micros | None = None


class DropValue(Effect, frozen=True, kw_only=True):
    """Remove a key of the store."""

    ns: str
    key: str


class DropValues(Effect, frozen=True, kw_only=True):
    """Remove every key of `ns` that begins with `prefix`."""

    ns: str
    prefix: str


class Enqueue(Effect, frozen=True, kw_only=True):
    """Add a pending execution, with its key's rules."""

    execution: NewExecution


class CancelTask(Effect, frozen=True, kw_only=True):
    """Cancel the not running task of the instance with this id, or of `ns` with this key."""

    ns: str
    token_or_key: str


class CancelTasks(Effect, frozen=True, kw_only=True):
    """Cancel every not running task that `ns` made."""

    ns: str


class PutRecurring(Effect, frozen=True, kw_only=True):
    """Have a method run again and again, under `key` of `ns`: one that is there already is replaced, but for one that is the same.

    `id` names it for people, `at` is when it was asked for. With `first_given` its first time was; else that follows from `at`.
    """

    id: str
    ns: str
    key: str
    target: Target
    callback: str | None
    recurrence: Recurrence
    first_given: bool
    at: Micros


class PutCallback(Effect, frozen=True, kw_only=True):
    """Keep a callback; the same token again only changes when it was last asked for."""

    ns: str
    token: str
    target: Target
    at: Micros


class DropCallback(Effect, frozen=True, kw_only=True):
    """Forget a callback of the instance and cancel its not running tasks."""

    token: str


class DropCallbacks(Effect, frozen=True, kw_only=True):
    """Forget every callback that `ns` made and cancel their not running tasks."""

    ns: str


class PutWebhook(Effect, frozen=True, kw_only=True):
    """Keep a webhook, over one with the same token."""

    webhook: Webhook


class DropWebhook(Effect, frozen=True, kw_only=True):
    """Forget a webhook of the instance. What it has received already runs."""

    token: str


class PutActivity(Effect, frozen=True, kw_only=True):
    """Create an activity. Does not apply when its id, or its source within its priority, is there already."""

    activity: ActivityRecord


class ChangeActivity(Effect, frozen=True, kw_only=True):
    """Change the named fields of an activity. Does not apply when it is gone."""

    activity: str
    changes: dict[str, object]


class DropActivity(Effect, frozen=True, kw_only=True):
    """Remove an activity and its notes."""

    activity: str


class PutNote(Effect, frozen=True, kw_only=True):
    """Create a note. Does not apply when its id, or its key within its activity, is there already, or the activity is gone."""

    note: NoteRecord


class ChangeNote(Effect, frozen=True, kw_only=True):
    """Change the named fields of a note. Does not apply when it is gone."""

    note: str
    changes: dict[str, object]


AnyEffect = (
    PutValue
    | DropValue
    | DropValues
    | Enqueue
    | CancelTask
    | CancelTasks
    | PutRecurring
    | PutCallback
    | DropCallback
    | DropCallbacks
    | PutWebhook
    | DropWebhook
    | PutActivity
    | ChangeActivity
    | DropActivity
    | PutNote
    | ChangeNote
)


# ── Settling ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Verdict(Kept, frozen=True, kw_only=True):
    """What becomes of the execution now that an attempt has ended.

    `retrying` has `run_at`; with `ordered` nothing later of the instance runs before it. `counted` is whether the attempt uses up one
    of the policy's.
    """

    status: Literal["succeeded", "failed", "dead", "retrying", "cancelled"]
    run_at: Micros | None = None
    ordered: bool = False
    counted: bool = True
    result: Json | None = None


class Settlement(Kept, frozen=True, kw_only=True):
    """The end of an attempt: its effects (none unless it succeeded), its outcome, and what follows, in one transaction.

    Conditional on `epoch`. With `claim_next` the instance's next ready execution is claimed in the same transaction, or else the lease
    is given back. The instance moves with its lifecycle: a settled `activate` makes it active or failed, `upgrade` moves its version,
    `deactivate` removes it. `record` is the sealed record of the attempt, where one is kept.
    """

    node: str
    instance: str
    epoch: int
    execution: str
    attempt: Attempt
    verdict: Verdict
    effects: list[AnyEffect]
    logs: list[LogLine]
    claim_next: bool
    at: Micros
    record: bytes | None = None


class Part(Kept, frozen=True, kw_only=True):
    """What `commit()` makes durable: effects and logs of an attempt that goes on. Conditional on `epoch`; `tries` starts anew."""

    instance: str
    epoch: int
    execution: str
    effects: list[AnyEffect]
    logs: list[LogLine]
    at: Micros


class Settled(Kept, frozen=True, kw_only=True):
    """A settlement was applied; `next` is the instance's next execution when one was claimed with it."""

    next: Claim | None


# ── Nodes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Node(Kept, frozen=True, kw_only=True):
    """A running node: `boot` and `expires` (seconds of that boot's clock) bound its leases."""

    id: str
    boot: str
    expires: float
    started_at: Micros


# ── Questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class ActivityQuery(Kept, frozen=True, kw_only=True):
    """Which activities, newest first (`created_at`, then `id`, both falling). `after` is the last one of the page before.

    `twist` limits it to those that instances of this twist made, `priorities` to those in one of several priorities.
    `meta` are a key of their meta and its value, as JSON; it is asked with `twist`.
    """

    priority: str | None = None
    priorities: tuple[str, ...] | None = None
    twist: str | None = None
    type: Literal["note", "action", "event"] | None = None
    done: bool | None = None
    source_prefix: str | None = None
    updated_since: Micros | None = None
    meta: tuple[str, Json] | None = None
    after: tuple[Micros, str] | None = None
    limit: int | None = 100


class ExecutionQuery(Kept, frozen=True, kw_only=True):
    """Which executions, newest first."""

    instance: str | None = None
    status: ExecutionStatus | None = None
    limit: int | None = None


class FailureQuery(Kept, frozen=True, kw_only=True):
    """Which of the executions that `retry` takes, oldest first. `status` is one of dead, failed and retrying; `since` bounds when the
    last attempt ended.
    """

    status: ExecutionStatus
    instance: str | None = None
    twist: str | None = None
    method: str | None = None
    error: str | None = None
    since: Micros | None = None


class LogQuery(Kept, frozen=True, kw_only=True):
    """Which log lines, oldest first; `after` is the number of the last one seen."""

    instance: str | None = None
    execution: str | None = None
    level: int = 0
    after: int = 0
    limit: int | None = None


class NumberedLogLine(Kept, frozen=True, kw_only=True):
    """A log line with its number in the whole database and whose it is."""

    number: int
    instance: str
    execution: str
    line: LogLine


class OwnedActivity(Kept, frozen=True, kw_only=True):
    """An activity with what the workspace keeps of its origin."""

    activity: ActivityRecord
    twist: str | None
    instance: str | None
    notes: int = 0


class Workload(Kept, frozen=True, kw_only=True):
    """How busy the database is: executions ready now, running, in back-off; and when the next thing is due."""

    ready: int
    running: int
    backing_off: int
    next_wake: Micros | None


# ── The database itself ───────────────────────────────────────────────────────────────────────────────────────────────────────


class StorageLimits(Kept, frozen=True, kw_only=True):
    """What one instance may keep: pending executions and their bytes, methods that recur, bytes of its store, callbacks, bytes of records.
    And what it may start: executions at its `pace`, so many in 24 hours, and chains of tasks so deep.
    """

    pending: int = 200_000
    pending_bytes: int = 512 * 1024 * 1024
    recurring: int = 1_000
    store_bytes: int = 100 * 1024 * 1024
    callbacks: int = 100_000
    record_bytes: int = 64 * 1024 * 1024
    delivery_bytes: int = 64 * 1024 * 1024
    pace: Pace = Pace(burst=1_000, rate=10.0)
    daily: int = 50_000
    chain: int = 10_000


class Finding(Kept, frozen=True, kw_only=True):
    """Something that is wrong in a database: its name, in words, and what mends it. `repaired` is whether that was done."""

    name: str
    what: str
    remedy: str
    instance: str | None = None
    execution: str | None = None
    repaired: bool = False


class StorageStats(Kept, frozen=True, kw_only=True):
    """What a backend has done since it was opened.

    `groups` of `verbs` were committed together; of these `commits` wrote something; `syncs` is how often the disk was told to keep
    it, checkpoints included; `redone` counts groups that had to be done again.
    """

    verbs: int
    groups: int
    commits: int
    syncs: int
    statements: int
    redone: int
    checkpoints: int
    wal_pages: int
