"""Reads: single statements on a connection that only reads, run where they are asked for.

A read takes some microseconds, less than a change of threads. Every statement is read to its end at once, so that no open read keeps
the write-ahead log from being started anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from ropewalk.clock import Micros
from ropewalk.storage.interface import StorageFull, StorageUnavailable, UnknownInstance
from ropewalk.storage.pace import Pace
from ropewalk.storage.records import (
    ActivityQuery,
    Attempt,
    Behind,
    DataKey,
    Delivery,
    Execution,
    ExecutionQuery,
    FailureQuery,
    Instance,
    InstanceStatus,
    LogLine,
    LogQuery,
    Node,
    NumberedLogLine,
    OwnedActivity,
    Progress,
    Recurring,
    Sealed,
    Twist,
    Usage,
    Use,
    Version,
    Webhook,
    Workload,
)
from ropewalk.storage.recurrence import set_back
from ropewalk.storage.sqlite import workspace
from ropewalk.storage.sqlite.deliveries import DELIVERIES, ONE_DELIVERY, delivery_record
from ropewalk.storage.sqlite.deploying import TWIST, VERSION, twist_record, version_record
from ropewalk.storage.sqlite.driver import Connection, Row
from ropewalk.storage.sqlite.errors import translate
from ropewalk.storage.sqlite.keys import DATA_KEY, DATA_KEYS, MASTER_KEY, SEALED_OF, sealed_record
from ropewalk.storage.sqlite.options import OPTIONS
from ropewalk.storage.sqlite.prefixes import after_prefix
from ropewalk.storage.sqlite.recording import RECORD, RECORDED
from ropewalk.storage.sqlite.recurring import LOOKED_AT_LATER, RECURRING, recurring_record
from ropewalk.storage.sqlite.rows import ATTEMPT, EXECUTION, INSTANCE, InstanceState, attempt_record, execution_record
from ropewalk.storage.sqlite.upgrading import BEHIND, UPGRADES
from ropewalk.storage.sqlite.uses import USES, use_record
from ropewalk.storage.sqlite.webhooks import WEBHOOKS, webhook_record
from ropewalk.wire.messages import Json, NoteRecord, PriorityRecord, Target

_keys = msgspec.json.encode


class Reader:
    """What can be asked of the database, without waiting. See the interface for what the questions mean."""

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self._execute = connection.cursor().execute
        self._path = path

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
        try:
            return self._execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self._translated(error) from error

    def _row(self, sql: str, bindings: Sequence[Any] = ()) -> Row | None:
        rows = self._rows(sql, bindings)
        return rows[0] if rows else None

    def _translated(self, error: apsw.Error) -> Exception:
        translated = translate(error, self._path)
        return StorageUnavailable(str(translated)) if isinstance(translated, StorageFull) else translated

    # ── Twists and versions ───────────────────────────────────────────────────────────────────────────────────────────────────

    def twists(self) -> list[Twist]:
        """All twists, newest first."""
        return [twist_record(row) for row in self._rows(f"SELECT {TWIST} FROM twists ORDER BY created_at DESC, id")]

    def version(self, twist: str, number: int | None) -> Version | None:
        """A version, the latest without `number`."""
        wanted = f"SELECT {VERSION} FROM versions WHERE twist = ?1 AND (number = ?2 OR ?2 IS NULL) ORDER BY number DESC LIMIT 1"
        row = self._row(wanted, (twist, number))
        return None if row is None else version_record(row)

    def versions(self, twist: str) -> list[Version]:
        """All versions of a twist, newest first."""
        wanted = f"SELECT {VERSION} FROM versions WHERE twist = ? ORDER BY number DESC"
        return [version_record(row) for row in self._rows(wanted, (twist,))]

    def bundles(self) -> set[str]:
        """The digests of all bundles that have files."""
        return {digest for (digest,) in self._rows("SELECT DISTINCT bundle FROM bundle_files")}

    def bundle_paths(self, digest: str) -> set[str]:
        """The paths of a bundle's files."""
        return {path for (path,) in self._rows("SELECT path FROM bundle_files WHERE bundle = ?", (digest,))}

    def bundle(self, digest: str) -> dict[str, bytes]:
        """The files of a bundle; none when it is not there."""
        return dict(self._rows("SELECT path, content FROM bundle_files WHERE bundle = ? ORDER BY path", (digest,)))

    # ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def instance(self, instance: str) -> Instance | None:
        """One instance."""
        row = self._row(_INSTANCE, (instance,))
        return None if row is None else InstanceState(*row).record()

    def instances(self) -> list[Instance]:
        """All instances, newest first."""
        return [InstanceState(*row).record() for row in self._rows(_INSTANCES)]

    def behind(self, limit: int) -> list[Behind]:
        """Instances that were not offered their twist's latest version."""
        rows = self._rows(BEHIND, (limit,))
        return [Behind(instance=row[0], twist=row[1], version=row[2], granted=row[3], latest=row[4]) for row in rows]

    def upgrades(self, twist: str, number: int) -> list[str]:
        """The executions that are to upgrade instances to a version."""
        return [execution for (execution,) in self._rows(UPGRADES, (twist, number))]

    def live_uses(self, instance: str) -> list[Use]:
        """What of an instance names methods."""
        return [use_record(row) for statement in USES for row in self._rows(statement, (instance,))]

    def options(self, instance: str) -> tuple[Json, bytes | None]:
        """The options of an instance, the secret ones sealed."""
        row = self._row(OPTIONS, (instance,))
        if row is None:
            raise UnknownInstance(f"there is no instance {instance}")
        return row[0], row[1]

    # ── Keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def master_key(self) -> str | None:
        """The id of the master key in force."""
        row = self._row(MASTER_KEY)
        return None if row is None else row[0]

    def data_key(self, instance: str) -> bytes | None:
        """An instance's wrapped data key."""
        row = self._row(DATA_KEY, (instance,))
        return None if row is None else row[0]

    def sealed(self, after: str, limit: int) -> list[Sealed]:
        """What is sealed of instances, by id."""
        return [sealed_record(row) for row in self._rows(SEALED_OF, (after, limit))]

    def data_keys(self, other_than: str, limit: int) -> list[DataKey]:
        """Data keys that are wrapped by another master key."""
        return [DataKey(instance=row[0], master=row[1], wrapped=row[2]) for row in self._rows(DATA_KEYS, (other_than, limit))]

    # ── Executions ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def next_wake(self) -> Micros | None:
        """When the next claim can find something."""
        row = self._row(_NEXT_WAKE)
        return None if row is None else row[0]

    def workload(self, at: Micros) -> Workload:
        """How busy the database is."""
        ready, due, paced, running, backing_off, next_wake = self._rows(_WORKLOAD, (at,))[0]
        return Workload(ready=ready + due + paced, running=running, backing_off=backing_off, next_wake=next_wake)

    def execution(self, execution: str) -> Execution | None:
        """One execution."""
        row = self._row(f"SELECT {EXECUTION}, i.twist {_OF_INSTANCE} WHERE e.id = ?", (execution,))
        return None if row is None else execution_record(row, row[-1])

    def progress(self, execution: str) -> Progress | None:
        """How far an execution is."""
        row = self._row("SELECT status, result FROM executions WHERE id = ?", (execution,))
        return None if row is None else Progress(status=row[0], result=row[1])

    def executions(self, query: ExecutionQuery) -> list[Execution]:
        """Executions that became ready or ran, newest first."""
        index = "" if query.instance is None else "INDEXED BY executions_history"
        condition = "" if query.instance is None else "AND e.instance = ?2"
        rows = self._rows(
            f"""
            SELECT {EXECUTION}, i.twist FROM executions e {index} CROSS JOIN instances i ON i.id = e.instance
            WHERE e.ready_at IS NOT NULL AND (?1 IS NULL OR e.status = ?1) AND ?2 IS ?2 {condition} ORDER BY e.n DESC LIMIT ?3
            """,
            (query.status, query.instance, -1 if query.limit is None else query.limit),
        )
        return [execution_record(row, row[-1]) for row in rows]

    def tasks(self, instance: str | None) -> list[Execution]:
        """Pending tasks, newest first."""
        ready, timers, running = _TASKS if instance is None else _TASKS_OF_INSTANCE
        rows = self._rows(f"{ready} UNION ALL {timers} UNION ALL {running} ORDER BY 1 DESC", {"instance": instance})  # type: ignore[arg-type]
        return [execution_record(row, row[-1]) for row in rows]

    def task_of_key(self, instance: str, ns: str, key: str) -> str | None:
        """The id of the task that holds a key."""
        row = self._row(_TASK_OF_KEY, (instance, ns, key))
        return None if row is None else row[0]

    def failures(self, query: FailureQuery) -> list[str]:
        """The ids of executions that may be retried, oldest first."""
        ns, _, method = (query.method or "").rpartition(".")
        wanted = {
            "status": query.status,
            "instance": query.instance,
            "twist": query.twist,
            "error": query.error,
            "since": query.since,
        }
        rows = self._rows(_FAILURES, {**wanted, "ns": ns, "method": method or None})  # type: ignore[arg-type]
        return [id_ for (id_,) in rows]

    def recurring(self, instance: str | None) -> list[Recurring]:
        """What recurs, newest first."""
        rows = self._rows(_RECURRING, {"instance": instance})  # type: ignore[arg-type]
        return [recurring_record(row) for row in rows]

    def held_up_by_clock(self, at: Micros, pace: Pace) -> list[str]:
        """Instances that a clock, set back since, holds up: what recurs of them, for long, or all of them by their pace."""
        later = [recurring_record(row) for row in self._rows(LOOKED_AT_LATER, (at,))]
        recurring = {one.instance for one in later if set_back(one.recurrence, one.next, at) is not None}
        return sorted(recurring.union(*self._rows(_PACED_LATER, (at + pace.interval,))))

    def attempts(self, execution: str) -> list[Attempt]:
        """The ended attempts of an execution, oldest first."""
        row = self._row(_SUCCEEDED, (execution,))
        if row is None:
            return []
        number, status, *succeeded = row
        attempts = [attempt_record(kept) for kept in self._rows(_ATTEMPTS, (number,))]
        if status == "succeeded":
            attempt, version, node, *usage = succeeded
            attempts.append(Attempt(number=attempt, version=version, node=node, usage=_usage(usage), status="succeeded"))
        return attempts

    def recorded(self, execution: str) -> list[int]:
        """The attempts of an execution that have a record."""
        return [number for (number,) in self._rows(RECORDED, (execution,))]

    def record(self, execution: str, attempt: int) -> bytes | None:
        """The sealed record of an attempt."""
        row = self._row(RECORD, (execution, attempt))
        return None if row is None else row[0]

    def find(self, kind: str, prefix: str) -> list[str]:
        """Ids that begin with `prefix`, at most 10."""
        return [id_ for (id_,) in self._rows(_FIND[kind], (prefix, after_prefix(prefix)))]

    # ── Logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def logs(self, query: LogQuery) -> list[NumberedLogLine]:
        """Log lines, oldest first."""
        conditions = ["l.n > ?", "l.level >= ?"]
        bindings: list[object] = [query.after, query.level]
        if query.execution is not None:
            conditions.append("l.execution = (SELECT n FROM executions WHERE id = ?)")
            bindings.append(query.execution)
        if query.instance is not None:
            conditions.append("l.instance = ?" if query.execution is None else "+l.instance = ?")
            bindings.append(query.instance)
        rows = self._rows(
            f"""
            SELECT l.n, l.instance, e.id, l.time, l.level, l.message, l.attempt, l.fields
            FROM logs l CROSS JOIN executions e ON e.n = l.execution WHERE {" AND ".join(conditions)} ORDER BY l.n LIMIT ?
            """,
            [*bindings, -1 if query.limit is None else query.limit],
        )
        return [_log_line(row) for row in rows]

    # ── The store and callbacks ───────────────────────────────────────────────────────────────────────────────────────────────

    def read_values(self, instance: str, ns: str, keys: Sequence[str], at: Micros) -> dict[str, Json]:
        """Unexpired values of those keys that have one."""
        if len(keys) == 1:
            row = self._row(_VALUE, (instance, ns, keys[0], at))
            return {} if row is None else {keys[0]: row[0]}
        return dict(self._rows(_VALUES, (instance, ns, _keys(keys).decode(), at)))

    def read_small_store(self, instance: str, most: int) -> dict[str, dict[str, Json]] | None:
        """Every value by namespace and key; None when there are more than `most`, or one that expires some time."""
        rows = self._rows("SELECT ns, key, value, expires_at FROM store WHERE instance = ? LIMIT ?", (instance, most + 1))
        found: dict[str, dict[str, Json]] = {}
        for ns, key, value, expires_at in rows:
            if expires_at is not None:
                return None
            found.setdefault(ns, {})[key] = value
        return None if len(rows) > most else found

    def read_keys(self, instance: str, ns: str, prefix: str, at: Micros, without: Sequence[str], limit: int | None) -> list[str]:
        """Unexpired keys that begin with `prefix`, sorted. What is left out is never read: the ranges between are, one after another."""
        gaps = sorted(gap for gap in without if gap.startswith(prefix))
        starts, ends = [prefix, *map(after_prefix, gaps)], [*gaps, after_prefix(prefix)]
        found: list[str] = []
        for start, end in zip(starts, ends, strict=True):
            left = _ALL if limit is None else limit - len(found)
            found += [key for (key,) in self._rows(_KEYS, (instance, ns, start, end, at, left))]
        return found

    def callback(self, instance: str, token: str) -> Target | None:
        """What a callback stands for."""
        row = self._row("SELECT target_ns, method, arguments FROM callbacks WHERE instance = ? AND token = ?", (instance, token))
        return None if row is None else Target(ns=row[0], method=row[1], arguments=row[2])

    def callback_tokens(self, instance: str, ns: str) -> list[str]:
        """The callbacks that a namespace made."""
        return [token for (token,) in self._rows("SELECT token FROM callbacks WHERE instance = ? AND ns = ?", (instance, ns))]

    # ── Webhooks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def webhook(self, instance: str, token: str) -> Webhook | None:
        """The webhook with this token, unless its instance takes no more events."""
        row = self._row(f"{WEBHOOKS} AND w.instance = ? AND w.token = ?", (instance, token))
        return None if row is None else webhook_record(row)

    def webhooks(self, instance: str | None) -> list[Webhook]:
        """All webhooks, newest first."""
        condition, bindings = ("", ()) if instance is None else ("AND w.instance = ?", (instance,))
        rows = self._rows(f"{WEBHOOKS} {condition} ORDER BY w.created_at DESC, w.id", bindings)
        return [webhook_record(row) for row in rows]

    def deliveries(self, instance: str | None, limit: int | None) -> list[Delivery]:
        """What webhooks received, newest first."""
        return [delivery_record(row) for row in self._rows(DELIVERIES, (instance, -1 if limit is None else limit))]

    def delivery(self, execution: str) -> Delivery | None:
        """The delivery that an execution answers."""
        row = self._row(ONE_DELIVERY, (execution,))
        return None if row is None else delivery_record(row)

    def fact(self, name: str) -> str | None:
        """What was last noted under a name."""
        row = self._row("SELECT value FROM facts WHERE name = ?", (name,))
        return None if row is None else row[0]

    # ── The workspace ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def root_priority(self) -> PriorityRecord:
        """The priority that everything is below."""
        return workspace.priority_record(self._rows(f"SELECT {workspace.PRIORITY} FROM priorities ORDER BY n LIMIT 1")[0])

    def priority(self, priority: str) -> PriorityRecord | None:
        """One priority."""
        row = self._row(f"SELECT {workspace.PRIORITY} FROM priorities WHERE id = ?", (priority,))
        return None if row is None else workspace.priority_record(row)

    def priorities(self) -> list[PriorityRecord]:
        """All priorities; a parent is always older than its children."""
        return [workspace.priority_record(row) for row in self._rows(f"SELECT {workspace.PRIORITY} FROM priorities ORDER BY n")]

    def activities(self, query: ActivityQuery) -> list[OwnedActivity]:
        """Activities, newest first."""
        return [workspace.owned_activity(row) for row in self._rows(*workspace.activities_statement(query))]

    def activities_by_id(self, ids: Sequence[str]) -> dict[str, OwnedActivity]:
        """Those of the given activities that exist, by id."""
        found = self._activities("JOIN json_each(?) j ON a.id = j.value", _keys(ids).decode())
        return {owned.activity.id: owned for owned in found}

    def activities_by_source(self, priority: str, sources: Sequence[str]) -> dict[str, OwnedActivity]:
        """Activities of a priority, by source."""
        # Joined, the sources would be looked for in every activity of the priority.
        among = "WHERE a.priority = ? AND a.source IN (SELECT value FROM json_each(?))"
        found = self._activities(among, priority, _keys(sources).decode())
        return {owned.activity.source: owned for owned in found if owned.activity.source is not None}

    def _activities(self, rest: str, *bindings: object) -> list[OwnedActivity]:
        return [
            workspace.owned_activity(row) for row in self._rows(f"SELECT {workspace.ACTIVITY} FROM activities a {rest}", bindings)
        ]

    def notes(self, activity: str, after: tuple[Micros, str] | None, limit: int | None) -> list[NoteRecord]:
        """Notes of an activity, oldest first, those after a place."""
        among = "WHERE activity = ? AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?"
        return self._notes(among, activity, *(after or (-1, "")), -1 if limit is None else limit)

    def notes_by_id(self, ids: Sequence[str]) -> dict[str, NoteRecord]:
        """Those of the given notes that exist, by id."""
        found = self._notes("WHERE id IN (SELECT value FROM json_each(?))", _keys(ids).decode())
        return {note.id: note for note in found}

    def notes_by_key(self, activity: str, keys: Sequence[str]) -> dict[str, NoteRecord]:
        """Notes of an activity, by key."""
        found = self._notes("WHERE activity = ? AND key IN (SELECT value FROM json_each(?))", activity, _keys(keys).decode())
        return {note.key: note for note in found if note.key is not None}

    def notes_by_keys(self, activities: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str], NoteRecord]:
        """Notes of several activities, by activity and key."""
        among = "WHERE activity IN (SELECT value FROM json_each(?)) AND key IN (SELECT value FROM json_each(?))"
        found = self._notes(among, _keys(activities).decode(), _keys(keys).decode())
        return {(note.activity, note.key): note for note in found if note.key is not None}

    def _notes(self, rest: str, *bindings: object) -> list[NoteRecord]:
        return [workspace.note_record(row) for row in self._rows(f"SELECT {workspace.NOTE} FROM notes {rest}", bindings)]

    # ── Nodes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def nodes(self) -> list[Node]:
        """Nodes that are known."""
        rows = self._rows("SELECT id, boot, expires, started_at FROM nodes ORDER BY started_at, id")
        return [Node(id=row[0], boot=row[1], expires=row[2], started_at=row[3]) for row in rows]

    def leases(self, node: str) -> dict[str, tuple[int, InstanceStatus]]:
        """The instances that a node holds, each with its epoch and status."""
        rows = self._rows("SELECT id, epoch, status FROM instances INDEXED BY instances_leased WHERE node = ?", (node,))
        return {row[0]: (row[1], row[2]) for row in rows}


