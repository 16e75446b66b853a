"""The twist whose methods the tests record and replay: everything that a method may do, a method for each."""

from __future__ import annotations

EVERYTHING = """
import asyncio
import functools
import os
import random
import secrets
import threading
import time
import uuid
from datetime import UTC, date, datetime, timedelta

from ropewalk import ActivityType, GiveUp, Limits, Link, NewActivity, NewNote, Options, Priority, Retry, Tool, Twist
from ropewalk.tools import Network, Plot


class Where(Options):
    base_url: str = "http://127.0.0.1:1"


class Notebook(Tool):
    plot = Plot()

    async def pre_activate(self, priority: Priority) -> None:
        await self.set("opened", priority.title)

    async def remember(self, text: str) -> list[str]:
        await self.set(text, len(text))
        return await self.keys()


class Everything(Twist):
    options: Where
    limits = Limits(cpu=5.0, requests=100)
    network = Network(urls=["{base_url}/*"])
    plot = Plot()
    notebook = Notebook()

    async def activate(self, priority: Priority) -> None:
        await self.set("count", 1)
        await self.set("big", "x" * 10_000)
        await self.plot.create_activity(NewActivity(type=ActivityType.NOTE, title="first", source="test:first"))

    async def noop(self, *_: object) -> None: ...

    async def store(self) -> list[object]:
        count = await self.get("count", int, default=0)
        await self.set("count", count + 1)
        await self.set_many({"one": 1, "two": {"nested": [1.5, None, "ü"]}})
        await self.set("soon", "gone", ttl=60)
        found = [await self.get_many(["one", "two", "three"]), await self.keys(), await self.get("big", str) == "x" * 10_000]
        await self.clear("one")
        await self.clear_all("t")
        return [count, *found, await self.keys()]

    async def tasks(self) -> list[str]:
        now = await self.run_task(self.noop, 1)
        later = await self.run_task(self.noop, run_at=datetime.now(UTC) + timedelta(hours=1), key="k")
        again = await self.run_task(self.noop, delay=3600, key="k", coalesce=True)
        await self.cancel_task("k")
        await self.cancel_all_tasks()
        return [now, later, again]

    async def callbacks(self) -> list[object]:
        made = await self.callback(self.answer, 20)
        same = await self.callback(self.answer, 20)
        found = await self.run(made, 1)
        await self.run_task(made, 5)
        await self.delete_callback(made)
        return [made == same, found]

    async def answer(self, brought: int, bound: int) -> int:
        return brought + bound

    async def tool(self) -> list[str]:
        return await self.notebook.remember("note")

    async def workspace(self) -> list[object]:
        made = await self.plot.create_activities([
            NewActivity(type=ActivityType.ACTION, title="a", notes=[NewNote(content="n", links=[Link.external("t", "https://x.org")])]),
            NewActivity(type=ActivityType.NOTE, title="b", id=uuid.uuid4(), meta={"k": 1}),
        ])
        changed = await self.plot.update_activity(made[0], title="changed", done_at=datetime.now(UTC))
        first = await self.plot.get_activity_by_source("test:first")
        page = await self.plot.list_activities(limit=2)
        notes = await self.plot.get_notes(made[0].id)
        await self.plot.delete_activity(made[1])
        return [changed.title, first.title if first else None, len(page.items), [note.content for note in notes]]

    async def parts(self) -> int:
        await self.set("part", 1)
        await self.commit()
        await self.set("part", 2)
        return await self.get("part", int)

    async def ask(self) -> object:
        answer = await self.network.fetch(f"{self.options.base_url}/one/ada", params={"x": 1}, json={"a": [1]}, method="POST")
        return answer.json()

    async def at_once(self) -> list[str]:
        async def one(name: str) -> str:
            answer = await self.network.fetch(f"{self.options.base_url}/one/{name}")
            await self.set(name, answer.json()["name"])
            return name

        return await asyncio.gather(*(one(f"name-{number}") for number in range(8)))

    async def busy_at_once(self) -> None:
        async def one(path: str) -> None:
            answer = await self.network.fetch(f"{self.options.base_url}/{path}")
            await self.set(path, answer.json()["name"])

        made = [asyncio.ensure_future(one(path)) for path in ("users/large", "one/a", "one/b", "one/c")]
        await asyncio.sleep(0)
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            pass
        await asyncio.gather(*made)

    async def patience(self) -> list[str]:
        try:
            async with asyncio.timeout(0.3):
                await self.network.fetch(f"{self.options.base_url}/silent", timeout=20)
        except TimeoutError:
            return ["too slow", str((await self.network.fetch(f"{self.options.base_url}/one/ada")).status)]
        return ["quick"]

    async def refused(self) -> list[str]:
        found = []
        for url in ("https://elsewhere.example/", f"{self.options.base_url}/missing"):
            try:
                (await self.network.fetch(url)).raise_for_status()
            except Exception as error:
                found.append(f"{type(error).__name__}: {error}")
        return found

    async def clock(self) -> list[object]:
        began = time.monotonic()
        now = datetime.now(UTC)
        await self.set("now", now)
        await self.set("epoch", [time.time(), time.time_ns(), int(time.time())])
        await self.set("texts", [now.isoformat(), f"at {now:%Y-%m-%d %H:%M:%S}", str(date.today())])
        time.sleep(0.05)
        return [now, self.execution.remaining < timedelta(seconds=120), time.monotonic() - began >= 0.05]

    async def sleepy(self) -> str:
        began = datetime.now(UTC)
        await asyncio.sleep(0.5)
        async with asyncio.timeout(5):
            await asyncio.gather(asyncio.sleep(0.2), asyncio.sleep(0.4))
        return "long" if datetime.now(UTC) - began >= timedelta(seconds=0.9) else "short"

    async def chance(self) -> list[object]:
        return [random.random(), random.choice("abcdef"), random.Random().random() < 2, random.sample(range(1000), 5)]

    async def system_chance(self) -> list[str]:
        await self.set("token", secrets.token_hex(16))
        await self.set("texts", [f"<{secrets.token_urlsafe(12)}>", str(uuid.uuid4()), uuid.uuid4().hex])
        one = os.urandom(8).hex()
        await self.set(one, one)
        return [one, one]

    async def sets(self) -> list[str]:
        for name in {"ada", "grace", "edsger", "barbara", "donald"}:
            await self.run_task(self.noop, name)
        return list({f"name-{number}" for number in range(20)})

    async def threads(self) -> list[object]:
        found = await asyncio.to_thread(lambda: sum(range(1000)))
        await self.set("found", found)
        return [found, await asyncio.to_thread(threading.active_count) > 1]

    async def words(self) -> None:
        print("printed")
        self.log.warning("warned", extra={"why": "on purpose"})

    async def fails(self) -> None:
        await self.set("count", 10)
        raise ValueError("on purpose")

    async def gives_up(self) -> None:
        raise GiveUp("it is hopeless")

    async def asks_for_more_time(self) -> None:
        raise Retry(after=3600, reason="not yet")

    async def greedy(self) -> None:
        for number in range(200):
            await self.set(f"key-{number}", number)

    async def reads_much(self) -> None:
        for _ in range(200):
            await self.get("count", int)

    async def burns(self) -> None:
        await self.set("burning", True)
        while True:
            pass

    async def swells(self) -> None:
        await self.set("before", "it grew")
        await self.run_task(self.noop, "before it grew")
        bytearray(1 << 40)

    async def leaves(self) -> None:
        await self.set("leaving", True)
        os._exit(3)

    async def confined(self) -> list[str]:
        found = []
        for attempt in (lambda: os.fork(), lambda: open("/etc/shadow"), lambda: __import__("socket").socket(), lambda: open("/twist/x", "w")):
            try:
                attempt()
                found.append("allowed")
            except OSError as error:
                found.append(type(error).__name__)
        return found
"""
