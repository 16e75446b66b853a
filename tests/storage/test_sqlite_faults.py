"""What a killed process, a lost power supply and a full disk leave behind: everything that was promised, and nothing by half."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from ropewalk.clock import SystemClock
from ropewalk.storage.interface import StorageFull
from ropewalk.storage.records import ExecutionQuery, LogQuery, PutValue
from ropewalk.storage.sqlite import SqliteStorage, open_sqlite
from tests.storage.scene import Scene, StillClock
from tests.storage.writer import CHAINS, prepare

CLOCK = SystemClock()


async def assert_whole(path: Path, promised: dict[str, int]) -> None:
    """Fail unless each chain has got at least as far as was promised, and is of one piece up to there."""
    storage = await open_sqlite(path, clock=CLOCK, create=False)
    for node in await storage.nodes():
        await storage.release(node.id, CLOCK.now())
    assert await storage.audit(CLOCK.now(), repair=False) == []
    for chain in range(CHAINS):
        await assert_chain_whole(storage, f"i{chain}", promised.get(f"i{chain}", -1))
    await storage.close()


async def assert_chain_whole(storage: SqliteStorage, instance: str, promised: int) -> None:
    """Fail unless the chain's value, executions and logs tell of the same number."""
    executions = await storage.executions(ExecutionQuery(instance=instance))
    done = [int(execution.event) for execution in executions if execution.status == "succeeded"]
    value = (await storage.read_values(instance, "", ["n"], CLOCK.now())).get("n", b"-1")
    logged = [int(found.line.message) for found in await storage.logs(LogQuery(instance=instance))]
    assert int(value) >= promised
    assert sorted(done) == logged == list(range(int(value) + 1))
    (pending,) = [execution for execution in executions if execution.status != "succeeded"]
    assert (int(pending.event), pending.status) == (int(value) + 1, "queued")


def work_until_killed(path: Path, node: str, lines: int) -> dict[str, int]:
    """Run a writer, kill it after it has said so many lines, and return what it was promised."""
    promised: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.storage.writer", str(path), node],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            note(promised, writer.stdout.readline())
        writer.kill()
        for line in writer.stdout:
            note(promised, line)
    return promised


def note(promised: dict[str, int], line: str) -> None:
    """Note what a writer's line promises; the last one may be cut off."""
    words = line.split()
    if len(words) == 3 and line.endswith("\n"):
        promised[words[1]] = int(words[2])


async def test_a_killed_writer_loses_nothing_that_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "ropewalk.db"
    await prepare(path)
    promised: dict[str, int] = {}
    chance = random.Random(7)
    for round_ in range(8):
        promised |= work_until_killed(path, f"node{round_}", chance.randrange(1, 400))
        await assert_whole(path, promised)
    assert promised


async def test_whatever_of_the_log_power_loss_leaves_is_of_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "ropewalk.db"
    await prepare(path)
    work_until_killed(path, "node", 200)
    chance = random.Random(8)
    for part in [0.0, *(chance.random() for _ in range(8))]:
        await assert_whole(cut_log(path, part, chance.randbytes(chance.choice([0, 5000]))), {})


def cut_log(path: Path, part: float, garbage: bytes) -> Path:
    """Return a copy of a database with only the first part of its log, and garbage behind."""
    log = Path(f"{path}-wal").read_bytes()
    copy = path.with_name(f"cut{part}.db")
    shutil.copy(path, copy)
    Path(f"{copy}-wal").write_bytes(log[: int(part * len(log))] + garbage)
    return copy


class NotingFiles(apsw.VFS):
    """A file system that notes how much of the write-ahead log is written and how much of it is synced."""

    def __init__(self, usual: str) -> None:
        super().__init__("noting", usual)
        self.usual = usual
        self.written = self.synced = self.syncs = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file, the log as one that notes."""
        return NotingFile(self, name, flags) if flags[0] & apsw.SQLITE_OPEN_WAL else apsw.VFSFile(self.usual, name, flags)


class NotingFile(apsw.VFSFile):
    """The log."""

    def __init__(self, files: NotingFiles, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(files.usual, name, flags)
        self.files = files

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Note what is written."""
        super().xWrite(data, offset)
        self.files.written += len(data)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Note that all of it is synced."""
        super().xSync(flags)
        self.files.synced = self.files.written
        self.files.syncs += 1


@pytest.fixture
def files() -> Iterator[NotingFiles]:
    """A file system that notes, as the one that is used."""
    usual = apsw.vfs_names()[0]
    noting = NotingFiles(usual)
    apsw.set_default_vfs("noting")
    yield noting
    apsw.set_default_vfs(usual)
    noting.unregister()


async def test_what_was_promised_is_synced_and_what_was_not_costs_no_sync(
    files: NotingFiles, tmp_path: Path, clock: StillClock
) -> None:
    storage = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True)
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.activate()
    assert files.synced == files.written > 0
    for _ in range(3):
        before = files.syncs
        claim = await scene.claim()
        assert files.syncs == before
        assert files.synced < files.written
        await scene.succeed(claim, scene.task("again"))
        assert files.syncs == before + 1
        assert files.synced == files.written
    await storage.close()


# ── A full disk ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.root
async def test_a_full_disk_is_reported_and_recovered_from(small_disk: Path, clock: StillClock) -> None:
    storage = await open_sqlite(small_disk / "ropewalk.db", clock=clock, create=True)
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.active()
    ballast = small_disk / "ballast"
    fill(ballast)
    id_ = await fill_queue(scene)
    ballast.unlink()
    assert await storage.execution(id_) is None
    await scene.enqueue("i1", id=id_)
    assert await scene.run_all()
    assert await scene.problems() == []
    await storage.close()


def fill(ballast: Path) -> None:
    """Leave little room on the disk."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - 65536))


async def fill_queue(scene: Scene) -> str:
    """Store events until there is no room, and return the id of the one that could not be stored."""
    for number in range(1000):
        try:
            await scene.enqueue("i1", id=f"event{number}", event=b"x" * 1000)
        except StorageFull:
            return f"event{number}"
    raise AssertionError("the disk never filled up")


@pytest.mark.root
async def test_a_settlement_that_found_the_disk_full_settles_once_there_is_room(small_disk: Path, clock: StillClock) -> None:
    storage = await open_sqlite(small_disk / "ropewalk.db", clock=clock, create=True)
    scene = Scene(storage, clock)
    await scene.prepare()
    await scene.active()
    await scene.enqueue("i1")
    claim = await scene.claim()
    ballast = small_disk / "ballast"
    fill(ballast)
    effects = [PutValue(ns="", key=f"k{number}", value=b"x" * 100_000) for number in range(10)]
    with pytest.raises(StorageFull):
        await scene.succeed(claim, *effects)
    assert await storage.read_keys("i1", "", "", clock.now()) == []
    ballast.unlink()
    await scene.succeed(claim, *effects[:3])
    assert await storage.read_keys("i1", "", "", clock.now()) == ["k0", "k1", "k2"]
    assert await scene.problems() == []
    await storage.close()
