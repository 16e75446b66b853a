"""The store as an execution sees it, whether its event brought it along or the host is asked: the same values, the same limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from tests.harness.runtime import Runtime, open_runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEEPER = """
    import asyncio

    from ropewalk import Tool, Twist, ValueTooLarge

    SEEN = "text", 7, None, [1, {"a": "ä"}]


    class Drawer(Tool):
        async def both(self, key: str, value: object) -> object:
            before = await self.get(key)
            await self.set(key, value)
            return before


    class Keeper(Twist):
        \"\"\"Keeps values in every way there is.\"\"\"

        drawer = Drawer()

        async def fill(self, count: int, size: int) -> None:
            await self.set_many({f"fill:{number:04}": "x" * size for number in range(count)})

        async def write(self, key: str, value: object) -> None:
            await self.set(key, value)

        async def read(self, *keys: str) -> list:
            return [await self.get(key, default="nothing") for key in keys]

        async def see_own_writes(self) -> list:
            seen = []
            for number, value in enumerate(SEEN):
                await self.set("own", value)
                seen.append(await self.get("own", default="nothing") == SEEN[number])
            await self.clear("own")
            seen.append(await self.get("own", default="nothing"))
            await self.set_many({"own": 1, "other": 2})
            await self.set("other", 3, ttl=3600)
            seen.append(await self.get_many(["own", "other", "none"]))
            seen.append(await self.keys("o"))
            await self.clear_all("ow")
            seen.append(await self.get_many(["own", "other"]))
            return seen

        async def apart(self) -> list:
            await self.set("mine", "twist")
            return [await self.drawer.both("mine", "tool"), await self.get("mine"), await self.drawer.both("mine", 0)]

        async def forget_in_the_end(self) -> None:
            await self.set("brief", 1)
            await self.commit()
            await self.clear("brief")
            await self.set("late", 1)
            raise ValueError("after all")

        async def ask(self, count: int, ahead: bool = True) -> int:
            for number in range(count):
                try:
                    await self.get(f"key-{number}") if ahead else await self.set("key", number)
                except BaseException:
                    pass
            return self.execution.requests_left

        async def ask_and_go_on(self) -> None:
            for number in range(self.execution.requests_left):
                await self.get(f"key-{number}")
            await self.keys()
            self.log.info("went on")

        async def at_once(self) -> list:
            await asyncio.gather(*(self.set(f"at-once-{number}", number) for number in range(50)))
            return await asyncio.gather(*(self.get(f"at-once-{number}", int) for number in range(50)))

        async def from_a_thread(self) -> list:
            refused = []
            for method in (self.get("key"), self.set("key", 1), self.clear("key")):
                try:
                    await asyncio.to_thread(asyncio.run, method)
                except RuntimeError as error:
                    refused.append(str(error))
            return [*refused, await self.get("key")]

        async def too_much(self, size: int) -> list:
            refused = []
            for number in range(3):
                try:
                    await self.set(f"large-{number}", "x" * size)
                except ValueTooLarge as error:
                    refused.append(number)
            return refused
    """


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting(tmp_path_factory: pytest.TempPathFactory, sandbox: ForkSource, shared_bundles: Path) -> AsyncIterator[Runtime]:
    """A runtime for many instances."""
    async with open_runtime(tmp_path_factory.mktemp("lasting"), sandbox, shared_bundles) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def keeper(lasting: Runtime) -> str:
    """An instance whose store is empty."""
    return await lasting.run(KEEPER)


SIZES = {"brought along": (0, 0), "some brought along": (10, 20), "too many values": (100, 1), "too large": (2, 5000)}


@pytest.mark.parametrize(("count", "size"), SIZES.values(), ids=SIZES.keys())
async def test_an_execution_sees_what_it_wrote(lasting: Runtime, keeper: str, count: int, size: int) -> None:
    await lasting.invoke(keeper, "fill", count, size)
    *same, cleared, several, keys, rest = await lasting.invoke(keeper, "see_own_writes")
    assert same == [True] * 4
    assert cleared == "nothing"
    assert several == {"own": 1, "other": 3}
    assert keys == ["other", "own"]
    assert rest == {"other": 3}
    assert await lasting.keys(keeper, "o") == ["other"]


@pytest.mark.parametrize(("count", "size"), SIZES.values(), ids=SIZES.keys())
async def test_the_next_execution_sees_it_too(lasting: Runtime, keeper: str, count: int, size: int) -> None:
    await lasting.invoke(keeper, "fill", count, size)
    await lasting.invoke(keeper, "write", "key", {"deep": [1, 2]})
    assert await lasting.invoke(keeper, "read", "key", "none") == [{"deep": [1, 2]}, "nothing"]
    await lasting.invoke(keeper, "write", "key", None)
    assert await lasting.invoke(keeper, "read", "key") == [None]


async def test_a_tool_has_a_store_of_its_own(lasting: Runtime, keeper: str) -> None:
    assert await lasting.invoke(keeper, "apart") == [None, "twist", "tool"]
    assert await lasting.invoke(keeper, "apart") == [0, "twist", "tool"]


async def test_what_expires_is_gone_in_time(runtime: Runtime) -> None:
    keeper = await runtime.run(KEEPER)
    await runtime.invoke(keeper, "see_own_writes")
    assert await runtime.invoke(keeper, "read", "other") == [3]
    runtime.clock.step(seconds=3601)
    assert await runtime.invoke(keeper, "read", "other") == ["nothing"]


async def test_writes_that_nobody_waited_for_go_with_a_failure(lasting: Runtime, keeper: str) -> None:
    assert (await lasting.failure(keeper, "forget_in_the_end")).type == "ValueError"
    assert await lasting.keys(keeper) == ["brief"]


async def test_each_read_and_write_is_a_request(lasting: Runtime, keeper: str) -> None:
    for ahead in (True, False):
        execution = await lasting.finish(await lasting.queue(keeper, "ask", 1000, ahead))
        assert (execution.result, execution.requests) == (b"0", 1000)


@pytest.mark.parametrize("ahead", [True, False], ids=["reads", "writes"])
async def test_one_request_too_many_ends_the_execution(lasting: Runtime, keeper: str, ahead: bool) -> None:
    assert (await lasting.failure(keeper, "ask", 1001, ahead)).type == "request_limit"
    assert await lasting.keys(keeper) == []


async def test_the_request_after_the_last_is_not_answered(lasting: Runtime, keeper: str) -> None:
    assert (await lasting.failure(keeper, "ask_and_go_on")).type == "request_limit"
    assert await lasting.logs(keeper) == []


async def test_with_an_event_loop(lasting: Runtime, keeper: str) -> None:
    assert await lasting.invoke(keeper, "at_once") == list(range(50))
    assert len(await lasting.keys(keeper, "at-once-")) == 50


async def test_threads_are_told_to_leave_the_twist_alone(lasting: Runtime, keeper: str) -> None:
    *refused, value = await lasting.invoke(keeper, "from_a_thread")
    assert [text for text in refused if "was called from a thread" in text] == refused
    assert (len(refused), value) == (3, None)


async def test_a_store_that_is_nearly_full_refuses_where_it_can_be_caught(
    tmp_path: Path, sandbox: ForkSource, shared_bundles: Path
) -> None:
    async with open_runtime(tmp_path, sandbox, shared_bundles, limit_store=10_000) as runtime:
        keeper = await runtime.run(KEEPER)
        assert await runtime.invoke(keeper, "too_much", 4_000) == [2]
        assert await runtime.keys(keeper) == ["large-0", "large-1"]
