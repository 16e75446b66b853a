"""What must hold, by query: of the database as a kill left it, and of the whole episode at its end.

G2  an execution's work is there once and as a whole, or not at all       G5  in order, one at a time
G3  what was acknowledged ran, or was ended by somebody                   G6  nothing is stuck, nothing found by the audit
G4  no work is there twice, and requests keep their keys                  G10 nothing runs after deactivation
                                                                          G11 every execution says how it came about
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ropewalk.storage.sqlite import open_sqlite
from tests.crash.workload import Step
from tests.harness.checks import assert_whole, rows
from tests.harness.clock import SteppedClock

Line = dict[str, Any]
OVER = ("succeeded", "failed", "dead", "cancelled")
ATTEMPTS = 4
"""Of the policy that light guests declare."""


def after_a_kill(database: Path, offset: int) -> list[str]:
    """Return what the audit finds in a database as a kill left it."""

    async def look() -> list[str]:
        clock = SteppedClock()
        clock.offset = offset
        storage = await open_sqlite(database, clock=clock, create=False)
        found = await storage.audit(clock.now(), repair=False)
        await storage.close()
        return [f"after a kill: {one.name}: {one.what}" for one in found]

    return asyncio.run(look())


def at_the_end(database: Path, steps: list[Step], lines: list[Line], offset: int) -> list[str]:
    """Return everything that does not hold once all is done."""
    try:
        assert_whole(database)
    except AssertionError as error:
        return [f"the file's own books are wrong: {error}"]
    books = Books(database, steps, lines)
    return [*after_a_kill(database, offset), *books.problems()]


class Execution:
    """An execution at the end, with what it left."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        (self.n, self.id, self.instance, self.status, self.attempt, self.method, self.trigger, self.key) = row[:8]
        (self.cause, self.run_at, arguments, self.error, self.started_at, self.lost) = row[8:]
        bound = json.loads(arguments)[0] if arguments else []
        self.name: str = bound[0] if self.method == "work" else ""
        self.spec: dict[str, Any] = bound[1] if self.method == "work" else {}
        self.kid: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.method} {self.name} ({self.id[:6]}, {self.status}, attempt {self.attempt})"


_EXECUTIONS = """
    SELECT n, id, instance, status, attempt, method, trigger, key, cause, run_at,
        coalesce(arguments, (SELECT arguments FROM payloads WHERE execution = n)), error, started_at, lost
    FROM executions ORDER BY n
    """


