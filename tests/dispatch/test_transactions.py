"""An execution is a transaction: what it did is there as a whole, or not at all."""

from __future__ import annotations

import shutil
from contextlib import closing

import apsw
import pytest

from ropewalk.storage.records import Execution
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORKER = """
    import asyncio
    from datetime import timedelta

    from ropewalk import ActivityType, GiveUp, NewActivity, Retry, RetryPolicy, Twist
    from ropewalk.tools import Plot


    class Worker(Twist):
        \"\"\"Does things, and then what the test asks for.\"\"\"

        plot = Plot()
        retry = RetryPolicy(attempts=3, first=0.01, maximum=0.02)

        async def activate(self, priority: object) -> None:
            await self.set("runs", 0)

        async def do_everything(self) -> None:
            await self.set("done", True)
            await self.run_task(self.follow)
            await self.callback(self.follow)
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="made"))

        async def follow(self) -> None:
            await self.set("followed", True)

        async def begin(self, method: str) -> None:
            await self.run_task(getattr(self, method))

        async def fail_after_everything(self) -> None:
            print("before")
            await self.do_everything()
            raise ValueError("after")

        async def fails_twice(self) -> str:
            if self.execution.attempt < 3:
                await self.set("half", self.execution.attempt)
                raise ValueError("not yet")
            return str(await self.get("half"))

        async def commits_on_the_side(self) -> str:
            for part in range(5):  # so that the commit takes longer than a process lives on after its last word
                await self.set_many({f"{part}:{number}": number for number in range(1000)})
            self.committing = asyncio.ensure_future(self.commit())
            await asyncio.sleep(0)
            return "done"

        async def commits_then_fails(self) -> None:
            runs = await self.get("runs", int) or 0
            await self.set("runs", runs + 1)
            await self.commit()
            await self.set("after", runs)
            if runs < 4:
                raise ValueError("after the commit")

        async def gives_up(self) -> None:
            await self.set("kept", 1)
            await self.commit()
            await self.set("lost", 1)
            raise GiveUp("nothing to be done")

        async def asks_for_later(self) -> None:
            if self.execution.attempt == 1:
                raise Retry(after=timedelta(seconds=0.05), reason="too early")
            await self.set("attempt", self.execution.attempt)

        async def coalesces(self) -> list[bool]:
            first = await self.run_task(self.follow, delay=3600, key="k")
            second = await self.run_task(self.follow, delay=60, key="k", coalesce=True)
            await self.commit()
            third = await self.run_task(self.follow, delay=3600, key="k", coalesce=True)
            await self.cancel_task(third)
            fourth = await self.run_task(self.follow, delay=3600, key="k", coalesce=True)
            await self.commit()
            await self.cancel_all_tasks()
            fifth = await self.run_task(self.follow, delay=3600, key="k", coalesce=True)
            await self.cancel_task("k")
            return [first == second, second == third, third == fourth, fourth == fifth]

        async def waits(self) -> None:
            import asyncio

            await self.set("half", 1)
            print("waiting")
            await asyncio.sleep(60)

        async def reads_its_writes(self) -> list[object]:
            await self.set_many({"a:1": 1, "a:2": 2, "b:1": 3})
            await self.clear("a:1")
            first = [await self.keys("a:"), await self.get("a:1"), await self.get_many(["a:2", "b:1"])]
            await self.clear_all("a:")
            await self.set("a:3", 4)
            return [*first, await self.keys()]
"""


