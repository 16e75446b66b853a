"""The committer alone: settlements of a hundred executions in flight, with no guests in the way, and how often the disk is synced."""

from __future__ import annotations

import asyncio
import statistics
import time

from bench.figures import Figure, Measured
from bench.floor import Floor
from bench.rig import event, folder, serving, storing
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import Attempt, Claim, PutValue, Settlement, Usage, Verdict

IN_FLIGHT = 100


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure rounds of a hundred instances, each with a queue of its own to be worked off."""
    rounds, length = (1, 10) if quick else (5, 50)
    syncs: list[float] = []
    rate: list[float] = []
    with folder() as path:
        async with serving(path) as rig:
            instances = [instance.id for instance in await rig.activate(await rig.deploy(), IN_FLIGHT)]
        async with storing(path) as storage:
            for _ in range(rounds):
                for _ in range(length):
                    await asyncio.gather(*(storage.enqueue(event(instance, "work")) for instance in instances))
                synced, began = storage.stats().syncs, time.perf_counter()
                claims = await storage.claim("bench", IN_FLIGHT)
                await asyncio.gather(*(_work_off(storage, claim) for claim in claims))
                took = time.perf_counter() - began
                rate.append(length * IN_FLIGHT / took)
                syncs.append((storage.stats().syncs - synced) / (length * IN_FLIGHT))
    figures = [
        Figure(name="committer_fsyncs_per_settlement", value=statistics.median(syncs), unit="", target=0.05),
        Figure(name="committer_settlements_per_second", value=statistics.median(rate), unit="/s", absolute=True),
    ]
    return Measured(figures=figures, rounds={"fsyncs per settlement": syncs, "settlements per second": rate})


async def _work_off(storage: Storage, claim: Claim | None) -> None:
    """Settle an instance's executions one after another, each settlement claiming the next, until there is none."""
    while claim is not None:
        claim = (await storage.settle(settlement_of(claim))).next


def settlement_of(claim: Claim, *, claim_next: bool = True) -> Settlement:
    """Return what an execution that wrote one value settles."""
    at = claim.execution.queued_at
    return Settlement(
        node="bench",
        instance=claim.instance.id,
        epoch=claim.epoch,
        execution=claim.execution.id,
        attempt=Attempt(number=1, version=1, node="bench", usage=Usage(started_at=at, finished_at=at), status="succeeded"),
        verdict=Verdict(status="succeeded", result=b"null"),
        effects=[PutValue(ns="", key="count", value=b"1")],
        logs=[],
        claim_next=claim_next,
        at=at,
    )
