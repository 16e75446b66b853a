"""Limits that raise an error which may be caught: they name the thing, the limit and the figure, and the execution goes on."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.limits.conftest import Trial

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def instance(trial: Trial) -> str:
    """A greedy instance with nothing but the operator's limits."""
    return await trial.greedy()


async def caught(trial: Trial, instance: str, what: str) -> tuple[str, str]:
    """Have something refused that the method catches; returns the error's name and message. All goes on."""
    name, message = await trial.runtime.invoke(instance, "refused", what)
    await trial.goes_on(instance)
    return name, message


@pytest.mark.parametrize(
    ("what", "error", "figures"),
    [
        ("key", "ValueTooLarge", ["513", "512"]),
        ("value", "ValueTooLarge", ["1,048,577", "1,048,576"]),
        ("batch", "ValueTooLarge", ["1,001", "1,000"]),
        ("message", "ValueTooLarge", ["16,777,216"]),
        ("rows", "ValueTooLarge", ["10,000", "commit()"]),
        ("bytes", "ValueTooLarge", ["16,777,216", "commit()"]),
        ("arguments", "ValueTooLarge", ["1,048,576"]),
    ],
)
async def test_what_is_too_large_is_refused_with_both_figures(
    trial: Trial, instance: str, what: str, error: str, figures: list[str]
) -> None:
    name, message = await caught(trial, instance, what)
    assert name == error
    assert [figure for figure in figures if figure not in message] == [], message


async def test_a_result_that_is_too_large_fails_the_execution(trial: Trial, instance: str) -> None:
    why = await trial.runtime.failure(instance, "give", 2 * 1024 * 1024)
    assert why.type == "ValueTooLarge"
    assert "1,048,576" in why.message
    await trial.goes_on(instance)


async def test_a_listing_has_ten_thousand_rows(trial: Trial, instance: str) -> None:
    for start in range(0, 11_000, 1000):
        await trial.runtime.invoke(instance, "keep", start, 1000)
    name, message = await caught(trial, instance, "listing")
    assert name == "ValueTooLarge"
    assert "10,000" in message


async def test_a_seventeenth_thread_is_refused(trial: Trial, instance: str) -> None:
    count, message = await trial.runtime.invoke(instance, "threads", 16)
    assert count == 16
    assert "16" in message
    await trial.goes_on(instance)


async def test_fifteen_threads_beside_the_method_are_let_be(trial: Trial, instance: str) -> None:
    assert await trial.runtime.invoke(instance, "threads", 15) == [16, ""]


async def test_asyncio_keeps_within_the_bound_by_itself(trial: Trial, instance: str) -> None:
    assert await trial.runtime.invoke(instance, "work_in_threads", 100) == 100


async def test_descriptors_are_bounded(trial: Trial, instance: str) -> None:
    count, error, message = await trial.runtime.invoke(instance, "files")
    assert count <= 256
    assert (error, message) == ("OSError", "Too many open files")
    await trial.goes_on(instance)
