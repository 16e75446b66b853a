"""Upgrades and deactivations whose node is killed under them: each happens once, as a whole, and the work goes on or is over."""

from __future__ import annotations

import random
import time

from tests.faults.books import LEDGER, audit, open_books, progress
from tests.harness.checks import assert_idle, assert_whole, rows
from tests.harness.commands import Cli
from tests.harness.waiting import until
from tests.harness.web import Web

UPGRADE = '''
    async def upgrade(self) -> None:
        """Count the upgrades to this version."""
        await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title=f"upgraded to {self.execution.version}"))
        await self.keys()
'''

DEACTIVATE = '''
    async def deactivate(self) -> None:
        """Leave one note, after everything else."""
        await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="goodbye"))
        await self.clear_all()
'''


def kill_soon(cli: Cli) -> None:
    """Run a node and kill it after a random while."""
    node = cli.start()
    time.sleep(random.expovariate(1 / 0.05))  # the moment of the fault, not a wait for anything
    node.kill()


def test_upgrades_happen_once_each_however_often_the_node_is_killed(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 3)
    with cli.serving():
        # An instance that was never active has nothing to upgrade: it moves to the new version as it is.
        until(lambda: {instance["status"] for instance in cli.json("instances")} == {"active"}, "all to be active", 60)
    for number in range(3):
        cli.json("deploy", cli.write(f"{LEDGER.read_text()}{UPGRADE}\n# change {number}\n", "ledger.py"))
        kill_soon(cli)
    with cli.serving():
        progress(cli, 10)
    web.finish()
    cli.json("drain", "--until-idle")
    assert {instance["version"] for instance in cli.json("instances")} == {4}
    for instance in instances:
        upgraded = rows(cli.database, "select title from activities where instance = ? and type = 'note'", instance)
        assert upgraded.count("upgraded to 4") == 1
        assert len(upgraded) == len(set(upgraded))
    audit(cli, web, instances)


def test_deactivations_happen_once_and_leave_nothing_however_often_the_node_is_killed(cli: Cli, web: Web) -> None:
    cli.json("deploy", cli.write(f"{LEDGER.read_text()}{DEACTIVATE}", "ledger.py"))
    options = ("--option", f"base_url={web.url}", "--option", "name=n0")
    instances = [cli.json("activate", "ledger", *options)["instance"] for _ in range(3)]
    with cli.serving():
        progress(cli, 5)
    for instance in instances:
        cli.json("deactivate", instance)
        kill_soon(cli)
    cli.json("drain", "--until-idle")
    assert cli.json("instances") == []
    assert sorted(rows(cli.database, "select instance from activities where title = 'goodbye'")) == sorted(instances)
    ended = "select status from executions where method = 'deactivate'"
    assert rows(cli.database, ended) == ["succeeded"] * 3
    assert_whole(cli.database)
    assert_idle(cli.database)
    assert cli.run("doctor", "--no-repair").code == 0
