"""Opening a file: whose it is, which schema it has, and where it lies."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ropewalk.storage.interface import StorageUnavailable, StorageUnusable
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.storage.sqlite.driver import connect
from ropewalk.storage.sqlite.filesystem import NETWORKED, filesystem_of
from ropewalk.storage.sqlite.migrations import migrate, migrations, schema_version
from tests.storage.scene import Scene, StillClock


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(found.name for found in folder.iterdir())


async def test_a_database_that_is_not_there_is_not_made_unless_asked(tmp_path: Path, clock: StillClock) -> None:
    path = tmp_path / "ropewalk.db"
    with pytest.raises(StorageUnusable, match=f"no database at {path}"):
        await open_sqlite(path, clock=clock, create=False)
    assert names(tmp_path) == []
    await (await open_sqlite(path, clock=clock, create=True)).close()
    await (await open_sqlite(path, clock=clock, create=False)).close()
    assert names(tmp_path) == ["ropewalk.db"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_missing_folder_is_named(tmp_path: Path, clock: StillClock) -> None:
    with pytest.raises(StorageUnusable, match=f"there is no folder {tmp_path / 'nope'}"):
        await open_sqlite(tmp_path / "nope" / "ropewalk.db", clock=clock, create=True)


async def test_an_empty_file_is_a_database_only_to_those_who_make_one(tmp_path: Path, clock: StillClock) -> None:
    path = tmp_path / "ropewalk.db"
    path.touch()
    with pytest.raises(StorageUnusable, match="no database at"):
        await open_sqlite(path, clock=clock, create=False)
    await (await open_sqlite(path, clock=clock, create=True)).close()


@pytest.mark.parametrize("create", [True, False])
async def test_files_of_others_are_left_alone(tmp_path: Path, clock: StillClock, *, create: bool) -> None:
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("dear diary, " * 1000)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("create table t (a)")
    with pytest.raises(StorageUnusable, match="damaged or no SQLite database"):
        await open_sqlite(text, clock=clock, create=create)
    with pytest.raises(StorageUnusable, match="another program"):
        await open_sqlite(other, clock=clock, create=create)
    assert text.read_text().startswith("dear diary")


async def test_a_folder_is_no_database(tmp_path: Path, clock: StillClock) -> None:
    with pytest.raises(StorageUnusable, match="no database at"):
        await open_sqlite(tmp_path, clock=clock, create=False)


async def test_a_newer_schema_is_refused(tmp_path: Path, clock: StillClock) -> None:
    path = tmp_path / "ropewalk.db"
    await (await open_sqlite(path, clock=clock, create=True)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 999")
    with pytest.raises(StorageUnusable, match="schema 999"):
        await open_sqlite(path, clock=clock, create=False)


async def test_migrations_are_applied_once_each_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.touch()
    with closing(connect(str(path), statements=10)) as connection:
        migrate(connection, str(path), [(1, "create table a (x);")])
        migrate(connection, str(path), [(1, "create table a (x);"), (2, "create table b (x); insert into b values (1);")])
        migrate(connection, str(path), [(1, "create table a (x);"), (2, "create table b (x); insert into b values (1);")])
        assert connection.execute("select count(*) from b").fetchall() == [(1,)]
        assert schema_version(connection) == 2


async def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.touch()
    with closing(connect(str(path), statements=10)) as connection:
        with pytest.raises(Exception, match="nope"):
            migrate(connection, str(path), [(1, "create table a (x); insert into nope values (1);")])
        assert schema_version(connection) == 0
        assert connection.execute("select name from sqlite_schema").fetchall() == []


INSTANCE_OF_SCHEMA_1 = """
    INSERT INTO twists VALUES ('t1', 'syncer', 1, 0);
    INSERT INTO instances VALUES ('i1', 't1', 1, NULL, 'home', 'active', x'7b7d', x'00', 0, NULL, 4, NULL, NULL, NULL, 0, 7, 3, 1, 4, 0, 0);
    INSERT INTO executions (id, instance, status, rank, seq, trigger, ns, target_ns, method, cause, depth, size, queued_at, arguments, event)
    VALUES ('e1', 'i1', 'queued', 4, 2, 'task', '', '', 'go', 'before', 12, 4, 0, x'5b5d', x'5b5d');
"""


async def test_a_database_of_the_first_schema_goes_on_where_it_was(tmp_path: Path, clock: StillClock) -> None:
    path = tmp_path / "ropewalk.db"
    path.touch()
    with closing(connect(str(path), statements=10)) as connection:
        migrate(connection, str(path), migrations()[:1])
        connection.execute(INSTANCE_OF_SCHEMA_1).fetchall()
    storage = await open_sqlite(path, clock=clock, create=False)
    (claim,) = await storage.claim("node-1", 1)
    assert (claim.execution.id, claim.execution.depth) == ("e1", 12)
    assert (claim.instance.status, claim.instance.suspension) == ("active", None)
    await storage.close()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


async def test_several_processes_may_make_the_same_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ropewalk.db"
    program = f"""
import asyncio
from ropewalk.clock import SystemClock
from ropewalk.storage.sqlite import open_sqlite
async def main():
    storage = await open_sqlite({str(path)!r}, clock=SystemClock(), create=True)
    print((await storage.root_priority()).id)
    await storage.close()
asyncio.run(main())
"""
    makers = [await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE) for _ in range(4)]
    roots = {(await maker.communicate())[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0, 0, 0]
    assert len(roots) == 1


async def test_two_openers_see_each_others_writes(scene: Scene, tmp_path: Path, clock: StillClock) -> None:
    other = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=False)
    scene.storage.changed()
    assert not scene.storage.changed()
    await scene.active()
    assert not scene.storage.changed()
    assert other.changed()
    id_ = await other.enqueue(scene.event("i1"))
    assert scene.storage.changed()
    assert not scene.storage.changed()
    assert (await scene.claim()).execution.id == id_
    await other.release("node-1", clock.now())
    assert await scene.run_all_as("node-2") == ["go"]
    await other.close()


async def test_a_closed_storage_says_so(tmp_path: Path, clock: StillClock) -> None:
    storage = await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True)
    await storage.close()
    with pytest.raises(StorageUnavailable, match="has been closed"):
        await storage.release("n", 0)


MOUNTS = """
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
31 28 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 31 0:45 / /mnt/share rw,relatime shared:3 - nfs4 server:/export rw,vers=4.2
41 31 0:46 / /mnt/far rw,nosuid,nodev - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("major", "minor", "name", "refused"),
    [(254, 1, "ext4", False), (0, 45, "nfs4", True), (0, 46, "fuse.sshfs", True), (9, 9, None, False)],
)
def test_network_file_systems_are_told_by_their_mount(major: int, minor: int, name: str | None, *, refused: bool) -> None:
    assert filesystem_of(os.makedev(major, minor), MOUNTS) == name
    assert (name in NETWORKED) == refused


async def test_a_database_on_a_network_file_system_is_refused(
    tmp_path: Path, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network_filesystem(folder: Path) -> str:
        return "nfs4"

    monkeypatch.setattr("ropewalk.storage.sqlite.connection.network_filesystem", network_filesystem)
    with pytest.raises(StorageUnusable, match="is on nfs4, a network file system"):
        await open_sqlite(tmp_path / "ropewalk.db", clock=clock, create=True)
    assert names(tmp_path) == []
