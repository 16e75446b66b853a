"""Methods that end badly in every way: each failure is named, nothing of it is kept, and the instance goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.storage.records import LogQuery
from tests.badinput.aftermath import assert_fails, assert_goes_on
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

MISBEHAVES = Path(__file__).parent / "twists" / "misbehaves.py"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def instance(lasting: Runtime) -> str:
    """An instance that all of them try their worst on."""
    return await lasting.run(MISBEHAVES)


# ── Exceptions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("hostile_text", "HostileText", ""),
        ("wrong_text", "WrongText", ""),
        ("group", "ExceptionGroup", "several"),
        ("circle", "ValueError", "first"),
        ("chain", "ValueError", "4999"),
        ("base_exception", "Private", "not an Exception"),
        ("keyboard_interrupt", "KeyboardInterrupt", ""),
        ("system_exit", "SystemExit", "bye"),
        ("exit_zero", "SystemExit", "0"),
        ("generator_exit", "GeneratorExit", ""),
        ("stop_iteration", "RuntimeError", "StopIteration"),
        ("cancelled", "CancelledError", ""),
        ("recursion", "RecursionError", "recursion"),
        ("async_recursion", "RecursionError", "recursion"),
        ("native_recursion", "RecursionError", "recursion"),
    ],
)
async def test_an_exception_is_reported_by_its_class_and_text(
    lasting: Runtime, instance: str, how: str, error: str, says: str
) -> None:
    why = await assert_fails(lasting, instance, "fail", how)
    assert why.type == error, why
    assert says in why.message
    assert f"by_{how}" in why.traceback or how == "chain"  # too long a chain of causes to be shown


async def test_an_exception_without_a_name_is_reported_all_the_same(lasting: Runtime, instance: str) -> None:
    assert (await assert_fails(lasting, instance, "fail", "nameless")).type


async def test_an_error_text_that_is_no_text_is_made_one(lasting: Runtime, instance: str) -> None:
    why = await assert_fails(lasting, instance, "fail", "surrogate_text")
    assert why.type == "ValueError"
    assert why.message.encode()


async def test_an_enormous_error_text_is_cut(lasting: Runtime, instance: str) -> None:
    why = await assert_fails(lasting, instance, "fail", "enormous_text")
    assert why.type == "ValueError"
    assert len(why.message) + len(why.traceback) < 1_000_000


# ── Ends of the process ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ("os_exit", "crash", "exit status 0"),
        ("os_exit_code", "crash", "exit status 3"),
        ("exiting_text", "crash", "exit status 7"),
        ("kill", "PermissionError", ""),
        ("abort", "crash", "signal"),
        ("segfault", "crash", "signal 11"),
        ("stack_overflow", "crash", "signal 11"),
        ("stop", "PermissionError", ""),
        ("endless_text", "cpu_limit", "3 s"),
    ],
)
async def test_a_process_that_ends_is_a_failed_attempt(lasting: Runtime, instance: str, how: str, error: str, says: str) -> None:
    why = await assert_fails(lasting, instance, "fail", how)
    assert why.type == error, why
    assert says in why.message


@pytest.mark.parametrize(
    ("how", "errors"), [("fork", {"PermissionError", "BlockingIOError"}), ("fork_bomb", {"RuntimeError", "memory_limit"})]
)
async def test_processes_and_hosts_of_threads_cannot_be_started(
    lasting: Runtime, instance: str, how: str, errors: set[str]
) -> None:
    assert (await assert_fails(lasting, instance, "fail", how)).type in errors


# ── Never returning ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["deadlock", "lock", "ignoring_cancellation"])
async def test_what_never_returns_is_ended(runtime: Runtime, how: str) -> None:
    instance = await runtime.run(MISBEHAVES.read_text().replace("wall=60.0", "wall=2.0"))
    why = await assert_fails(runtime, instance, "fail", how)
    assert why.type == "timeout"
    assert "2 s" in why.message


# ── Results ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("function", "method"),
        ("coroutine", "nested"),
        ("nan", "nan"),
        ("infinity", "inf"),
        ("surrogates", "surrogate"),
        ("circular", ""),
        ("depth", ""),
        ("open_file", "TextIOWrapper"),
        ("naive_key", "key"),
    ],
)
async def test_a_result_without_a_json_form_is_refused_by_name(lasting: Runtime, instance: str, how: str, says: str) -> None:
    why = await assert_fails(lasting, instance, "fail", how)
    assert why.type == "NotSerializable"
    assert says in why.message


async def test_a_result_over_the_limit_says_both_figures(lasting: Runtime, instance: str) -> None:
    why = await assert_fails(lasting, instance, "fail", "large_result")
    assert why.type == "ValueTooLarge"
    assert "1,048,578" in why.message
    assert "1,048,576" in why.message


# ── Odd things that are no failures ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["log_flood", "one_long_line"])
async def test_logs_are_cut_with_a_mark_and_the_execution_goes_on(runtime: Runtime, what: str) -> None:
    instance = await runtime.run(MISBEHAVES)
    await runtime.invoke(instance, "returns", what)
    lines = await runtime.logs(instance)
    assert sum(map(len, lines)) <= 300_000
    assert any("262,144 bytes" in line for line in lines)
    await assert_goes_on(runtime, instance)


async def test_odd_log_lines_are_kept_as_well_as_they_can_be(runtime: Runtime) -> None:
    instance = await runtime.run(MISBEHAVES)
    await runtime.invoke(instance, "returns", "odd_lines")
    lines = [line.line for line in await runtime.storage.logs(LogQuery(instance=instance))]
    messages = [line.message for line in lines]
    assert any("nul" in message for message in messages)
    assert {"half a line", "to stderr", "level"} <= set(messages)
    assert all(message.encode() for message in messages)
    await assert_goes_on(runtime, instance)


@pytest.mark.parametrize("what", ["closed_streams", "replaced_signal_handlers", "patched_library", "left_over_tasks", "threads"])
async def test_what_a_method_breaks_is_broken_for_nobody_else(runtime: Runtime, what: str) -> None:
    instance = await runtime.run(MISBEHAVES)
    await runtime.finish(await runtime.queue(instance, "returns", what))
    await assert_goes_on(runtime, instance)


async def test_a_bad_event_among_good_ones_delays_nobody(runtime: Runtime) -> None:
    """Ten instances of good work run beside one that crashes all the time."""
    bad = await runtime.run(MISBEHAVES)
    good = [await runtime.activate("misbehaves") for _ in range(5)]
    crashes = [await runtime.queue(bad, "fail", "os_exit") for _ in range(10)]
    works = [await runtime.queue(one, "benign") for one in good for _ in range(2)]
    assert {(await runtime.finish(one)).status for one in works} == {"succeeded"}
    assert {(await runtime.finish(one)).status for one in crashes} == {"failed"}
    await assert_goes_on(runtime, bad)
