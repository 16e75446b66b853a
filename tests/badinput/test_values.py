"""Keys, values, arguments and records that cannot be: the error names the thing, its size and limit, and the way out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.badinput.aftermath import assert_fails, assert_goes_on
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVALUATES = Path(__file__).parent / "twists" / "evaluates.py"

BAD = {
    # keys
    "self.set('', 1)": ("InvalidValue", ["empty"]),
    "self.set('k' * 513, 1)": ("ValueTooLarge", ["513", "512"]),
    "self.set('é' * 257, 1)": ("ValueTooLarge", ["514", "512"]),
    "self.set('a\\0b', 1)": ("InvalidValue", ["NUL"]),
    "self.set('a\\ud800', 1)": ("InvalidValue", ["a"]),
    "self.set(5, 1)": ("TypeError", ["5"]),
    "self.get('k' * 513)": ("ValueTooLarge", ["513", "512"]),
    "self.get('a\\0b')": ("InvalidValue", ["NUL"]),
    "self.clear('')": ("InvalidValue", ["empty"]),
    "self.keys('a\\ud800')": ("InvalidValue", []),
    "self.get_many('abc')": ("TypeError", []),
    "self.get_many([f'k{n}' for n in range(1001)])": ("ValueTooLarge", ["1,001", "1,000"]),
    "self.set_many({f'k{n}': n for n in range(1001)})": ("ValueTooLarge", ["1,001", "1,000"]),
    # values
    "self.set('key', NAN)": ("NotSerializable", ["key", "nan"]),
    "self.set('key', {'a': [1, math.inf]})": ("NotSerializable", ["key", "a", "inf"]),
    "self.set('key', self.benign)": ("NotSerializable", ["key", "callback"]),
    "self.set('key', object())": ("NotSerializable", ["key", "object"]),
    "self.set('key', '\\ud800')": ("NotSerializable", ["key", "surrogate"]),
    "self.set('key', {'\\ud800': 1})": ("NotSerializable", ["key", "surrogate"]),
    "self.set('key', nested(100_000))": ("NotSerializable", ["key"]),
    "self.set('key', circle())": ("NotSerializable", ["key"]),
    "self.set('key', 'x' * 1_048_575)": ("ValueTooLarge", ["key", "1,048,577", "1,048,576"]),
    "self.set_many({'fits': 1, 'not': object()})": ("NotSerializable", ["not"]),
    # times to live
    "self.set('key', 1, ttl=0)": ("ValueError", ["ttl", "0"]),
    "self.set('key', 1, ttl=-5)": ("ValueError", ["ttl", "-5"]),
    "self.set('key', 1, ttl=NAN)": ("ValueError", ["ttl", "nan"]),
    "self.set('key', 1, ttl=math.inf)": ("ValueError", ["ttl", "inf"]),
    "self.set('key', 1, ttl='soon')": ("TypeError", ["ttl", "soon"]),
    # types that do not fit
    "self.get('half', int)": ("InvalidValue", ["half"]),
    "self.get('half', list[Point])": ("InvalidValue", ["half"]),
    # callbacks and tasks
    "self.callback('missing')": ("CallbackNotFound", ["missing"]),
    "self.callback('not_async')": ("CallbackNotFound", ["not_async", "async"]),
    "self.callback(self.not_async)": ("CallbackNotFound", ["not_async", "async"]),
    "self.callback(print)": ("TypeError", ["print"]),
    "self.callback('__init__')": ("CallbackNotFound", ["__init__"]),
    "self.callback(self.typed, 1, Point(1, 2), 3)": ("TypeError", ["typed"]),
    "self.callback(self.do, object())": ("NotSerializable", []),
    "self.callback(self.do, 'x' * 2_000_000)": ("ValueTooLarge", ["1,048,576"]),
    "self.run('cb_' + 'a' * 32)": ("CallbackNotFound", ["cb_aaaa"]),
    "self.run(self.benign)": ("TypeError", ["callback"]),
    "self.run_task('missing')": ("CallbackNotFound", ["missing"]),
    "self.run_task('cb_' + 'a' * 32)": ("CallbackNotFound", ["cb_aaaa"]),
    "self.run_task(self.typed)": ("TypeError", ["typed"]),
    "self.run_task(self.benign, 1, 2)": ("TypeError", ["benign"]),
    "self.run_task(self.benign, run_at=datetime(2030, 1, 1))": ("ValueError", ["UTC"]),
    "self.run_task(self.benign, run_at=datetime.now(UTC), delay=1)": ("ValueError", ["run_at", "delay"]),
    "self.run_task(self.benign, delay=NAN)": ("ValueError", ["delay", "nan"]),
    "self.run_task(self.benign, delay='soon')": ("TypeError", ["delay", "soon"]),
    "self.run_task(self.benign, key='k' * 513)": ("ValueTooLarge", ["513", "512"]),
    "self.run_task(self.benign, key='')": ("InvalidValue", ["empty"]),
    # activities and notes
    "self.plot.create_activity(NewActivity(type=NOTE, title='a\\0b'))": ("InvalidValue", ["title"]),
    "self.plot.create_activity(NewActivity(type=NOTE, title='\\ud800'))": ("InvalidValue", ["surrogates"]),
    "self.plot.create_activity(NewActivity(type='odd', title='t'))": ("InvalidValue", ["odd"]),
    "self.plot.create_activity(NewActivity(type=NOTE, title='t', start=datetime(2030, 1, 1)))": ("ValueError", ["UTC"]),
    "self.plot.create_activity(NewActivity(type=NOTE, title='t', meta={'n': NAN}))": ("NotSerializable", ["nan"]),
    "self.plot.create_activity(NewActivity(type=NOTE, title='t', id='no uuid'))": ("InvalidValue", ["no uuid"]),
    "self.plot.create_activities([NewActivity(type=NOTE, title='t')] * 1001)": ("ValueTooLarge", ["1,001", "1,000"]),
    "self.plot.update_activity(uuid4(), title='t')": ("NotFound", []),
    "self.plot.create_note(uuid4(), NewNote(content='c'))": ("NotFound", []),
    "self.plot.get_notes('no uuid')": ("InvalidValue", ["no uuid"]),
    # the network
    "self.network.fetch('https://elsewhere.example.com/')": ("NetworkDenied", ["elsewhere.example.com"]),
    "self.network.fetch('https://api.example.com/v2/items')": ("NetworkDenied", ["/v2/items"]),
    "self.network.fetch('https://api.example.com/v1/../v2/items')": ("NetworkDenied", []),
    "self.network.fetch('http://api.example.com/v1/items')": ("NetworkDenied", ["http://api.example.com"]),
    "self.network.fetch('file:///etc/passwd')": ("NetworkDenied", ["file"]),
    "self.network.fetch('no url')": ("NetworkDenied", ["URL"]),
    "self.network.fetch('https://api.example.com/v1/x', headers={'a': 'b\\r\\nc: d'})": ("ValueError", []),
    "self.network.fetch('https://api.example.com/v1/x', method='GET /')": ("ValueError", []),
    "self.network.fetch('https://api.example.com/v1/x', timeout=NAN)": ("ValueError", ["timeout", "nan"]),
    "self.network.fetch('https://api.example.com/v1/x', json=NAN)": ("NotSerializable", ["nan"]),
}
"""What an author might write, the error that it raises, and words of its message."""

VALUE_ERRORS = {"ValueError": {"ValueError", "InvalidValue"}, "InvalidValue": {"ValueError", "InvalidValue"}}
"""Either says it: a value of Python's own, or one of the store's."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def instance(lasting: Runtime) -> str:
    """An instance that all of them try their worst on."""
    return await lasting.run(EVALUATES)


