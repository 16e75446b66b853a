"""Records as the JSON that users read: the shapes of the public surface.

Ids are text, times ISO 8601 in UTC with a Z, durations and CPU time milliseconds. A field that has no value is null, never absent.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from ropewalk.clock import Micros, to_datetime
from ropewalk.egress.sent import Sent
from ropewalk.recording.hiding import without_credentials
from ropewalk.service.requests import SentRequests
from ropewalk.sources.urls import url_of
from ropewalk.storage.budgets import at_hour, read_spent
from ropewalk.storage.records import (
    Attempt,
    Delivery,
    ErrorInfo,
    Execution,
    Instance,
    LogLine,
    NumberedLogLine,
    OwnedActivity,
    Recurring,
    StorageLimits,
    Suspension,
    Twist,
    Webhook,
)
from ropewalk.wire.messages import Json, PriorityRecord, RequestRecord, Target

Shape = dict[str, Any]
"""A JSON object, its fields in the order in which they are shown."""

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
"""Names of log levels, rising."""


def time_shape(at: Micros | None) -> str | None:
    """Return a stored time as ISO 8601 in UTC."""
    if at is None:
        return None
    try:
        return to_datetime(at).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except OverflowError:
        return "9999-12-31T23:59:59.999999Z"


def method_shape(target: Target) -> str:
    """Return a method as people write it: a tool's path before its name."""
    return f"{target.ns}.{target.method}" if target.ns else target.method


def level_shape(level: int) -> str:
    """Return the name of the highest standard level that is not above this one."""
    return next((name for name, number in reversed(LEVELS.items()) if number <= level), "DEBUG")


def twist_shape(twist: Twist, instances: int) -> Shape:
    """A row of `twists`."""
    return {
        "id": twist.id,
        "name": twist.name,
        "version": twist.latest,
        "instances": instances,
        "created_at": time_shape(twist.created_at),
    }


def instance_shape(instance: Instance, limits: StorageLimits, at: Micros, asked: Sequence[str] = ()) -> Shape:
    """A row of `instances`, with what it has used of its budgets at `at`, and what it waits to be granted."""
    return {
        "id": instance.id,
        "twist": instance.twist_name,
        "version": instance.version,
        "status": instance.status,
        "priority": instance.priority,
        "budgets": budgets_shape(instance, limits, at),
        "suspension": suspension_shape(instance.suspension),
        "upgrading_to": instance.target_version,
        "upgrade_error": instance.upgrade_error,
        "awaiting_grant": None if instance.awaiting is None else {"version": instance.awaiting, "permissions": list(asked)},
    }


def budgets_shape(instance: Instance, limits: StorageLimits, at: Micros) -> Shape:
    """What an instance uses of what it may: at once (and `rate` a second after that), in 24 hours, in its latest chain, and in all."""
    spent = at_hour(read_spent(instance.spent), at)
    pace = limits.pace
    return {
        "pace": {"used": pace.used(instance.pace_at, at), "limit": pace.burst, "rate": pace.rate},
        "daily": {"used": spent.daily, "limit": limits.daily},
        "chain": {"used": spent.depth, "limit": limits.chain},
        "pending": {"used": instance.pending, "limit": limits.pending},
        "pending_bytes": {"used": instance.pending_bytes, "limit": limits.pending_bytes},
        "store_bytes": {"used": instance.store_bytes, "limit": limits.store_bytes},
        "callbacks": {"used": instance.callbacks, "limit": limits.callbacks},
    }


def suspension_shape(suspension: Suspension | None) -> Shape | None:
    """Why an instance is suspended, by an operator or by the budget that it has used up."""
    if suspension is None:
        return None
    return {
        "by": "operator" if suspension.budget is None else "budget",
        "budget": suspension.budget,
        "reason": suspension.reason,
        "since": time_shape(suspension.since),
    }


