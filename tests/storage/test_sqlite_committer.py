"""Many callers' writes in one commit; what fails fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest

from ropewalk.storage.interface import DoesNotApply, Fenced, StorageError, StorageFull, StorageUnavailable
from ropewalk.storage.records import StorageLimits
from ropewalk.storage.sqlite import checkpoints, committer as committer_module
from ropewalk.storage.sqlite.committer import GROUP, Committer, Transaction, Verb
from ropewalk.storage.sqlite.connection import open_database, open_reader
from ropewalk.storage.sqlite.driver import Connection, connect
from tests.harness.waiting import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "ropewalk.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Connection]:
    """A connection to a database with one more table."""
    writer, reader = open_database(path, create=True)
    reader.close()
    writer.execute("CREATE TABLE t (x PRIMARY KEY, y)")
    yield writer
    writer.close()


@pytest.fixture
async def committer(writer: Connection, path: Path) -> AsyncIterator[Committer]:
    """A committer on that."""
    committer = Committer(writer, str(path), StorageLimits())
    yield committer
    await committer.close()


def insert(x: object, y: object = None) -> Verb[object]:
    """Return a verb that writes a row."""

    def verb(tx: Transaction) -> object:
        tx.run("INSERT INTO t VALUES (?, ?)", (x, y))
        return x

    return verb


def refuse_first(tx: Transaction) -> None:
    """Fail before writing anything."""
    raise Fenced("no lease")


def refuse_late(tx: Transaction) -> None:
    """Fail after having written something."""
    tx.run("INSERT INTO t VALUES ('half', NULL)")
    raise DoesNotApply("too late")


def stumble(tx: Transaction) -> None:
    """Fail in a way that nobody has thought of."""
    tx.run("INSERT INTO t VALUES ('half', NULL)")
    raise ZeroDivisionError("unforeseen")


def rows(path: Path) -> list[object]:
    """Return what is stored."""
    with closing(open_reader(path)) as reader:
        return [x for (x,) in reader.execute("SELECT x FROM t ORDER BY rowid").fetchall()]


def size(path: str) -> int:
    """Return the bytes of a file."""
    return Path(path).stat().st_size


async def gather(committer: Committer, *verbs: Verb[object]) -> list[object]:
    """Run verbs at the same time and return their results or errors."""
    return await asyncio.gather(*(committer.run(verb) for verb in verbs), return_exceptions=True)


async def test_what_is_queued_together_is_committed_and_synced_once(committer: Committer, path: Path) -> None:
    assert await gather(committer, *(insert(x) for x in range(100))) == list(range(100))
    stats = committer.stats()
    assert (stats.verbs, stats.groups, stats.commits, stats.syncs) == (100, 1, 1, 1)
    assert rows(path) == list(range(100))


async def test_groups_are_bounded(committer: Committer) -> None:
    await gather(committer, *(insert(x) for x in range(GROUP + 1)))
    assert committer.stats().groups == 2


async def test_what_nobody_was_promised_is_not_synced(committer: Committer, path: Path) -> None:
    await committer.run(insert(1), promised=False)
    assert (committer.stats().commits, committer.stats().syncs) == (1, 0)
    await asyncio.gather(committer.run(insert(2), promised=False), committer.run(insert(3)))
    assert (committer.stats().commits, committer.stats().syncs) == (2, 1)
    assert rows(path) == [1, 2, 3]


async def test_a_verb_that_only_reads_commits_nothing(committer: Committer) -> None:
    assert await committer.run(lambda tx: tx.value("SELECT count(*) FROM t")) == 0
    assert (committer.stats().commits, committer.stats().syncs) == (0, 0)


async def test_one_that_is_refused_before_it_writes_costs_the_others_nothing(committer: Committer, path: Path) -> None:
    one, fenced, two = await gather(committer, insert(1), refuse_first, insert(2))
    assert (one, two) == (1, 2)
    assert isinstance(fenced, Fenced)
    assert (committer.stats().redone, committer.stats().commits) == (0, 1)
    assert rows(path) == [1, 2]


@pytest.mark.parametrize(
    ("verb", "error"), [(refuse_late, DoesNotApply), (stumble, ZeroDivisionError), (insert(1), StorageError)]
)
async def test_one_that_fails_after_writing_is_left_out_alone(
    committer: Committer, path: Path, verb: Verb[object], error: type[Exception]
) -> None:
    one, failed, two = await gather(committer, insert(1), verb, insert(2))
    assert (one, two) == (1, 2)
    assert isinstance(failed, error)
    assert (committer.stats().redone, committer.stats().commits) == (1, 1)
    assert rows(path) == [1, 2]


async def test_heavy_verbs_run_beside_the_event_loop(committer: Committer, path: Path) -> None:
    loop = asyncio.get_running_loop()
    began, go_on = asyncio.Event(), asyncio.Event()

    def heavy(tx: Transaction) -> str:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(timeout=30)
        tx.run("INSERT INTO t VALUES ('heavy', NULL)")
        return "done"

    task = asyncio.create_task(committer.run(heavy, heavy=True))
    await began.wait()
    queued = asyncio.create_task(committer.run(insert("light")))
    go_on.set()
    assert await task == "done"
    assert await queued == "light"
    assert rows(path) == ["heavy", "light"]


async def test_a_lock_of_another_process_is_waited_for_beside_the_event_loop(committer: Committer, path: Path) -> None:
    with closing(connect(str(path), statements=1)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(committer.run(insert(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        other.execute("INSERT INTO t VALUES ('first', NULL)")
        other.execute("COMMIT")
    assert await waiting == 1
    assert rows(path) == ["first", 1]


async def test_a_lock_that_is_held_too_long_is_reported(
    committer: Committer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "BUSY_TIMEOUT", 10)
    with closing(connect(str(path), statements=1)) as other:
        other.execute("BEGIN IMMEDIATE")
        for failed in await gather(committer, insert(1), insert(2)):
            assert isinstance(failed, StorageUnavailable)
        other.execute("ROLLBACK")
    assert await committer.run(insert(3)) == 3


async def test_a_full_database_fails_what_does_not_fit_and_takes_the_rest(
    committer: Committer, writer: Connection, path: Path
) -> None:
    pages = writer.pragma("page_count")
    writer.pragma("max_page_count", pages + 3)
    small, large, other = await gather(committer, insert(1), insert(2, b"x" * 1_000_000), insert(3))
    assert (small, other) == (1, 3)
    assert isinstance(large, StorageFull)
    assert rows(path) == [1, 3]
    writer.pragma("max_page_count", 1_000_000)
    assert await committer.run(insert(2, b"x" * 1_000_000)) == 2


async def test_those_who_gave_up_waiting_before_it_began_are_left_out(committer: Committer, path: Path) -> None:
    given_up = asyncio.create_task(committer.run(insert(1)))
    stays = asyncio.create_task(committer.run(insert(2)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await stays == 2
    await asyncio.wait([given_up])
    assert rows(path) == [2]
    assert await committer.run(insert(3)) == 3


async def test_closing_commits_what_is_queued(writer: Connection, path: Path) -> None:
    committer = Committer(writer, str(path), StorageLimits())
    tasks = [asyncio.create_task(committer.run(insert(x))) for x in range(300)]
    await asyncio.sleep(0)
    await committer.close()
    assert await asyncio.gather(*tasks) == list(range(300))
    with pytest.raises(StorageUnavailable):
        await committer.run(insert(300))


@pytest.fixture
async def short_log(writer: Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Committer]:
    """A committer that copies its log back fifty times as often as others."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_PAGES", 40)
    monkeypatch.setattr(checkpoints, "RESTART_PAGES", 320)
    monkeypatch.setattr(checkpoints, "RESTART_PATIENCE", 5)
    committer = Committer(writer, str(path), StorageLimits())
    yield committer
    await committer.close()


