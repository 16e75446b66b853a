"""What each method of a twist says on the wire, and what it makes of the answer."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from ropewalk.wire.messages import (
    CallbackCreate,
    CallbackDelete,
    CallbackResolve,
    Commit,
    StoreClear,
    StoreDelete,
    StoreKeys,
    StoreRead,
    StoreWrite,
    Target,
    TaskCancel,
    TaskRun,
)
from tests.guest.playing import IN_BOTH_MODES, MakeVersion

pytestmark = IN_BOTH_MODES

SAID = {
    "set": ("await self.set('a', [1])", StoreWrite(id=1, ns="", items={"a": b"[1]"})),
    "set with ttl": (
        "from datetime import timedelta; await self.set('a', None, ttl=timedelta(minutes=1))",
        StoreWrite(id=1, ns="", items={"a": b"null"}, ttl=60.0),
    ),
    "set_many": ("await self.set_many({'a': 1, 'b': 2}, ttl=5)", StoreWrite(id=1, ns="", items={"a": b"1", "b": b"2"}, ttl=5.0)),
    "get_many": ("await self.get_many(['b', 'a', 'b'])", StoreRead(id=1, ns="", keys=["b", "a"])),
    "clear": ("await self.clear('a')", StoreDelete(id=1, ns="", keys=["a"])),
    "clear_all": ("await self.clear_all()", StoreClear(id=1, ns="", prefix="")),
    "clear_all with prefix": ("await self.clear_all('a:')", StoreClear(id=1, ns="", prefix="a:")),
    "keys": ("await self.keys('a:')", StoreKeys(id=1, ns="", prefix="a:")),
    "callback": (
        "await self.callback(self.other, 1, word='x')",
        CallbackCreate(id=1, ns="", target=Target(ns="", method="other", arguments=b'[[1],{"word":"x"}]')),
    ),
    "callback by name": (
        "await self.callback('other', 1)",
        CallbackCreate(id=1, ns="", target=Target(ns="", method="other", arguments=b"[[1],{}]")),
    ),
    "callback by the class's function": (
        "await self.callback(Sample.other)",
        CallbackCreate(id=1, ns="", target=Target(ns="", method="other")),
    ),
    "delete_callback": ("await self.delete_callback('cb_1')", CallbackDelete(id=1, ns="", token="cb_1")),
    "delete_all_callbacks": ("await self.delete_all_callbacks()", CallbackDelete(id=1, ns="")),
    "run_task of a method": (
        "await self.run_task(self.other, 1, delay=2.5, key='k', coalesce=True)",
        TaskRun(
            id=1,
            ns="",
            target=Target(ns="", method="other", arguments=b"[[1],{}]"),
            arguments=b"[[1],{}]",
            delay=2.5,
            key="k",
            coalesce=True,
        ),
    ),
    "run_task of a callback": (
        "await self.run_task(Callback('cb_1'), 2)",
        TaskRun(id=1, ns="", callback="cb_1", arguments=b"[[2],{}]"),
    ),
    "run_task of a token from the store": ("await self.run_task('cb_1')", TaskRun(id=1, ns="", callback="cb_1")),
    "run_task at a time": (
        "from datetime import UTC, datetime; await self.run_task('cb_1', run_at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))",
        TaskRun(id=1, ns="", callback="cb_1", run_at=1_000_000),
    ),
    "run_task in the past": ("await self.run_task('cb_1', delay=-5)", TaskRun(id=1, ns="", callback="cb_1", delay=0.0)),
    "cancel_task": ("await self.cancel_task(TaskToken('t'))", TaskCancel(id=1, ns="", token_or_key="t")),
    "cancel_all_tasks": ("await self.cancel_all_tasks()", TaskCancel(id=1, ns="")),
    "commit": ("await self.commit()", Commit(id=1, ns="")),
}

BODY = """
async def other(self, number: int = 0, *, word: str = "") -> None: ...
def plain(self): ...
async def main(self):
    {}
