"""What must hold of a database as a whole: twists, versions, priorities, and that nothing is of something that is not there."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

import msgspec

from ropewalk.clock import Micros
from ropewalk.storage.records import Node
from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.nodes import release
from ropewalk.storage.sqlite.upkeep import OWNED
from ropewalk.wire.control import Manifest


def check_database(tx: Transaction, dead: Collection[Node], at: Micros) -> Checking:
    """Yield what is wrong beside instances. `dead` are nodes that are known to be dead."""
    yield from _nodes(tx, dead, at)
    yield from _turns(tx)
    yield from _priorities(tx)
    yield from _twists(tx)
    yield from _versions(tx)
    yield from _orphans(tx)


# ── Nodes and turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_LAST_SERVED: Final = "SELECT coalesce(max(served), 0) FROM instances"

_COUNT_ON: Final = "INSERT INTO counters (name, value) VALUES ('served', ?1) ON CONFLICT DO UPDATE SET value = ?1"


def _nodes(tx: Transaction, dead: Collection[Node], at: Micros) -> Checking:
    for node in dead:
        leases = tx.value("SELECT count(*) FROM instances WHERE node = ?", (node.id,))
        if leases and tx.value("SELECT 1 FROM nodes WHERE id = ? AND expires = ?", (node.id, node.expires)):
            yield Fault(
                "dead_node",
                f"node {node.id} is dead, and {leases:,} instances are leased to it",
                "its leases are ended, and what it ran is ready again",
                partial(release, tx, node.id, at),
            )


def _turns(tx: Transaction) -> Checking:
    counted, last = tx.value("SELECT value FROM counters WHERE name = 'served'"), tx.value(_LAST_SERVED)
    if counted is None or counted < last:
        yield Fault(
            "turns_given_twice",
            f"instances take turns by a count, which is {'lost' if counted is None else f'{counted:,}'}, and {last:,} were given",
            "it goes on after the last one",
            partial(tx.run, _COUNT_ON, (last,)),
        )


# ── Priorities ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_ASTRAY: Final = """
    SELECT p.id, p.title, p.parent FROM priorities p WHERE p.n > (SELECT min(n) FROM priorities)
    AND NOT EXISTS (SELECT 1 FROM priorities WHERE id = p.parent AND n < p.n)
    """

_BELOW_ROOT: Final = "UPDATE priorities SET parent = (SELECT id FROM priorities ORDER BY n LIMIT 1) WHERE id = ?"

_NEW_ROOT: Final = """
    INSERT INTO priorities (id, title)
    SELECT substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-4' || substr(h, 14, 3) || '-a' || substr(h, 18, 3) || '-' || substr(h, 21), 'Root'
    FROM (SELECT lower(hex(randomblob(16))) AS h)
    """


def _priorities(tx: Transaction) -> Checking:
    first = tx.row("SELECT id, parent FROM priorities ORDER BY n LIMIT 1")
    if first is None:
        yield Fault(
            "no_root_priority",
            "there is no priority, and twists are activated in one",
            "there is one",
            partial(tx.run, _NEW_ROOT),
        )
    elif first[1] is not None:
        yield Fault(
            "root_priority_below_another",
            f"priority {first[0]} is the first, and below {first[1]}",
            "it is the root, which all others are below",
            partial(tx.run, "UPDATE priorities SET parent = NULL WHERE id = ?", (first[0],)),
        )
    for id_, title, parent in tx.rows(_ASTRAY):
        yield Fault(
            "priority_without_parent",
            f"priority {id_} ({title}) is below {parent or 'none'}, and leads to no root",
            "it is below the root",
            partial(tx.run, _BELOW_ROOT, (id_,)),
        )


# ── Twists ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_LATEST: Final = """
    SELECT t.id, t.name, t.latest, v.newest FROM twists t
    JOIN (SELECT twist, max(number) AS newest FROM versions GROUP BY twist) v ON v.twist = t.id WHERE v.newest <> t.latest
    """

_WITHOUT_VERSION: Final = """
    SELECT t.id, t.name, EXISTS (
        SELECT 1 FROM instances i INDEXED BY instances_offered WHERE i.twist = t.id AND i.status NOT IN ('gone', 'erased')
    ) FROM twists t WHERE NOT EXISTS (SELECT 1 FROM versions WHERE twist = t.id)
    """

_WITHOUT_TWIST: Final = """
    SELECT id FROM instances WHERE status NOT IN ('gone', 'erased') AND NOT EXISTS (SELECT 1 FROM twists WHERE id = twist)
    """


def _twists(tx: Transaction) -> Checking:
    for twist, name, latest, newest in tx.rows(_LATEST):
        yield Fault(
            "wrong_latest_version",
            f"twist {name} counts {latest} versions, and its newest is {newest}",
            "the newest that is there is the latest",
            partial(tx.run, "UPDATE twists SET latest = ? WHERE id = ?", (newest, twist)),
        )
    for twist, name, is_used in tx.rows(_WITHOUT_VERSION):
        yield Fault(
            "twist_without_version",
            f"twist {name} has no version, {'and instances' if is_used else 'nor instances'}",
            "deploy it again, or restore the database from a backup" if is_used else "it is removed",
            None if is_used else partial(tx.run, "DELETE FROM twists WHERE id = ?", (twist,)),
        )
    for (instance,) in tx.rows(_WITHOUT_TWIST):
        yield Fault(
            "instance_without_twist",
            f"instance {instance} is of a twist that is not there",
            "restore the database from a backup",
            None,
            instance=instance,
        )


# ── Versions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

# A version that was not offered to an instance is what a deploy has still to do: nodes do it.
_NO_SUCH_VERSION: Final = """
    SELECT i.id, iif(i.awaiting IS NULL, 'offered', 'awaiting'), coalesce(i.awaiting, i.offered), i.version
    FROM instances i JOIN twists t ON t.id = i.twist
    WHERE i.status NOT IN ('deactivating', 'gone', 'erased') AND (i.offered > t.latest OR (
        i.awaiting IS NOT NULL AND NOT EXISTS (SELECT 1 FROM versions WHERE twist = i.twist AND number = i.awaiting)
    ))
    """

_SAID_OF: Final = {"offered": "was offered", "awaiting": "waits for a grant of"}

_OFFER_AGAIN: Final = "UPDATE instances SET offered = ?, awaiting = NULL WHERE id = ?"

_NEEDED: Final = """
    SELECT t.name, v.number, v.manifest, EXISTS (SELECT 1 FROM bundle_files WHERE bundle = v.bundle) AND NOT EXISTS (
        SELECT 1 FROM version_packages p WHERE p.twist = v.twist AND p.number = v.number
        AND NOT EXISTS (SELECT 1 FROM bundle_files WHERE bundle = p.bundle)
    )
    FROM versions v JOIN twists t ON t.id = v.twist WHERE v.number = t.latest OR EXISTS (
        SELECT 1 FROM instances i INDEXED BY instances_offered
        WHERE i.twist = v.twist AND v.number IN (i.version, i.target_version, i.awaiting) AND i.status NOT IN ('gone', 'erased')
    )
    """

_read_manifest = msgspec.json.Decoder(Manifest).decode


def _versions(tx: Transaction) -> Checking:
    for instance, column, version, right in tx.rows(_NO_SUCH_VERSION):
        yield Fault(
            f"{column}_without_version",
            f"instance {instance} {_SAID_OF[column]} version {version}, which is not there",
            "what is there is offered to it again",
            partial(tx.run, _OFFER_AGAIN, (right, instance)),
            instance=instance,
        )
    for name, number, manifest, has_files in tx.rows(_NEEDED):
        if not has_files:
            yield Fault("version_without_files", f"version {number} of {name} lacks files", "deploy the same files again", None)
        if not _is_readable(manifest):
            what = f"what version {number} of {name} declares cannot be read"
            yield Fault("unreadable_manifest", what, "restore the database from a backup", None)


def _is_readable(manifest: bytes) -> bool:
    try:
        _read_manifest(manifest)
    except msgspec.MsgspecError:
        return False
    return True


# ── Rows that are of nothing ──────────────────────────────────────────────────────────────────────────────────────────────────

_OF_INSTANCES: Final = (*OWNED, "data_keys", "secrets")

# From one instance to the next by the table's index, however many rows each has.
_NO_SUCH_INSTANCE: Final = """
    WITH RECURSIVE found (instance) AS (
        SELECT min(instance) FROM {0}
        UNION ALL SELECT (SELECT min(t.instance) FROM {0} t WHERE t.instance > found.instance) FROM found WHERE found.instance IS NOT NULL
    )
    SELECT instance FROM found WHERE instance IS NOT NULL AND NOT EXISTS (SELECT 1 FROM instances WHERE id = instance)
    """


def _orphans(tx: Transaction) -> Checking:
    for table in _OF_INSTANCES:
        for (instance,) in tx.rows(_NO_SUCH_INSTANCE.format(table)):
            yield Fault(
                "rows_without_instance",
                f"{table} has rows of instance {instance}, which is not there",
                "they are removed",
                partial(tx.run, f"DELETE FROM {table} WHERE instance = ?", (instance,)),
            )


# ── Rows that look as if they were of nothing ─────────────────────────────────────────────────────────────────────────────────

_LOST_EXECUTION: Final = """
    SELECT id FROM executions WHERE n = ? AND status IN ('queued', 'retrying', 'running')
    AND NOT EXISTS (SELECT 1 FROM instances WHERE id = instance)
    """

_LOST_PAYLOAD: Final = """
    SELECT 1 FROM payloads p WHERE p.execution = ? AND NOT EXISTS (SELECT 1 FROM executions WHERE n = p.execution)
    """

_LOST_DELIVERY: Final = """
    SELECT d.delivery, e.id FROM deliveries d LEFT JOIN executions e ON e.n = d.execution
    WHERE d.execution = ? AND (e.n IS NULL OR (d.size > 0 AND e.finished_at IS NOT NULL
        AND coalesce(e.event, (SELECT event FROM payloads WHERE execution = e.n), x'5b5d') = x'5b5d'))
    """

_CANCEL: Final = "UPDATE executions SET status = 'cancelled', seq = NULL, due = NULL, finished_at = ? WHERE n = ?"

_NO_REQUEST: Final = """
    UPDATE executions SET event = x'5b5d', arguments = coalesce(arguments, (SELECT arguments FROM payloads WHERE execution = executions.n),
        x'5b5b5d2c7b7d5d') WHERE n = ?
    """

_NOT_KEPT: Final = "UPDATE deliveries SET size = 0, place = 0 WHERE execution = ?"


def check_lost(tx: Transaction, numbers: Collection[int], at: Micros) -> Checking:
    """Yield what belongs to nothing, of executions, payloads and deliveries that looked as if they did; by the execution's number."""
    for number in numbers:
        id_ = tx.value(_LOST_EXECUTION, (number,))
        if id_ is not None:
            yield Fault(
                "execution_without_instance",
                f"execution {id_} waits, and there is no instance of it",
                "it is cancelled",
                partial(tx.run, _CANCEL, (at, number)),
                execution=id_,
            )
        if tx.value(_LOST_PAYLOAD, (number,)):
            yield Fault(
                "payload_without_execution",
                f"arguments are kept of execution number {number}, which is not there",
                "they are removed",
                partial(tx.run, "DELETE FROM payloads WHERE execution = ?", (number,)),
            )
        row = tx.row(_LOST_DELIVERY, (number,))
        if row is not None:
            yield _lost_delivery(tx, number, *row)


def _lost_delivery(tx: Transaction, number: int, delivery: str | None, execution: str | None) -> Fault:
    if execution is None:
        return Fault(
            "delivery_without_execution",
            f"delivery {delivery or number} was accepted, and there is no execution of it",
            "it is forgotten: when its sender sends it again, it is accepted again",
            partial(tx.run, "DELETE FROM deliveries WHERE execution = ?", (number,)),
        )

    def forget_request() -> None:
        tx.run(_NO_REQUEST, (number,))
        tx.run("DELETE FROM payloads WHERE execution = ?", (number,))
        tx.run(_NOT_KEPT, (number,))

    return Fault(
        "delivery_without_request",
        f"the request of delivery {execution} is said to be kept, and is not there",
        "it says that it is not kept any more",
        forget_request,
        execution=execution,
    )
