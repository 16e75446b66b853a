"""The audit names what is wrong with a database and mends it; each break here is one that code or a person could make."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ropewalk.storage.records import PutCallback, PutValue, Suspension
from ropewalk.storage.sqlite.driver import connect
from ropewalk.wire.messages import Target
from tests.storage.scene import BOOM, NODE, Scene


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


BREAKS = {
    "ready work and no wake": ("UPDATE instances SET wake_at = NULL", "will never be claimed", ["ready"]),
    "a wake later than the ready work": (
        "UPDATE instances SET wake_at = 9000000000000000",
        "later than its first event",
        ["ready"],
    ),
    "a lease of an unknown node": ("UPDATE instances SET node = 'gone', wake_at = NULL", "leased", ["ready"]),
    "a lease with an execution that is over": (
        "UPDATE instances SET running = 1, node = 'node-1', wake_at = NULL",
        "leased, but nothing of it runs",
        ["ready"],
    ),
    "running without a lease": (
        "UPDATE executions SET status = 'running', seq = NULL WHERE id = 'ready'",
        "running without a lease",
        ["ready"],
    ),
    "retrying without a time": (
        "UPDATE executions SET due = NULL WHERE id = 'retrying'",
        "retrying without a time",
        ["failing", "ready"],
    ),
    "queued without a place": (
        "UPDATE executions SET seq = NULL WHERE id = 'ready'",
        "queued without a time or a place",
        ["ready"],
    ),
    "over, but in line": ("UPDATE executions SET seq = 9 WHERE n = 1", "succeeded and stands in line", ["ready"]),
    "activating without activate": ("UPDATE instances SET status = 'activating'", "has no activate to run", []),
    "deactivating without deactivate": ("UPDATE instances SET status = 'deactivating'", "has no deactivate to run", []),
    "a target without an upgrade": ("UPDATE instances SET target_version = 2", "upgrade to version 2, but has none", ["ready"]),
    "waiting for one that does not wait": ("UPDATE instances SET held = 1, wake_at = NULL", "does not wait itself", ["ready"]),
    "a wrong count of pending": ("UPDATE instances SET pending = 70", "has 3 pending executions, but counts 70", ["ready"]),
    "wrong bytes of pending": (
        "UPDATE instances SET pending_bytes = 70",
        "bytes of pending executions, but counts 70",
        ["ready"],
    ),
    "wrong bytes in the store": ("UPDATE instances SET store_bytes = 70", "has 2 bytes in its store, but counts 70", ["ready"]),
    "a wrong count of callbacks": ("UPDATE instances SET callbacks = 70", "has 1 callbacks, but counts 70", ["ready"]),
    "places given twice": ("UPDATE instances SET next_seq = 1", "places in line that are taken", ["ready"]),
}


@pytest.mark.parametrize(("sql", "sentence", "runs"), BREAKS.values(), ids=BREAKS)
async def test_what_is_wrong_is_named_and_mended(scene: Scene, tmp_path: Path, sql: str, sentence: str, runs: list[str]) -> None:
    await furnish(scene)
    assert await scene.problems() == []
    damage(tmp_path, sql)
    found = await scene.storage.audit(scene.clock.now(), repair=False)
    assert any(sentence in problem for problem in found), found
    assert await scene.storage.audit(scene.clock.now(), repair=True) == found
    assert await scene.problems() == []
    assert await scene.run_all() == runs


async def test_a_running_execution_whose_node_is_unknown_runs_again(scene: Scene, tmp_path: Path) -> None:
    await furnish(scene)
    await scene.claim()
    damage(tmp_path, "DELETE FROM nodes")
    (problem,) = await scene.storage.audit(scene.clock.now(), repair=True)
    assert problem == f"instance i1 is leased to node {NODE}, which is not known"
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
    assert any(problem.startswith("the file is damaged") for problem in found)
    damage(tmp_path, "VACUUM")
