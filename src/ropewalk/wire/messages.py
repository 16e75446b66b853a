"""The schema of everything that host and guest say, in msgpack.

Every message is an array whose first element is its tag. Fields are only ever added at the end, with defaults, so that a guest of
another language or an older SDK stays able to talk. Author's values travel as their JSON text (`Json`): the host checks and stores it
without knowing what it means. No message names an instance: the host knows whose connection it is.

    host → guest    Start, then Answer or Failure for each call
    guest → host    Log at any time, calls (each with an id of its own, answered in any order), at last Finished or Raised

`ns` is always the path of attribute names of the tool that speaks, "" for the twist itself. Times are microseconds since 1970 in
UTC, durations are seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import Meta, Struct

PROTOCOL: Final = 1
"""Raised when a change cannot be understood by the other side's previous version."""

BATCH: Final = 1_000
"""Most items in a list of a guest's message: one call's worth. The decoder looks at the count before it reads the items."""

_MOST: Final = Meta(max_length=BATCH)
_FEW: Final = Meta(max_length=200)

Json = bytes
"""The UTF-8 text of one JSON value."""

Trigger = Literal[
    "activate",
    "upgrade",
    "deactivate",
    "options",
    "task",
    "webhook",
    "activity",
    "note",
    "intent",
    "schedule",
    "callback",
    "invoke",
]

CatchUp = Literal["one", "all", "none"]
"""Which of the runs that were missed while nothing could run are made up for."""


class Message(Struct, array_like=True, tag_field="message_is", tag=True, frozen=True, kw_only=True):
    """Base of all messages."""


# ── Records that several messages carry ────────────────────────────────────────────────────────────────────────────────────────


class Record(Struct, omit_defaults=True, frozen=True, kw_only=True):
    """Base of what is carried by name rather than by place."""


class Target(Record, frozen=True, kw_only=True):
    """A method of the twist (`ns` is "") or of one of its tools, with the arguments bound to it.

    `arguments` is the JSON of `[[positional, …], {"name": value, …}]`.
    """

    ns: str
    method: str
    arguments: Json = b"[[],{}]"


class PriorityRecord(Record, frozen=True, kw_only=True):
    """A priority: a node in the tree that people organise their work by."""

    id: str
    title: str
    parent: str | None = None


class LinkRecord(Record, frozen=True, kw_only=True):
    """A link under a note. `callback` links carry the token that a click runs."""

    kind: Literal["external", "callback", "auth", "conferencing"]
    title: str
    url: str | None = None
    callback: str | None = None
    provider: str | None = None


class NoteRecord(Record, frozen=True, kw_only=True):
    """A note as it is stored; also what a twist asks to be created, then without the fields that the host fills.

    In answers the first note brings its activity along as `about`.
    """

    id: str
    content: str
    content_type: str = "markdown"
    activity: str = ""
    key: str | None = None
    author: str | None = None
    links: Annotated[list[LinkRecord], _FEW] = []
    mentions: Annotated[list[str], _FEW] = []
    tags: Annotated[list[str], _FEW] = []
    created_at: int = 0
    about: ActivityRecord | None = None


class ActivityRecord(Record, frozen=True, kw_only=True):
    """An activity as it is stored.

    `start` and `end` are ISO 8601 text: a date (all day) or a date and time in UTC; None is "someday" or open.
    """

    id: str
    type: Literal["note", "action", "event"]
    title: str
    start: str | None = None
    end: str | None = None
    done_at: int | None = None
    source: str | None = None
    meta: Json | None = None
    tags: Annotated[list[str], _FEW] = []
    assignee: str | None = None
    author: str | None = None
    priority: str = ""
    unread: bool = False
    private: bool = False
    draft: bool = False
    created_at: int = 0
    updated_at: int = 0


class NewActivityRecord(Record, frozen=True, kw_only=True):
    """An activity that a twist asks for, with its first notes.

    `id` is the author's own or one that the guest made. `start_now` says that an action's `start` was omitted.
    """

    activity: ActivityRecord
    notes: Annotated[list[NoteRecord], _MOST] = []
    start_now: bool = False
    own_id: bool = False


class Page(Record, frozen=True, kw_only=True):
    """Some activities and where the next ones begin (None: these were the last)."""

    items: list[ActivityRecord]
    cursor: str | None = None


class RequestRecord(Record, frozen=True, kw_only=True):
    """A request that came in by a webhook: what its event brings, as JSON, in which bytes are base64.

    `id` is the sender's for this delivery, or else the execution's. `path` is what followed the webhook's token, decoded, and `query` what
    followed the `?`, as it was sent. Header names are as received, in order, repeats kept; what is no ASCII in them is Latin-1.
    """

    id: str
    method: str
    path: str = ""
    query: str = ""
    headers: list[tuple[str, str]] = []
    body: bytes = b""


class AnswerRecord(Record, frozen=True, kw_only=True):
    """What a method answers a webhook's sender, where it says more than a text or a value: its result, as JSON, bytes as base64."""

    answer_is: Literal["http"]
    status: int = 200
    headers: list[tuple[str, str]] = []
    body: bytes = b""


