"""What stays when things end: nothing. And what waiting costs."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from ropewalk.sandbox.facts import gather_facts
from ropewalk.sandbox.source import ForkSource
from tests.harness.forbidding import without
from tests.harness.processes import below
from tests.sandbox.bench import Bench

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"


@contextmanager
def lonely_host(
    bundles: Path, python: str = sys.executable, user: int | None = None, lacking: tuple[str, ...] = ()
) -> Generator[subprocess.Popen[str]]:
    """Run `lonely_host.py` for a while, on a host that lacks what `forbidding` can take from it."""
    libraries = os.path.dirname(os.path.dirname(msgspec.__file__))
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}:{libraries}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-m", "tests.sandbox.lonely_host", str(bundles)]
    if lacking:
        command = [python, *without(lacking, [shutil.which(python) or python, *command[1:]])[1:]]
    groups: list[int] | None = None if user is None else []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, user=user, group=user, extra_groups=groups
    ) as host:
        try:
            yield host
        finally:
            host.kill()


def read(host: subprocess.Popen[str]) -> list[object]:
    """Return the next line that the host prints."""
    assert host.stdout is not None
    line = host.stdout.readline()
    assert line, "the host ended"
    found: list[object] = json.loads(line)
    return found


def wait_for_end(pidfds: list[int]) -> bool:
    """Whether all these processes end within ten seconds."""
    for pidfd in pidfds:
        ended = select.poll()  # which takes any descriptor, where `select` takes those below 1,024
        ended.register(pidfd, select.POLLIN)
        if not ended.poll(10_000):
            return False
        os.close(pidfd)
    return True


def test_when_the_host_is_killed_nothing_goes_on(tmp_path: Path) -> None:
    with lonely_host(tmp_path) as host:
        read(host)
        pids = [int(str(pid)) for pid in read(host)]
        assert len(pids) >= 3
        pidfds = [os.pidfd_open(pid) for pid in pids]
        host.kill()
        assert wait_for_end(pidfds)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.parametrize("lacking", [(), ("namespaces",)], ids=["namespaces", "landlock"])
def test_it_works_for_an_ordinary_user_and_the_systems_python(lacking: tuple[str, ...]) -> None:
    if not _nobody_can_import_msgspec():
        pytest.skip("nobody cannot run the system's Python with msgspec here")
    bundles = Path(subprocess.check_output(["mktemp", "-d"], text=True, user=NOBODY, env={"TMPDIR": "/tmp"}).strip())
    try:
        with lonely_host(bundles, SYSTEM_PYTHON, NOBODY, lacking) as host:
            assert read(host) == [NOBODY if lacking else 0, ["module.py"]]
            pidfds = [os.pidfd_open(int(str(pid))) for pid in read(host)]
            host.kill()
            assert wait_for_end(pidfds)
    finally:
        subprocess.run(["rm", "-r", str(bundles)], check=True)


def _nobody_can_import_msgspec() -> bool:
    libraries = os.path.dirname(os.path.dirname(msgspec.__file__))
    command = [SYSTEM_PYTHON, "-c", "import msgspec.msgpack"]
    environment = {"PYTHONPATH": libraries}
    try:
        return subprocess.run(command, user=NOBODY, env=environment, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


async def test_when_the_sandbox_is_stopped_nothing_stays(own_bench: Callable[[], Bench]) -> None:
    descriptors, processes = set(os.listdir("/proc/self/fd")), set(below(os.getpid()))
    async with own_bench().running() as bench:
        attempt = await bench.begin(bench.twist("import time; time.sleep(60)"))
        assert len(below(os.getpid())) >= len(processes) + 3
    assert (await attempt.ended()).signal == 9
    await asyncio.sleep(0)
    assert set(below(os.getpid())) == processes
    assert set(os.listdir("/proc/self/fd")) == descriptors


async def test_a_stopped_sandbox_can_be_started_again(own_bench: Callable[[], Bench]) -> None:
    bench = own_bench()
    for _ in range(2):
        async with bench.running():
            assert await bench.run(bench.twist("return 1")) == 1


async def test_a_machine_without_a_table_of_time_zones_will_do(tmp_path: Path) -> None:
    facts = gather_facts()
    bare = msgspec.structs.replace(facts, data=[bound for bound in facts.data if "zoneinfo" not in bound[0]])
    async with Bench(ForkSource(str(tmp_path), facts=bare), tmp_path).running() as bench:
        looked = "from zoneinfo import available_timezones\nreturn sorted(available_timezones()), 7"
        assert await bench.run(bench.twist(looked)) == [[], 7]


async def test_a_waiting_process_costs_little_memory(own_bench: Callable[[], Bench]) -> None:
    async with own_bench().running() as bench:
        image = bench.twist("return 1")
        waiting = [await bench.source.take(image) for _ in range(4)]
        assert max(unique_memory(process.pid) for process in waiting) < 1024 * 1024


def unique_memory(pid: int) -> int:
    """Return the bytes that only this process has."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))
