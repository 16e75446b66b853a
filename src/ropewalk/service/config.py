"""Every setting of Ropewalk: its name, form, default and meaning, and where its value came from.

A setting has one name everywhere: `limit_cpu` is the flag `--limit-cpu`, the variable `ROPEWALK_LIMIT_CPU` and the key `limit_cpu` of
`ropewalk.toml`. A flag goes before a variable, a variable before the file (of the working directory or the nearest parent), the file
before the default. A name that is no setting is an error that names the nearest one: a limit that was misspelt must not be a limit that
silently does not hold. The command line comes before; what is assembled from the settings comes after.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from ropewalk.recording.recorder import Recorded
from ropewalk.sandbox.interface import Limits
from ropewalk.vault.masters import SHORTEST
from ropewalk.vault.redaction import HIDDEN
from ropewalk.wire.control import Isolation

PREFIX: Final = "ROPEWALK_"
FILE_NAME: Final = "ropewalk.toml"
DEFAULT_DATABASE: Final = "sqlite:///./ropewalk.db"

LARGEST_BODY: Final = 24 * 1024 * 1024
"""Most bytes of a webhook request's body, whatever the setting: in base64, with headers, it has to fit into one message to a process."""


class SettingsError(Exception):
    """A setting that does not exist, or a value that does not fit; the message names the setting, the value and where it came from."""


class Settings(Struct, frozen=True, kw_only=True):
    """The settings in force. Durations are seconds, sizes bytes; `SETTINGS` says what each means.

    `sources` says where each value came from.
    """

    database: str = DEFAULT_DATABASE
    key: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8420
    public_url: str = ""
    api_token: str = ""
    concurrency: int = 8
    node_memory: int | None = None
    limit_cpu: float = 60.0
    limit_wall: float = 120.0
    limit_memory: int = 128 * 1024 * 1024
    limit_requests: int = 1000
    limit_logs: int = 256 * 1024
    limit_value: int = 1024 * 1024
    limit_store: int = 100 * 1024 * 1024
    limit_queue: int = 200_000
    limit_queue_bytes: int = 512 * 1024 * 1024
    limit_callbacks: int = 100_000
    limit_webhooks: int = 1_000
    limit_webhook_body: int = 5 * 1024 * 1024
    limit_respond: float = 10.0
    webhook_burst: int = 50_000
    webhook_rate: float = 2_000.0
    limit_chain: int = 10_000
    limit_daily: int = 50_000
    pace_burst: int = 1_000
    pace_rate: float = 10.0
    egress_burst: int = 2_000
    egress_rate: float = 100.0
    keep_executions: float = 30 * 86400.0
    record: Recorded = "all"
    keep_records: float = 7 * 86400.0
    limit_record: int = 1024 * 1024
    limit_records: int = 64 * 1024 * 1024
    keep_deliveries: float = 7 * 86400.0
    limit_deliveries: int = 64 * 1024 * 1024
    keep_versions: int = 10
    keep_bundles: float = 30 * 86400.0
    limit_import: int = 256 * 1024 * 1024
    limit_packages: int = 512 * 1024 * 1024
    package_index: str = ""
    package_builds: bool = False
    package_timeout: float = 300.0
    isolation: Isolation = "standard"
    unsafe_no_sandbox: bool = False
    sources: dict[str, str] = {}

    @property
    def database_path(self) -> Path:
        """The SQLite file that `database` names.

        Raises:
            SettingsError: the URL is not SQLite's.
        """
        return sqlite_path(self.database)

    @property
    def key_file(self) -> Path:
        """The file beside the database that holds the master key, unless `key` does."""
        database = self.database_path
        return database.with_name(f"{database.name}-key")

    @property
    def bundles_directory(self) -> Path:
        """The folder beside the database where deployed files are laid out for the sandbox."""
        database = self.database_path
        return database.with_name(f"{database.name}-bundles")

    @property
    def limits(self) -> Limits:
        """What one execution may use unless its twist lowers it."""
        return Limits(
            cpu=self.limit_cpu,
            wall=self.limit_wall,
            memory=self.limit_memory,
            requests=self.limit_requests,
            logs=self.limit_logs,
        )