async def test_a_method_that_raises_leaves_nothing_but_its_logs(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    assert (await runtime.failure(instance, "fail_after_everything")).type == "ValueError"
    await runtime.drain()
    assert await runtime.keys(instance) == ["runs"]
    assert await runtime.titles() == []
    assert await runtime.executions(instance, "follow") == []
    assert await runtime.logs(instance) == ["before"]


async def test_a_method_that_returns_leaves_everything(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    await runtime.invoke(instance, "do_everything")
    await runtime.drain()
    assert await runtime.keys(instance) == ["done", "followed", "runs"]
    assert await runtime.titles() == ["made"]


async def test_a_retry_starts_from_what_was_there_before(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    execution = await _as_task(runtime, instance, "fails_twice")
    assert (execution.status, execution.attempt, execution.result) == ("succeeded", 3, b'"None"')


async def test_commit_keeps_what_was_done_and_counts_attempts_anew(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    execution = await _as_task(runtime, instance, "commits_then_fails")
    assert (execution.status, execution.attempt) == ("succeeded", 5)  # the policy alone would have allowed three
    assert (await runtime.get(instance, "runs"), await runtime.get(instance, "after")) == (5, 4)


async def test_giving_up_after_a_commit_keeps_the_commit(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    execution = await runtime.finish(await runtime.queue(instance, "gives_up"))
    assert execution.status == "dead"
    assert execution.error is not None
    assert "nothing to be done" in execution.error.message
    assert await runtime.keys(instance) == ["kept", "runs"]


async def test_retry_runs_it_again_after_that_long(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    execution = await _as_task(runtime, instance, "asks_for_later")
    assert execution.status == "succeeded"
    attempts = await runtime.storage.attempts(execution.id)
    assert attempts[1].usage.started_at - attempts[0].usage.finished_at >= 50_000


async def test_a_method_may_return_before_its_commit_is_answered(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    assert await runtime.invoke(instance, "commits_on_the_side") == "done"
    assert await runtime.get(instance, "4:999") == 999


async def test_reads_see_the_executions_own_writes(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    assert await runtime.invoke(instance, "reads_its_writes") == [["a:2"], None, {"a:2": 2, "b:1": 3}, ["a:3", "b:1", "runs"]]
    assert await runtime.keys(instance) == ["a:3", "b:1", "runs"]


async def test_coalescing_gives_the_task_that_is_there(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    assert await runtime.invoke(instance, "coalesces") == [True, True, False, False]
    assert await runtime.storage.tasks(instance) == []


async def test_a_cancelled_execution_ends_and_leaves_nothing(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER)
    execution = await runtime.queue(instance, "waits")
    await eventually(lambda: _says(runtime, instance, "waiting"), "the method waits")
    assert await runtime.storage.cancel(execution, runtime.clock.now())
    runtime.service.ring()
    assert (await runtime.finish(execution)).status == "cancelled"
    await runtime.invoke(instance, "follow")
    assert await runtime.keys(instance) == ["followed", "runs"]


async def test_a_running_execution_may_settle_while_its_instance_leaves(runtime: Runtime) -> None:
    instance = await runtime.run(LEAVER)
    running = await runtime.queue(instance, "lingers")
    await eventually(lambda: _says(runtime, instance, "lingering"), "the method runs")
    assert (await runtime.deactivate(instance)).status == "succeeded"
    assert (await runtime.execution(running)).status == "succeeded"
    assert await runtime.titles() == ["left behind", "said goodbye"]
    assert await runtime.storage.instance(instance) is None


async def test_a_version_whose_files_are_gone_fails_its_executions_and_recovers(runtime: Runtime) -> None:
    instance = await runtime.run(WORKER.replace("Worker", "Fragile"))
    version = await runtime.storage.version((await runtime.instance(instance)).twist)
    assert version is not None
    kept = await runtime.storage.bundle(version.bundle)
    await runtime.stop()
    _rewrite(runtime, version.bundle, b"damaged")
    await runtime.start()
    why = await runtime.failure(instance, "follow")
    assert why.type == "bundle"
    assert "damaged" in why.message
    _rewrite(runtime, version.bundle, next(iter(kept.values())))
    await runtime.invoke(instance, "follow")


LEAVER = """
    import asyncio

    from ropewalk import ActivityType, NewActivity, Twist
    from ropewalk.tools import Plot


    class Leaver(Twist):
        \"\"\"Takes its time.\"\"\"

        plot = Plot()

        async def lingers(self) -> None:
            print("lingering")
            await asyncio.sleep(0.3)
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="left behind"))
            await self.run_task(self.lingers)

        async def deactivate(self) -> None:
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="said goodbye"))
"""


async def _as_task(runtime: Runtime, instance: str, method: str) -> Execution:
    """Run a method as a task, which is retried as the policy says, and return its execution."""
    await runtime.invoke(instance, "begin", method)
    await runtime.drain()
    (execution,) = await runtime.executions(instance, method)
    return execution


async def _says(runtime: Runtime, instance: str, line: str) -> bool:
    return line in await runtime.logs(instance)


def _rewrite(runtime: Runtime, bundle: str, content: bytes) -> None:
    with closing(apsw.Connection(str(runtime.database))) as connection:
        connection.set_busy_timeout(20_000)
        connection.execute("UPDATE bundle_files SET content = ? WHERE bundle = ?", (content, bundle))
    shutil.rmtree(runtime.service.settings.bundles_directory / bundle, ignore_errors=True)


MEETING = """
    from ropewalk import ActivityType, NewActivity, Twist
    from ropewalk.tools import Network, Plot


    class Meeting(Twist):
        network = Network(urls=["{url}/*"])
        plot = Plot()

        async def meet(self) -> None:
            print(f"attempt {{self.execution.attempt}}")
            await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="one of two", source="both"))
            if self.execution.attempt == 1:
                await self.network.fetch("{url}/one/other")
            await self.commit()
"""


async def test_a_commit_that_meets_anothers_work_leaves_its_logs_and_is_done_again(runtime: Runtime, web: Web) -> None:
    first = await runtime.run(MEETING.format(url=web.url))
    second = await runtime.activate("meeting")
    web.hold(together=2)
    met = [await runtime.queue(instance, "meet") for instance in (first, second)]
    assert [(await runtime.finish(execution)).status for execution in met] == ["succeeded", "succeeded"]
    logs = [await runtime.logs(instance) for instance in (first, second)]
    assert sorted(logs) == [["attempt 1"], ["attempt 1", "attempt 2"]]
    assert await runtime.titles() == ["one of two"]
