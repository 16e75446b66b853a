"""A real database with what a test wants in it, and no sandbox: versions and instances are written as a deploy would write them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from ropewalk.clock import SystemClock
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import (
    AnyEffect,
    Attempt,
    Claim,
    ErrorInfo,
    LogLine,
    NewExecution,
    NewInstance,
    NewVersion,
    Rank,
    Settlement,
    Usage,
    Verdict,
)
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.control import Manifest, Method, OptionField, ToolInfo
from ropewalk.wire.messages import PROTOCOL, Target

NODE = "seed"
CLOCK = SystemClock()


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[Storage]:
    """Open a database, made when it is not there."""
    storage = await open_sqlite(path, clock=CLOCK, create=True)
    try:
        yield storage
    finally:
        await storage.close()


def manifest(*methods: str | Method, options: list[OptionField] | None = None) -> Manifest:
    """Return a manifest with these methods; one with a dot is a tool's."""
    made = [one if isinstance(one, Method) else Method(ns=one.rpartition(".")[0], name=one.rpartition(".")[2]) for one in methods]
    tools = [ToolInfo(ns=ns, kind="custom") for ns in sorted({one.ns for one in made} - {""})]
    return Manifest(
        protocol=PROTOCOL, python="3.11", cls="Seed", description="", methods=made, tools=tools, options=options or []
    )


async def deployed(storage: Storage, name: str, *methods: str | Method) -> str:
    """Store a version and return the twist's id."""
    files = {"twist.py": repr(methods).encode()}
    new = NewVersion(
        name=name, bundle=f"{name}-{len(methods)}", module="twist", manifest=manifest(*methods), files=files, at=CLOCK.now()
    )
    return (await storage.deploy(new)).twist


async def activated(storage: Storage, twist: str, instance: str, *, active: bool = True) -> str:
    """Store an instance with this id, its activation done unless `active` is false, and return the id."""
    root = await storage.root_priority()
    new = NewInstance(
        id=instance,
        twist=twist,
        version=1,
        priority=root.id,
        options=b"{}",
        secret=b"s" * 32,
        activate=queued(instance, f"{instance}-activate", "activate", rank=Rank.BARRIER),
    )
    await storage.activate(new)
    if active:
        await settled(storage, instance)
    return instance


def queued(instance: str, execution: str, method: str, *, rank: Rank = Rank.ORDINARY, run_at: int | None = None) -> NewExecution:
    """Return an event for a method of the instance."""
    return NewExecution(
        id=execution,
        instance=instance,
        trigger="activate" if method == "activate" else "task",
        target=Target(ns="", method=method),
        rank=rank,
        run_at=run_at,
        at=CLOCK.now(),
    )


async def settled(
    storage: Storage,
    instance: str,
    *,
    effects: list[AnyEffect] | None = None,
    error: ErrorInfo | None = None,
    logs: list[LogLine] | None = None,
) -> None:
    """Claim the instance's next execution and end it, as succeeded or (with an error) as dead."""
    (claim,) = await storage.claim(NODE, 1, only=instance)
    now = CLOCK.now()
    await storage.settle(
        Settlement(
            node=NODE,
            instance=instance,
            epoch=claim.epoch,
            execution=claim.execution.id,
            attempt=_attempt(claim, now, error),
            verdict=Verdict(status="succeeded" if error is None else "dead", result=b"null" if error is None else None),
            effects=effects or [],
            logs=logs or [],
            claim_next=False,
            at=now,
        ),
    )


def _attempt(claim: Claim, now: int, error: ErrorInfo | None) -> Attempt:
    return Attempt(
        number=claim.execution.attempt,
        version=claim.instance.version,
        node=NODE,
        usage=Usage(started_at=now - 2500, finished_at=now, cpu=1500, memory_peak=4096, requests=3),
        status="succeeded" if error is None else "failed",
        error=error,
    )
