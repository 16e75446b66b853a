"""Author's code that writes to the host's connection itself: that attempt ends, and nothing else does."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from ropewalk.storage.records import ErrorInfo
from ropewalk.wire.frames import encode_frames
from ropewalk.wire.messages import (
    ActivitiesCreate,
    ActivityRecord,
    Counted,
    Fetch,
    Finished,
    Log,
    Message,
    NewActivityRecord,
    Raised,
    StoreRead,
    StoreWrite,
    Target,
    TaskRun,
)
from tests.badinput.aftermath import assert_fails, assert_goes_on
from tests.harness.runtime import Runtime
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

GARBLES = Path(__file__).parent / "twists" / "garbles.py"


def frame(content: object) -> bytes:
    """Return one frame with bytes, or with anything else in msgpack."""
    return encode_frames(content if isinstance(content, bytes) else msgspec.msgpack.encode(content))


def payload(data: bytes) -> str:
    """Return bytes as the twist takes them."""
    return base64.b64encode(data).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def instance(lasting: Runtime, lasting_web: Web) -> str:
    """An instance that all of them try their worst on."""
    return await lasting.run(GARBLES, base_url=lasting_web.url)


async def says(runtime: Runtime, instance: str, data: bytes, *, then: str = "wait", times: int = 1) -> ErrorInfo:
    """Have a twist write bytes to its connection, see that the instance goes on, and return why the execution failed."""
    return await assert_fails(runtime, instance, "say", payload(data), then, times)


# ── What is no message ────────────────────────────────────────────────────────────────────────────────────────────────────────

GARBAGE = {
    "every byte": bytes(range(256)) * 300,
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a frame over the limit": struct.pack("!I", 8 * 1024 * 1024 + 1) + b"x" * 100,
    "a frame of 2 GiB": struct.pack("!I", 0x7FFF_FFFF),
    "an empty frame": struct.pack("!I", 0),
    "an empty frame that goes on": struct.pack("!I", 0x8000_0000),
    "no msgpack": frame(b"\xc1"),
    "a number": frame(5),
    "a map": frame({"message_is": "finished", "result": b"1"}),
    "an empty array": frame([]),
    "an unknown tag": frame(["no.such", 1, ""]),
    "a message of the host's": frame(["answer", 1, None]),
    "a field of the wrong type": frame(["store.read", "one", "", ["key"]]),
    "a field too few": frame(["store.read", 1]),
    "a number over 64 bits": frame(b"\x93\xaastore.read\xcf" + b"\xff" * 8 + b"\xa0"),
    "an array of 4 billion": frame(b"\xdd\xff\xff\xff\xff"),
    "a million arrays": frame(b"\x91" * 1_000_000),
    "a million maps": frame(b"\x81\xa1a" * 300_000),
    "text that is no UTF-8": frame(b"\x94\xaastore.read\x01\xa0\x91\xa2\xff\xfe"),
    "more after the message": frame(msgspec.msgpack.encode(Finished(result=b"1")) + b"\x00"),
    "a result that is no JSON": frame(Finished(result=b"{")),
    "a result that is NaN": frame(Finished(result=b"NaN")),
    "a result that is nothing": frame(Finished(result=b"")),
    "a result that is deep": frame(Finished(result=b"[" * 500_000 + b"]" * 500_000)),
    "a result that is no UTF-8": frame(Finished(result=b'"\xff"')),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_what_is_no_message_ends_the_attempt(lasting: Runtime, instance: str, data: bytes) -> None:
    assert (await says(lasting, instance, data)).type == "protocol"


async def test_a_message_of_many_frames_is_bounded(lasting: Runtime, instance: str) -> None:
    piece = struct.pack("!I", 0x8000_0000 | 1024 * 1024) + b"x" * 1024 * 1024
    assert (await says(lasting, instance, piece, times=40)).type == "protocol"


async def test_half_a_frame_before_the_end_is_a_crash(lasting: Runtime, instance: str) -> None:
    assert (await says(lasting, instance, struct.pack("!I", 100) + b"x", then="exit")).type == "crash"


async def test_half_a_frame_and_no_end_is_a_timeout(lasting: Runtime, instance: str) -> None:
    assert (await says(lasting, instance, struct.pack("!I", 100) + b"x")).type == "timeout"


# ── Messages that are not in their place ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_with_the_id_of_one_that_is_not_answered_ends_the_attempt(
    lasting: Runtime, instance: str, lasting_web: Web
) -> None:
    fetch = Fetch(id=77, ns="network", method="GET", url=f"{lasting_web.url}/silent", headers=[])
    why = await says(lasting, instance, frame(fetch) * 2)
    assert why.type == "protocol"
    assert "77" in why.message


async def test_a_forged_result_is_that_attempts_result_and_no_more(runtime: Runtime, web: Web) -> None:
    """What a guest says about its own execution is its own affair; what it says afterwards is not heard."""
    instance = await runtime.run(GARBLES, base_url=web.url)
    late = StoreWrite(id=5, ns="", items={"late": b"1"})
    data = frame(Finished(result=b'"forged"')) + frame(late) + frame(Finished(result=b'"again"')) + frame(b"\xc1")
    assert await runtime.invoke(instance, "say", payload(data)) == "forged"
    assert await runtime.keys(instance) == ["half"]
    await assert_goes_on(runtime, instance)


async def test_only_writes_need_not_be_waited_for(lasting: Runtime, instance: str) -> None:
    assert (await says(lasting, instance, frame(StoreRead(id=0, ns="", keys=["half"])))).type == "protocol"


async def test_a_write_that_nobody_waited_for_and_that_fails_ends_the_attempt(lasting: Runtime, instance: str) -> None:
    why = await says(lasting, instance, frame(StoreWrite(id=0, ns="", items={"k" * 513: b"1"})) + frame(Finished(result=b"1")))
    assert why.type == "ValueTooLarge"
    assert await lasting.get(instance, "k" * 513) is None


async def test_requests_that_are_told_count(lasting: Runtime, instance: str) -> None:
    assert (await says(lasting, instance, frame(Counted(requests=2**63 - 1)))).type == "request_limit"


async def test_requests_cannot_be_uncounted(lasting: Runtime, instance: str) -> None:
    reads = [frame(StoreRead(id=number, ns="", keys=["half"])) for number in range(1, 1100)]
    data = b"".join([*reads[:900], frame(Counted(requests=-(10**6))), *reads[900:]])
    assert (await says(lasting, instance, data)).type == "request_limit"


async def test_a_forged_failure_keeps_nothing(lasting: Runtime, instance: str) -> None:
    raised = Raised(kind="unretried", type="x" * 10_000, message="y" * 1_000_000, traceback="z" * 1_000_000)
    why = await says(lasting, instance, frame(raised) + frame(Finished(result=b"1")))
    assert why.type.startswith("xxx")
    assert len(why.type) + len(why.message) + len(why.traceback) < 500_000


async def test_a_guest_that_does_not_read_its_answers_is_ended(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(GARBLES, base_url=web.url)
    await runtime.invoke(instance, "fill", 900_000)
    reads = b"".join(frame(StoreRead(id=1000 + number, ns="", keys=["large"])) for number in range(200))
    why = await runtime.failure(instance, "say", payload(reads))
    assert why.type in {"protocol", "memory_limit", "crash"}, why
    await assert_goes_on(runtime, instance)


async def test_calls_over_the_budget_end_the_attempt_however_they_are_made(lasting: Runtime, instance: str) -> None:
    reads = b"".join(frame(StoreRead(id=1000 + number, ns="", keys=["key"])) for number in range(2000))
    assert (await says(lasting, instance, reads)).type == "request_limit"


async def test_nothing_is_kept_under_a_namespace_that_is_not_declared(lasting: Runtime, instance: str) -> None:
    """It would cost the node what no limit counts."""
    why = await says(lasting, instance, frame(StoreWrite(id=0, ns="x" * 1_000_000, items={"key": b"1"})))
    assert why.type == "PermissionDenied"
    assert len(why.message) < 1_000


# ── Messages whose fields are hostile ─────────────────────────────────────────────────────────────────────────────────────────

NAN, INF = float("nan"), float("inf")
NOTE = ActivityRecord(id="x", type="note", title="t")

HOSTILE: dict[str, Message] = {
    "an empty key": StoreWrite(id=900, ns="", items={"": b"1"}),
    "a key with a NUL": StoreWrite(id=900, ns="", items={"a\0b": b"1"}),
    "a namespace with a NUL": StoreWrite(id=900, ns="a\0b", items={"key": b"1"}),
    "a namespace of a megabyte": StoreWrite(id=900, ns="x" * 1_000_000, items={"key": b"1"}),
    "a value that is no JSON": StoreWrite(id=900, ns="", items={"key": b"{"}),
    "a value that is deep": StoreWrite(id=900, ns="", items={"key": b"[" * 400_000 + b"]" * 400_000}),
    "a ttl that is NaN": StoreWrite(id=900, ns="", items={"key": b"1"}, ttl=NAN),
    "a ttl that is infinite": StoreWrite(id=900, ns="", items={"key": b"1"}, ttl=INF),
    "a ttl below zero": StoreWrite(id=900, ns="", items={"key": b"1"}, ttl=-1.0),
    "a task of nothing": TaskRun(id=900, ns=""),
    "a task of no method": TaskRun(id=900, ns="", target=Target(ns="", method="missing")),
    "a task whose arguments are no JSON": TaskRun(id=900, ns="", target=Target(ns="", method="benign", arguments=b"{")),
    "a task whose arguments are no pair": TaskRun(id=900, ns="", target=Target(ns="", method="benign", arguments=b"[1]")),
    "a delay that is NaN": TaskRun(id=900, ns="", target=Target(ns="", method="benign"), delay=NAN),
    "a delay that is infinite": TaskRun(id=900, ns="", target=Target(ns="", method="benign"), delay=INF),
    "a time at the end of all time": TaskRun(id=900, ns="", target=Target(ns="", method="benign"), run_at=2**63 - 1),
    "a key and a namespace of a NUL": TaskRun(id=900, ns="\0", target=Target(ns="", method="benign"), key="\0"),
    "a fetch of no Network": Fetch(id=900, ns="plot", method="GET", url="http://127.0.0.1/", headers=[]),
    "a fetch with a line break": Fetch(id=900, ns="network", method="GET\r\n", url="http://127.0.0.1/", headers=[("a\r\n", "b")]),
    "an activity of an undeclared Plot": ActivitiesCreate(id=900, ns="plot", items=[NewActivityRecord(activity=NOTE)]),
    "a log of no time": Log(time=-(2**63), level=-(2**62), message="odd \0 line", fields=b"{"),
}


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_message_with_hostile_fields_does_no_harm(lasting: Runtime, instance: str, message: Message) -> None:
    """The host refuses the call; whether the execution then fails or not, only it is concerned."""
    before = await lasting.keys(instance)
    await lasting.finish(await lasting.queue(instance, "say", payload(frame(message)), "return"))
    assert set(await lasting.keys(instance)) <= {*before, "half"}
    assert await lasting.storage.tasks(instance) == []
    await assert_goes_on(lasting, instance)