_TASK_OF_KEY: Final = """
    SELECT id FROM executions INDEXED BY executions_keys
    WHERE instance = ? AND ns = ? AND key = ? AND attempt = 0 AND key IS NOT NULL AND (seq IS NOT NULL OR due IS NOT NULL)
    """

_THERE: Final = "i.status NOT IN ('gone', 'erased')"

_INSTANCE: Final = f"SELECT {INSTANCE} FROM instances i CROSS JOIN twists t ON t.id = i.twist WHERE i.id = ? AND {_THERE}"

_INSTANCES: Final = f"""
    SELECT {INSTANCE} FROM instances i CROSS JOIN twists t ON t.id = i.twist WHERE {_THERE} ORDER BY i.created_at DESC, i.id
    """

_NEXT_WAKE: Final = "SELECT wake_at FROM instances INDEXED BY instances_wake WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1"

# Nothing of a suspended or failed instance runs, so it doesn't keep the database busy. What is ready is counted from its index alone, and
# what rests is taken away: a node asks this often. Timers that have come and are not ready yet count once for each instance, also where it
# waits for its pace. One statement, so that all of it is of one moment: what is claimed between two would be in neither.
_RESTING: Final = "FROM instances i INDEXED BY instances_resting"
_RESTS: Final = "(i.status IN ('failed', 'gone') OR i.suspension IS NOT NULL)"