async def test_the_log_is_started_anew_now_and_then(short_log: Committer, path: Path) -> None:
    for x in range(400):
        await short_log.run(insert(x, b"x" * 10_000))
    stats = short_log.stats()
    assert stats.commits < stats.syncs < 2 * stats.commits
    assert size(f"{path}-wal") < 400 * 10_000 / 2
    assert len(rows(path)) == 400


async def test_the_log_is_copied_back_beside_the_commits(short_log: Committer, path: Path) -> None:
    await short_log.run(insert(1, b"x" * 400_000))
    until(lambda: size(str(path)) > 400_000, "a single commit to be in the database itself")


async def test_a_reader_of_an_old_part_stops_nobody(short_log: Committer, path: Path) -> None:
    with closing(open_reader(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
        for x in range(200):
            await short_log.run(insert(x, b"x" * 10_000))
        assert reader.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
    grown = short_log.stats().wal_pages
    for x in range(200, 400):
        await short_log.run(insert(x, b"x" * 10_000))
    assert short_log.stats().wal_pages < grown
    assert len(rows(path)) == 400


async def test_a_checkpoint_of_another_process_is_left_alone(short_log: Committer, path: Path) -> None:
    with closing(connect(str(path), statements=1)) as other:
        for x in range(200):
            await short_log.run(insert(x, b"x" * 10_000))
            with suppress(apsw.BusyError):
                other.wal_checkpoint()
    assert len(rows(path)) == 200
