"""The books of an episode at its end: what the database holds, what the lives told, what the origin served. Read with SQL, past Ropewalk's own words."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.crash.versions import Code
from tests.crash.workload import Step
from tests.harness.checks import rows

Line = dict[str, Any]

OVER = ("succeeded", "failed", "dead", "cancelled")
RECURRING = ("tick", "daily")


class Execution:
    """An execution, with what it left."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        (self.n, self.id, self.instance, self.status, self.attempt, self.method, self.trigger, self.key) = row[:8]
        (self.cause, self.run_at, arguments, event, self.error, self.version, self.lost) = row[8:]
        bound = json.loads(arguments)[0] if arguments else []
        self.name: str = bound[0] if self.method == "work" else ""
        self.spec: dict[str, Any] = bound[1] if self.method == "work" else {}
        self.event: list[Any] = json.loads(event) if event else []
        self.kid: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.method} {self.name} ({self.id[:6]}, {self.status}, attempt {self.attempt})"


class Version:
    """A version, as it is stored."""

    def __init__(self, number: int, bundle: str, manifest: bytes, grants: int, code: bytes) -> None:
        self.number = number
        self.bundle = bundle
        self.manifest = manifest
        self.grants = bool(grants)
        self.code = msgspec.json.decode(code, type=Code)


class Instance:
    """An instance."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        self.id, self.status, self.version, self.awaiting, self.upgrade_error, options = row
        self.tone: str | None = json.loads(options).get("tone")

    def __str__(self) -> str:
        return f"instance {self.id} ({self.status}, version {self.version})"


_EXECUTIONS = """
    SELECT n, id, instance, status, attempt, method, trigger, key, cause, run_at,
        coalesce(arguments, (SELECT arguments FROM payloads WHERE execution = n)),
        coalesce(event, (SELECT event FROM payloads WHERE execution = n)), error, version, lost
    FROM executions ORDER BY n
    """

_VERSIONS = """
    SELECT number, v.bundle, manifest, grants, coalesce(content, '{"number": 0, "origin": ""}')
    FROM versions v LEFT JOIN bundle_files f ON f.bundle = v.bundle AND path = 'code.json' ORDER BY number
    """

_ATTEMPTS = "SELECT execution, number, status, coalesce(error, ''), version FROM attempts ORDER BY execution, number"

_TEXTS = "SELECT instance, key, CAST(value AS TEXT) FROM store"


class Books:
    """What there is to be held against what must be.

    Attributes:
        steps: what was to be done.
        lines: what the lives told, in order.
        served: what the origin was asked.
        past: the executions of long ago, which nobody remembers.
    """

    def __init__(self, database: Path, steps: list[Step], lines: list[Line], served: list[Line], past: set[str]) -> None:
        self.steps, self.lines, self.served = steps, lines, served
        self.database, self.past = database, past
        self.executions = [one for one in map(Execution, rows(database, _EXECUTIONS)) if one.id not in past]
        self.by_id = {one.id: one for one in self.executions}
        self.titles = Counter(rows(database, "SELECT title FROM activities WHERE title NOT LIKE 'sourced:%'"))
        self.instances = {
            row[0]: Instance(row)
            for row in rows(database, "SELECT id, status, version, awaiting, upgrade_error, options FROM instances")
        }
        self.versions = {row[0]: Version(*row) for row in rows(database, _VERSIONS)}
        self.attempts: defaultdict[int, list[Any]] = defaultdict(list)
        for execution, *attempt in rows(database, _ATTEMPTS):
            self.attempts[execution].append(attempt)
        texts = {(instance, key): json.loads(value) for instance, key, value in rows(database, _TEXTS)}
        self.orders = {instance: value for (instance, key), value in texts.items() if key == "order"}
        self.stored = Counter({place: value for place, value in texts.items() if isinstance(value, int)})
        self.left = self._told("deactivating")
        self.unscheduled = self._told("unscheduling") | {
            one.instance for one in self.executions if one.spec.get("chores") == "drop"
        }
        self.cancelled = self._told("cancelling")
        self.retried = self._told("retrying")
        self._meet_kids()

    def _told(self, what: str) -> set[str]:
        return {line[what] for line in self.lines if what in line}

    def _meet_kids(self) -> None:
        """Have each execution that another asked for know what it was asked with."""
        for one in self.executions:
            for kid in one.spec.get("kids", ()):
                for other in self.executions:
                    if other.cause == one.id and other.name == kid["name"]:
                        other.kid = kid

    def acknowledged(self, *what: str) -> Iterator[tuple[Step, Any, str]]:
        """Yield the steps of some kinds that were acknowledged with something: each with that, and with words for it."""
        for line in self.lines:
            if "done" in line and line.get("answer") is not None:
                step = self.steps[line["done"]]
                if step["do"] in what:
                    yield step, line["answer"], f"step {line['done']} ({step['do']}) was acknowledged"

    def of(self, instance: str, trigger: str) -> list[Execution]:
        """Return an instance's executions of one trigger, in the order in which they were stored."""
        return [one for one in self.executions if (one.instance, one.trigger) == (instance, trigger)]

    def begun(self, instance: str) -> list[Line]:
        """Return what of an instance began, in order."""
        return [line for line in self.lines if "began" in line and line["instance"] == instance]

    def count(self, kind: str, *, of: str) -> int:
        """Return how many activities of a kind an execution left."""
        return sum(count for title, count in self.titles.items() if title.startswith(f"{kind}:") and title.endswith(of))