"""


@pytest.mark.parametrize("name", SAID)
def test_a_method_says_its_call(twist: MakeVersion, name: str) -> None:
    code, expected = SAID[name]
    with twist(BODY.format(code)).attempt() as guest:
        guest.result()
        assert guest.calls == [expected]


def test_nothing_is_said_for_no_items(twist: MakeVersion) -> None:
    body = "async def main(self):\n    await self.set_many({})\n    return [await self.get_many([]), await self.plot.create_activities([])]\nplot = Plot()"
    with twist(body).attempt() as guest:
        assert guest.result() == [{}, []]
        assert guest.calls == []


REFUSED: dict[str, tuple[str, str, str]] = {
    "no key": ("await self.set('', 1)", "InvalidValue", "cannot be empty"),
    "long key": ("await self.set('k' * 513, 1)", "ValueTooLarge", "513 bytes and may have 512"),
    "key with NUL": ("await self.get('a\\0b')", "InvalidValue", "NUL"),
    "key with a surrogate": ("await self.get('\\ud800')", "InvalidValue", "surrogates"),
    "number as key": ("await self.get(5)", "TypeError", "a key is a str"),
    "one key for several": ("await self.get_many('abc')", "TypeError", "get_many(['abc'])"),
    "a function": (
        "await self.set('a', {'b': [lambda: 0]})",
        "NotSerializable",
        "at ['b'][0] it is a function: to have a method called later",
    ),
    "a method": ("await self.set('a', self.main)", "NotSerializable", "self.callback"),
    "NaN": ("await self.set('a', {'b': [1.0, float('nan')]})", "NotSerializable", "at ['b'][1] it is nan"),
    "an open file": ("await self.set('a', [open('/dev/null')])", "NotSerializable", "at [0] it is a TextIOWrapper"),
    "itself": ("a = []; a.append(a); await self.set('a', a)", "NotSerializable", "contains itself"),
    "too large": ("await self.set('a', 'x' * 2_000_000)", "ValueTooLarge", "2,000,002 bytes and may have 1,048,576"),
    "too many": ("await self.set_many({str(n): n for n in range(1001)})", "ValueTooLarge", "1,001 values"),
    "ttl": ("await self.set('a', 1, ttl=0)", "ValueError", "not above zero"),
    "two times": ("await self.run_task(self.other, delay=1, run_at=2)", "ValueError", "not both"),
    "naive time": (
        "import datetime; await self.run_task(self.other, run_at=datetime.datetime(2030, 1, 1))",
        "ValueError",
        "no time zone",
    ),
    "task's arguments": ("await self.run_task(self.other, 1, 2)", "TypeError", "Sample.other(): too many positional arguments"),
    "callback's arguments": ("await self.callback(self.other, nope=1)", "TypeError", "unexpected keyword argument 'nope'"),
    "callback's argument has no JSON": (
        "await self.callback(self.other, print)",
        "NotSerializable",
        "argument 1 of Sample.other()",
    ),
    "missing method": ("await self.callback('nope')", "CallbackNotFound", "Sample.nope cannot be called back"),
    "method that is not async": ("await self.run_task(self.plain)", "CallbackNotFound", "not async def"),
    "lambda": ("await self.callback(lambda: 0)", "TypeError", "such as self.sync_page"),
    "another object's method": ("await self.run_task([].append, 1)", "TypeError", "such as self.sync_page"),
    "run of a method": ("await self.run(self.other)", "TypeError", "a callback is a str"),
    "undeclared tool": ("self.tools.nope", "AttributeError", "declares no tool 'nope'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_it_is_said(twist: MakeVersion, name: str) -> None:
    code, kind, words = REFUSED[name]
    with twist(BODY.format(code)).attempt() as guest:
        raised = guest.raised()
        assert (raised.type, guest.calls) == (kind, [])
        assert words in raised.message


def test_answers_come_back_as_what_they_are(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        await self.set_many({"a": {"at": "2030-01-01T00:00:00Z"}, "b": None})
        from datetime import datetime
        found = await self.get("a", dict[str, datetime])
        assert found["at"].year == 2030
        assert await self.get("b", default=5) is None
        assert await self.get("c", int, default=5) == 5
        assert await self.get_many(["a", "b", "c"]) == {"a": {"at": "2030-01-01T00:00:00Z"}, "b": None}
        assert await self.keys() == ["a", "b"]
        token = await self.callback(self.main)
        assert isinstance(token, str) and type(token).__name__ == "Callback"
        assert type(await self.run_task(token)).__name__ == "TaskToken"
        await self.set("token", token)
        return await self.get("token")
    """
    with twist(body).attempt() as guest:
        assert guest.result() == "cb_0"


