"""What authors do with asyncio works as under `asyncio.run`, and a method that needs no loop gets none."""

from __future__ import annotations

import msgspec
import pytest

from ropewalk.wire.messages import Fetch, Finished, HttpAnswer, StoreRead
from tests.guest.playing import Guest, MakeVersion

PATTERNS = {
    "calls only": ("await self.set('a', 1); return await self.get('a')", 1),
    "sleep": ("await asyncio.sleep(0.001); return 1", 1),
    "sleep(0)": ("await asyncio.sleep(0); return 1", 1),
    "call, then sleep, then call": ("await self.set('a', 1); await asyncio.sleep(0.001); return await self.get('a')", 1),
    "gather": ("return await asyncio.gather(self.later(1), self.later(2))", [1, 2]),
    "gather with exceptions": (
        "return [str(one) for one in await asyncio.gather(self.later(1), self.boom(), return_exceptions=True)]",
        ["1", "boom"],
    ),
    "timeout": (
        """
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            return "timed out"
        """,
        "timed out",
    ),
    "timeout around a call": ("async with asyncio.timeout(5):\n    return await self.get('nothing', default='none')", "none"),
    "TaskGroup": (
        "async with asyncio.TaskGroup() as group:\n    one = group.create_task(self.later(1))\nreturn one.result()",
        1,
    ),
    "wait_for": ("return await asyncio.wait_for(self.later(3), 5)", 3),
    "to_thread": ("return await asyncio.to_thread(sum, [1, 2])", 3),
    "call back from a thread": (
        """
        loop = asyncio.get_running_loop()
        def read():
            return asyncio.run_coroutine_threadsafe(self.get("a", default=4), loop).result(5)
        return await asyncio.to_thread(read)
        """,
        4,
    ),
    "run_in_executor": ("return await asyncio.get_running_loop().run_in_executor(None, sum, [1, 2])", 3),
    "queue, twice": (
        """
        queue = asyncio.Queue()
        asyncio.get_running_loop().call_soon(queue.put_nowait, 1)
        first = await queue.get()
        asyncio.get_running_loop().call_later(0.001, queue.put_nowait, 2)
        return [first, await queue.get()]
        """,
        [1, 2],
    ),
    "event": (
        "event = asyncio.Event()\nasyncio.get_running_loop().call_soon(event.set)\nreturn await event.wait()",
        True,
    ),
    "lock": ("lock = asyncio.Lock()\nasync with lock:\n    return await self.later(1)", 1),
    "semaphore": ("async with asyncio.Semaphore(1):\n    return 1", 1),
    "current task": ("return asyncio.current_task() is asyncio.current_task() is not None", True),
    "loop kept from before it woke": (
        "loop = asyncio.get_running_loop()\nawait asyncio.sleep(0)\nreturn loop is asyncio.get_running_loop()",
        True,
    ),
    "future on a loop kept from before": (
        "loop = asyncio.get_running_loop()\nfuture = asyncio.Future(loop=loop)\nloop.call_soon(future.set_result, 4)\nreturn await future",
        4,
    ),
    "loop's attributes": (
        "loop = asyncio.get_running_loop()\nloop.slow_callback_duration = 9\nreturn [loop.is_running(), loop.slow_callback_duration]",
        [True, 9],
    ),
    "cancel a task": (
        """
        task = asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        """,
        "cancelled",
    ),
    "cancel oneself before the first await": (
        """
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return "cancelled"
        """,
        "cancelled",
    ),
    "shield": ("return await asyncio.shield(self.later(1))", 1),
    "as_completed": ("return sorted([await one for one in asyncio.as_completed([self.later(1), self.later(2)])])", [1, 2]),
    "async generator": ("return [one async for one in self.counting()]", [0, 1, 2]),
    "async generator, left early": ("async for one in self.counting():\n    return one", 0),
    "context variables": (
        """
        import contextvars
        variable = contextvars.ContextVar("variable", default=0)
        asyncio.get_running_loop().time()
        variable.set(1)
        await asyncio.sleep(0)
        return variable.get()
        """,
        1,
    ),
    "anyio": (
        "import anyio\nwith anyio.move_on_after(0.01) as scope:\n    await anyio.sleep(5)\nreturn scope.cancelled_caught",
        True,
    ),
    "anyio task group": (
        """
        import anyio
        found = []
        async def note(one):
            found.append(await self.later(one))
        async with anyio.create_task_group() as group:
            group.start_soon(note, 1)
            group.start_soon(note, 2)
        return sorted(found)
        """,
        [1, 2],
    ),
    "asyncio.run within": ("coro = self.later(1)\ntry:\n    asyncio.run(coro)\nexcept RuntimeError:\n    return await coro", 1),
}

HELPERS = """
async def later(self, value):
    await asyncio.sleep(0.001)
    return value

async def boom(self):
    raise ValueError("boom")

async def counting(self):
    for number in range(3):
        yield number
        await asyncio.sleep(0)
"""


def indented(body: str) -> str:
    return "async def main(self):\n" + "\n".join(f"    {line}" for line in _dedent(body).splitlines()) + "\n" + HELPERS


def _dedent(body: str) -> str:
    import textwrap

    return textwrap.dedent(body).strip("\n")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_of_asyncio_gives_what_it_gives_under_asyncio_run(twist: MakeVersion, pattern: str) -> None:
    body, expected = PATTERNS[pattern]
    with twist(indented(body)).attempt() as guest:
        assert guest.result() == expected
        assert guest.lines(level=30) == []


