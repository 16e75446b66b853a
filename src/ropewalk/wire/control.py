"""What the host says to the zygotes and what they answer, one message per packet of a SEQPACKET socket.

    host → root zygote      Spawn (with the new version zygote's ends of its control socket and of its queue), Sweep
    root zygote → host      one byte `HELLO` once it has a process (with the door's descriptors, where there is one); Ready once; Spawned;
                            Exits
    host → version zygote   Import once; then, for each process, one byte `FORK` or `FORK_AHEAD`
    host → attempt          its connection, by the version zygote's queue, before the `FORK`: the zygote itself never takes it
    version zygote → host   one byte `HELLO` once it is confined (or why it could not be, as text); then Imported, ImportFailed or
                            Standing, once

The version zygote runs the author's code at import: what it says of itself (`Manifest`) is checked by the host and never rules
anything but what the author may ask for. The root zygote runs none and is trusted to report how processes ended.
"""

from __future__ import annotations

from typing import Final, Literal

from ropewalk.wire.messages import CatchUp, Json, Message, Record

CONTROL_LIMIT: Final = 128 * 1024
"""Most bytes in one control packet, a manifest included: what fits a socket's buffer on every Linux."""

THREADS: Final = 16
"""Threads that a process of an author's code may have at once."""

FORK: Final = b"f"
"""Asks a version zygote for one process. A packet on its queue says the same, beside the connection that it brings."""

FORK_AHEAD: Final = b"a"
"""Asks for one process that nobody waits for yet: it is to do what it can before its event comes."""

HELLO: Final = b"h"
"""The first byte that a process writes to its connection; the kernel says whose it is."""


class Spawn(Message, tag="spawn", frozen=True, kw_only=True):
    """Fork a version zygote that sees only the bundle `bundle` (a folder's name below the bundles' root).

    `network` is whether its version declares Network, so that its processes may reach the door.
    """

    bundle: str
    network: bool = False


class Sweep(Message, tag="sweep", frozen=True, kw_only=True):
    """Reap what has ended and report it; answered by Exits with the same `number`, even when there is nothing to say."""

    number: int = 0


class Ready(Message, tag="ready", frozen=True, kw_only=True):
    """The root zygote has imported everything and stands by."""


class Spawned(Message, tag="spawned", frozen=True, kw_only=True):
    """The version zygote for the last Spawn runs, as `pid` in the sandbox's own numbering."""

    pid: int


class Exit(Record, frozen=True, kw_only=True):
    """How a process ended: `status` as `os.waitpid` gives it, `pid` in the sandbox's own numbering.

    `cpu` is what it used in all, in seconds, and `peak` the most memory it had resident, in bytes.
    """

    pid: int
    status: int
    cpu: float = 0.0
    peak: int = 0


class Exits(Message, tag="exits", frozen=True, kw_only=True):
    """Processes that ended otherwise than by exit 0, and version zygotes however they ended.

    `sweep` is the number of the Sweep that this answers, 0 when nobody asked.
    """

    exits: list[Exit]
    sweep: int = 0


class Import(Message, tag="import", frozen=True, kw_only=True):
    """Import the author's `module` from the bundle and describe its twist. `cls` names the class when the manifest does.

    The limits become the rlimits of every process forked from here: `memory` is in bytes beyond the pristine image. With `strict` nothing
    is imported here: each process that is forked does so when its event has come. With `replays` the processes are for replaying recorded
    attempts, and there is no other time than theirs from the import on.
    """

    module: str
    cls: str | None
    memory: int
    cpu: float
    strict: bool = False
    replays: bool = False


class Parameter(Record, frozen=True, kw_only=True):
    """A parameter of a handler: `kind` as in `inspect.Parameter.kind.name`."""

    name: str
    kind: str
    required: bool


class Method(Record, frozen=True, kw_only=True):
    """A coroutine method of the twist or of the tool at `ns`: the names that it had in older versions, its own retry policy if it has one."""

    ns: str
    name: str
    parameters: list[Parameter] = []
    renamed_from: list[str] = []
    retry: RetryInfo | None = None


class ScheduleInfo(Record, frozen=True, kw_only=True):
    """A method that recurs because its code says so. Exactly one of `every` (microseconds) and `cron` is given.

    `key` is the method's name; a number follows where the method has several.
    """

    ns: str
    method: str
    key: str
    every: int | None = None
    cron: str | None = None
    tz: str = "UTC"
    catch_up: CatchUp = "one"


class Injection(Record, frozen=True, kw_only=True):
    """Where the host puts a secret option: into requests to `urls`, as a header or a query parameter, with `format` around it."""

    urls: list[str]
    header: str | None = None
    query: str | None = None
    format: str = "{}"


class OptionField(Record, frozen=True, kw_only=True):
    """A field of an Options class. `type` is its JSON type, or `secret`; `default` is absent when it is required.

    `schema` is the JSON Schema of its values, absent for a secret, which is a string; `injected` is where the host puts a secret that the
    twist never holds.
    """

    ns: str
    name: str
    type: Literal["string", "integer", "number", "boolean", "secret", "json"]
    annotation: str
    required: bool
    default: Json | None = None
    schema: Json | None = None
    injected: Injection | None = None


class ToolInfo(Record, frozen=True, kw_only=True):
    """A tool that the twist declares, at the path `ns`. `kind` is the class of a built-in one, `custom` otherwise.

    `options` is the JSON object given where the tool was declared: for Network its `urls`, for Plot its accesses.
    """

    ns: str
    kind: str
    options: Json = b"{}"


class LimitsInfo(Record, frozen=True, kw_only=True):
    """What the twist asks to be lowered; None leaves the operator's setting. Seconds, seconds, bytes, count, bytes."""

    cpu: float | None = None
    wall: float | None = None
    memory: int | None = None
    requests: int | None = None
    logs: int | None = None


class RetryInfo(Record, frozen=True, kw_only=True):
    """When a failed execution runs again: at most `attempts` in all, waiting from `first` to `maximum` seconds."""

    attempts: int = 5
    first: float = 1.0
    maximum: float = 300.0
    ordered: bool = False


Isolation = Literal["standard", "strict"]
"""Where a version's module is imported: once for all its executions, or in the process of each attempt."""


class Manifest(Record, frozen=True, kw_only=True):
    """What a version declares: stored at deploy, and from then on the only thing that says what it may do.

    `isolation` is what the bundle's configuration asks for; the host puts it in.
    """

    protocol: int
    python: str
    cls: str
    description: str
    methods: list[Method]
    tools: list[ToolInfo] = []
    options: list[OptionField] = []
    limits: LimitsInfo = LimitsInfo()
    retry: RetryInfo = RetryInfo()
    concurrency: int = 1
    isolation: Isolation = "standard"
    schedules: list[ScheduleInfo] = []

    @property
    def declares_network(self) -> bool:
        """Whether its processes may have a way out, by the door."""
        return any(tool.kind == "Network" for tool in self.tools)


class Imported(Message, tag="imported", frozen=True, kw_only=True):
    """The module was imported and holds one twist."""

    manifest: Manifest


class ImportFailed(Message, tag="import_failed", frozen=True, kw_only=True):
    """The module could not be imported, or holds no twist, or two, or one that is not well formed."""

    type: str
    message: str
    traceback: str = ""


class Standing(Message, tag="standing", frozen=True, kw_only=True):
    """Nothing of the author's was imported, as was asked, and processes can be forked."""


RootCommand = Spawn | Sweep
RootReport = Ready | Spawned | Exits
ZygoteReport = Imported | ImportFailed | Standing