def test_a_stored_value_that_does_not_fit_is_named(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        await self.set("state", {"pages": [1, "two"]})
        await self.get("state", dict[str, list[int]])
    """
    with twist(body).attempt() as guest:
        raised = guest.raised()
    assert raised.type == "InvalidValue"
    assert raised.message.startswith("the value of 'state' does not fit dict[str, list[int]]")
    assert "$[...][1]" in raised.message


@pytest.mark.parametrize("name", ["NotFound", "QueueFull", "PermissionDenied", "ValueError", "NetworkDenied", "SomethingNew"])
def test_a_failure_is_raised_where_the_call_was_made(twist: MakeVersion, name: str) -> None:
    body = """
    async def main(self):
        try:
            await self.get("a")
        except Exception as error:
            return [type(error).__name__, str(error)]
    """

    def fail(_: object) -> None:
        raise type(name, (Exception,), {})("why")

    with twist(body).attempt() as guest:
        guest.answers[StoreRead] = fail
        assert guest.result() == [name if name != "SomethingNew" else "RopewalkError", "why"]


def test_run_calls_the_method_with_the_event_first(module: MakeVersion) -> None:
    body = """
    async def greet(self, event: object, number: int, *, when: "datetime") -> str:
        return f"{event} {number + 1} {when.year}"

    async def main(self):
        from datetime import UTC, datetime
        token = await self.callback(self.greet, 1, when=datetime(2030, 1, 1, tzinfo=UTC))
        return await self.run(token, "hello")
    """
    with module(
        "from datetime import datetime\nclass Sample(Twist):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    ).attempt() as guest:
        assert guest.result() == "hello 2 2030"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Target(ns="", method="gone"), "CallbackNotFound"),
        (Target(ns="gone", method="main"), "CallbackNotFound"),
        (Target(ns="", method="other", arguments=b"[[1,2],{}]"), "TypeError"),
        (Target(ns="", method="other", arguments=b'[["x"],{}]'), "InvalidValue"),
    ],
)
def test_run_refuses_what_does_not_fit(twist: MakeVersion, target: Target, kind: str) -> None:
    with twist(BODY.format("await self.run('cb_1')")).attempt() as guest:
        guest.answers[CallbackResolve] = lambda _: target
        assert guest.raised().type == kind


def test_the_execution_is_described(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        one = self.execution
        await self.get("a")
        assert one.key("a") == one.key("a") != one.key("b")
        assert 0 < one.remaining.total_seconds() <= 120 and 0 < one.cpu_remaining.total_seconds() <= 60
        assert self.priority.title == "Root" and str(self.priority.id).startswith("6a1c")
        deadline = one.deadline.isoformat()
        return [one.id, one.attempt, deadline, one.requests_left, one.instance_id, one.version, one.previous_version, one.trigger]
    """
    with twist(body).attempt(attempt=2, previous_version=2, trigger="invoke") as guest:
        assert guest.result() == ["execution-1", 2, "2023-11-14T22:15:20+00:00", 999, "instance-1", 3, 2, "invoke"]


def test_keys_of_effects_are_the_same_on_every_attempt(twist: MakeVersion) -> None:
    version = twist("async def main(self):\n    return self.execution.key('mail')")
    keys: list[str] = []
    for attempt in (1, 2):
        with version.attempt(attempt=attempt) as guest:
            keys += [guest.result()]
    assert keys[0] == keys[1]


def test_randomness_is_the_attempts_own_and_repeats_with_its_seed(twist: MakeVersion) -> None:
    version = twist("async def main(self):\n    import random\n    return random.random()")
    drawn: list[Any] = []
    for seed in (b"a" * 16, b"a" * 16, b"b" * 16):
        with version.attempt(seed=seed) as guest:
            drawn.append(guest.result())
    assert drawn[0] == drawn[1] != drawn[2]


def test_numpy_is_seeded_where_the_author_has_imported_it(twist: MakeVersion) -> None:
    version = twist("import numpy.random\nasync def main(self):\n    import numpy\n    return numpy.random.seeds")
    (version.folder / "numpy").mkdir()
    (version.folder / "numpy" / "__init__.py").touch()
    (version.folder / "numpy" / "random.py").write_text("seeds = []\nseed = seeds.append\n", encoding="utf-8")
    with version.attempt(seed=bytes([0, 0, 1, 0, 9])) as guest:
        assert guest.result()[-1] == 256


def test_the_host_going_ends_the_process_at_once(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        try:
            await self.get("a")
        finally:
            await self.set("never", 1)
    """
    with twist(body).attempt() as guest:
        guest.next_call()
        guest.connection.close()
        assert guest.exit_status() == 0


@pytest.mark.parametrize("waiting", ["await asyncio.sleep(60)", "await asyncio.gather(self.get('a'), self.get('b'))"])
def test_the_host_going_ends_a_loop_too(twist: MakeVersion, waiting: str) -> None:
    with twist(f"async def main(self):\n    await self.set('begun', 1)\n    {waiting}").attempt() as guest:
        guest.answer(guest.next_call())
        guest.connection.close()
        assert guest.exit_status() == 0


def test_values_of_the_wire_are_checked_before_they_are_sent(twist: MakeVersion) -> None:
    body = "plot = Plot()\nasync def main(self):\n    await self.plot.create_activity(NewActivity('note', 5))"
    with twist(body).attempt() as guest:
        raised = guest.raised()
        assert raised.type == "InvalidValue"
        assert "at `items[0].activity.title`" in raised.message


def test_a_call_larger_than_a_message_is_refused(twist: MakeVersion) -> None:
    body = "async def main(self):\n    await self.set_many({str(n): 'x' * 1_000_000 for n in range(17)})"
    with twist(body).attempt() as guest:
        raised = guest.raised()
        assert (raised.type, guest.calls) == ("ValueTooLarge", [])
        assert "16,777,216" in raised.message


def test_the_operators_limit_of_a_value_holds(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    await self.set('a', 'x' * 100)").attempt(value=50) as guest:
        assert "the value of 'a' has 102 bytes and may have 50" in guest.raised().message
