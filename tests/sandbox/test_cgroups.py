"""The control group of guests, on a file tree that stands for the kernel's: this is not the place to ask for a group of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.cgroups import delegated_group, describe_group, put_into
from ropewalk.sandbox.facts import gather_facts
from ropewalk.sandbox.profile import describe_profile
from ropewalk.sandbox.source import ForkSource
from tests.harness.processes import children
from tests.sandbox.bench import Bench

FILES = {"cgroup.controllers": "cpu memory pids\n", "cgroup.procs": f"{os.getpid()}\n", "cgroup.subtree_control": ""}
GIB = 1 << 30

Host = Callable[..., Path]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Makes a host whose systemd has delegated a group to this process; parts of it may be otherwise."""

    def make(mark: bytes = b"1", line: str = "0::/system.slice/ropewalk.service\n", **changed: str) -> Path:
        group = tmp_path / "sys/fs/cgroup/system.slice/ropewalk.service"
        group.mkdir(parents=True)
        for name, text in (FILES | {name.replace("_", "."): text for name, text in changed.items()}).items():
            (group / name).write_text(text)
        if mark:
            os.setxattr(group, "user.delegate", mark)
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(line)
        return group

    return make


def root_of(group: Path) -> str:
    return str(group.parents[4])


def test_a_group_that_systemd_has_delegated_is_found(host: Host) -> None:
    group = host()
    assert delegated_group(root_of(group)) == str(group)


@pytest.mark.parametrize(
    "otherwise",
    [
        {"mark": b""},
        {"mark": b"0"},
        {"cgroup_controllers": "cpu memory\n"},
        {"cgroup_procs": f"1\n{os.getpid()}\n"},
        {"line": "9:memory:/system.slice/ropewalk.service\n"},
        {"line": "0::/elsewhere\n"},
    ],
    ids=["unmarked", "marked as kept", "without pids", "with others in it", "of version 1", "not there"],
)
def test_any_other_is_left_alone(host: Host, otherwise: dict[str, object]) -> None:
    if "mark" in otherwise and os.geteuid() != 0:
        pytest.skip("a group that belongs to an ordinary user was given to it, marked or not")
    assert delegated_group(root_of(host(**otherwise))) is None


def test_a_process_that_has_moved_already_finds_the_same_group(host: Host) -> None:
    group = host(line="0::/system.slice/ropewalk.service/node\n", cgroup_procs="")
    (group / "node").mkdir()
    assert delegated_group(root_of(group)) == str(group)


def test_guests_get_a_group_with_bounds(host: Host) -> None:
    group = host()
    (group / "node").mkdir()
    guests = group / "guests"
    guests.mkdir()
    for name in ("memory.max", "pids.max", "cgroup.procs"):
        (guests / name).touch()
    put_into(describe_group(str(group), 4 * GIB), 4711)
    assert (group / "node/cgroup.procs").read_text() == str(os.getpid())
    assert (group / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert {file.name: file.read_text() for file in guests.iterdir()} == {
        "memory.max": str(5 * GIB),
        "pids.max": "4096",
        "cgroup.procs": "4711",
    }


def test_the_profile_and_the_findings_name_it(host: Host) -> None:
    facts = msgspec.structs.replace(gather_facts(), cgroup=str(host()))
    cgroup = describe_profile(facts, "/b", memory=GIB).cgroup
    assert cgroup is not None
    assert cgroup.path == facts.cgroup
    assert {one.means: one.state for one in assess(facts).findings}["cgroup"] == "enforced"
    without = msgspec.structs.replace(facts, cgroup=None)
    assert describe_profile(without, "/b", memory=GIB).cgroup is None
    assert {one.means: one.state for one in assess(without).findings}["cgroup"] == "absent"


async def test_the_root_zygote_is_in_it_before_it_forks(host: Host, tmp_path: Path) -> None:
    group = host()
    facts = msgspec.structs.replace(gather_facts(), cgroup=str(group))
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    before = set(children(os.getpid()))
    async with Bench(ForkSource(str(bundles), facts=facts, memory=GIB), bundles).running() as bench:
        (root,) = set(children(os.getpid())) - before
        assert (group / "guests/cgroup.procs").read_text() == str(root)
        assert await bench.run(bench.twist("return 1")) == 1


async def test_a_group_that_cannot_be_used_is_told_and_done_without(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = msgspec.structs.replace(gather_facts(), cgroup=str(tmp_path / "gone"))
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    async with Bench(ForkSource(str(bundles), facts=facts, memory=GIB), bundles).running() as bench:
        assert await bench.run(bench.twist("return 1")) == 1
    assert "the node's own account stands in" in caplog.text
