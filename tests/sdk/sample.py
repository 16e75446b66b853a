"""A twist that uses the whole surface, for type checkers: what they infer is written beside it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, TypedDict, assert_type
from uuid import UUID

import ropewalk
from ropewalk import (
    Activity,
    ActivityRef,
    ActivityType,
    Callback,
    GiveUp,
    HTTPStatusError,
    Limits,
    Link,
    NewActivity,
    NewNote,
    Note,
    Options,
    Page,
    Priority,
    Response,
    Retry,
    RetryPolicy,
    TaskToken,
    Tool,
    Twist,
)
from ropewalk.tools import Network, Plot


class State(TypedDict):
    page: int


@dataclass
class Item:
    title: str


class CalendarOptions(Options):
    default: str = "primary"


class Calendar(Tool):
    options: CalendarOptions
    plot = Plot()

    async def pre_activate(self, priority: Priority) -> None:
        await self.set("calendar", self.options.default)

    async def sync(self, then: Callback) -> object:
        result: object = await self.run(then, self.options.default)
        return result


class SampleOptions(Options):
    base_url: str
    per_page: int = 50


class Sample(Twist):
    """Uses everything."""

    options: SampleOptions
    limits: ClassVar[Limits] = Limits(cpu=10, wall=timedelta(minutes=1))
    retry = RetryPolicy(attempts=3, first=timedelta(seconds=1))
    plot = Plot()
    network = Network(urls=["https://example.com/*"])
    calendar = Calendar(default="work")
    other = Calendar(CalendarOptions(default="home"))

    async def activate(self, priority: Priority) -> None:
        assert_type(priority.id, UUID)
        await self.run_task(self.store, 1, delay=5, key="k", coalesce=True)

    async def upgrade(self) -> None:
        assert_type(self.execution.previous_version, int | None)

    async def deactivate(self) -> None:
        await self.clear_all()

    async def store(self, number: int) -> None:
        assert_type(await self.get("a"), Any)
        assert_type(await self.get("a", int), int | None)
        assert_type(await self.get("a", dict[str, list[int]]), dict[str, list[int]] | None)
        assert_type(await self.get("a", int | str), int | str | None)
        assert_type(await self.get("a", State), State | None)
        assert_type(await self.get("a", Item, default=0), Item | int)
        assert_type(await self.get_many(["a"]), dict[str, Any])
        assert_type(await self.get_many(["a"], Item), dict[str, Item])
        assert_type(await self.keys("a"), list[str])
        await self.set("a", {"b": (number, {1})}, ttl=timedelta(days=1))
        await self.set_many({"a": 1}, ttl=5)
        await self.clear("a")

    async def tasks(self) -> None:
        token = await self.callback(self.store, 1)
        assert_type(token, Callback)
        assert_type(await self.callback("store", number=1), Callback)
        assert_type(await self.run_task(token, run_at=datetime.now(UTC)), TaskToken)
        assert_type(await self.calendar.sync(token), object)
        await self.run_task(self.calendar.sync, token)
        await self.delete_callback(token)
        await self.delete_all_callbacks()
        await self.cancel_task("k")
        await self.cancel_all_tasks()
        await self.commit()

    async def fetch(self) -> list[Item]:
        response = await self.network.fetch(
            f"{self.options.base_url}/items",
            method="POST",
            params={"page": 1, "tag": ["a", "b"], "none": None},
            headers={"Accept": "*/*"},
            json={"a": 1},
            timeout=timedelta(seconds=5),
        )
        assert_type(response, Response)
        try:
            assert_type(response.raise_for_status().status, int)
        except HTTPStatusError as error:
            if error.status == 404:
                raise GiveUp("gone") from error
            raise Retry(after=60, reason="later") from error
        assert_type(response.headers["x"], str)
        assert_type(response.json(), Any)
        return response.json(list[Item])

    async def write(self, ref: ActivityRef) -> None:
        new = NewActivity(ActivityType.ACTION, "title", start=None, notes=[NewNote("text", key="k")], meta={"a": 1})
        activity = await self.plot.create_activity(new)
        assert_type(activity, Activity)
        assert_type(activity.start, datetime | date | None)
        assert_type(await self.plot.create_activities([new]), list[Activity])
        await self.plot.update_activity(activity, title="new", done_at=datetime.now(UTC))
        page = await self.plot.list_activities(type=ActivityType.NOTE, done=False, limit=5)
        assert_type(page, Page[Activity])
        links = [Link.external("t", "https://a.b"), Link.callback("t", self.store, 1), Link.conferencing("https://a.b", "meet")]
        note = await self.plot.create_note(ref, NewNote(content="text", links=links))
        assert_type(note, Note)
        assert_type(note.activity, Activity)
        assert_type(await self.plot.get_notes(activity.id), list[Note])
        await self.plot.update_note(note, content="new")
        assert_type(await self.plot.get_activity(activity.id), Activity | None)
        await self.plot.delete_activity(activity)

    async def together(self) -> None:
        items, state = await asyncio.gather(self.fetch(), self.get("state", State))
        assert_type(items, list[Item])
        assert_type(state, State | None)
        self.log.info("%s", self.priority.title, extra={"left": self.execution.remaining})
        assert_type(self.tools.plot, Any)
        assert issubclass(ropewalk.NetworkDenied, ropewalk.PermissionDenied)