class Books:
    """The database at the end, beside what was told."""

    def __init__(self, database: Path, steps: list[Step], lines: list[Line]) -> None:
        self.steps, self.lines = steps, lines
        self.executions = [Execution(row) for row in rows(database, _EXECUTIONS)]
        self.by_id = {one.id: one for one in self.executions}
        self.titles = Counter(rows(database, "SELECT title FROM activities WHERE title NOT LIKE 'sourced:%'"))
        self.instances = dict(rows(database, "SELECT id, status FROM instances"))
        self.attempts: defaultdict[int, list[Any]] = defaultdict(list)
        for execution, *attempt in rows(
            database,
            "SELECT execution, number, status, started_at, finished_at, coalesce(error, '') FROM attempts ORDER BY execution, number",
        ):
            self.attempts[execution].append(attempt)
        self.orders = {
            instance: json.loads(value)
            for instance, value in rows(database, "SELECT instance, value FROM store WHERE key = 'order'")
        }
        self.stored = Counter(
            {
                (instance, key): int(value)
                for instance, key, value in rows(
                    database, "SELECT instance, key, CAST(value AS TEXT) FROM store WHERE key <> 'order'"
                )
            }
        )
        self.leftovers = rows(
            database,
            "SELECT instance FROM store UNION SELECT instance FROM callbacks UNION SELECT instance FROM webhooks UNION SELECT instance FROM recurring",
        )
        self.twice_due = rows(
            database,
            "SELECT cause, run_at FROM executions WHERE method IN ('tick', 'daily') GROUP BY cause, run_at HAVING count(*) > 1",
        )
        self.deliveries = rows(
            database,
            "SELECT delivery FROM deliveries WHERE delivery IS NOT NULL GROUP BY instance, webhook, delivery HAVING count(*) > 1",
        )
        self.versions = rows(
            database,
            "SELECT i.id, i.version, t.latest, i.upgrade_error IS NULL FROM instances i JOIN twists t ON t.id = i.twist WHERE i.status = 'active'",
        )
        self.left = {line["deactivating"] for line in lines if "deactivating" in line}
        self.cancelled = {line["cancelling"] for line in lines if "cancelling" in line}
        self.retried = {line["retrying"] for line in lines if "retrying" in line}
        for one in self.executions:
            for kid in one.spec.get("kids", ()):
                for other in self.executions:
                    if other.cause == one.id and other.name == kid["name"]:
                        other.kid = kid

    def problems(self) -> list[str]:
        """Return what does not hold."""
        return [
            *self._acknowledged(),
            *self._once(),
            *self._asked_for(),
            *self._in_order(),
            *self._one_at_a_time(),
            *self._explained(),
            *self._requests(),
            *self._lifecycle(),
        ]

    # ── G3: what was acknowledged ran, or was ended by somebody ───────────────────────────────────────────────────────────────

    def _acknowledged(self) -> Iterator[str]:
        for line in self.lines:
            if "done" not in line or line.get("answer") is None:
                continue
            step, answer = self.steps[line["done"]], line["answer"]
            what = f"step {line['done']} ({step['do']}) was acknowledged"
            if step["do"] in ("invoke", "deliver", "cancel", "retry"):
                id_ = answer[0] if step["do"] == "deliver" else answer
                if id_ not in self.by_id:
                    yield f"{what}, and its execution {id_} is not there"
            elif step["do"] in ("activate", "deactivate") and answer not in self.instances:
                yield f"{what}, and its instance {answer} is not there"
            elif step["do"] == "deactivate" and self.instances[answer] != "erased":
                yield f"{what}, and its instance is {self.instances[answer]}"
            elif step["do"] == "set" and answer not in self.left and not self.stored[answer, step["key"]]:
                yield f"{what}, and {step['key']} is not there"
            if (
                step["do"] == "cancel"
                and self.by_id.get(answer) is not None
                and self.by_id[answer].status != "cancelled"
                and answer not in self.retried
            ):
                yield f"{what}, and {self.by_id[answer]} is not cancelled"
        for one in self.executions:
            if one.status not in OVER and not (one.method in ("tick", "daily") and one.status == "queued"):
                yield f"{one} of {self.instances.get(one.instance)} is not over"
            if one.status in ("dead", "failed") and not one.spec.get("fails"):
                yield f"{one} had no reason to fail: {one.error}"
            if (
                one.status == "cancelled"
                and one.id not in self.cancelled
                and one.instance not in self.left
                and not self._replaced(one)
            ):
                yield f"{one} was cancelled by nobody"

    def _replaced(self, one: Execution) -> bool:
        """Whether an execution was cancelled as it may be: superseded by a newer upgrade, or, before it ever started, its key taken or
        its schedule gone with an upgrade.
        """
        if one.method == "upgrade":
            return True
        upgraded = any(other.method == "upgrade" and other.instance == one.instance for other in self.executions)
        return one.attempt == 0 and (one.key is not None or (one.method == "daily" and upgraded))

    # ── G2, G4: once and as a whole, or not at all ────────────────────────────────────────────────────────────────────────────

    def _once(self) -> Iterator[str]:
        for one in self.executions:
            ran = self.titles[f"ran:{one.name}:{one.id}"] if one.method == "work" else 0
            part = self.titles[f"part:{one.name}:{one.id}"]
            hooked = sum(count for title, count in self.titles.items() if title.startswith("hook:") and title.endswith(one.id))
            ticked = self.titles[f"tick:{one.id}"]
            did = {"work": ran, "hook": hooked, "tick": ticked, "daily": ticked}.get(one.method)
            if did is None:
                continue
            partly = bool(one.spec.get("part"))
            if one.status == "succeeded" and did != 1:
                yield f"{one} succeeded, and what it did is there {did} times"
            if one.status != "succeeded" and did > (1 if partly else 0):
                yield f"{one} did not succeed, and what it did is there {did} times"
            if partly and part != (1 if one.status == "succeeded" else 0):
                yield f"{one} has two parts, and what the second did is there {part} times"
            if one.method == "work" and one.instance not in self.left and self.stored[one.instance, f"ran:{one.name}"] > 1:
                yield f"{one} counted itself {self.stored[one.instance, f'ran:{one.name}']} times"
        known = {one.id for one in self.executions}
        for title in self.titles:
            kind, *_, id_ = title.split(":")
            if kind in ("ran", "part", "hook", "tick") and id_ not in known:
                yield f"{title} was done by nobody"
        if self.twice_due:
            yield f"a tick has two runs: {self.twice_due}"
        if self.deliveries:
            yield f"deliveries were taken twice: {self.deliveries}"
        hooks = Counter(
            title.rsplit(":", 1)[0] + one.instance
            for one in self.executions
            if one.method == "hook"
            for title in self.titles
            if title.startswith("hook:") and title.endswith(one.id)
        )
        for title, count in hooks.items():
            if count > 1:
                yield f"{title} ran {count} times"

    def _asked_for(self) -> Iterator[str]:
        """Tasks are there if, and only if, who asked for them succeeded."""
        for one in self.executions:
            for kid in one.spec.get("kids", ()):
                there = sum(other.cause == one.id and other.name == kid["name"] for other in self.executions)
                if one.status != "succeeded" and there:
                    yield f"{one} did not succeed, and {kid['name']} is there {there} times"
                elif one.status == "succeeded" and one.instance not in self.left and there != 1 and kid["key"] is None:
                    yield f"{one} asked for {kid['name']}, which is there {there} times"
                elif there > 1:
                    yield f"{one} asked once for {kid['name']}, which is there {there} times"

    # ── G5: in order, one at a time ───────────────────────────────────────────────────────────────────────────────────────────

    def _in_order(self) -> Iterator[str]:
        for instance, order in self.orders.items():
            place = {name: index for index, name in enumerate(order)}
            mine = [one for one in self.executions if one.instance == instance and one.name in place]
            plain = [
                one
                for one in mine
                if one.kid and not one.spec.get("fails") and one.kid["key"] is None and one.id not in self.retried
            ]
            at_once = [one for one in plain if one.kid["delay"] is None]
            later = sorted((one for one in plain if one.kid["delay"] is not None), key=lambda one: (one.run_at, one.n))
            groups = [later, *([one for one in at_once if one.cause == cause] for cause in {one.cause for one in at_once})]
            for group in groups:
                places = [place[one.name] for one in group]
                if places != sorted(places):
                    yield f"out of order: {[one.name for one in group]} ran at {places}"

    def _one_at_a_time(self) -> Iterator[str]:
        runs: dict[tuple[int, str], str] = {}
        for line in self.lines:
            if "began" in line:
                place = (line["life"], line["instance"])
                if place in runs and runs[place] not in self.cancelled:  # which goes on for a moment, and in vain
                    yield f"{line['began']} began while {runs[place]} of the same instance ran"
                runs[place] = line["began"]
            elif "ended" in line:
                runs.pop((line["life"], line["instance"]), None)

    # ── G11: every execution says how it came about ───────────────────────────────────────────────────────────────────────────

    def _explained(self) -> Iterator[str]:
        for one in self.executions:
            kept = self.attempts[one.n]
            numbers = [number for number, *_ in kept]
            expected = list(range(1, one.attempt + (one.status != "succeeded")))
            if one.status in OVER and numbers != expected:
                yield f"{one} has attempts {numbers}, and should have {expected}"
            if sum(status == "lost" for _, status, *_ in kept) != one.lost and one.id not in self.retried:
                yield f"{one} was lost {one.lost} times, and its attempts say otherwise"
            failed = [error for _, status, *_, error in kept if status == "failed"]
            if one.id not in self.retried and not one.spec.get("part") and len(failed) > ATTEMPTS:
                yield f"{one} failed {len(failed)} times, and may {ATTEMPTS} times"
            fails = one.spec.get("fails", [])
            if one.status == "dead" and fails == ["error"] * 40 and len(failed) < ATTEMPTS and not one.spec.get("part"):
                yield f"{one} is dead after {len(failed)} failures"

    def _requests(self) -> Iterator[str]:
        keys: defaultdict[str, set[str]] = defaultdict(set)
        for line in self.lines:
            if "request" in line:
                keys[line["execution"]].add(line["request"])
        for one in self.executions:
            if len(keys[one.id]) > 1:
                yield f"{one} sent requests under the keys {keys[one.id]}"
            if one.status == "succeeded" and one.spec.get("fetch") and not keys[one.id]:
                yield f"{one} sent no request"

    # ── G10, and what comes before it ─────────────────────────────────────────────────────────────────────────────────────────

    def _lifecycle(self) -> Iterator[str]:
        for id_, status in self.instances.items():
            if status not in ("active", "erased"):
                yield f"instance {id_} is {status}"
            for kind, most in (("activated", 1), ("deactivated", 1)):
                if self.titles[f"{kind}:{id_}"] > most:
                    yield f"instance {id_} was {kind} {self.titles[f'{kind}:{id_}']} times"
            if status == "active" and self.titles[f"activated:{id_}"] != 1:
                yield f"instance {id_} is active, and was never activated"
            if status == "erased" and id_ in self.leftovers:
                yield f"instance {id_} is erased, and not everything of it"
            if status == "erased":
                yield from self._after(id_)
        for title, count in self.titles.items():
            if title.startswith("upgraded:") and count > 1:
                yield f"{title} happened {count} times"
        for id_, version, latest, well in self.versions:
            if well and version != latest:
                yield f"instance {id_} is of version {version}, and the latest is {latest}"

    def _after(self, instance: str) -> Iterator[str]:
        """Nothing of an instance begins after its `deactivate`."""
        is_over = False
        for line in self.lines:
            if line.get("instance") != instance or "began" not in line:
                continue
            if line["trigger"] == "deactivate":
                is_over = True
            elif is_over:
                yield f"{line['began']} began after its instance was deactivated"