def task_shape(task: Execution) -> Shape:
    """A row of `tasks`; one without a time of its own was due when it was asked for."""
    return {
        "id": task.id,
        "instance": task.instance,
        "method": method_shape(task.target),
        "key": task.key,
        "run_at": time_shape(task.queued_at if task.run_at is None else task.run_at),
        "status": task.status,
        "recurring": None,
    }


def recurring_shape(one: Recurring) -> Shape:
    """A row of `tasks` for what recurs: it waits for its next time. `declared` says that the version's code asks for it."""
    recurrence = one.recurrence
    return {
        "id": one.id,
        "instance": one.instance,
        "method": method_shape(one.target),
        "key": one.key,
        "run_at": time_shape(one.next),
        "status": "queued",
        "recurring": {
            "every": None if recurrence.every is None else recurrence.every / 1e6,
            "cron": recurrence.cron,
            "tz": None if recurrence.cron is None else recurrence.tz,
            "catch_up": recurrence.catch_up,
            "declared": one.declared,
            "last_run_at": time_shape(one.last_at),
            "last_execution": one.last,
            "runs": one.runs,
            "skipped": one.skipped,
            "missed": one.missed,
        },
    }


def execution_row(execution: Execution) -> Shape:
    """A row of `executions`."""
    return {
        "id": execution.id,
        "instance": execution.instance,
        "method": method_shape(execution.target),
        "status": execution.status,
        "attempt": execution.attempt,
        "trigger": execution.trigger,
        "queued_at": time_shape(execution.queued_at),
        "duration_ms": _duration(execution),
        "error": None if execution.error is None else execution.error.type,
    }


def execution_shape(
    execution: Execution,
    attempts: Sequence[Attempt],
    logs: Sequence[NumberedLogLine],
    names: Mapping[str, str],
    recorded: Collection[int],
    sent: SentRequests | None = None,
) -> Shape:
    """Everything about one execution.

    `names` gives twists' names by their ids, `recorded` the attempts that have a record, `sent` what those that can be read have sent.
    """
    return {
        "id": execution.id,
        "twist": names.get(execution.twist, execution.twist),
        "version": execution.version,
        "instance": execution.instance,
        "method": method_shape(execution.target),
        "trigger": execution.trigger,
        "cause": execution.cause,
        "status": execution.status,
        "attempt": execution.attempt,
        "attempts": [attempt_shape(attempt, recorded=attempt.number in recorded) for attempt in attempts],
        "queued_at": time_shape(execution.queued_at),
        "started_at": time_shape(execution.started_at),
        "finished_at": time_shape(execution.finished_at),
        "duration_ms": _duration(execution),
        "cpu_ms": _milliseconds(execution.cpu),
        "memory_peak_bytes": execution.memory_peak,
        "requests": execution.requests,
        "error": error_shape(execution.error),
        "logs": [log_shape(line.line) for line in logs],
        "http_requests": None if sent is None else [sent_shape(attempt, one) for attempt, one in sent.listed],
        "http_requests_unlisted": 0 if sent is None else sent.unlisted,
    }


def attempt_shape(attempt: Attempt, *, recorded: bool) -> Shape:
    """One ended attempt of an execution, and whether it can be replayed."""
    usage = attempt.usage
    return {
        "attempt": attempt.number,
        "version": attempt.version,
        "node": attempt.node,
        "status": attempt.status,
        "started_at": time_shape(usage.started_at),
        "finished_at": time_shape(usage.finished_at),
        "duration_ms": _milliseconds(max(0, usage.finished_at - usage.started_at)),
        "cpu_ms": _milliseconds(usage.cpu),
        "memory_peak_bytes": usage.memory_peak,
        "requests": usage.requests,
        "error": error_shape(attempt.error),
        "recorded": recorded,
    }


