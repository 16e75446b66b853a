"""Options that do not fit: refused at activation, with the option's name, what it takes and how to give it."""

from __future__ import annotations

import pytest

from ropewalk.errors import InvalidValue
from tests.badinput.aftermath import assert_goes_on
from tests.harness.runtime import Failed, Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
from typing import Literal
from ropewalk import Options, Priority, Twist

class Settings(Options):
    name: str
    count: int = 1
    share: float = 0.5
    on: bool = False
    words: list[str] = []
    mode: Literal["fast", "slow"] = "fast"

class Optioned(Twist):
    options: Settings

    async def benign(self) -> str:
        return "fine"
"""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, ["name", "str"]),
        ({"name": "n", "count": "many"}, ["count", "many", "int"]),
        ({"name": "n", "count": "1.5"}, ["count", "1.5"]),
        ({"name": "n", "count": ""}, ["count"]),
        ({"name": "n", "count": "9" * 400}, ["count"]),
        ({"name": "n", "share": "nan"}, ["share", "nan"]),
        ({"name": "n", "share": "1e999"}, ["share", "1e999"]),
        ({"name": "n", "on": "maybe"}, ["on", "maybe"]),
        ({"name": "n", "words": "not json"}, ["words", "not json"]),
        ({"name": "n", "cuont": "1"}, ["cuont", "count"]),
    ],
)
async def test_an_option_that_does_not_fit_is_refused_by_name(runtime: Runtime, given: dict[str, str], says: list[str]) -> None:
    await runtime.deploy(SOURCE)
    with pytest.raises(InvalidValue) as caught:
        await runtime.activate("optioned", **given)
    assert [word for word in says if word not in str(caught.value)] == [], str(caught.value)
    assert await runtime.storage.instances() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [({"words": '{"a": 1}'}, "words"), ({"words": "[1, 2]"}, "words"), ({"mode": '"medium"'}, "mode")],
)
async def test_an_option_of_a_richer_type_is_refused_by_the_activation_at_the_latest(
    runtime: Runtime, given: dict[str, str], says: str
) -> None:
    with pytest.raises((InvalidValue, Failed)) as caught:
        await runtime.run(SOURCE, name="n", **given)
    assert says in str(caught.value)
    executions = [one for instance in await runtime.storage.instances() for one in await runtime.executions(instance.id)]
    assert [one.attempt for one in executions] in ([], [1])


async def test_the_same_twist_is_activated_with_options_that_fit(runtime: Runtime) -> None:
    given = {"name": "n", "count": "2", "share": "1e-3", "on": "yes", "words": '["a"]'}
    await assert_goes_on(runtime, await runtime.run(SOURCE, **given))