class HttpAnswer(Record, frozen=True, kw_only=True):
    """The answer to a fetch. Header names are as received, in order, repeats kept. `url` is where redirects ended."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    url: str


# ── Host → guest ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Start(Message, tag="start", frozen=True, kw_only=True):
    """The event that this process is for: its one and only execution.

    `event` is the JSON array of what the event brings (a webhook's: its RequestRecord); it goes before the bound arguments. For the lifecycle triggers `target.method`
    is their name, and the guest runs the tools' hooks around it. `logs` and `value` are the operator's limits in bytes, of the log and of one
    value, so that the guest can say at once what the host would refuse.

    `store` is the instance's whole store by namespace and key, when it is small: a guest may answer its reads from that, and says how many
    they were with `counted`. As long as its calls take no more than `ahead` bytes in all, the host has room for what they write.
    `task_ids` begins the tokens of the tasks that nobody waits for: they are counted from it, as `Start.task_id` does.
    """

    execution: str
    attempt: int
    instance: str
    version: int
    previous_version: int | None
    trigger: Trigger
    target: Target
    event: Json
    options: Json
    priority: PriorityRecord
    seed: bytes
    started_at: int
    cpu: float
    wall: float
    requests: int
    logs: int = 256 * 1024
    value: int = 1024 * 1024
    store: dict[str, dict[str, Json]] | None = None
    ahead: int = 0
    task_ids: str = ""

    def task_id(self, number: int) -> str:
        """Return the token of the task that is the `number`th, from 0, to be asked for with the id 0."""
        return f"{self.task_ids}{number:04x}"


class Answer(Message, tag="answer", frozen=True, kw_only=True):
    """What the call `id` returned, as the call's own `answer` type says."""

    id: int
    value: msgspec.Raw


class Failure(Message, tag="failure", frozen=True, kw_only=True):
    """The call `id` raised `error`, the name of a class of `ropewalk.errors` (or `ValueError`, `TypeError`)."""

    id: int
    error: str
    message: str


HostMessage = Start | Answer | Failure


# ── Guest → host ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Call(Message, frozen=True, kw_only=True):
    """Base of the guest's requests. `id` is chosen by the guest and is its own until answered. Each counts as one request.

    The id 0 says that nobody waits for the answer: there is none, and what goes wrong ends the attempt.
    """

    answer: ClassVar[Any] = None
    id: int
    ns: str


class StoreRead(Call, tag="store.read", frozen=True, kw_only=True):
    """Read values; keys that hold none are absent from the answer."""

    answer: ClassVar[Any] = dict[str, Json]
    keys: Annotated[list[str], _MOST]


class StoreWrite(Call, tag="store.write", frozen=True, kw_only=True):
    """Write values; `ttl` in seconds, None for ever."""

    items: Annotated[dict[str, Json], _MOST]
    ttl: float | None = None


class StoreDelete(Call, tag="store.delete", frozen=True, kw_only=True):
    """Remove keys; those that hold nothing are no error."""

    keys: Annotated[list[str], _MOST]


class StoreClear(Call, tag="store.clear", frozen=True, kw_only=True):
    """Remove every key that begins with `prefix`."""

    prefix: str = ""


class StoreKeys(Call, tag="store.keys", frozen=True, kw_only=True):
    """The keys that begin with `prefix`, sorted by code point."""

    answer: ClassVar[Any] = list[str]
    prefix: str = ""


class CallbackCreate(Call, tag="callback.create", frozen=True, kw_only=True):
    """A durable reference to a method; equal targets give the same token."""

    answer: ClassVar[Any] = str
    target: Target


class CallbackResolve(Call, tag="callback.resolve", frozen=True, kw_only=True):
    """What a token stands for, to be run within this execution."""

    answer: ClassVar[Any] = Target
    token: str


class CallbackDelete(Call, tag="callback.delete", frozen=True, kw_only=True):
    """Forget a callback (`token`) or all that `ns` made (None), with the tasks that use them."""

    token: str | None = None


class TaskRun(Call, tag="task.run", frozen=True, kw_only=True):
    """A new execution, of a callback's token or of a method. At most one of `run_at` and `delay` is given."""

    answer: ClassVar[Any] = str
    callback: str | None = None
    target: Target | None = None
    arguments: Json = b"[[],{}]"
    run_at: int | None = None
    delay: float | None = None
    key: str | None = None
    coalesce: bool = False


class TaskRecur(Call, tag="task.recur", frozen=True, kw_only=True):
    """Run a callback or a method again and again, under `key`. Exactly one of `every` (seconds) and `cron` is given.

    `arguments` are further ones of a callback's.
    """

    key: str
    callback: str | None = None
    target: Target | None = None
    arguments: Json = b"[[],{}]"
    every: float | None = None
    cron: str | None = None
    tz: str = "UTC"
    first_run_at: int | None = None
    catch_up: CatchUp = "one"


class TaskCancel(Call, tag="task.cancel", frozen=True, kw_only=True):
    """Cancel a pending task, or a recurring one, by token or key, or all that `ns` made (None)."""

    token_or_key: str | None = None


class Commit(Call, tag="commit", frozen=True, kw_only=True):
    """Make everything so far durable; answered when it is."""


class Fetch(Call, tag="fetch", frozen=True, kw_only=True):
    """An HTTP request under the patterns that the Network tool at `ns` declares. `timeout` in seconds, redirects included."""

    answer: ClassVar[Any] = HttpAnswer
    method: str
    url: str
    headers: Annotated[list[tuple[str, str]], _MOST]
    body: bytes = b""
    timeout: float = 30.0


class WebhookCreate(Call, tag="webhook.create", frozen=True, kw_only=True):
    """A URL whose requests run a callback or a method, made through the Network tool at `ns`. The names of schemes are the host's.

    `arguments` come after those that are bound to the callback.
    """

    answer: ClassVar[Any] = str
    callback: str | None = None
    target: Target | None = None
    arguments: Json = b"[[],{}]"
    respond: bool = False
    secret: str | None = None
    signature: str | None = None
    challenge: str | None = None


class WebhookDelete(Call, tag="webhook.delete", frozen=True, kw_only=True):
    """Have a webhook take no more requests; one that is not there is no error. It is known by its token, wherever in `url` that is."""

    url: str


class ActivitiesCreate(Call, tag="activities.create", frozen=True, kw_only=True):
    """Create activities with their notes, or update those whose `source` is in the priority already; answered in order."""

    answer: ClassVar[Any] = list[ActivityRecord]
    items: Annotated[list[NewActivityRecord], _MOST]


class ActivityUpdate(Call, tag="activity.update", frozen=True, kw_only=True):
    """Change the named fields of one activity. `changes` is the JSON object of ActivityRecord fields."""

    answer: ClassVar[Any] = ActivityRecord
    activity: str
    changes: Json


class ActivityDelete(Call, tag="activity.delete", frozen=True, kw_only=True):
    """Remove an activity and its notes."""

    activity: str


class ActivityGet(Call, tag="activity.get", frozen=True, kw_only=True):
    """One activity by id, by source, or by an entry of its meta (`meta` is `[key, value-as-JSON]`); exactly one is given."""

    answer: ClassVar[Any] = ActivityRecord | None
    activity: str | None = None
    source: str | None = None
    meta: tuple[str, Json] | None = None


class ActivitiesList(Call, tag="activities.list", frozen=True, kw_only=True):
    """Activities, newest first, a page at a time."""

    answer: ClassVar[Any] = Page
    type: Literal["note", "action", "event"] | None = None
    done: bool | None = None
    source_prefix: str | None = None
    updated_since: int | None = None
    limit: int = 100
    cursor: str | None = None


class NotesCreate(Call, tag="notes.create", frozen=True, kw_only=True):
    """Add notes to an activity, or update those whose `key` it has already; answered in order."""

    answer: ClassVar[Any] = list[NoteRecord]
    activity: str
    notes: Annotated[list[NoteRecord], _MOST]


class NoteUpdate(Call, tag="note.update", frozen=True, kw_only=True):
    """Change the named fields of one note. `changes` is the JSON object of NoteRecord fields."""

    answer: ClassVar[Any] = NoteRecord
    note: str
    changes: Json


class NotesList(Call, tag="notes.list", frozen=True, kw_only=True):
    """The notes of an activity, oldest first."""

    answer: ClassVar[Any] = list[NoteRecord]
    activity: str


class Log(Message, tag="log", frozen=True, kw_only=True):
    """A line of the execution's log. `level` is a number of the `logging` module; `fields` a JSON object."""

    time: int
    level: int
    message: str
    fields: Json | None = None


class Counted(Message, tag="counted", frozen=True, kw_only=True):
    """So many requests, since it was last said, needed no host: reads that were answered from what `start` brought along."""

    requests: int


class Finished(Message, tag="finished", frozen=True, kw_only=True):
    """The method returned. The last thing that a guest says; then it waits to be ended, so that what it used can be read."""

    result: Json


class Raised(Message, tag="raised", frozen=True, kw_only=True):
    """The method raised. The last thing that a guest says, as with Finished.

    `kind`: `error` is retried by the policy, `retry` asks for `after` seconds (Retry, or a 429/503's Retry-After as the least wait),
    `give_up` and `unretried` never are: the first is dead, the second failed.
    """

    kind: Literal["error", "retry", "retry_at_least", "give_up", "unretried"]
    type: str
    message: str
    traceback: str
    after: float | None = None


AnyCall = (
    StoreRead
    | StoreWrite
    | StoreDelete
    | StoreClear
    | StoreKeys
    | CallbackCreate
    | CallbackResolve
    | CallbackDelete
    | TaskRun
    | TaskRecur
    | TaskCancel
    | Commit
    | Fetch
    | WebhookCreate
    | WebhookDelete
    | ActivitiesCreate
    | ActivityUpdate
    | ActivityDelete
    | ActivityGet
    | ActivitiesList
    | NotesCreate
    | NoteUpdate
    | NotesList
)
GuestMessage = AnyCall | Log | Counted | Finished | Raised