def sent_shape(attempt: int, sent: Sent) -> Shape:
    """One HTTP request of an execution; `redirects` led to it, `status` is null when it was not answered."""
    return {
        "attempt": attempt,
        "time": time_shape(sent.at),
        "method": sent.method,
        "url": sent.url,
        "redirects": sent.hop,
        "status": sent.status or None,
        "duration_ms": _milliseconds(sent.took),
        "body_bytes": sent.received,
        "error": {"type": sent.error, "message": sent.message} if sent.error else None,
    }


def error_shape(error: ErrorInfo | None) -> Shape | None:
    """Why something failed."""
    return None if error is None else {"type": error.type, "message": error.message, "traceback": error.traceback}


def log_shape(line: LogLine) -> Shape:
    """A log line of an execution."""
    return {
        "time": time_shape(line.time),
        "level": level_shape(line.level),
        "message": line.message,
        "attempt": line.attempt,
        "fields": json_shape(line.fields),
    }


def numbered_log_shape(line: NumberedLogLine) -> Shape:
    """A log line among others: with an id, and whose it is."""
    return {"id": str(line.number), "instance": line.instance, "execution": line.execution, **log_shape(line.line)}


def webhook_shape(webhook: Webhook, base: str) -> Shape:
    """A row of `webhook list`."""
    return {
        "id": webhook.id,
        "instance": webhook.instance,
        "handler": method_shape(webhook.target),
        "url": url_of(base, webhook.token),
        "respond": webhook.respond,
        "signature": webhook.signature,
        "challenge": webhook.challenge,
        "created_at": time_shape(webhook.created_at),
    }


def delivery_shape(delivery: Delivery) -> Shape:
    """A row of `webhooks`. Its id is its execution's; what is null of the request is large, or not kept any more (`size` 0)."""
    request = None if delivery.request is None else _read_request(delivery.request)[0]
    headers = [] if request is None else without_credentials(request.headers)[0]
    text = None if request is None else _text_of(request.body)
    return {
        "id": delivery.execution,
        "webhook": delivery.webhook,
        "instance": delivery.instance,
        "handler": method_shape(delivery.target),
        "received_at": time_shape(delivery.received_at),
        "delivery": delivery.delivery,
        "redelivers": delivery.redelivers,
        "status": delivery.status,
        "error": error_shape(delivery.error),
        "finished_at": time_shape(delivery.finished_at),
        "method": None if request is None else request.method,
        "path": None if request is None else request.path,
        "query": None if request is None else request.query,
        "headers": None if request is None else _by_name(headers),
        "body": text,
        "body_base64": base64.b64encode(request.body).decode() if request is not None and text is None else None,
        "size": delivery.size,
    }


def _by_name(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def _text_of(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


_read_request = msgspec.json.Decoder(tuple[RequestRecord]).decode


def activity_shape(owned: OwnedActivity) -> Shape:
    """A row of `activities`."""
    activity = owned.activity
    return {
        "id": activity.id,
        "type": activity.type,
        "title": activity.title,
        "start": activity.start,
        "end": activity.end,
        "done_at": time_shape(activity.done_at),
        "source": activity.source,
        "meta": json_shape(activity.meta),
        "tags": activity.tags,
        "created_at": time_shape(activity.created_at),
        "updated_at": time_shape(activity.updated_at),
        "priority": activity.priority,
        "instance": owned.instance,
        "notes": owned.notes,
    }


def priority_shape(priority: PriorityRecord) -> Shape:
    """A row of `priorities`."""
    return {"id": priority.id, "title": priority.title, "parent": priority.parent}


def json_shape(value: Json | None) -> msgspec.Raw | None:
    """Return kept JSON as it is, to be put into a larger document."""
    return None if value is None else msgspec.Raw(value)


def _milliseconds(micros: int) -> float:
    return round(micros / 1000, 3)


def _duration(execution: Execution) -> float | None:
    """From the start of the last attempt to its end; null while it is not over."""
    if execution.started_at is None or execution.finished_at is None:
        return None
    return _milliseconds(max(0, execution.finished_at - execution.started_at))
