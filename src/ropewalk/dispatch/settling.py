"""The end of an attempt, made durable: effects, outcome and what follows, in one transaction.

A settlement that does not apply is settled again as a failed attempt without effects. One that storage cannot take for now (disk full,
locked) is kept and tried again for `PATIENCE` seconds; then the attempt counts as lost, and that is tried until it can be stored: the
instance stays leased meanwhile, so nothing runs twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from msgspec.structs import replace

from ropewalk.clock import Clock, Micros
from ropewalk.dispatch.outcome import Cancelled, Failed, Fenced, Lost, Outcome, Succeeded, described
from ropewalk.queue.retries import Failure, lost, verdict
from ropewalk.storage.interface import DoesNotApply, Fenced as LeaseLost, Storage, StorageFull, StorageUnavailable
from ropewalk.storage.records import Attempt, Claim, ErrorInfo, Settlement, Verdict
from ropewalk.wire.control import RetryInfo

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for which a settlement with effects is tried again before it is given up as lost."""

_PAUSE = 0.5


class Settler:
    """Settles attempts on behalf of one node.

    Args:
        storage: where they are settled.
        clock: what time it is.
        node: this node's id.
        chance: gives numbers from 0 to 1, by which waits differ.
    """

    def __init__(self, storage: Storage, clock: Clock, node: str, chance: Callable[[], float] = random.random) -> None:
        self._storage = storage
        self._clock = clock
        self._node = node
        self._chance = chance

    async def settle(self, outcome: Outcome, policy: RetryInfo, *, claim_next: bool) -> Claim | None:
        """Settle an attempt and return the instance's next claim, if one came with it."""
        if isinstance(outcome.ending, Fenced):
            return None
        if outcome.claim.execution.trigger == "options":
            policy = replace(policy, ordered=True)  # whatever starts later finds the instance told of its options
        try:
            return await self._store(self._settlement(outcome, policy, claim_next=claim_next), outcome, policy)
        except DoesNotApply as error:
            text = f"the work could not be committed, and is done again: {error}"
            conflict = Failed(Failure(type="conflict", kind="conflict"), ErrorInfo(type="conflict", message=text))
            outcome = replace(outcome, ending=conflict)
            return await self._store(self._settlement(outcome, policy, claim_next=claim_next), outcome, policy)

    def _settlement(self, outcome: Outcome, policy: RetryInfo, *, claim_next: bool) -> Settlement:
        claim, now = outcome.claim, self._clock.now()
        status, error = described(outcome.ending)
        return Settlement(
            node=self._node,
            instance=claim.instance.id,
            epoch=claim.epoch,
            execution=claim.execution.id,
            attempt=Attempt(
                number=claim.execution.attempt,
                version=claim.instance.version,
                node=self._node,
                usage=outcome.usage,
                status=status,
                error=error,
            ),
            verdict=_judged(outcome, policy, now, self._chance()),
            effects=outcome.effects if status == "succeeded" else [],
            logs=outcome.logs,
            claim_next=claim_next,
            at=now,
            record=outcome.record,
        )

    async def _store(self, settlement: Settlement, outcome: Outcome, policy: RetryInfo) -> Claim | None:
        """Store a settlement, waiting for storage that cannot take it now."""
        give_up_at = self._clock.boottime() + PATIENCE
        while True:
            try:
                return (await self._storage.settle(settlement)).next
            except LeaseLost:
                return None
            except (StorageFull, StorageUnavailable) as error:
                log.warning("execution %s cannot be settled yet: %s", settlement.execution, error)
                if settlement.effects and self._clock.boottime() > give_up_at:
                    judged = lost(outcome.claim.execution, policy, settlement.at, self._chance())
                    settlement = _as_lost(settlement, judged, str(error))
                await asyncio.sleep(_PAUSE)


def _judged(outcome: Outcome, policy: RetryInfo, now: Micros, chance: float) -> Verdict:
    """Return what becomes of the execution."""
    match outcome.ending:
        case Succeeded(result):
            return Verdict(status="succeeded", result=result)
        case Failed(failure):
            spent = outcome.claim.spent + outcome.usage.finished_at - outcome.usage.started_at
            return verdict(outcome.claim.execution, failure, policy, now, chance, spent)
        case Cancelled():
            return Verdict(status="cancelled")
        case Lost() | Fenced():
            return lost(outcome.claim.execution, policy, now, chance)


def _as_lost(settlement: Settlement, judged: Verdict, why: str) -> Settlement:
    """Return the settlement of the same attempt as one that its node lost, without effects."""
    error = ErrorInfo(type="node_lost", message=f"the work could not be stored: {why}")
    return replace(
        settlement,
        attempt=replace(settlement.attempt, status="lost", error=error),
        verdict=judged,
        effects=[],
        claim_next=False,
        record=None,
    )