_HAS_READY: Final = (
    "EXISTS (SELECT 1 FROM executions e INDEXED BY executions_ready WHERE e.instance = i.id AND e.seq IS NOT NULL)"
)

_WORKLOAD: Final = f"""
    SELECT
        (SELECT count(*) FROM executions INDEXED BY executions_ready WHERE seq IS NOT NULL)
            - (SELECT count(*) {_RESTING} CROSS JOIN executions e INDEXED BY executions_ready ON e.instance = i.id
                WHERE {_RESTS} AND e.seq IS NOT NULL),
        (SELECT count(*) FROM instances i INDEXED BY instances_wake
            WHERE wake_at > 0 AND wake_at <= ?1 OR wake_at = 0 AND NOT {_HAS_READY}),
        (SELECT count(*) FROM instances i INDEXED BY instances_paced WHERE wake_at = pace_at AND pace_at > ?1 AND NOT {_HAS_READY}),
        (SELECT count(*) FROM instances INDEXED BY instances_leased WHERE node IS NOT NULL),
        (SELECT count(*) FROM executions e INDEXED BY executions_retrying CROSS JOIN instances i ON i.id = e.instance
            WHERE e.status = 'retrying' AND e.due > ?1 AND NOT {_RESTS}),
        ({_NEXT_WAKE})
    """

