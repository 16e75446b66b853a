"""A twist may lower its limits, and never raise them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from msgspec.structs import replace

from ropewalk.sandbox.interface import RefusedImport
from tests.harness.runtime import Runtime
from tests.limits.conftest import GREEDY, Trial

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opened = Callable[..., AbstractAsyncContextManager[Runtime]]


def greedy(limits: str) -> str:
    """Return the twist with these limits."""
    return GREEDY.read_text().replace("limits = Limits()", f"limits = Limits({limits})")


@pytest.mark.parametrize(
    ("limits", "figures"),
    [
        ("cpu=61", ["cpu", "61", "60"]),
        ("wall=121", ["wall", "121", "120"]),
        ("memory=128 * MIB + 1", ["memory", "134,217,729", "134,217,728"]),
        ("requests=1001", ["requests", "1,001", "1,000"]),
        ("logs=262_145", ["logs", "262,145", "262,144"]),
        ("cpu=0", ["cpu", "0"]),
        ("memory=0", ["memory", "0"]),
    ],
)
async def test_no_twist_may_have_more_than_the_operator_allows(trial: Trial, limits: str, figures: list[str]) -> None:
    with pytest.raises(RefusedImport) as refused:
        await trial.runtime.deploy(greedy(limits))
    assert [figure for figure in figures if figure not in str(refused.value)] == [], refused.value


async def test_what_the_operator_allows_may_be_asked_for(trial: Trial) -> None:
    instance = await trial.greedy("cpu=60, wall=120, memory=128 * MIB, requests=1000, logs=262_144")
    await trial.goes_on(instance)


async def test_an_operator_who_allows_less_since_is_obeyed(opened: Opened) -> None:
    """A version that was deployed under higher limits runs under those of today."""
    async with opened(limit_requests=20) as runtime:
        instance = await runtime.run(greedy("requests=20"))
        assert await runtime.invoke(instance, "ask", 20, False) == "survived"
        await runtime.stop()
        runtime.service.settings = replace(runtime.service.settings, limit_requests=10)
        assert (await runtime.failure(instance, "ask", 11, False)).type == "request_limit"


async def test_a_twist_that_asks_for_nothing_of_the_host_may_say_so(trial: Trial) -> None:
    source = "from ropewalk import Limits, Twist\n\nclass Quiet(Twist):\n    limits = Limits(requests=0)\n\n    async def one(self) -> int:\n        return 1\n"
    instance = await trial.runtime.run(source)
    assert await trial.runtime.invoke(instance, "one") == 1
