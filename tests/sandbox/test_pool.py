"""How many zygotes and waiting processes are kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ropewalk.sandbox.interface import Image, SandboxError
from ropewalk.sandbox.source import ForkSource, PoolSettings
from tests.harness.processes import children
from tests.harness.waiting import eventually
from tests.sandbox.bench import Bench


def bench_with(tmp_path: Path, settings: PoolSettings) -> Bench:
    """Return a bench whose sandbox keeps what `settings` say."""
    return Bench(ForkSource(str(tmp_path), settings), tmp_path)


async def comes_to(bench: Bench, versions: int, waiting: int) -> None:
    """Wait until the sandbox has so many version zygotes and other processes."""

    async def as_wanted() -> bool:
        return living(bench) == (versions, waiting)

    await eventually(as_wanted, f"{versions} version zygotes and {waiting} processes", 10)


def living(bench: Bench) -> tuple[int, int]:
    """Return how many version zygotes and how many other processes the root zygote has."""
    assert bench.source._root is not None
    filters = [fields["Seccomp_filters"] for fields in map(status, children(bench.source._root.pid)) if "VmRSS" in fields]
    return filters.count("1"), filters.count("2")


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status, nothing when there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_a_few_processes_wait_for_a_version_that_was_used(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(least=2, most=2)).running() as bench:
        assert await bench.run(bench.twist("return 1")) == 1
        await comes_to(bench, 1, 2)


async def test_a_version_that_is_described_only_has_none_waiting(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings()).running() as bench:
        await bench.source.describe(bench.twist("return 1"))
        await comes_to(bench, 1, 0)


async def test_what_waits_in_vain_is_let_go(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(least=2, fresh=0.05, stale=0.1)).running() as bench:
        assert await bench.run(bench.twist("return 1")) == 1
        await comes_to(bench, 1, 0)
        assert await bench.run(bench.twist("return 1")) == 1


async def test_a_busy_version_has_more_waiting(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(least=1, most=4)).running() as bench:
        image = bench.twist("return 1")
        await asyncio.gather(*(bench.run(image) for _ in range(12)))
        await comes_to(bench, 1, 4)


async def test_the_processes_that_wait_are_bounded_over_all_versions(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(least=2, most=2, total=3)).running() as bench:
        for _ in range(4):
            assert await bench.run(bench.twist("return 1")) == 1
        await comes_to(bench, 4, 3)


async def test_the_least_recently_used_zygote_makes_room(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(zygotes=2, least=0, most=0)).running() as bench:
        images = [bench.twist("return 1") for _ in range(3)]
        for image in (*images, images[0]):
            assert await bench.run(image) == 1
        await comes_to(bench, 2, 0)


async def test_more_versions_than_zygotes_can_be_busy_at_once(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(zygotes=1, least=0, most=0)).running() as bench:
        images = [bench.twist("import time; time.sleep(0.1); return 1") for _ in range(3)]
        assert await asyncio.gather(*(bench.run(image) for image in images)) == [1, 1, 1]


async def test_takers_of_a_new_version_share_its_import(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings(least=0, most=0)).running() as bench:
        image = bench.twist("return 1")
        assert await asyncio.gather(*(bench.run(image) for _ in range(5))) == [1] * 5
        await comes_to(bench, 1, 0)


async def test_many_crashes_at_once_are_each_told(tmp_path: Path) -> None:
    async with bench_with(tmp_path, PoolSettings()).running() as bench:
        image = bench.twist("import os, time; time.sleep(0.3); os._exit(args[0])")
        attempts = [await bench.begin(image, "probe", code) for code in range(30)]
        assert [(await attempt.ended()).code for attempt in attempts] == list(range(30))


async def test_a_stopped_sandbox_gives_nothing(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, PoolSettings())
    image: Image = bench.twist("return 1")
    with pytest.raises(SandboxError, match="not running"):
        await bench.source.take(image)
