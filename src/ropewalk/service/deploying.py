"""What a manifest may ask for, and what it asks to be allowed: pure functions of what the sandbox said a twist declares.

The manifest was written inside the sandbox by a process that ran the author's code: everything in it is checked here, once, before it is
stored; from then on the stored one rules.
"""

from __future__ import annotations

import re
from typing import Any, TypedDict

import msgspec

from ropewalk.answers.declared import (
    check_declared,
    check_urls,
    declared_patterns,
    declared_urls,
    filled,
    names_options,
    option_values,
)
from ropewalk.egress.credentials import why_no_header
from ropewalk.egress.patterns import BadPattern, Pattern, parse_pattern
from ropewalk.errors import InvalidValue
from ropewalk.sandbox.interface import Limits, RefusedImport
from ropewalk.service.options import Chosen, misfits
from ropewalk.service.packages import Package
from ropewalk.service.signatures import signature_of
from ropewalk.storage.recurrence import BadRecurrence, recurrence
from ropewalk.wire.control import Injection, Manifest, OptionField, RetryInfo, ToolInfo
from ropewalk.wire.messages import PROTOCOL, Json

BUILT_IN = frozenset({"Network", "Plot", "custom"})
MOST_SCHEDULES = 100
"""Most schedules that a version may declare."""

_NAME = re.compile(r"[^\W\d]\w*")
_PARAMETER = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,100}")
_FORMAT = re.compile(r"[\x20-\x7e]{2,200}")
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
        _check_option(option)
    for tool in manifest.tools:
        _check_tool(manifest, tool)
    for option in manifest.options:
        if option.injected is not None:
            _check_injected(manifest, option, option.injected)


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
    for option in manifest.options:
        if option.injected is not None:
            found.update(f"secret: {option.name} is sent to {url}" for url in option.injected.urls)
        elif option.type == "secret":
            found.add(f"secret: {option.name} is read by the twist")
    return sorted(found)


def check_options(manifest: Manifest, options: Json) -> None:
    """Raise InvalidValue when an instance's options make URL patterns that are none, or send a secret where no Network tool may go."""
    declared: list[Pattern] = []
    for tool in _network_tools(manifest):
        try:
            declared += declared_patterns(manifest, tool, options)
        except BadPattern as error:
            raise InvalidValue(f"the options do not fit the tool {tool.ns!r}: {error}") from None
    values = option_values(manifest, options)
    for option in manifest.options:
        try:
            patterns = () if option.injected is None else filled(option.injected.urls, values)
        except BadPattern as error:
            raise InvalidValue(f"the options do not fit the secret {option.name!r}: {error}") from None
        for pattern in patterns:
            if why := _why_not_sent(declared, pattern):
                raise InvalidValue(f"the options do not fit the secret {option.name!r}: {why}")


def unfit(manifest: Manifest, chosen: Chosen) -> str | None:
    """Return why an instance with these options cannot run a version with this manifest; None when it can."""
    if found := misfits(manifest.options, chosen):
        return f"{'; '.join(found)}: `ropewalk options` gives it once this version is there"
    try:
        check_options(manifest, chosen.json)
    except InvalidValue as error:
        return str(error)
    return None


def _network_tools(manifest: Manifest) -> list[ToolInfo]:
    return [tool for tool in manifest.tools if tool.kind == "Network"]


def _why_not_sent(declared: list[Pattern], pattern: Pattern) -> str | None:
    if pattern.host is None:
        return "the URL pattern * would send it to every host there is: name those that it is for"
    if not any(own.contains(pattern) for own in declared):
        shown = ", ".join(own.text for own in declared[:5]) or "none"
        return f"{pattern.text!r} is not within what the Network tools declare ({shown}): declare it there too"
    return None


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


def _check_option(option: OptionField) -> None:
    if not _NAME.fullmatch(option.name):
        raise _refused(f"{option.name!r} is no name of an option")
    if option.default is not None:
        _check_json(option.default, object, f"the default of the option {option.name!r}")
    if option.schema is not None:
        _check_json(option.schema, dict[str, Any], f"the schema of the option {option.name!r}")
    if option.injected is not None and (option.type != "secret" or option.ns):
        raise _refused(f"the option {option.name!r} is put into requests, and is no secret of the twist's")


def _check_injected(manifest: Manifest, option: OptionField, injected: Injection) -> None:
    """Check where a secret goes, as far as that can be known before an instance has its options."""
    if (injected.header is None) == (injected.query is None) or not injected.urls or injected.format.count("{}") != 1:
        raise _refused(f"the secret {option.name!r} needs URLs, a header or a query parameter, and a format with one {{}}")
    if injected.header is not None and (why := why_no_header(injected.header)):
        raise _refused(f"the secret {option.name!r}: {why}")
    if injected.query is not None and not _PARAMETER.fullmatch(injected.query):
        raise _refused(f"the secret {option.name!r}: {injected.query[:100]!r} is no name of a query parameter")
    if not _FORMAT.fullmatch(injected.format):
        raise _refused(f"the secret {option.name!r}: the format {injected.format[:100]!r} holds what headers cannot carry")
    urls = [url for tool in _network_tools(manifest) for url in declared_urls(tool)]
    try:
        check_urls(manifest, injected.urls)
    except BadPattern as error:
        raise _refused(f"the secret {option.name!r}: {error}") from None
    if any(map(names_options, urls)):
        return  # what they mean is known, and checked, once an instance has its options
    for url in injected.urls:
        if not names_options(url) and (why := _why_not_sent([parse_pattern(text) for text in urls], parse_pattern(url))):
            raise _refused(f"the secret {option.name!r}: {why}")


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
