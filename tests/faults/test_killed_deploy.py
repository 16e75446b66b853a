"""Deploys that are killed half-way, several at once, and beside a node: no instance is left behind, none is upgraded twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.harness.checks import assert_idle, assert_whole, rows
from tests.harness.commands import Cli
from tests.harness.waiting import until

COUNTS = """
    from ropewalk import Twist


    class Counts(Twist):
        async def upgrade(self) -> None:
            await self.set(f"upgraded:{{self.execution.version}}", self.execution.previous_version)

        async def version(self) -> int:
            return self.execution.version  # {change}
"""

INSTANCES = 3


def opened(folder: Path) -> Cli:
    """Return commands on a database with some instances of version 1."""
    cli = Cli(folder)
    cli.json("deploy", cli.write(COUNTS.format(change=0), "counts.py"))
    for _ in range(INSTANCES):
        cli.json("activate", "counts")
    cli.json("drain", "--until-idle")
    return cli


def latest(cli: Cli) -> int:
    """Return the number of the latest version."""
    (twist,) = cli.json("twists")
    number: int = twist["version"]
    return number


def assert_all_in(cli: Cli, version: int) -> None:
    """Fail unless each instance runs this version, and ran each upgrade that it ran once and in order."""
    assert [row["version"] for row in cli.json("instances")] == [version] * INSTANCES
    assert rows(cli.database, "select count(*) from instances where offered != ?", version) == [0]
    for row in cli.json("instances"):
        keys = [key for key in cli.json("store", "keys", row["id"]) if key.startswith("upgraded:")]
        assert f"upgraded:{version}" in keys
    assert_whole(cli.database)
    assert_idle(cli.database)
    assert cli.run("doctor", "--no-repair").code == 0


def test_a_killed_deploy_is_there_for_every_instance_or_for_none(tmp_path: Path) -> None:
    cli = opened(tmp_path)
    for change in range(1, 4):
        deploying = cli.begin("deploy", cli.write(COUNTS.format(change=change), "counts.py"))
        time.sleep(random.uniform(0.4, 1.4))  # the moment of the fault, not a wait for anything
        deploying.kill()
        cli.json("drain", "--until-idle")
        assert len({row["version"] for row in cli.json("instances")}) == 1
    cli.json("deploy", cli.write(COUNTS.format(change="last"), "counts.py"))
    cli.json("drain", "--until-idle")
    assert_all_in(cli, latest(cli))


def test_a_deploy_killed_before_it_offered_its_version_is_finished_by_the_next_node(tmp_path: Path) -> None:
    cli = opened(tmp_path)
    cli.json("deploy", cli.write(COUNTS.format(change=1), "counts.py"))
    undo_offers(cli)
    cli.json("drain", "--until-idle")
    assert_all_in(cli, 2)


def test_a_deploy_killed_before_it_offered_its_version_is_finished_by_doctor_where_no_node_runs(tmp_path: Path) -> None:
    cli = opened(tmp_path)
    cli.json("deploy", cli.write(COUNTS.format(change=1), "counts.py"))
    undo_offers(cli)
    looked = cli.run("doctor", "--no-repair", "--json")
    assert (looked.code, [one["name"] for one in looked.value["database"]["findings"]]) == (1, ["rollout_unfinished"])
    (found,) = cli.json("doctor")["database"]["findings"]
    assert (found["name"], found["repaired"]) == ("rollout_unfinished", True)
    cli.json("drain", "--until-idle")
    assert_all_in(cli, 2)


def undo_offers(cli: Cli) -> None:
    """Have the database be as a deploy leaves it that is killed right after it has stored its version."""
    import apsw  # what the storage itself uses: a second SQLite would not know of its locks

    with apsw.Connection(str(cli.database)) as connection:
        connection.execute("delete from executions where trigger = 'upgrade'")
        connection.execute(
            "update instances set offered = 1, target_version = null, pending = 0, pending_bytes = 0, wake_at = null"
        )


def test_deploys_at_once_get_numbers_of_their_own_and_a_node_sees_them_through(tmp_path: Path) -> None:
    cli = opened(tmp_path)
    with cli.serving():
        paths = [cli.write(COUNTS.format(change=change), f"counts{change}.py") for change in range(4)]
        deploying = [cli.begin("deploy", path, "--wait", "--json") for path in paths[1:]]
        numbers = [done.result()["version"] for done in deploying]
        assert sorted(numbers) == [2, 3, 4]
        cli.json("drain", "--until-idle")
    assert_all_in(cli, 4)


FAILS = """
    from ropewalk import RetryPolicy, Twist


    class Counts(Twist):
        retry = RetryPolicy(attempts=1000, first=60)

        async def upgrade(self) -> None:
            raise LookupError("not yet")

        async def version(self) -> int:
            return self.execution.version
"""


def test_who_waits_for_an_upgrade_waits_for_the_one_that_a_later_deploy_puts_in_its_place(tmp_path: Path) -> None:
    cli = opened(tmp_path)
    with cli.serving():
        waiting = cli.begin("deploy", cli.write(FAILS, "counts.py"), "--wait", "--json")
        failed_upgrades(cli)
        cli.json("deploy", cli.write(COUNTS.format(change=1), "counts.py"))
        outcomes = [(one["version"], one["outcome"]) for one in waiting.result()["instances"]]
    assert outcomes == [(3, "upgraded")] * INSTANCES


def test_who_waits_for_an_upgrade_that_is_cancelled_is_told_what_it_failed_with(tmp_path: Path) -> None:
    cli = opened(tmp_path)
    with cli.serving():
        waiting = cli.begin("deploy", cli.write(FAILS, "counts.py"), "--wait", "--json")
        for upgrade in failed_upgrades(cli):
            cli.json("cancel", upgrade)
        told = waiting.result(code=1)
    assert told["error"]["message"] == "not yet"
    assert [(one["version"], one["outcome"]) for one in told["instances"]] == [(1, "failed")] * INSTANCES


def failed_upgrades(cli: Cli) -> list[str]:
    """Wait until every instance's upgrade has failed once and return them: the next attempt is far away."""

    def failed() -> list[str]:
        found = [one["id"] for one in cli.json("executions", "--status", "retrying")]
        return found if len(found) == INSTANCES else []

    return until(failed, "upgrades to fail")