def sqlite_path(url: str) -> Path:
    """Return the file of a SQLite URL (`sqlite:///relative.db`, `sqlite:////absolute.db`) or of a plain path.

    Raises:
        SettingsError: the URL names another database, or none.
    """
    scheme, separator, rest = url.partition("://")
    path = rest.removeprefix("/") if separator else url
    if separator and (scheme != "sqlite" or not rest.startswith("/")):
        raise SettingsError(
            f"database {url!r} is no SQLite database: use sqlite:///relative/path.db or sqlite:////absolute/path.db"
        )
    if path in {"", ":memory:"} or path.endswith("/") or "\0" in path:
        raise SettingsError(f"database {url!r} names no file: use sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return Path(path)


# ── The forms of values ───────────────────────────────────────────────────────────────────────────────────────────────────────

_SIZE_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY: Final = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(value: object) -> int:
    """Return a size in bytes: a whole number, or text such as `128MiB`, `1.5GiB`, `500kB`.

    Raises:
        ValueError: the value is no size, or not above zero.
    """
    amount = _quantity(value, _SIZE_UNITS, "a size such as 128MiB")
    size = int(amount)
    if size != amount or size < 1:
        raise ValueError("is no whole number of bytes above zero")
    return size


def _size_or_auto(value: object) -> int | None:
    """Return a size in bytes, None for what the machine can spare."""
    return None if value is None or value == "auto" else parse_size(value)


def parse_duration(value: object) -> float:
    """Return a duration in seconds: a number, or text such as `90s`, `1.5m`, `250ms`, `2h`.

    Raises:
        ValueError: the value is no duration, or not above zero.
    """
    seconds = float(_quantity(value, _DURATION_UNITS, "a duration such as 90s"))
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError("is no finite duration above zero")
    return seconds


def _quantity(value: object, units: Mapping[str, float], form: str) -> float:
    """Return a number, or the product of a text's number and unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2].lower() not in units:
        raise ValueError(f"is not {form}")
    number = float(found[1]) if "." in found[1] else int(found[1])
    return number * units[found[2].lower()]


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    """Return the parser of whole numbers within a range."""

    def parse(value: object) -> int:
        text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
        number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
        if number is None or not lowest <= number <= highest:
            raise ValueError(f"is no whole number from {lowest} to {highest}")
        return number

    return parse


def _rate(value: object) -> float:
    """Return how many a second."""
    rate = float(_quantity(value, {"": 1.0}, "a number, as many as in a second"))
    if not 0.001 <= rate <= 1_000_000:
        raise ValueError("is not from 0.001 to 1,000,000")
    return rate


def _text(value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is not a text")
    return value.strip()


def _public_url(value: object) -> str:
    """Return the beginning of URLs, without a slash at its end; "" for what is found out."""
    url = str(value).strip().rstrip("/")
    if url and not re.fullmatch(r"https?://[A-Za-z0-9.:_\[\]-]+(/[A-Za-z0-9._~/-]*)?", url):
        raise ValueError("is no beginning of a URL such as https://hooks.example.com")
    return url


def _token(value: object) -> str:
    """Return a bearer token, "" for none. Raises ValueError when it could be guessed, or not be sent."""
    token = str(value).strip()
    if token and not (len(token) >= SHORTEST and token.isascii() and token.isprintable() and " " not in token):
        raise ValueError(f"is no token of {SHORTEST} letters and digits or more: `openssl rand -hex 32` makes one")
    return token


def _size_of_body(value: object) -> int:
    """Return a size that fits into one message to a process."""
    size = parse_size(value)
    if size > LARGEST_BODY:
        raise ValueError(f"is more than the {LARGEST_BODY:,} bytes that a process can be told of")
    return size


def _index(value: object) -> str:
    """Return the URL of a package index, "" for none."""
    if not isinstance(value, str):
        raise ValueError("is not a URL")
    return value.strip()


def _yes_or_no(value: object) -> bool:
    """Return a choice."""
    chosen = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}.get(str(value).strip().lower())
    if chosen is None:
        raise ValueError("is neither yes nor no")
    return chosen


_ISOLATIONS: Final[tuple[Isolation, ...]] = ("standard", "strict")


def _isolation(value: object) -> Isolation:
    """Return how far the executions of a version are kept apart."""
    for isolation in _ISOLATIONS:
        if value == isolation:
            return isolation
    raise ValueError("is neither standard nor strict")


_RECORDED: Final[tuple[Recorded, ...]] = ("all", "failed", "none")


def _recorded(value: object) -> Recorded:
    """Return which attempts are recorded."""
    for recorded in _RECORDED:
        if value == recorded:
            return recorded
    raise ValueError("is neither all, failed nor none")


def _database(value: object) -> str:
    """Return a database URL whose form is right."""
    url = _text(value)
    sqlite_path(url)
    return url


def _patterns(value: object) -> tuple[str, ...]:
    """Return URL patterns from comma-separated text or an array. Raises ValueError when one is none."""
    given: Iterable[object] = value.split(",") if isinstance(value, str) else cast("Iterable[object]", value)
    if not isinstance(value, str | list | tuple) or not all(isinstance(item, str) for item in given):
        raise ValueError("is no list of URL patterns")
    patterns = tuple(stripped for item in given if (stripped := str(item).strip()))
    if patterns:
        from ropewalk.egress.patterns import parse_pattern  # brings tables of Unicode along, which most commands do without

        for pattern in patterns:
            parse_pattern(pattern)
    return patterns


def _keys(value: object) -> tuple[str, ...]:
    """Return master keys, the newest first, from comma-separated text or an array."""
    given: Iterable[object] = value.split(",") if isinstance(value, str) else cast("Iterable[object]", value)
    if not isinstance(value, str | list | tuple) or not all(isinstance(item, str) for item in given):
        raise ValueError("is no list of keys")
    keys = tuple(str(item).strip() for item in given)
    if any(len(key) < SHORTEST for key in keys):
        raise ValueError(f"has a key of fewer than {SHORTEST} characters: `ropewalk key new` makes one")
    return keys


class Setting(Struct, frozen=True):
    """One setting: how its value is read and what it means. The flag of a `switch` takes no value; a `secret` is never shown."""

    name: str
    parse: Callable[[object], Any]
    meaning: str
    switch: bool = False
    secret: bool = False

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """Its flag."""
        return "--" + self.name.replace("_", "-")


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("database", _database, "The database: sqlite:///relative.db or sqlite:////absolute.db."),
    Setting(
        "key",
        _keys,
        "The master key of what is sealed in the database, in place of the file beside it; while rotated, NEW,OLD.",
        secret=True,
    ),
    Setting(
        "allow_private", _patterns, "URL patterns that may lead to private or loopback addresses, when a manifest declares them."
    ),
    Setting("host", _text, "The address that `serve` listens on."),
    Setting("port", _whole(0, 65535), "The port that `serve` listens on; 0 takes any free one."),
    Setting(
        "public_url",
        _public_url,
        "What webhooks' URLs begin with: where the outside reaches a node; else where one last listened.",
    ),
    Setting("api_token", _token, "Who brings it may use the HTTP API below /api/v1; there is none without.", secret=True),
    Setting("concurrency", _whole(1, 1024), "Executions that a node runs at once."),
    Setting(
        "node_memory",
        _size_or_auto,
        "Memory of a node's executions together; auto: three quarters of what is free when it starts.",
    ),
    Setting("limit_cpu", parse_duration, "CPU time of one execution."),
    Setting("limit_wall", parse_duration, "Wall time of one execution."),
    Setting("limit_memory", parse_size, "Memory of one execution beyond the pristine image."),
    Setting("limit_requests", _whole(0, 10**9), "Host calls and HTTP requests of one execution."),
    Setting("limit_logs", parse_size, "Log text kept of one execution; what is beyond is cut with a mark."),
    Setting("limit_value", parse_size, "One value of the store, as JSON."),
    Setting("limit_store", parse_size, "All values in the store of one instance."),
    Setting("limit_queue", _whole(1, 10**9), "Pending executions of one instance."),
    Setting("limit_queue_bytes", parse_size, "Arguments and events of all pending executions of one instance."),
    Setting("limit_callbacks", _whole(1, 10**9), "Callbacks of one instance."),
    Setting("limit_webhooks", _whole(1, 10**9), "Webhooks of one instance."),
    Setting("limit_webhook_body", _size_of_body, "The body of one webhook request."),
    Setting(
        "limit_respond", parse_duration, "How long a webhook's sender waits for what its method answers; then that is ended."
    ),
    Setting("webhook_burst", _whole(1, 10**9), "Webhook requests of one instance that a node takes at once."),
    Setting("webhook_rate", _rate, "Webhook requests of one instance that a node takes in a second, once the burst is used up."),
    Setting(
        "limit_chain",
        _whole(1, 10**9),
        "Depth of a chain of tasks, each due within a minute; what is deeper suspends the instance.",
    ),
    Setting("limit_daily", _whole(1, 10**9), "Executions of one instance in 24 hours; the next suspends it."),
    Setting("pace_burst", _whole(1, 10**9), "Executions of one instance that may start at once; the next wait."),
    Setting("pace_rate", _rate, "Executions of one instance that may start in a second, once its burst is used up."),
    Setting("egress_burst", _whole(1, 10**9), "HTTP requests of one instance that may be made at once."),
    Setting("egress_rate", _rate, "HTTP requests of one instance that may be made in a second, once its burst is used up."),
    Setting("keep_executions", parse_duration, "How long executions are kept once they are over, with their attempts and logs."),
    Setting("record", _recorded, "Which attempts are recorded, so that `replay` can run them again: all, failed or none."),
    Setting("keep_records", parse_duration, "How long records of attempts are kept."),
    Setting("limit_record", parse_size, "The record of one attempt; what is beyond is left out, and replay says so."),
    Setting("limit_records", parse_size, "All records of one instance; the oldest go first."),
    Setting(
        "keep_deliveries",
        parse_duration,
        "How long webhooks' requests are kept once they are answered, and the ids by which their senders name them.",
    ),
    Setting("limit_deliveries", parse_size, "All requests that are kept of one instance's webhooks; the oldest go first."),
    Setting(
        "keep_versions", _whole(1, 10**6), "Newest versions of each twist whose files are kept, so that `rollback` finds them."
    ),
    Setting("keep_bundles", parse_duration, "How long the files of older versions are kept once no instance is in them."),
    Setting("limit_import", parse_size, "Memory that importing a version's module may take, once for all its executions."),
    Setting("limit_packages", parse_size, "All packages of one version, unpacked."),
    Setting(
        "package_index", _index, "The index that packages come from; without it, what pip's own configuration says, or PyPI."
    ),
    Setting(
        "package_builds",
        _yes_or_no,
        "Whether packages without a wheel may be built. Building runs their authors' code here, outside the sandbox.",
    ),
    Setting("package_timeout", parse_duration, "How long resolving and fetching the packages of one version may take."),
    Setting(
        "isolation",
        _isolation,
        "Where a version's module is imported: once for all its executions (standard), or in the process of each (strict).",
    ),
    Setting(
        "unsafe_no_sandbox",
        _yes_or_no,
        "Run twists without any sandbox: they can then do whatever this node's user can. For code that you trust only.",
        switch=True,
    ),
)
"""Every setting, in the order in which they are shown."""

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(flags: Mapping[str, object], environ: Mapping[str, str], directory: Path) -> Settings:
    """Return the settings that flags, variables and the nearest file give, with their sources.

    A flag that is None was not given; a variable that is empty is not set. A relative database in the file is relative to the file.

    Raises:
        SettingsError: a name is no setting, or a value does not fit.
    """
    values: dict[str, Any] = {}
    sources = {setting.name: "default" for setting in SETTINGS}
    for name, given, source in [*_from_file(directory), *_from_environment(environ), *_from_flags(flags)]:
        values[name] = _parsed(name, given, source)
        sources[name] = source
    settings = Settings(**values, sources=sources)
    _check_memory(settings)
    return settings


def _check_memory(settings: Settings) -> None:
    """Raise SettingsError when the node would have no room for one execution."""
    if settings.node_memory is not None and settings.node_memory < settings.limit_memory:
        raise SettingsError(
            f"node_memory ({settings.sources['node_memory']}): {settings.node_memory:,} bytes are less than one execution may use, "
            f"limit_memory = {settings.limit_memory:,} bytes: raise the one or lower the other"
        )


_Given = tuple[str, object, str]
"""A setting's name, what was given for it, and where."""


def _from_flags(flags: Mapping[str, object]) -> list[_Given]:
    """Return what the command line gave."""
    return [(name, value, f"flag --{name.replace('_', '-')}") for name, value in flags.items() if value is not None]


def _from_environment(environ: Mapping[str, str]) -> list[_Given]:
    """Return what the variables gave."""
    given: list[_Given] = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or not environ[variable]:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if variable != PREFIX + name.upper() or not _known(name):
            raise SettingsError(f"{variable} is no setting: {_nearest(name, lambda near: PREFIX + near.upper())}")
        given.append((name, environ[variable], f"variable {variable}"))
    return given


def _from_file(directory: Path) -> list[_Given]:
    """Return what the nearest `ropewalk.toml` gave."""
    path = next((folder / FILE_NAME for folder in (directory, *directory.parents) if (folder / FILE_NAME).is_file()), None)
    if path is None:
        return []
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    for name in table:
        if not _known(name):
            raise SettingsError(f"{path}: {name!r} is no setting: {_nearest(name, str)}")
    if isinstance(database := table.get("database"), str):
        table["database"] = _relative_to(path.parent, database)
    return [(name, value, f"file {path}") for name, value in table.items()]


def _relative_to(folder: Path, database: str) -> str:
    """Return the database URL with its path made relative to a folder."""
    return f"sqlite:///{folder / sqlite_path(database)}"


def _known(name: str) -> bool:
    """Return whether this is the name of a setting."""
    return name in _BY_NAME


def _nearest(name: str, shown: Callable[[str], str]) -> str:
    """Return advice that names the setting most like `name`."""
    near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.0)[0]
    return f"the nearest is {shown(near)} (`ropewalk config` shows all)"


def _parsed(name: str, given: object, source: str) -> Any:
    """Return a given value in its setting's form."""
    setting = _BY_NAME[name]
    try:
        return setting.parse(given)
    except (ValueError, OverflowError) as error:
        raise SettingsError(f"{name} ({source}): {HIDDEN if setting.secret else shown(given)} {error}") from None


def shown(value: object) -> str:
    """Return a value as it is written in messages."""
    return repr(value) if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
