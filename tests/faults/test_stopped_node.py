"""SIGTERM: running executions finish, nothing new is begun, and the node ends with 0."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from tests.faults.books import close_books, open_books, progress
from tests.harness.checks import assert_idle, one, rows
from tests.harness.commands import Begun, Cli, Serving
from tests.harness.waiting import until
from tests.harness.web import Web


@contextlib.contextmanager
def told_to_stop(cli: Cli, web: Web, together: int) -> Iterator[tuple[Serving, Begun]]:
    """Serve, with an execution in the middle of a request that is answered once there are so many, and tell the node to stop."""
    web.hold(together=together)
    (instance,) = open_books(cli, web, 1)
    web.finish()
    with cli.serving() as node:
        invoke = cli.begin("invoke", instance, "meet", "--args", '["a"]', "--json")
        until(lambda: web.asked("/one/a"), "the execution to be in the middle of its request")
        node.signal(signal.SIGTERM)
        until(lambda: "stopping" in cli.log_tail(), "the node to have heard")
        yield node, invoke


def test_a_running_execution_finishes_and_the_node_ends_with_0(cli: Cli, web: Web) -> None:
    with told_to_stop(cli, web, together=2) as (node, invoke):
        assert node.lives
        web.visit("/one/b")
        assert node.wait() == 0
        assert invoke.result()["result"] == "a"
    assert rows(cli.database, "select status, attempt from executions where method = 'meet'") == [("succeeded", 1)]
    assert_idle(cli.database)


def test_what_waits_is_left_for_the_next_node(cli: Cli, web: Web) -> None:
    instances = open_books(cli, web, 4)
    for _ in range(3):
        with cli.serving() as node:
            progress(cli, 5)
            assert node.terminate() == 0
        assert one(cli.database, "select count(*) from executions where status = 'running'") == 0
        assert rows(cli.database, "select * from attempts") == []
    close_books(cli, web, instances)


def test_a_second_sigterm_ends_it_at_once_and_the_execution_runs_again(cli: Cli, web: Web) -> None:
    with told_to_stop(cli, web, together=100) as (node, invoke):
        node.signal(signal.SIGTERM)
        assert node.wait() == 128 + signal.SIGTERM
    web.hold(together=1)
    assert invoke.result()["result"] == "a"
    assert one(cli.database, "select cast(value as text) from store where key = 'met'") == "1"
    assert_idle(cli.database)
