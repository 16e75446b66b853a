"""Attempts are recorded: what was said both ways, sealed, bounded, and gone in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager

import apsw
import msgspec
import pytest

from ropewalk.recording.hiding import hide
from ropewalk.wire.messages import PriorityRecord, Start, Target
from tests.harness.runtime import Failed, Runtime
from tests.harness.waiting import eventually
from tests.harness.web import Web
from tests.replay.reading import last_execution, last_record

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]

TWIST = """
    from ropewalk import Options, Twist
    from ropewalk.tools import Network

    class Where(Options):
        base_url: str = "http://127.0.0.1:1"

    class Busy(Twist):
        options: Where
        network = Network(urls=["{base_url}/*"])

        async def store(self, text: str) -> str:
            await self.set("key", text)
            await self.run_task(self.noop)
            return text

        async def noop(self) -> None: ...

        async def fail(self) -> None:
            await self.set("key", 1)
            raise ValueError("on purpose")

        async def ask(self) -> str:
            url = f"{self.options.base_url}/one/{'marker'}-fxk2"
            answer = await self.network.fetch(url, headers={"Authorization": "Bearer a-credential", "X-Own": "kept"})
            return "" if answer.ok else answer.text()
"""


MARKER = b"marker-fxk2"


def tags(messages: Iterable[msgspec.Raw]) -> list[str]:
    """Return the tags of messages."""
    return [msgspec.msgpack.decode(message)[0] for message in messages]


def joined(messages: Iterable[msgspec.Raw]) -> bytes:
    """Return everything that was said."""
    return b"".join(bytes(one) for one in messages)


async def test_what_was_said_both_ways_is_recorded_in_order(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "store", "text")
    record = await last_record(runtime, await last_execution(runtime, instance, "store"))
    assert tags(record.messages) == ["start", "store.write", "task.run", "finished"]
    assert (record.version, record.status, record.error, record.missing) == (1, "succeeded", None, 0)
    assert record.times == sorted(record.times)
    assert len(record.times) == 4


async def test_a_failed_attempt_has_its_record_too(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.failure(instance, "fail")
    record = await last_record(runtime, await last_execution(runtime, instance, "fail"))
    assert record.status == "failed"
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("ValueError", "on purpose")
    assert tags(record.messages)[-1] == "raised"


async def test_nothing_of_a_record_can_be_read_in_the_database_file(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(TWIST, base_url=web.url)
    await runtime.invoke(instance, "ask")
    record = await last_record(runtime, await last_execution(runtime, instance, "ask"))
    await runtime.stop()
    assert MARKER in joined(record.messages)
    for file in runtime.database.parent.glob("ropewalk.db*"):
        assert file.is_dir() or MARKER not in file.read_bytes()


async def test_credentials_in_headers_are_not_kept(runtime: Runtime, web: Web) -> None:
    web.headers["Set-Cookie"] = "a-session"
    instance = await runtime.run(TWIST, base_url=web.url)
    await runtime.invoke(instance, "ask")
    record = await last_record(runtime, await last_execution(runtime, instance, "ask"))
    kept = joined(record.messages)
    assert b"a-credential" not in kept
    assert b"a-session" not in kept
    assert b"X-Own" in kept
    assert record.hidden == [
        f"the header authorization of GET {web.url}/one/marker-fxk2",
        f"the header set-cookie in the answer to GET {web.url}/one/marker-fxk2",
    ]


async def test_a_record_is_cut_at_its_limit_and_says_so(opened: Opens) -> None:
    async with opened(limit_record=2_000) as runtime:
        instance = await runtime.run(TWIST)
        await runtime.invoke(instance, "store", "x" * 10_000)
        record = await last_record(runtime, await last_execution(runtime, instance, "store"))
    assert record.messages == []
    assert record.missing == 4


async def test_an_instance_keeps_its_newest_records_up_to_a_limit(opened: Opens) -> None:
    async with opened(limit_records=30_000) as runtime:
        instance = await runtime.run(TWIST)
        for number in range(6):
            await runtime.invoke(instance, "store", f"{number}" * 5_000 + "".join(map(chr, range(40, 4_000))))
        await runtime.drain()
        kept = [bool(await runtime.storage.recorded(one.id)) for one in await runtime.executions(instance, "store")]
        held = _value(runtime, "SELECT sum(length(content)) FROM records")
        assert kept == sorted(kept)
        assert kept[0] is False
        assert kept[-1] is True
        assert held == _value(runtime, "SELECT record_bytes FROM instances")
        assert held <= 30_000


async def test_records_are_forgotten_after_their_time(opened: Opens) -> None:
    async with opened(keep_records=60.0) as runtime:
        instance = await runtime.run(TWIST)
        await runtime.invoke(instance, "store", "text")
        await runtime.drain()  # the task that it queued is recorded too
        execution = await last_execution(runtime, instance, "store")
        assert await runtime.storage.recorded(execution.id) == [1]
        assert await runtime.storage.forget_records(10, execution.finished_at or 0) < 3
        await runtime.storage.forget_records(10, runtime.clock.now() + 1)
        assert await runtime.storage.recorded(execution.id) == []
        assert _value(runtime, "SELECT record_bytes FROM instances") == 0


@pytest.mark.parametrize(("which", "expected"), [("all", (1, 1)), ("failed", (0, 1)), ("none", (0, 0))])
async def test_which_attempts_are_recorded_can_be_chosen(opened: Opens, which: str, expected: tuple[int, int]) -> None:
    async with opened(record=which) as runtime:
        instance = await runtime.run(TWIST)
        await runtime.invoke(instance, "store", "text")
        with pytest.raises(Failed):
            await runtime.invoke(instance, "fail")
        executions = [await last_execution(runtime, instance, method) for method in ("store", "fail")]
        assert tuple([len(await runtime.storage.recorded(one.id)) for one in executions]) == expected


async def test_the_records_of_a_deactivated_instance_are_erased(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "store", "text")
    await runtime.deactivate(instance)

    async def none_left() -> bool:
        await asyncio.sleep(0)
        return _value(runtime, "SELECT count(*) FROM records") == 0

    await eventually(none_left, "the records to be erased")


async def test_an_execution_goes_on_unrecorded_when_the_master_key_goes_missing(opened: Opens) -> None:
    async with opened() as runtime:
        instance = await runtime.run(TWIST)
        runtime.service.settings.key_file.unlink()
        runtime.service.vault._sealers.clear()
        runtime.service.masters._known.clear()
        assert await runtime.invoke(instance, "store", "text") == "text"
        assert await runtime.storage.recorded((await last_execution(runtime, instance, "store")).id) == []


def _value(runtime: Runtime, sql: str) -> int:
    connection = apsw.Connection(str(runtime.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(next(iter(connection.execute(sql)))[0] or 0)
    finally:
        connection.close()


async def test_what_a_webhook_brought_loses_its_credentials() -> None:
    request = {"method": "POST", "headers": [["Authorization", "Basic fxk2"], ["X-Own", "kept"]], "body": ""}
    start = Start(
        execution="e",
        attempt=1,
        instance="i",
        version=1,
        previous_version=None,
        trigger="webhook",
        target=Target(ns="", method="m"),
        event=msgspec.json.encode([request]),
        options=b"{}",
        priority=PriorityRecord(id="p", title=""),
        seed=bytes(16),
        started_at=0,
        cpu=1.0,
        wall=1.0,
        requests=1,
    )
    (kept,), hidden = hide([msgspec.msgpack.encode(start)])
    assert b"fxk2" not in kept
    assert b"kept" in kept
    assert hidden == ["the header authorization of the webhook's request"]
