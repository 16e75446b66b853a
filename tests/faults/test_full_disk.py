"""A disk without room: said clearly, nothing half written, and everything goes on once there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.books import LEDGER
from tests.harness.checks import assert_idle, assert_whole, one, rows
from tests.harness.commands import Cli
from tests.harness.waiting import until
from tests.harness.web import Web

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="A SMALL FILE SYSTEM CAN ONLY BE MOUNTED BY ROOT: a full disk is not tested here"
    ),
]

SIZE = 6 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small(tmp_path: Path, disk: Path, web: Web) -> Cli:
    """Commands on a database on that disk."""
    return Cli(tmp_path, database=disk / "ropewalk.db", ROPEWALK_ALLOW_PRIVATE=f"{web.url}/*")


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no byte free while the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    try:
        yield
    finally:
        ballast.unlink()


def ledger(cli: Cli, web: Web) -> str:
    """Deploy and activate a ledger whose sync is over; returns the instance."""
    web.finish()
    cli.json("deploy", str(LEDGER))
    given = ("--option", f"base_url={web.url}", "--option", "name=n0")
    instance: str = cli.json("activate", "ledger", *given, "--wait")["instance"]
    cli.json("drain", "--until-idle")
    return instance


def test_commands_that_find_no_room_say_so_and_keep_nothing(small: Cli, web: Web, disk: Path) -> None:
    instance = ledger(small, web)
    options = ("--option", f"base_url={web.url}", "--option", "name=n1")
    commands = [
        ("invoke", instance, "benign"),
        ("store", "set", instance, "key", '"value"'),
        ("priority", "create", "Another"),
        ("activate", "ledger", *options),
        ("deactivate", instance),
    ]
    with filled(disk):
        refused = [small.refused(*command) for command in commands]
    assert [(one.code, "full" in one.message) for one in refused] == [(1, True)] * len(commands)
    for command in commands:
        small.json(*command)
    small.json("drain", "--until-idle")
    assert rows(small.database, "select method, count(*) from executions where method != 'sync_page' group by method") == [
        ("activate", 2),
        ("benign", 1),
        ("deactivate", 1),
    ]
    assert_whole(small.database)
    assert small.run("doctor").code == 0


def test_an_execution_that_cannot_be_settled_waits_for_room_and_commits_once(small: Cli, web: Web, disk: Path) -> None:
    """The method has returned when the disk is full: its work is kept and committed when there is room."""
    instance = ledger(small, web)
    web.hold(together=2)
    with small.serving() as node:
        invoke = small.begin("invoke", instance, "meet", "--args", '["a"]', "--json")
        until(lambda: web.asked("/one/a"), "the execution to be in the middle of its request")
        with filled(disk):
            web.visit("/one/b")
            until(lambda: "cannot be settled yet" in small.log_tail(), "the node to say that the disk is full")
            assert "full" in small.log_tail()
        assert invoke.result()["result"] == "a"
        assert node.lives
    assert len(web.asked("/one/a")) == 1
    assert one(small.database, "select cast(value as text) from store where key = 'met'") == "1"
    assert_idle(small.database)
    assert small.run("doctor").code == 0


def test_a_node_goes_on_by_itself_when_there_is_room_again(small: Cli, web: Web, disk: Path) -> None:
    instance = ledger(small, web)
    with small.serving() as node:
        with filled(disk):
            assert "full" in small.refused("invoke", instance, "benign").message
        assert small.json("invoke", instance, "benign")["result"] == "fine"
        assert node.terminate() == 0
    assert_whole(small.database)
    assert_idle(small.database)


def test_a_database_cannot_be_made_without_room(small: Cli, disk: Path) -> None:
    with filled(disk):
        refused = small.refused("deploy", str(LEDGER))
    assert refused.code == 1
    assert "full" in refused.message or "space" in refused.message
    assert small.json("deploy", str(LEDGER))["version"] == 1
