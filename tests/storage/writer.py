"""A process that works off chains of executions until it is killed, saying what it was told is durable.

Run with a database's path and the seed of its instance's name. Every execution sets the store's `n` to its number, keeps a line and asks
for the next one; a line `settled N` is printed when its settlement has returned.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ropewalk.clock import SystemClock
from ropewalk.storage.records import (
    Attempt,
    Claim,
    Enqueue,
    LogLine,
    NewExecution,
    NewInstance,
    NewVersion,
    Node,
    PutValue,
    Rank,
    Settlement,
    Usage,
    Verdict,
)
from ropewalk.storage.sqlite import SqliteStorage, open_sqlite
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Target

CLOCK = SystemClock()
CHAINS = 4


def event(instance: str, number: int) -> NewExecution:
    """Return the execution that does number `number`."""
    return NewExecution(
        id=f"{instance}-{number}",
        instance=instance,
        trigger="task",
        target=Target(ns="", method="go"),
        event=str(number).encode(),
        at=CLOCK.now(),
    )


async def prepare(path: Path) -> None:
    """Make a database with the instances that `main` works for."""
    storage = await open_sqlite(path, clock=CLOCK, create=True)
    manifest = Manifest(protocol=1, python="3.11", cls="C", description="", methods=[])
    version = await storage.deploy(
        NewVersion(name="t", bundle="b", module="m", manifest=manifest, files={"m.py": b""}, at=CLOCK.now())
    )
    root = await storage.root_priority()
    for chain in range(CHAINS):
        instance = f"i{chain}"
        activate = NewExecution(
            id=f"{instance}-0",
            instance=instance,
            trigger="activate",
            target=Target(ns="", method="activate"),
            event=b"0",
            rank=Rank.BARRIER,
            at=CLOCK.now(),
        )
        new = NewInstance(
            id=instance, twist=version.twist, version=1, priority=root.id, options=b"{}", secret=b"s", activate=activate
        )
        await storage.activate(new)
    await storage.close()


async def main(path: Path, node: str) -> None:
    """Take over what the node before left, and work until killed."""
    storage = await open_sqlite(path, clock=CLOCK, create=False)
    for dead in await storage.nodes():
        await storage.release(dead.id, CLOCK.now())
    await storage.register(Node(id=node, boot="b", expires=1e9, started_at=CLOCK.now()))
    claims = await storage.claim(node, CHAINS)
    await asyncio.gather(*(work(storage, node, claim) for claim in claims))


async def work(storage: SqliteStorage, node: str, claim: Claim) -> None:
    """Work off one chain."""
    following: Claim | None = claim
    while following is not None:
        number = int(following.execution.event)
        following = (await storage.settle(settlement(node, following, number))).next
        sys.stdout.write(f"settled {claim.instance.id} {number}\n")
        sys.stdout.flush()


def settlement(node: str, claim: Claim, number: int) -> Settlement:
    """Return the end of the execution that did `number`."""
    at = CLOCK.now()
    instance = claim.instance.id
    return Settlement(
        node=node,
        instance=instance,
        epoch=claim.epoch,
        execution=claim.execution.id,
        attempt=Attempt(
            number=claim.execution.attempt, version=1, node=node, usage=Usage(started_at=at, finished_at=at), status="succeeded"
        ),
        verdict=Verdict(status="succeeded"),
        effects=[PutValue(ns="", key="n", value=str(number).encode()), Enqueue(execution=event(instance, number + 1))],
        logs=[LogLine(time=at, level=20, message=str(number), attempt=claim.execution.attempt)],
        claim_next=True,
        at=at,
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