_OF_INSTANCE: Final = "FROM executions e CROSS JOIN instances i ON i.id = e.instance"


def _tasks_statements(condition: str) -> tuple[str, str, str]:
    """Return the statements that find ready, later and running tasks, of all instances or of those that `condition` lets by."""
    columns = f"SELECT {EXECUTION}, i.twist"
    where = f"e.trigger IN ('task', 'schedule') {condition}"
    return (
        f"{columns} FROM executions e INDEXED BY executions_ready CROSS JOIN instances i ON i.id = e.instance"
        f" WHERE e.seq IS NOT NULL AND {where}",
        f"{columns} FROM executions e INDEXED BY executions_timers CROSS JOIN instances i ON i.id = e.instance"
        f" WHERE e.due IS NOT NULL AND {where}",
        f"{columns} FROM instances i CROSS JOIN executions e ON e.n = i.running WHERE {where}",
    )


_TASKS: Final = _tasks_statements("AND :instance IS NULL")
_TASKS_OF_INSTANCE: Final = _tasks_statements("AND e.instance = :instance AND i.id = :instance")

_FAILURES: Final = f"""
    SELECT e.id FROM executions e CROSS JOIN instances i ON i.id = e.instance
    WHERE e.status = :status AND {_THERE} AND (:instance IS NULL OR e.instance = :instance) AND (:twist IS NULL OR i.twist = :twist)
    AND (:method IS NULL OR (e.target_ns = :ns AND e.method = :method)) AND (:error IS NULL OR e.error ->> 'type' = :error)
    AND (:since IS NULL OR coalesce(e.finished_at, (SELECT max(finished_at) FROM attempts WHERE execution = e.n), e.queued_at) >= :since)
    ORDER BY e.n
    """

