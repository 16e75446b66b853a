"""A node that is killed with SIGKILL, at any moment: what was acknowledged runs, and nothing is done twice or by half."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.faults.books import close_books, open_books, progress
from tests.harness.checks import one
from tests.harness.commands import Cli
from tests.harness.waiting import until
from tests.harness.web import Web


def kill_at_random(cli: Cli, web: Web, kills: int) -> None:
    """Kill a node so many times, each a random while after it was started or became ready, and audit."""
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1 << 32)))
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    instances = open_books(cli, web, 4)
    for number in range(kills):
        begin = cli.start if number % 3 else cli.launch
        node = begin("--concurrency", str(chance.choice([1, 4, 16])))
        time.sleep(chance.expovariate(1 / 0.15))  # the moment of the fault, not a wait for anything
        node.kill()
    with cli.serving():
        progress(cli, 20)
    close_books(cli, web, instances)
    lost = one(cli.database, "select count(*) from attempts where status = 'lost'")
    assert lost >= kills / 10, f"only {lost} attempts died with a node: the kills did not hit"


def test_a_sync_survives_its_node_being_killed_at_random_moments(cli: Cli, web: Web) -> None:
    kill_at_random(cli, web, 6)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_sync_survives_its_node_being_killed_at_200_random_moments(cli: Cli, web: Web) -> None:
    kill_at_random(cli, web, 200)


def test_an_execution_that_died_with_its_node_runs_again_at_once_and_is_not_blamed(cli: Cli, web: Web) -> None:
    """The restarted node takes over within seconds, and the lost attempt does not count as the author's."""
    web.hold(together=100)
    (instance,) = open_books(cli, web, 1)
    web.finish()
    cli.json("drain")
    with cli.serving() as node:
        invoke = cli.begin("invoke", instance, "meet", "--args", '["a"]', "--json")
        until(lambda: web.asked("/one/a"), "the execution to be in the middle of its request")
        node.kill()
        web.hold(together=1)
        with cli.serving():
            assert invoke.result()["result"] == "a"
    assert len(web.asked("/one/a")) == 2
    assert one(cli.database, "select cast(value as text) from store where key = 'met'") == "1"
    assert one(cli.database, "select lost from executions where method = 'meet'") == 1
    assert one(cli.database, "select tries from executions where method = 'meet'") == 1
    assert [attempt["status"] for attempt in meeting(cli)["attempts"]] == ["lost", "succeeded"]


def meeting(cli: Cli) -> dict[str, list[dict[str, str]]]:
    """Return the execution of `meet`, as people see it."""
    found: dict[str, list[dict[str, str]]] = cli.json(
        "execution", one(cli.database, "select id from executions where method = 'meet'")
    )
    return found


def test_a_command_that_runs_executions_itself_may_be_killed_too(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 2)
    for _ in range(2):
        drain = cli.begin("drain", "--until-idle")
        progress(cli, 5)
        drain.kill()
    close_books(cli, web, instances)


def test_what_was_acknowledged_with_no_node_there_runs_when_one_comes(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 3)
    web.finish()
    with cli.serving():
        progress(cli, 3)
    close_books(cli, web, instances)
