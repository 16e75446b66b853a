"""Executions, tasks, logs and ids, as they are listed."""

from __future__ import annotations

from ropewalk.storage.records import ExecutionQuery, LogLine, LogQuery, NumberedLogLine
from tests.storage.scene import Scene


async def test_executions_that_became_ready_or_ran_newest_first(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    ran = await scene.enqueue("i1")
    await scene.succeed(await scene.claim())
    ready, later = await scene.enqueue("i2"), await scene.after("i1", "later", 60)
    listed = [found.id for found in await scene.storage.executions(ExecutionQuery(limit=2))]
    assert listed == [ready, ran]
    of_instance = await scene.storage.executions(ExecutionQuery(instance="i1", status="succeeded"))
    assert [found.target.method for found in of_instance] == ["go", "activate"]
    assert later not in [found.id for found in await scene.storage.executions(ExecutionQuery())]


async def test_tasks_are_pending_executions_that_tasks_made(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    running = await scene.enqueue("i1")
    claim = await scene.claim()
    ready, later, other = await scene.enqueue("i1"), await scene.after("i1", "later", 60), await scene.enqueue("i2")
    await scene.enqueue("i1", trigger="webhook")
    assert [task.id for task in await scene.storage.tasks()] == [other, later, ready, running]
    assert [task.id for task in await scene.storage.tasks("i1")] == [later, ready, running]
    assert [task.status for task in await scene.storage.tasks("i1")] == ["queued", "queued", "running"]
    await scene.succeed(claim)


async def test_log_lines_are_numbered_and_followed(scene: Scene) -> None:
    for instance in ("i1", "i2"):
        await scene.active(instance)
    first, second = await scene.enqueue("i1"), await scene.enqueue("i2")

    def line(message: str, level: int = 20) -> LogLine:
        return LogLine(time=1, level=level, message=message, attempt=1)

    await scene.storage.append_logs("i1", first, [line("a"), line("b", 40)])
    await scene.storage.append_logs("i2", second, [line("c")])
    await scene.storage.append_logs("i1", "nope", [line("lost")])

    def messages(lines: list[NumberedLogLine]) -> list[str]:
        return [found.line.message for found in lines]

    everything = await scene.storage.logs(LogQuery())
    assert messages(everything) == ["a", "b", "c"]
    assert messages(await scene.storage.logs(LogQuery(after=everything[0].number, limit=1))) == ["b"]
    assert messages(await scene.storage.logs(LogQuery(level=40))) == ["b"]
    assert messages(await scene.storage.logs(LogQuery(instance="i2"))) == ["c"]
    assert messages(await scene.storage.logs(LogQuery(instance="i2", execution=first))) == []
    assert (everything[2].instance, everything[2].execution) == ("i2", second)


async def test_ids_are_found_by_their_beginning(scene: Scene) -> None:
    await scene.active("abc1")
    await scene.active("abd2")
    for number in range(20):
        await scene.enqueue("abc1", id=f"e{number:02}")
    assert await scene.storage.find("instance", "ab") == ["abc1", "abd2"]
    assert await scene.storage.find("instance", "abd") == ["abd2"]
    assert await scene.storage.find("execution", "e1") == [f"e1{number}" for number in range(10)]
    assert await scene.storage.find("execution", "nope") == []
    assert len(await scene.storage.find("execution", "")) == 10


async def test_what_is_not_there_is_none(scene: Scene) -> None:
    assert await scene.storage.instance("nope") is None
    assert await scene.storage.execution("nope") is None
    assert await scene.storage.attempts("nope") == []
    assert await scene.storage.callback("nope", "cb") is None
    assert await scene.storage.next_wake() is None
