"""Several nodes and commands on one SQLite file at the same time."""

from __future__ import annotations

import functools
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.books import close_books, open_books, pages, progress
from tests.harness.checks import one, rows
from tests.harness.commands import Cli
from tests.harness.waiting import until
from tests.harness.web import Web


def test_two_nodes_share_the_work_and_enter_each_page_once(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 6)
    with cli.serving("--concurrency", "3"), cli.serving("--concurrency", "3"):
        progress(cli, 40)
    close_books(cli, web, instances)
    assert len(rows(cli.database, "select distinct node from executions where method = 'sync_page'")) >= 2


def test_commands_write_beside_two_busy_nodes(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 3)
    with cli.serving(), cli.serving(), ThreadPoolExecutor(4) as pool:
        commands = [
            *[("store", "set", instances[0], f"from outside {number}", "1") for number in range(4)],
            *[("invoke", instance, "benign") for instance in instances],
            ("priority", "create", "Another"),
            ("instances",),
            ("executions", "--limit", "5"),
            ("activities", "--limit", "5"),
        ]
        before = pages(cli)
        list(pool.map(lambda command: cli.json(*command), commands))
        until(lambda: pages(cli) > before, "the nodes to have worked meanwhile")
    close_books(cli, web, instances)
    assert one(cli.database, "select count(*) from store where key like 'from outside %'") == 4


def entered(cli: Cli, instance: str) -> int:
    """How many pages of one ledger are entered."""
    count: int = one(cli.database, "select count(*) from store where instance = ? and key like 'page:%'", instance)
    return count


def goes_on(cli: Cli, instance: str, before: int) -> bool:
    """Whether more pages of a ledger are entered than before."""
    return entered(cli, instance) > before


def test_a_node_takes_over_from_one_that_was_killed_beside_it(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 4)
    with cli.serving() as one_node, cli.serving() as other:
        progress(cli, 10)
        one_node.kill()
        for instance in instances:
            before = entered(cli, instance)
            until(functools.partial(goes_on, cli, instance, before), "the other node to go on with its work")
        assert other.lives
    close_books(cli, web, instances)


@pytest.mark.slow
def test_a_node_that_was_frozen_past_its_lease_commits_nothing_when_it_thaws(cli: Cli, web: Web) -> None:
    """The method returns while its node is frozen: the result waits in the node's socket when it thaws, and comes too late."""
    (instance,) = open_books(cli, web, 1)
    web.finish()
    cli.json("drain", "--until-idle")
    with cli.serving() as frozen:
        invoke = cli.begin("invoke", instance, "nap", "--args", "[2]", "--json")
        until(
            lambda: rows(cli.database, "select id from executions where method = 'nap' and status = 'running'"),
            "the nap to begin",
        )
        frozen.signal(signal.SIGSTOP)
        with cli.serving():
            assert invoke.result()["result"] == "napped"
            frozen.signal(signal.SIGCONT)
            assert frozen.wait() == 1
            assert "lost its leases" in cli.log_tail()
    assert one(cli.database, "select count(*) from activities where title = 'napped'") == 1
    assert rows(cli.database, "select status, attempt, lost from executions where method = 'nap'") == [("succeeded", 2, 1)]
    assert cli.run("doctor", "--no-repair").code == 0
