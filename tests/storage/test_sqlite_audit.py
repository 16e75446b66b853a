"""The audit names what is wrong with a database and mends it; each break here is one that code or a person could make."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ropewalk.storage.records import PutCallback, PutValue, Suspension, Workload
from ropewalk.storage.sqlite.driver import connect
from ropewalk.wire.messages import Target
from tests.storage.scene import BOOM, NODE, Scene
from tests.storage.test_recurring import ask, recurs


def damage(tmp_path: Path, sql: str) -> None:
    """Change the database behind everybody's back.

    By the same library: closing a file that another one has open would drop that one's locks (https://sqlite.org/howtocorrupt.html).
    """
    with closing(connect(str(tmp_path / "ropewalk.db"), statements=1)) as connection:
        connection.execute(sql).fetchall()


async def furnish(scene: Scene) -> None:
    """Have an instance with a ready event, a later one, one in back-off, a value and a callback, and nothing running."""
    await scene.active()
    await scene.enqueue("i1", "failing", id="retrying")
    callback = PutCallback(ns="", token="cb", target=Target(ns="", method="back"), at=1)
    claim = await scene.claim()
    await scene.commit(claim, PutValue(ns="", key="k", value=b"1"), callback)
    await scene.fail(claim, retry_in=50)
    await scene.enqueue("i1", "ready", id="ready")
    await scene.after("i1", "later", 100, id="later")


BREAKS: dict[str, tuple[str, str, list[str]]] = {
    "ready work and no wake": ("UPDATE instances SET wake_at = NULL", "no_wake", ["ready"]),
    "a wake later than the ready work": ("UPDATE instances SET wake_at = 9000000000000000", "late_wake", ["ready"]),
    "a wake and no work": (
        "UPDATE executions SET status = 'cancelled', seq = NULL, due = NULL WHERE status <> 'succeeded'",
        "wake_without_work",
        [],
    ),
    "a lease of an unknown node": ("UPDATE instances SET node = 'gone', wake_at = NULL", "lease_without_execution", ["ready"]),
    "a lease with an execution that is over": (
        "UPDATE instances SET running = 1, node = 'node-1', wake_at = NULL",
        "lease_without_execution",
        ["ready"],
    ),
    "a lease with an execution that is not there": (
        "UPDATE instances SET running = 999, node = 'node-1', wake_at = NULL",
        "lease_without_execution",
        ["ready"],
    ),
    "running without a lease": (
        "UPDATE executions SET status = 'running', seq = NULL WHERE id = 'ready'",
        "running_without_lease",
        ["ready"],
    ),
    "running without an attempt": (
        """UPDATE executions SET status = 'running', seq = NULL WHERE id = 'ready';
        UPDATE instances SET node = 'node-1', running = (SELECT n FROM executions WHERE id = 'ready'), wake_at = NULL""",
        "running_without_attempt",
        ["ready"],
    ),
    "retrying without a time": (
        "UPDATE executions SET due = NULL WHERE id = 'retrying'",
        "waiting_without_place",
        ["failing", "ready"],
    ),
    "queued without a place": ("UPDATE executions SET seq = NULL WHERE id = 'ready'", "waiting_without_place", ["ready"]),
    "with both a time and a place": (
        "UPDATE executions SET seq = 99 WHERE id = 'later'",
        "waiting_without_place",
        ["ready", "later"],
    ),
    "over, but in line": ("UPDATE executions SET seq = 9 WHERE n = 1", "over_but_in_line", ["ready"]),
    "arguments that got lost": ("UPDATE executions SET arguments = NULL WHERE id = 'ready'", "execution_without_arguments", []),
    "arguments of nothing": (
        "INSERT INTO payloads VALUES (999, x'5b5d', x'5b5d')",
        "payload_without_execution",
        ["ready"],
    ),
    "an execution of no instance": (
        "UPDATE executions SET instance = 'none' WHERE id = 'ready'",
        "execution_without_instance",
        [],
    ),
    "activating, though active before": ("UPDATE instances SET status = 'activating'", "activating_without_activate", ["ready"]),
    "activating, and its activate lost": (
        "UPDATE instances SET status = 'activating'; DELETE FROM executions WHERE trigger = 'activate'",
        "activating_without_activate",
        ["activate", "ready"],
    ),
    "activate though active": (
        "UPDATE executions SET trigger = 'activate', rank = 1 WHERE id = 'ready'",
        "lifecycle_out_of_place",
        [],
    ),
    "a deactivation without its execution": (
        "UPDATE instances SET status = 'deactivating'",
        "deactivating_without_deactivate",
        ["deactivate"],
    ),
    "a deactivation without its fence": (
        "UPDATE executions SET trigger = 'deactivate', rank = 0, method = 'deactivate' WHERE id = 'ready'",
        "deactivate_without_fence",
        ["deactivate"],
    ),
    "a target without an upgrade": (
        "UPDATE instances SET target_version = 2",
        "upgrade_without_execution",
        ["upgrade", "ready"],
    ),
    "an upgrade without a target": (
        "UPDATE executions SET trigger = 'upgrade', rank = 1 WHERE id = 'ready'",
        "lifecycle_out_of_place",
        [],
    ),
    "a target that is not there": ("UPDATE instances SET target_version = 7", "missing_target_version", ["ready"]),
    "a version that is not there": (
        "DELETE FROM versions WHERE number = 1",
        "missing_version",
        ["upgrade", "ready"],
    ),
    "a latest version that is not there": ("UPDATE twists SET latest = 9", "wrong_latest_version", ["ready"]),
    "a version offered that is not there": ("UPDATE instances SET offered = 9", "offered_without_version", ["ready"]),
    "a grant awaited of what is not there": (
        "UPDATE instances SET awaiting = 9, offered = 9",
        "awaiting_without_version",
        ["ready"],
    ),
    "waiting for one that does not wait": ("UPDATE instances SET held = 1, wake_at = NULL", "held_by_nothing", ["ready"]),
    "a key held twice": (
        "UPDATE executions SET key = 'k' WHERE id IN ('ready', 'later')",
        "key_held_twice",
        [],
    ),
    "suspended by nobody": ("UPDATE instances SET suspension = x'7b7d', wake_at = NULL", "suspended_without_reason", []),
    "a status that is none": ("UPDATE instances SET status = 'suspended'", "unknown_status", []),
    "a budget that cannot be read": ("UPDATE instances SET spent = x'5b'", "unreadable_budget", ["ready"]),
    "places given twice": ("UPDATE instances SET next_seq = 1", "places_given_twice", ["ready"]),
    "a wrong count of pending": ("UPDATE instances SET pending = 70", "wrong_pending", ["ready"]),
    "wrong bytes of pending": ("UPDATE instances SET pending_bytes = 70", "wrong_pending_bytes", ["ready"]),
    "wrong bytes in the store": ("UPDATE instances SET store_bytes = 70", "wrong_store_bytes", ["ready"]),
    "a wrong count of callbacks": ("UPDATE instances SET callbacks = 70", "wrong_callbacks", ["ready"]),
    "a rank that is none": ("UPDATE executions SET rank = 9 WHERE id = 'ready'", "wrong_rank", ["ready"]),
    "an activate among ordinary events": (
        "UPDATE instances SET status = 'activating'; UPDATE executions SET trigger = 'activate', rank = 4 WHERE id = 'ready'",
        "wrong_rank",
        ["ready"],
    ),
    "an execution's status that is none": (
        "UPDATE executions SET status = 'paused' WHERE id = 'ready'",
        "unknown_execution_status",
        ["ready"],
    ),
    "queued, and to be forgotten": ("UPDATE executions SET finished_at = 5 WHERE id = 'ready'", "waiting_but_over", ["ready"]),
    "over, and never to be forgotten": ("UPDATE executions SET finished_at = NULL WHERE n = 1", "over_without_end", ["ready"]),
    "an event that got lost": ("UPDATE executions SET event = NULL WHERE id = 'ready'", "execution_without_arguments", []),
    "a request that got lost": (
        """UPDATE executions SET trigger = 'webhook' WHERE id = 'ready'; INSERT INTO deliveries (execution, instance, webhook, received_at, size)
        SELECT n, 'i1', 'w', 1, 5 FROM executions WHERE id = 'ready'""",
        "execution_without_arguments",
        [],
    ),
    "a delivery without its execution": (
        "INSERT INTO deliveries (execution, instance, webhook, delivery, received_at, size) VALUES (999, 'i1', 'w', 'd', 1, 5)",
        "delivery_without_execution",
        ["ready"],
    ),
    "a delivery without its request": (
        "INSERT INTO deliveries (execution, instance, webhook, delivery, received_at, size) VALUES (1, 'i1', 'w', 'd', 1, 5)",
        "delivery_without_request",
        ["ready"],
    ),
    "suspended while it is deactivated": (
        """UPDATE executions SET trigger = 'deactivate', rank = 0, method = 'deactivate' WHERE id = 'ready';
        UPDATE instances SET status = 'deactivating', offered = 9223372036854775807, wake_at = NULL,
            suspension = CAST('{"reason": "why", "since": 1}' AS BLOB)""",
        "deactivation_suspended",
        ["deactivate"],
    ),
    "offered new versions while it is deactivated": (
        "UPDATE instances SET status = 'deactivating'",
        "offered_while_leaving",
        ["deactivate"],
    ),
    "failed, and nothing to retry": (
        "UPDATE instances SET status = 'failed'; DELETE FROM executions WHERE trigger = 'activate'",
        "failed_without_activate",
        ["activate", "ready"],
    ),
    "failed, though activated": ("UPDATE instances SET status = 'failed'", "failed_without_activate", ["ready"]),
    "failed, while it is activated": (
        "UPDATE instances SET status = 'failed'; UPDATE executions SET trigger = 'activate', rank = 1 WHERE id = 'ready'",
        "failed_without_activate",
        ["ready"],
    ),
    "a target that it is in": (
        "UPDATE instances SET target_version = 1; UPDATE executions SET trigger = 'upgrade', rank = 1 WHERE id = 'ready'",
        "target_not_newer",
        [],
    ),
    "offered less than it has": ("UPDATE instances SET offered = 0", "offered_out_of_order", ["ready"]),
    "a grant awaited of what it has": ("UPDATE instances SET awaiting = 1", "offered_out_of_order", ["ready"]),
    "a grant given by half": ("UPDATE instances SET awaiting = 2, offered = 2, granted = 2", "offered_out_of_order", ["ready"]),
    "a priority that is not there": ("UPDATE instances SET priority = 'none'", "instance_without_priority", ["ready"]),
    "no priority at all": ("DELETE FROM priorities", "no_root_priority", ["ready"]),
    "a root below itself": ("UPDATE priorities SET parent = id", "root_priority_below_another", ["ready"]),
    "priorities below each other": (
        "INSERT INTO priorities (id, title, parent) VALUES ('p', 'P', 'q'), ('q', 'Q', 'p')",
        "priority_without_parent",
        ["ready"],
    ),
    "what the owner was told": ("INSERT INTO owners_notes VALUES ('i1', 'a', 1, x'5b')", "unreadable_note", ["ready"]),
    "no count of turns": ("DELETE FROM counters", "turns_given_twice", ["ready"]),
    "a count of turns that was set back": ("UPDATE counters SET value = 0", "turns_given_twice", ["ready"]),
    "a twist without versions": ("INSERT INTO twists VALUES ('t2', 'empty', 3, 1)", "twist_without_version", ["ready"]),
    "a key of no instance": ("INSERT INTO data_keys VALUES ('none', 'm', x'00')", "rows_without_instance", ["ready"]),
    "values of no instance": ("INSERT INTO store VALUES ('none', '', 'k', NULL, 2, x'31')", "rows_without_instance", ["ready"]),
    "wrong bytes of records": ("UPDATE instances SET record_bytes = 70", "wrong_record_bytes", ["ready"]),
}
"""What is done to the database, the name under which it has to be found, and what of the instance is ready once it is mended."""


@pytest.mark.parametrize(("sql", "name", "runs"), BREAKS.values(), ids=BREAKS)
async def test_what_is_wrong_is_named_and_mended(scene: Scene, tmp_path: Path, sql: str, name: str, runs: list[str]) -> None:
    await furnish(scene)
    await scene.deploy("b2")
    assert await scene.problems() == []
    damage(tmp_path, sql)
    found = await scene.storage.audit(scene.clock.now(), repair=False)
    assert name in [one.name for one in found], found
    assert await scene.storage.audit(scene.clock.now(), repair=False) == found, "looking changes nothing"
    repaired = await scene.storage.audit(scene.clock.now(), repair=True)
    assert [one for one in repaired if not one.repaired] == []
    assert await scene.problems() == []
    assert await scene.run_all() == runs


async def gone(scene: Scene) -> None:
    """Have an instance that is deactivated and erased."""
    await scene.active()
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    await scene.succeed(await scene.claim())
    while await scene.storage.erase(100):
        pass


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        (
            "INSERT INTO store VALUES ('i1', '', 'k', NULL, 2, x'31')",
            "leftovers_after_erasure",
        ),
        ("UPDATE executions SET status = 'running' WHERE n = 1", "pending_after_deactivation"),
        ("UPDATE executions SET status = 'queued', due = 5 WHERE n = 1", "pending_after_deactivation"),
        ("UPDATE instances SET wake_at = 0", "deactivated_but_scheduled"),
        ("INSERT INTO data_keys VALUES ('i1', 'm', x'00')", "secrets_after_deactivation"),
        ("INSERT INTO secrets VALUES ('i1', x'00')", "secrets_after_deactivation"),
        (
            "INSERT INTO deliveries (execution, instance, webhook, received_at, size) VALUES (1, 'i1', 'w', 1, 0)",
            "leftovers_after_erasure",
        ),
    ],
)
async def test_what_is_left_of_a_deactivated_instance_is_named_and_removed(
    scene: Scene, tmp_path: Path, sql: str, name: str
) -> None:
    await gone(scene)
    damage(tmp_path, sql)
    (found,) = await scene.storage.audit(scene.clock.now(), repair=True)
    assert (found.name, found.instance, found.repaired) == (name, "i1", True)
    while await scene.storage.erase(100):
        pass
    assert await scene.problems() == []
    assert await scene.storage.workload() == Workload(ready=0, running=0, backing_off=0, next_wake=None)


async def test_a_dead_nodes_leases_are_ended_and_what_it_ran_runs_again(scene: Scene) -> None:
    await furnish(scene)
    await scene.claim()
    (node,) = await scene.storage.nodes()
    (found,) = await scene.storage.audit(scene.clock.now(), repair=True, dead=[node])
    assert (found.name, found.repaired) == ("dead_node", True)
    assert await scene.run_all_as("node-2") == ["ready"]


async def test_a_node_that_beat_again_meanwhile_is_not_dead(scene: Scene) -> None:
    await furnish(scene)
    claim = await scene.claim()
    (node,) = await scene.storage.nodes()
    scene.storage.heartbeat(node.id, node.expires + 1)
    assert await scene.storage.audit(scene.clock.now(), repair=True, dead=[node]) == []
    await scene.succeed(claim)


async def test_a_version_without_files_is_named_and_told_how_to_mend(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    damage(tmp_path, "DELETE FROM bundle_files")
    (found,) = await scene.storage.audit(scene.clock.now(), repair=True)
    assert (found.name, found.repaired, found.remedy) == ("version_without_files", False, "deploy the same files again")
    await scene.storage.keep_bundle("b1", {"twist.py": b"b1"})
    assert await scene.problems() == []


async def test_a_version_whose_manifest_cannot_be_read_is_named(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    damage(tmp_path, "UPDATE versions SET manifest = CAST('{' || manifest AS BLOB)")
    (found,) = await scene.storage.audit(scene.clock.now(), repair=True)
    assert (found.name, found.repaired) == ("unreadable_manifest", False)
    damage(tmp_path, "UPDATE versions SET manifest = CAST(substr(CAST(manifest AS TEXT), 2) AS BLOB)")


async def test_a_twist_that_lost_its_versions_is_deployed_again(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    damage(tmp_path, "DELETE FROM versions")
    found = await scene.storage.audit(scene.clock.now(), repair=True)
    assert {one.name for one in found if not one.repaired} == {"twist_without_version", "missing_version"}
    assert (await scene.deploy("b2")).number == 2
    await scene.storage.audit(scene.clock.now(), repair=True)
    assert await scene.problems() == []
    assert await scene.run_all() == ["upgrade", "ready"]


async def test_a_lease_on_another_instances_execution_is_ended(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    await scene.active("i2")
    await scene.claim("i1")
    damage(
        tmp_path,
        """UPDATE instances SET wake_at = NULL, running = (SELECT running FROM instances WHERE id = 'i1'), node = 'node-1'
        WHERE id = 'i2'; UPDATE instances SET running = NULL, node = NULL WHERE id = 'i1'""",
    )
    found = await scene.storage.audit(scene.clock.now(), repair=True)
    assert {(one.name, one.instance) for one in found} >= {("lease_without_execution", "i2"), ("running_without_lease", "i1")}
    assert await scene.problems() == []
    assert await scene.run_all() == ["ready"]


async def test_files_without_a_version_are_a_deploy_under_way(scene: Scene) -> None:
    await furnish(scene)
    await scene.storage.keep_bundle("b2", {"twist.py": b"b2"})
    assert await scene.problems() == []
    assert (await scene.deploy("b2")).number == 2


async def test_a_running_execution_whose_node_is_unknown_runs_again(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    await scene.claim()
    damage(tmp_path, "DELETE FROM nodes")
    (found,) = await scene.storage.audit(scene.clock.now(), repair=True)
    assert found.what == f"instance i1 is leased to node {NODE}, which is not known"
    assert (await scene.execution("ready")).lost == 1
    assert await scene.run_all_as("node-2") == ["ready"]


async def test_named_holds_are_no_problem(scene: Scene) -> None:
    await furnish(scene)
    await scene.activate("failed")
    await scene.fail(await scene.claim("failed"))
    await scene.enqueue("failed")
    await scene.active("held")
    await scene.enqueue("held")
    await scene.enqueue("held")
    await scene.fail(await scene.claim("held"), retry_in=5, ordered=True)
    await scene.claim("i1")
    assert await scene.problems() == []


async def test_a_suspended_instance_rests_however_much_it_has_to_do(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1")
    await scene.enqueue("i1")
    claim = await scene.claim()
    await scene.storage.suspend("i1", Suspension(reason="to look into it", since=scene.clock.now()))
    assert (await scene.succeed(claim, next=True)).next is None
    await scene.enqueue("i1")
    assert (await scene.storage.workload()).ready == 0
    assert await scene.storage.next_wake() is None


async def test_a_failed_activation_that_lost_its_instances_status_can_be_retried(scene: Scene, tmp_path: Path) -> None:
    await scene.activate()
    claim = await scene.claim()
    await scene.fail(claim)
    damage(tmp_path, "UPDATE instances SET status = 'activating'")
    await scene.storage.audit(scene.clock.now(), repair=True)
    assert (await scene.instance()).status == "failed"
    assert (await scene.execution(claim.execution.id)).error == BOOM
    await scene.storage.retry(claim.execution.id, scene.clock.now())
    assert await scene.run_all() == ["activate"]


async def test_a_damaged_file_is_told_of(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    damage(
        tmp_path,
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'logs_instance'; PRAGMA writable_schema = RESET",
    )
    found = await scene.storage.audit(scene.clock.now(), repair=True)
    assert any(one.name == "damaged_file" and not one.repaired for one in found)
    damage(tmp_path, "VACUUM")


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("UPDATE instances SET recurs_at = NULL, wake_at = NULL", "recurring_without_next"),
        ("UPDATE recurring SET next = next + 10 * 86400000000; UPDATE instances SET recurs_at = NULL", "recurring_too_late"),
    ],
)
async def test_what_recurs_and_lost_its_next_run_goes_on(scene: Scene, tmp_path: Path, sql: str, name: str) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    damage(tmp_path, sql)
    found = await scene.storage.audit(scene.clock.now(), repair=True)
    assert name in [one.name for one in found]
    assert all(one.repaired for one in found)
    scene.clock.move(120)
    assert len(await scene.run_all()) == 1


async def test_what_recurs_at_times_that_cannot_be_read_recurs_no_more(scene: Scene, tmp_path: Path) -> None:
    await scene.active()
    await ask(scene, recurs(scene))
    damage(tmp_path, "UPDATE recurring SET recurrence = x'5b'")
    found = await scene.storage.audit(scene.clock.now(), repair=True)
    assert ("unreadable_recurrence", True) in [(one.name, one.repaired) for one in found]
    assert await scene.storage.recurring() == []
    assert await scene.problems() == []


async def test_a_schedule_that_a_version_declares_and_that_got_lost_is_set_up_again(scene: Scene, tmp_path: Path) -> None:
    await scene.active()
    damage(
        tmp_path,
        """UPDATE versions SET manifest = CAST(json_set(manifest, '$.schedules',
            json('[{"ns": "", "method": "tick", "key": "tick", "every": 60000000}]')) AS BLOB)""",
    )
    (found,) = await scene.storage.audit(scene.clock.now(), repair=True)
    assert (found.name, found.repaired) == ("schedule_not_armed", True)
    scene.clock.move(61)
    assert await scene.run_all() == ["tick"]
