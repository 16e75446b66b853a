"""The sandbox's processes, killed under a node that goes on: root zygote, version zygotes, attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.faults.books import close_books, open_books, progress
from tests.harness import processes
from tests.harness.checks import one
from tests.harness.commands import Cli, Serving
from tests.harness.waiting import until
from tests.harness.web import Web


@pytest.fixture
def node(cli: Cli) -> Iterator[Serving]:
    """A node of an empty database."""
    with cli.serving() as serving:
        yield serving


@pytest.mark.parametrize("kind", ["root", "version", "attempt"])
def test_a_sync_survives_its_sandbox_being_killed(cli: Cli, web: Web, node: Serving, kind: str) -> None:
    instances = open_books(cli, web, 3)
    progress(cli, 5)
    for _ in range(5):
        processes.kill(random.choice(until(lambda: kinds(node)[kind], f"a process of the kind {kind}")))
        progress(cli, 5)
    assert node.lives, cli.log_tail()
    close_books(cli, web, instances)


def kinds(node: Serving) -> dict[str, list[int]]:
    """Return the processes of the sandbox by their kinds."""
    tree = processes.zygote_tree(node.pid)
    return {"root": tree.root, "version": tree.versions, "attempt": tree.attempts}


def test_an_attempt_that_is_killed_is_a_failed_attempt_and_says_how(cli: Cli, web: Web, node: Serving) -> None:
    web.hold(together=100)
    (instance,) = open_books(cli, web, 1)
    web.finish()
    until(lambda: one(cli.database, "select count(*) from store where key = 'last'"), "the sync to end")
    invoke = cli.begin("invoke", instance, "meet", "--args", '["a"]', "--json")
    until(lambda: web.asked("/one/a"), "the execution to be in the middle of its request")
    for attempt in processes.zygote_tree(node.pid).attempts:
        processes.kill(attempt)
    error = invoke.result(code=1)["error"]
    assert error["type"] == "crash"
    assert "signal 9" in error["message"]
    assert one(cli.database, "select count(*) from store where key = 'met'") == 0
    assert cli.json("invoke", instance, "benign")["result"] == "fine"


def test_stopping_the_whole_sandbox_is_noticed(cli: Cli, web: Web, node: Serving) -> None:
    """A root zygote that stops answering is replaced, or named; the node does not hang with it."""
    instances = open_books(cli, web, 1)
    progress(cli, 2)
    for root in kinds(node)["root"]:
        processes.stop(root)
    for version in kinds(node)["version"]:
        processes.kill(version)
    progress(cli, 5)
    assert node.lives
    close_books(cli, web, instances)
