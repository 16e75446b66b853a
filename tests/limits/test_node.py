"""The node's own memory and descriptors, as operators set and see them."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.commands import ROPEWALK, Cli

SLEEPY = """
import time
from ropewalk import Twist

class Sleepy(Twist):
    async def activate(self, priority) -> None:
        await self.run_task(self.sleep)

    async def sleep(self) -> None:
        time.sleep(0.1)
"""


def figure(figures: str, name: str) -> float:
    """Return a figure of `/metrics`."""
    (line,) = [line for line in figures.splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[1])


@pytest.fixture
def few_files() -> Iterator[None]:
    """Have what is started begin with a small soft limit of open files: little more than the tests themselves have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
def test_a_node_opens_as_many_files_as_it_may(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.serving() as node:
        limits = Path(f"/proc/{node.pid}/limits").read_text(encoding="ascii")
        assert node.terminate() == 0
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    soft, hard = line.split()[3:5]
    assert soft == hard == str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def test_more_executions_than_there_are_descriptors_for_wait(tmp_path: Path) -> None:
    """With 65 files at the most, 10 processes may run; 16 executions are asked for at once, and none fails."""
    cli = Cli(tmp_path)
    cli.json("deploy", cli.write(SLEEPY))
    for _ in range(16):
        cli.json("activate", "sleepy")
    command = shlex.join([str(ROPEWALK), "drain", "--until-idle", "--concurrency", "40", "--timeout", "60"])
    done = subprocess.run(
        ["sh", "-c", f"ulimit -n 65; exec {command}"],
        cwd=cli.folder,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Too many open files" not in done.stderr
    executions = cli.json("executions")
    assert {(one["status"], one["attempt"]) for one in executions} == {("succeeded", 1)}
    assert len(executions) == 32


def test_the_nodes_memory_is_shown(tmp_path: Path) -> None:
    cli = Cli(tmp_path, ROPEWALK_NODE_MEMORY="512MiB")
    with cli.serving() as node:
        with urllib.request.urlopen(f"{node.url}/metrics", timeout=10) as answer:
            figures = answer.read().decode()
        assert figure(figures, "ropewalk_node_memory_bytes") == 512 << 20
        assert figure(figures, "ropewalk_node_waiting_for_room") == 0
        assert node.terminate() == 0
    assert cli.json("doctor")["memory"] == {"node": 512 << 20, "limit": 128 << 20, "at_once": 3}
    assert "3 executions of 134,217,728 bytes" in cli.run("doctor").out


def test_a_node_without_room_for_one_execution_is_refused(tmp_path: Path) -> None:
    refused = Cli(tmp_path).refused("serve", "--node-memory", "100MiB")
    assert [word for word in ("node_memory", "104,857,600", "134,217,728") if word not in refused.message] == []


def test_auto_is_what_the_machine_can_spare(tmp_path: Path) -> None:
    assert Cli(tmp_path, ROPEWALK_NODE_MEMORY="auto").json("config")["node_memory"]["value"] is None
