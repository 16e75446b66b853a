"""What a manifest may ask for, and what it asks to be allowed: pure functions of what the sandbox said a twist declares.

The manifest was written inside the sandbox by a process that ran the author's code: everything in it is checked here, once, before it is
stored; from then on the stored one rules.
"""

from __future__ import annotations

import re
from typing import Any, TypedDict

import msgspec

from ropewalk.answers.network import check_declared, declared_patterns, declared_urls
from ropewalk.egress.patterns import BadPattern
from ropewalk.errors import InvalidValue
from ropewalk.sandbox.interface import Limits, RefusedImport
from ropewalk.service.packages import Package
from ropewalk.service.signatures import signature_of
from ropewalk.storage.recurrence import BadRecurrence, recurrence
from ropewalk.wire.control import Manifest, RetryInfo, ToolInfo
from ropewalk.wire.messages import PROTOCOL, Json

BUILT_IN = frozenset({"Network", "Plot", "custom"})
MOST_SCHEDULES = 100
"""Most schedules that a version may declare."""

_NAME = re.compile(r"[^\W\d]\w*")
_ACCESSES = dict[str, str | None]
"""What a Plot tool is made with."""


class Deployed(TypedDict, total=False):
    """What a deploy did, or with a dry run would do."""

    twist: str
    version: int
    permissions: list[str]
    permissions_added: list[str]
    unchanged: bool
    dry_run: bool
    upgrading: list[str]
    packages: list[Package]
    breaks: list[dict[str, Any]]
    awaiting_grant: list[str]
    rolled_back_to: int


class How(TypedDict, total=False):
    """How a version is deployed: only looked at (`dry_run`), whatever it breaks (`force`), with or without what it asks for (`grant`)."""

    dry_run: bool
    force: bool
    grant: bool


def check_manifest(manifest: Manifest, limits: Limits) -> None:
    """Raise RefusedImport when the manifest asks for what cannot be: each complaint names the thing and the remedy."""
    if manifest.protocol != PROTOCOL:
        raise _refused(
            f"it speaks protocol {manifest.protocol} and this host speaks {PROTOCOL}: deploy with this host's ropewalk"
        )
    if manifest.concurrency != 1:
        raise _refused(
            f"concurrency = {manifest.concurrency} is not supported: executions of an instance run one at a time; leave it 1"
        )
    _check_limits(manifest, limits)
    _check_retry("retry", manifest.retry)
    _check_methods(manifest)
    _check_schedules(manifest)
    for option in manifest.options:
        if option.default is not None:
            _check_json(option.default, object, f"the default of the option {option.name!r}")
    for tool in manifest.tools:
        _check_tool(manifest, tool)


def permissions(manifest: Manifest) -> list[str]:
    """Return what the manifest declares, in words, one a line."""
    found: set[str] = set()
    for tool in manifest.tools:
        if tool.kind == "Network":
            found.update(f"network: {url}" for url in declared_urls(tool))
        elif tool.kind == "Plot":
            asked = msgspec.json.decode(tool.options, type=_ACCESSES)
            found.add("plot: the activities that this twist makes")
            found.update(f"plot: {name} {value}" for name, value in asked.items() if value)
    return sorted(found)


def check_options(manifest: Manifest, options: Json) -> None:
    """Raise InvalidValue when an instance's options give a Network tool a URL pattern that is none."""
    for tool in manifest.tools:
        if tool.kind == "Network":
            try:
                declared_patterns(manifest, tool, options)
            except BadPattern as error:
                raise InvalidValue(f"the options do not fit the tool {tool.ns!r}: {error}") from None


def _check_limits(manifest: Manifest, limits: Limits) -> None:
    for name in ("cpu", "wall", "memory", "requests", "logs"):
        asked, highest = getattr(manifest.limits, name), getattr(limits, name)
        if asked is None:
            continue
        if not asked > 0 and (name not in ("requests", "logs") or asked < 0):
            raise _refused(f"limits: {name}={asked!r} is not above zero")
        if asked > highest:
            raise _refused(f"limits: {name}={asked:,} is above this operator's {highest:,}: a twist may only lower it")


def _check_retry(what: str, retry: RetryInfo) -> None:
    if not (1 <= retry.attempts <= 1000 and 0 <= retry.first <= retry.maximum <= 30 * 86400):
        raise _refused(
            f"{what}: attempts={retry.attempts}, first={retry.first}, maximum={retry.maximum} cannot be: "
            "attempts go from 1 to 1,000, and 0 ≤ first ≤ maximum ≤ 30 days"
        )


def _check_methods(manifest: Manifest) -> None:
    taken: set[tuple[str, str]] = set()
    for method in manifest.methods:
        for name in (method.name, *method.renamed_from):
            if not _NAME.fullmatch(name):
                raise _refused(f"{name!r} is no name of a method")
            if (method.ns, name) in taken:
                raise _refused(f"{name!r} names two methods, or one twice: a name, present or former, means one method")
            taken.add((method.ns, name))
        try:
            signature_of(method)
        except ValueError as error:
            raise _refused(f"the parameters of {method.name}() cannot be: {error}") from None
        if method.retry is not None:
            _check_retry(f"@retry of {method.name}()", method.retry)


def _check_schedules(manifest: Manifest) -> None:
    if len(manifest.schedules) > MOST_SCHEDULES:
        raise _refused(f"it declares {len(manifest.schedules):,} schedules and may declare {MOST_SCHEDULES:,}")
    methods = {(method.ns, method.name) for method in manifest.methods}
    names = {(schedule.ns, schedule.key) for schedule in manifest.schedules}
    for schedule in manifest.schedules:
        if (schedule.ns, schedule.method) not in methods or len(names) < len(manifest.schedules):
            raise _refused(f"the schedule {schedule.key!r} is of no method, or another's too")
        try:
            recurrence(every=schedule.every, cron=schedule.cron, tz=schedule.tz, catch_up=schedule.catch_up, first=None, now=0)
        except BadRecurrence as error:
            raise _refused(f"@on.schedule of {schedule.method}(): {error}") from None


def _check_tool(manifest: Manifest, tool: ToolInfo) -> None:
    if tool.kind not in BUILT_IN:
        raise _refused(f"the tool {tool.ns!r} is a {tool.kind!r}, which this host does not have")
    if not all(_NAME.fullmatch(part) for part in tool.ns.split(".")):
        raise _refused(f"{tool.ns!r} is no path of attribute names")
    _check_json(tool.options, _ACCESSES if tool.kind == "Plot" else dict[str, Any], f"what the tool {tool.ns!r} was made with")
    if tool.kind == "Network":
        try:
            check_declared(manifest, tool)
        except BadPattern as error:
            raise _refused(f"the tool {tool.ns!r}: {error}") from None


def _check_json(text: Json, kind: Any, what: str) -> None:
    try:
        msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(f"{what} is not as it should be: {error}") from None


def _refused(text: str) -> RefusedImport:
    return RefusedImport("ManifestError", text)
