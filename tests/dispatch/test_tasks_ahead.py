"""Tasks that an execution asks for without waiting for the answer: they are what it was told they are."""

from __future__ import annotations

import pytest

from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKER = """
    from ropewalk import Twist


    class Asker(Twist):
        \"\"\"Asks for tasks.\"\"\"

        async def ask(self) -> list:
            tokens = [await self.run_task(self.note, f"plain {number}") for number in range(3)]
            tokens.append(await self.run_task(self.note, "keyed", key="one"))
            tokens.append(await self.run_task(await self.callback(self.note, "called back")))
            tokens.append(await self.run_task(self.note, "plain 3"))
            tokens.append(await self.run_task(self.note, "large" + "x" * 40_000))
            tokens.append(await self.run_task(self.note, "last"))
            return tokens

        async def ask_and_cancel(self) -> None:
            kept = await self.run_task(self.note, "kept")
            await self.cancel_task(await self.run_task(self.note, "cancelled"))
            await self.set("kept", kept)

        async def ask_in_two_parts(self) -> list:
            first = await self.run_task(self.note, "first")
            await self.commit()
            second = await self.run_task(self.note, "second")
            if self.execution.attempt == 1:
                raise ValueError("once more")
            return [first, second]

        async def begin(self) -> None:
            await self.run_task(self.ask_in_two_parts)

        async def note(self, text: str) -> None:
            noted = await self.get("noted", list[str], default=[])
            await self.set("noted", [*noted, text[:12]])
    """


async def test_tokens_are_those_of_the_tasks(runtime: Runtime) -> None:
    instance = await runtime.run(ASKER)
    tokens = await runtime.invoke(instance, "ask")
    await runtime.drain()
    assert [one.id for one in await runtime.executions(instance, "note")] == tokens
    plain = ["plain 0", "plain 1", "plain 2"]
    assert await runtime.get(instance, "noted") == [*plain, "keyed", "called back", "plain 3", "largexxxxxxx", "last"]


async def test_what_was_not_waited_for_can_be_cancelled(runtime: Runtime) -> None:
    instance = await runtime.run(ASKER)
    await runtime.invoke(instance, "ask_and_cancel")
    await runtime.drain()
    assert await runtime.get(instance, "noted") == ["kept"]
    (ran,) = [one.id for one in await runtime.executions(instance, "note") if one.status == "succeeded"]
    assert await runtime.get(instance, "kept") == ran


async def test_another_attempt_asks_for_other_tasks(runtime: Runtime) -> None:
    instance = await runtime.run(ASKER)
    await runtime.invoke(instance, "begin")
    runtime.clock.step(seconds=60)
    await runtime.drain()
    noted = await runtime.executions(instance, "note")
    assert await runtime.get(instance, "noted") == ["first", "first", "second"]
    assert len({one.id for one in noted}) == 3