@pytest.mark.parametrize("expression", BAD)
async def test_what_cannot_be_is_refused_by_name(lasting: Runtime, instance: str, expression: str) -> None:
    error, says = BAD[expression]
    why = await assert_fails(lasting, instance, "do", expression)
    assert why.type in VALUE_ERRORS.get(error, {error}), why
    assert [word for word in says if word not in why.message] == [], why.message


async def test_each_of_these_errors_can_be_caught(runtime: Runtime) -> None:
    instance = await runtime.run(EVALUATES)
    for expression, (error, _) in BAD.items():
        caught = await runtime.invoke(instance, "caught", expression)
        assert caught in VALUE_ERRORS.get(error, {error}), expression
        assert await runtime.keys(instance) == ["after", "before", "half"], expression
    await assert_goes_on(runtime, instance)


@pytest.mark.parametrize(
    "expression",
    [
        "self.set('k' * 512, 1)",
        "self.set('é' * 256, 1)",
        "self.set('key', 'x' * 1_048_574)",
        "self.set_many({f'k{n}': n for n in range(1000)})",
        "self.set('key', nested(200))",
        "self.set('key', {'a': None, 'b': [True, 1.5, '\\u0000']})",
        "self.set('key', -0.0)",
        "self.set('key', 2**63)",
        "self.plot.create_activities([NewActivity(type=NOTE, title='t')] * 1000)",
        "self.cancel_task('never made')",
        "self.delete_callback('cb_' + 'a' * 32)",
    ],
)
async def test_what_just_fits_is_taken(runtime: Runtime, expression: str) -> None:
    instance = await runtime.run(EVALUATES)
    await runtime.invoke(instance, "do", expression)
    await assert_goes_on(runtime, instance)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["one", {"x": 1, "y": 2}], ["argument 1", "typed", "int"]),
        ([1, {"x": 1}], ["argument 2", "typed", "y"]),
        ([1, "point"], ["argument 2", "typed", "Point"]),
        ([1], ["typed", "point"]),
        ([1, {"x": 1, "y": 2}, 3], ["typed"]),
    ],
)
async def test_arguments_that_do_not_fit_the_method_are_refused(
    lasting: Runtime, instance: str, args: list[object], says: list[str]
) -> None:
    why = await assert_fails(lasting, instance, "typed", *args)
    assert why.type in {"TypeError", "InvalidValue"}
    assert [word for word in says if word not in why.message] == [], why.message


