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


LAST_WORDS = DEACTIVATE.replace(
    "        await self.clear_all()\n",
    '        await self.network.fetch(f"{self.options.base_url}/silent", timeout=50)\n        await self.clear_all()\n',
)
"""The same, which then waits for an answer that does not come before the test ends."""


def until_asked(web: Web, times: int) -> None:
    """Wait until `deactivate()` has asked so many times, and waits for its answer."""
    until(lambda: len(web.asked("/silent")) == times, "deactivate() to wait for its answer", 60)


def test_a_node_killed_while_an_instance_leaves_begins_its_last_words_again(cli: Cli, web: Web) -> None:
    cli.json("deploy", cli.write(f"{LEDGER.read_text()}{LAST_WORDS}", "ledger.py"))
    options = ("--option", f"base_url={web.url}", "--option", "name=n0")
    instance = cli.json("activate", "ledger", *options)["instance"]
    web.finish()
    cli.json("drain", "--until-idle")
    with cli.serving() as node:
        invoking = cli.begin("invoke", instance, "nap", "--args", "[60]")
        until(lambda: cli.json("executions", "--status", "running"), "the nap to run")
        invoking.kill()  # it would run what is left when the node is gone
        execution = cli.json("deactivate", instance)["execution"]
        node.kill()
    assert cli.refused("invoke", instance, "benign").type == "PermissionDenied"
    for attempt in (1, 2):
        with cli.serving() as node:
            until_asked(web, attempt)
            node.kill()
    web.ending.set()
    cli.json("drain", "--until-idle")
    ended = cli.json("execution", execution)
    assert (ended["status"], [attempt["status"] for attempt in ended["attempts"]]) == ("succeeded", ["lost", "lost", "succeeded"])
    assert rows(cli.database, "select status from executions where method = 'nap'") == ["cancelled"]
    assert rows(cli.database, "select title from activities where type = 'note'") == ["goodbye"]
    assert cli.json("instances") == []
    assert_whole(cli.database)
    assert_idle(cli.database)