_RECURRING: Final = f"""
    SELECT {RECURRING} FROM recurring WHERE (:instance IS NULL OR instance = :instance)
    AND instance IN (SELECT id FROM instances i WHERE {_THERE}) ORDER BY created_at DESC, id
    """

_PACED_LATER: Final = "SELECT id FROM instances INDEXED BY instances_paced WHERE wake_at = pace_at AND pace_at > ?"

_SUCCEEDED: Final = """
    SELECT n, status, attempt, version, node, started_at, finished_at, cpu, memory_peak, requests FROM executions WHERE id = ?
    """

_ATTEMPTS: Final = f"SELECT {ATTEMPT} FROM attempts WHERE execution = ? ORDER BY number"

_FIND: Final = {
    "execution": "SELECT id FROM executions WHERE id >= ? AND id < ? ORDER BY id LIMIT 10",
    "recurring": "SELECT id FROM recurring WHERE id >= ? AND id < ? ORDER BY id LIMIT 10",
    "instance": f"SELECT id FROM instances i WHERE id >= ? AND id < ? AND {_THERE} ORDER BY id LIMIT 10",
}

_VALUE: Final = "SELECT value FROM store WHERE instance = ? AND ns = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"

_VALUES: Final = """
    SELECT store.key, store.value FROM json_each(?3) wanted CROSS JOIN store ON store.key = wanted.value
    WHERE instance = ?1 AND ns = ?2 AND (expires_at IS NULL OR expires_at > ?4)
    """

_KEYS: Final = """
    SELECT key FROM store WHERE instance = ? AND ns = ? AND key >= ? AND key < ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY key
    LIMIT ?
    """

_ALL: Final = -1
"""The limit that is none."""


def _usage(columns: Sequence[int]) -> Usage:
    started_at, finished_at, cpu, memory_peak, requests = columns
    return Usage(started_at=started_at, finished_at=finished_at, cpu=cpu, memory_peak=memory_peak, requests=requests)


def _log_line(row: Row) -> NumberedLogLine:
    number, instance, execution, time, level, message, attempt, fields = row
    line = LogLine(time=time, level=level, message=message, attempt=attempt, fields=fields)
    return NumberedLogLine(number=number, instance=instance, execution=execution, line=line)