def test_calls_alone_make_no_loop(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        await self.set("a", 1)
        async with asyncio.Lock():
            await self.get("a")
        return type(asyncio._get_running_loop()).__name__
    """
    with twist(body).attempt() as guest:
        assert guest.result() == "DormantLoop"


def reads(guest: Guest, count: int) -> list[StoreRead]:
    calls = [guest.next_call() for _ in range(count)]
    assert all(isinstance(call, StoreRead) for call in calls)
    return calls


def test_gathered_calls_are_all_in_flight_and_answered_in_any_order(twist: MakeVersion) -> None:
    body = "async def main(self):\n    return await asyncio.gather(*[self.get(str(number)) for number in range(50)])"
    with twist(body).attempt() as guest:
        for call in reversed(reads(guest, 50)):
            guest.answer(call, {call.keys[0]: call.keys[0].encode()})
        assert guest.result() == list(range(50))


def test_an_answer_to_a_cancelled_call_is_let_go(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        try:
            async with asyncio.timeout(0.01):
                await self.get("slow")
        except TimeoutError:
            return await self.get("quick")
    """
    with twist(body).attempt() as guest:
        slow, quick = reads(guest, 2)
        guest.answer(slow, {"slow": b"1"})
        guest.answer(quick, {"quick": b"2"})
        assert guest.result() == 2


def test_much_said_both_ways_at_once_does_not_stall(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        await asyncio.gather(*[self.set(str(number), "x" * 500_000) for number in range(20)])
        return sum(map(len, await asyncio.gather(*[self.get(str(number)) for number in range(20)])))
    """
    with twist(body).attempt() as guest:
        assert guest.result() == 10_000_000


def test_tasks_left_over_are_cancelled_and_may_clean_up(twist: MakeVersion) -> None:
    body = """
    async def linger(self):
        try:
            await asyncio.sleep(50)
        finally:
            await self.set("cleaned", True)

    async def main(self):
        self.task = asyncio.create_task(self.linger())
        await asyncio.sleep(0)
        return "done"
    """
    with twist(body).attempt() as guest:
        assert guest.result() == "done"
        assert guest.store["", "cleaned"] == b"true"
        assert "1 tasks still ran" in guest.lines()[0]


@pytest.mark.parametrize("keeping", ["self.task = ", ""])
def test_an_exception_that_nobody_awaited_is_logged(twist: MakeVersion, keeping: str) -> None:
    body = f"""
    async def boom(self):
        raise ValueError("unseen")

    async def main(self):
        {keeping}asyncio.create_task(self.boom())
        await asyncio.sleep(0.001)
    """
    with twist(body).attempt() as guest:
        assert isinstance(guest.last_word(), Finished)
        (line,) = guest.lines(level=40)
        assert "never retrieved" in line
        assert "ValueError: unseen" in line


@pytest.mark.parametrize("awaiting", ["await self.set('closed', 1)", "await asyncio.sleep(0); await self.set('closed', 1)"])
def test_an_async_generator_left_early_is_closed(twist: MakeVersion, awaiting: str) -> None:
    body = f"""
    async def counting(self):
        try:
            yield 1
        finally:
            {awaiting}

    async def main(self):
        async for one in self.counting():
            break
        return one
    """
    with twist(body).attempt() as guest:
        assert guest.result() == 1
        assert guest.store["", "closed"] == b"1"


def test_threads_may_not_make_calls(twist: MakeVersion) -> None:
    body = """
    def read(self):
        return asyncio.run(self.get("a"))

    async def main(self):
        await asyncio.to_thread(self.read)
    """
    with twist(body).attempt() as guest:
        raised = guest.raised()
    assert raised.type == "RuntimeError"
    assert "only the method's own thread" in raised.message


def test_threads_left_over_do_not_hold_the_end(twist: MakeVersion) -> None:
    body = """
    async def main(self):
        import threading
        threading.Thread(target=time.sleep, args=(300,)).start()
        return 1
    """
    with twist(body).attempt() as guest:
        assert guest.result() == 1


@pytest.mark.parametrize("before", ["", "await asyncio.sleep(0)"])
def test_an_exception_group_says_each_part(twist: MakeVersion, before: str) -> None:
    body = f"""
    async def boom(self):
        raise ValueError("part")

    async def main(self):
        {before}
        async with asyncio.TaskGroup() as group:
            group.create_task(self.boom())
    """
    with twist(body).attempt() as guest:
        raised = guest.raised()
    assert raised.type == "ExceptionGroup"
    assert "ValueError: part" in raised.traceback
    assert "ropewalk/guest" not in raised.traceback


def test_the_largest_answer_fits_into_the_memory_that_there_is(twist: MakeVersion) -> None:
    body = (
        "network = Network(urls=['*'])\nasync def main(self):\n    return len((await self.network.fetch('https://a.b')).content)"
    )
    with twist(body).attempt(memory=128 * 2**20) as guest:
        guest.answers[Fetch] = lambda call: HttpAnswer(status=200, headers=[], body=bytes(32 * 2**20), url=call.url)
        assert guest.result() == 32 * 2**20


def test_answers_may_be_large(twist: MakeVersion) -> None:
    large = msgspec.json.encode("x" * 20_000_000)
    with twist("async def main(self):\n    return len(await self.get('a'))").attempt() as guest:
        guest.answers[StoreRead] = lambda _: {"a": large}
        assert guest.result() == 20_000_000