# ── Limits of the whole instance ──────────────────────────────────────────────────────────────────────────────────────────────

Opened = Callable[..., AbstractAsyncContextManager[Runtime]]


async def test_a_store_over_its_limit_refuses_more_and_takes_it_after_a_clear(opened: Opened) -> None:
    async with opened(limit_store=10_000) as runtime:
        instance = await runtime.run(EVALUATES)
        for number in range(3):
            await runtime.invoke(instance, "do", f"self.set('key {number}', 'x' * 3000)")
        why = await assert_fails(runtime, instance, "do", "self.set('key 3', 'x' * 3000)")
        assert why.type == "ValueTooLarge"
        assert "10,000" in why.message
        await runtime.invoke(instance, "do", "self.set('key 2', 'y' * 3000)")
        await runtime.invoke(instance, "do", "self.clear('key 0')")
        await runtime.invoke(instance, "do", "self.set('key 3', 'x' * 3000)")
        await assert_goes_on(runtime, instance)


async def test_a_full_queue_refuses_more_and_takes_it_once_some_ran(opened: Opened) -> None:
    async with opened(limit_queue=5) as runtime:
        instance = await runtime.run(EVALUATES)
        many = "asyncio.gather(*[self.run_task(self.benign) for _ in range(10)])"
        why = await runtime.failure(instance, "do", many)
        assert why.type == "QueueFull"
        assert "5" in why.message
        await runtime.invoke(instance, "do", "asyncio.gather(*[self.run_task(self.benign) for _ in range(4)])")
        await runtime.drain()
        assert len(await runtime.executions(instance, "benign")) == 4
        await assert_goes_on(runtime, instance)


async def test_too_much_uncommitted_work_is_refused_and_commit_makes_room(runtime: Runtime) -> None:
    instance = await runtime.run(
        """
        from ropewalk import Twist

        class Piles(Twist):
            async def pile(self, commit: bool) -> None:
                for number in range(20):
                    await self.set(f"key {number}", "x" * 1_000_000)
                    if commit:
                        await self.commit()

            async def benign(self) -> str:
                return "fine"
        """
    )
    why = await assert_fails(runtime, instance, "pile", False)
    assert why.type == "ValueTooLarge"
    assert "commit()" in why.message
    await runtime.invoke(instance, "pile", True)
    assert len(await runtime.keys(instance)) == 20
    await assert_goes_on(runtime, instance)


# ── Callbacks to methods that are gone ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_task_whose_method_a_new_version_dropped_fails_unretried(runtime: Runtime) -> None:
    instance = await runtime.run(EVALUATES)
    await runtime.invoke(instance, "do", "self.run_task(self.typed, 1, Point(1, 2), delay=60)")
    await runtime.deploy(EVALUATES.read_text().replace("def typed", "def renamed"), name="evaluates", force=True)
    await runtime.drain()
    runtime.clock.step(seconds=61)
    await runtime.drain()
    (execution,) = await runtime.executions(instance, "typed")
    assert (execution.status, execution.attempt) == ("failed", 1)
    assert execution.error is not None
    assert execution.error.type == "CallbackNotFound"
    assert "typed" in execution.error.message
    await assert_goes_on(runtime, instance)
