"""The clerk: the twist that the campaign's sandboxed episodes run. `guests` has the same methods for light processes, and says what they are for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ropewalk import (
    GiveUp,
    Limits,
    NewActivity,
    NewNote,
    Options,
    Priority,
    Retry,
    RetryPolicy,
    Secret,
    Twist,
    WebhookRequest,
    on,
    secret,
)
from ropewalk.tools import Network, Plot

CODE: dict[str, Any] = json.loads(Path(__file__).with_name("code.json").read_text())
EVERY = 600.0

_Handler = Callable[["Clerk"], Coroutine[Any, Any, None]]
_DAILY: Callable[[_Handler], _Handler] = on.schedule(every=2 * EVERY) if CODE["daily"] else lambda method: method


class ClerkOptions(Options):
    """How an instance takes its lifecycle, and what its requests carry."""

    tone: str
    token: Secret | None = secret(urls=[f"{CODE['origin']}/*"], header="x-token", default=None)


class Clerk(Twist):
    """Writes down that it ran, in its store and in activities."""

    options: ClerkOptions
    retry = RetryPolicy(attempts=4, first=1.0, maximum=8.0)
    limits = Limits(cpu=1.0)
    plot = Plot()
    web = Network(urls=[f"{CODE['origin']}/*", *(f"https://more.example/{asked}/*" for asked in CODE["asks"])])

    async def activate(self, priority: Priority) -> None:
        self.log.info(self.execution.id)
        await self.web.create_webhook(self.hook)
        await self.schedule_recurring("tick", self.tick, every=EVERY)
        await self.note(f"activated:{self.execution.instance_id}")
        if ":unfit" in self.options.tone:
            raise GiveUp("unfit")

    async def upgrade(self) -> None:
        self.log.info(self.execution.id)
        await self.note(f"upgraded:{self.execution.instance_id}:{self.execution.version}:{CODE['number']}")
        self.fail_as(CODE["upgrade"])

    async def deactivate(self) -> None:
        self.log.info(self.execution.id)
        await self.note(f"deactivated:{self.execution.instance_id}")
        if ":stay" in self.options.tone:
            raise RuntimeError("it stays")

    async def options_changed(self, before: ClerkOptions) -> None:
        self.log.info(self.execution.id)
        await self.append("told", before.tone)
        await self.note(f"told:{self.execution.id}")
        self.fail_as(["error"] if ":error" in self.options.tone else ["error"] * 40 if ":dead" in self.options.tone else [])

    async def tick(self) -> None:
        self.log.info(self.execution.id)
        await self.note(f"tick:{self.execution.id}")

    @_DAILY
    async def daily(self) -> None:
        self.log.info(self.execution.id)
        await self.note(f"tick:{self.execution.id}")

    async def hook(self, request: WebhookRequest) -> None:
        self.log.info(self.execution.id)
        await self.count(f"hook:{request.id}")
        await self.note(f"hook:{request.id}:{self.execution.id}")

    async def work(self, name: str, spec: dict[str, Any]) -> None:
        self.log.info(self.execution.id)
        part = bool(spec.get("part"))
        if not (part and await self.get(f"ran:{name}")):
            await self.first_part(name, spec)
        if part:
            await self.count(f"part:{name}")
            await self.note(f"part:{name}:{self.execution.id}")
        for kid in spec.get("kids", ()):
            await self.ask_for(kid)
        self.fail_as(spec.get("fails", []))

    async def first_part(self, name: str, spec: dict[str, Any]) -> None:
        await self.count(f"ran:{name}")
        await self.append("order", name)
        await self.note(f"ran:{name}:{self.execution.id}")
        if source := spec.get("source"):
            await self.note(f"sourced:{name}", source)
        if spec.get("fetch"):
            await self.post(name)
        if spec.get("part"):
            await self.commit()

    async def count(self, key: str) -> None:
        await self.set(key, await self.get(key, int, default=0) + 1)

    async def append(self, key: str, value: str) -> None:
        await self.set(key, [*await self.get(key, list[str], default=[]), value])

    async def note(self, title: str, source: str | None = None) -> None:
        await self.plot.create_activity(NewActivity(type="note", title=title, source=source, notes=[NewNote(content=title)]))

    async def post(self, name: str) -> None:
        url = f"{CODE['origin']}/{self.execution.id}/{self.execution.attempt}"
        headers = {"idempotency-key": self.execution.key(name), "x-code": str(CODE["number"])}
        await self.web.fetch(url, method="POST", headers=headers)

    async def ask_for(self, kid: dict[str, Any]) -> None:
        bound = (kid["name"], kid["spec"])
        how: dict[str, Any] = {"delay": kid["delay"], "key": kid["key"], "coalesce": kid["coalesce"]}
        if kid["callback"]:
            await self.run_task(await self.callback(self.work, *bound), **how)
        else:
            await self.run_task(self.work, *bound, **how)

    def fail_as(self, ways: list[str]) -> None:
        match ways[self.execution.attempt - 1] if self.execution.attempt <= len(ways) else None:
            case None:
                return
            case "crash":
                os._exit(1)
            case "cpu_limit":
                while True:
                    pass
            case "memory_limit":
                bytearray(1 << 30)
            case "retry":
                raise Retry(after=3.0)
            case "give_up" | "unretried":
                raise GiveUp("it gives up")
            case _:
                raise RuntimeError("error")
