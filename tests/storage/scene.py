"""What the storage tests are told in: a twist, some instances, one node, and a clock that moves when it is told to."""

from __future__ import annotations

from itertools import count
from typing import Any

from ropewalk.clock import Micros
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import (
    AnyEffect,
    Attempt,
    Claim,
    Enqueue,
    ErrorInfo,
    Execution,
    Instance,
    NewExecution,
    NewInstance,
    NewVersion,
    Node,
    Offer,
    Part,
    Rank,
    Settled,
    Settlement,
    Usage,
    Verdict,
    Version,
)
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Target

SECOND = 1_000_000
START = 1_800_000_000 * SECOND
NODE = "node-1"
BOOM = ErrorInfo(type="ValueError", message="boom")


class StillClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at: Micros = START

    def now(self) -> Micros:
        """Wall time."""
        return self.at

    def boottime(self) -> float:
        """Seconds since boot."""
        return 1000.0

    def move(self, seconds: float) -> None:
        """Move wall time, forwards or back."""
        self.at += round(seconds * SECOND)


class Scene:
    """A storage with a deployed twist, and short words for what the tests do over and over."""

    def __init__(self, storage: Storage, clock: StillClock) -> None:
        self.storage = storage
        self.clock = clock
        self.ids = (f"x{number:04}" for number in count())
        self.priority = ""
        self.twist = ""

    async def prepare(self) -> None:
        """Deploy the twist and make the node known."""
        self.priority = (await self.storage.root_priority()).id
        self.twist = (await self.deploy()).twist
        await self.storage.register(Node(id=NODE, boot="boot", expires=2000.0, started_at=START))

    async def deploy(
        self, bundle: str = "b1", name: str = "syncer", *, grants: bool = True, packages: tuple[str, ...] = ()
    ) -> Version:
        """Deploy a bundle."""
        manifest = Manifest(protocol=1, python="3.11", cls="Syncer", description="", methods=[])
        files = {"twist.py": bundle.encode()}
        return await self.storage.deploy(
            NewVersion(
                name=name,
                bundle=bundle,
                module="twist",
                manifest=manifest,
                files=files,
                packages=packages,
                grants=grants,
                at=self.clock.now(),
            )
        )

    async def upgrade(self, bundle: str, *, grants: bool = True, waits: bool = False) -> int:
        """Deploy a bundle and offer it to every instance that is behind; with `waits` they have to wait for a grant."""
        version = await self.deploy(bundle, grants=grants)
        await self.offer(waits=waits)
        return version.number

    async def offer(self, *, waits: bool = False) -> list[str]:
        """Offer the latest version to every instance that is behind; returns the executions that were queued."""
        behind = await self.storage.behind(1000)
        offers = [
            Offer(
                instance=one.instance,
                version=one.version,
                granted=one.granted,
                execution=None if waits else self.lifecycle(one.instance, "upgrade"),
                grants=not waits,
            )
            for one in behind
        ]
        return await self.storage.offer(self.twist, behind[0].latest, offers) if behind else []

    # ── Events ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def event(self, instance: str, method: str = "go", *, id: str | None = None, **fields: Any) -> NewExecution:  # noqa: A002
        """Return a task of an instance, or what `fields` make of it."""
        given: dict[str, Any] = {"trigger": "task", "target": Target(ns="", method=method), "at": self.clock.now()}
        return NewExecution(id=id or next(self.ids), instance=instance, **given | fields)

    def lifecycle(self, instance: str, trigger: Any) -> NewExecution:
        """Return a lifecycle event."""
        rank = Rank.DEACTIVATE if trigger == "deactivate" else Rank.BARRIER
        return self.event(instance, trigger, trigger=trigger, rank=rank)

    async def enqueue(self, instance: str, method: str = "go", **fields: Any) -> str:
        """Store a task from outside."""
        return await self.storage.enqueue(self.event(instance, method, **fields))

    async def after(self, instance: str, method: str, seconds: float, **fields: Any) -> str:
        """Store a task that is due in so many seconds."""
        return await self.enqueue(instance, method, run_at=self.clock.now() + round(seconds * SECOND), **fields)

    # ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def activate(self, instance: str = "i1", event: NewExecution | None = None) -> str:
        """Store an instance with its activation."""
        await self.storage.activate(
            NewInstance(
                id=instance,
                twist=self.twist,
                version=1,
                priority=self.priority,
                options=b'{"a":1}',
                secret=b"secret",
                activate=event or self.lifecycle(instance, "activate"),
            )
        )
        return instance

    async def active(self, instance: str = "i1") -> str:
        """Store an instance and run its activation."""
        await self.activate(instance)
        await self.succeed(await self.claim(instance))
        return instance

    async def instance(self, instance: str = "i1") -> Instance:
        """Return an instance that is there."""
        found = await self.storage.instance(instance)
        assert found is not None
        return found

    async def execution(self, execution: str) -> Execution:
        """Return an execution that is there."""
        found = await self.storage.execution(execution)
        assert found is not None
        return found

    # ── Running ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, instance: str = "i1") -> Claim:
        """Claim an instance that has something ready."""
        (claim,) = await self.storage.claim(NODE, 1, only=instance)
        return claim

    async def nothing_to_claim(self, instance: str = "i1") -> bool:
        """Return whether an instance cannot be claimed."""
        return await self.storage.claim(NODE, 1, only=instance) == []

    def settlement(self, claim: Claim, verdict: Verdict, *effects: AnyEffect, next: bool = False) -> Settlement:  # noqa: A002
        """Return the end of an attempt."""
        at = self.clock.now()
        succeeded = verdict.status == "succeeded"
        attempt = Attempt(
            number=claim.execution.attempt,
            version=claim.instance.version,
            node=NODE,
            usage=Usage(started_at=claim.execution.started_at or 0, finished_at=at, cpu=7, memory_peak=8, requests=9),
            status="succeeded" if succeeded else "failed",
            error=None if succeeded else BOOM,
        )
        return Settlement(
            node=NODE,
            instance=claim.instance.id,
            epoch=claim.epoch,
            execution=claim.execution.id,
            attempt=attempt,
            verdict=verdict,
            effects=list(effects),
            logs=[],
            claim_next=next,
            at=at,
        )

    async def succeed(self, claim: Claim, *effects: AnyEffect, next: bool = False) -> Settled:  # noqa: A002
        """Settle an attempt as succeeded, with what it did."""
        return await self.storage.settle(self.settlement(claim, Verdict(status="succeeded", result=b"null"), *effects, next=next))

    async def fail(self, claim: Claim, *, retry_in: float | None = None, ordered: bool = False, next: bool = False) -> Settled:  # noqa: A002
        """Settle an attempt as failed: to be retried, or dead."""
        if retry_in is None:
            verdict = Verdict(status="dead")
        else:
            verdict = Verdict(status="retrying", run_at=self.clock.now() + round(retry_in * SECOND), ordered=ordered)
        return await self.storage.settle(self.settlement(claim, verdict, next=next))

    async def commit(self, claim: Claim, *effects: AnyEffect) -> None:
        """Commit what a running attempt did so far."""
        await self.storage.commit_part(
            Part(
                instance=claim.instance.id,
                epoch=claim.epoch,
                execution=claim.execution.id,
                effects=list(effects),
                logs=[],
                at=self.clock.now(),
            )
        )

    async def run_all_as(self, node: str) -> list[str]:
        """Run everything that is ready of `i1` on another node."""
        await self.storage.register(Node(id=node, boot="boot", expires=2000.0, started_at=START))
        return await self.run_all(node=node)

    async def run_all(self, instance: str = "i1", node: str = NODE) -> list[str]:
        """Run everything that is ready of an instance, one claim each, and return the methods in the order they ran."""
        ran: list[str] = []
        while claims := await self.storage.claim(node, 1, only=instance):
            ran.append(claims[0].execution.target.method)
            await self.succeed(claims[0])
        return ran

    def task(self, method: str, seconds: float | None = None, instance: str = "i1", **fields: Any) -> Enqueue:
        """Return the effect of `run_task`."""
        run_at = None if seconds is None else self.clock.now() + round(seconds * SECOND)
        return Enqueue(execution=self.event(instance, method, run_at=run_at, **fields))

    async def problems(self) -> list[str]:
        """Return what the audit finds."""
        return [one.what for one in await self.storage.audit(self.clock.now(), repair=False)]
