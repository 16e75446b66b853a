"""The end of an attempt, made durable: effects, outcome and what follows, in one transaction.

A settlement that does not apply is settled again as a failed attempt without effects. One that storage cannot take for now (disk full,
locked) is kept and tried again for `PATIENCE` seconds; then the attempt counts as lost, and that is tried until it can be stored: the
instance stays leased meanwhile, so nothing runs twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Literal

from msgspec.structs import replace

from ropewalk.clock import Clock
from ropewalk.dispatch.attempt import Attempt, Outcome
from ropewalk.queue.retries import Failure, verdict
from ropewalk.storage.interface import DoesNotApply, Fenced, Storage, StorageFull, StorageUnavailable
from ropewalk.storage.records import Attempt as AttemptRecord, Claim, ErrorInfo, Settlement, Verdict
from ropewalk.wire.control import RetryInfo

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for which a settlement with effects is tried again before it is given up as lost."""

_PAUSE = 0.5


class Settler:
    """Settles attempts on behalf of one node."""

    def __init__(self, storage: Storage, clock: Clock, node: str) -> None:
        self._storage = storage
        self._clock = clock
        self._node = node

    async def settle(self, attempt: Attempt, outcome: Outcome, policy: RetryInfo, *, claim_next: bool) -> Claim | None:
        """Settle an attempt and return the instance's next claim, if one came with it."""
        if outcome.fenced:
            return None
        settlement = self._settlement(attempt, outcome, policy, claim_next=claim_next)
        try:
            return await self._store(settlement)
        except DoesNotApply as error:
            conflict = Outcome(
                usage=outcome.usage,
                failure=Failure(type="conflict", kind="retry", after=0.0),
                error=ErrorInfo(type="conflict", message=f"the work could not be committed, and is done again: {error}"),
            )
            return await self._store(self._settlement(attempt, conflict, policy, claim_next=claim_next, logs_of=settlement))

    def _settlement(
        self, attempt: Attempt, outcome: Outcome, policy: RetryInfo, *, claim_next: bool, logs_of: Settlement | None = None
    ) -> Settlement:
        claim, now = attempt.claim, self._clock.now()
        if outcome.lost is not None:
            judged = Verdict(status="retrying", run_at=now, counted=False)
        elif outcome.cancelled is not None:
            judged = Verdict(status="cancelled")
        elif outcome.failure is not None:
            judged = verdict(claim.execution, outcome.failure, policy, now, random.random())  # noqa: S311 — jitter, no secret
        else:
            judged = Verdict(status="succeeded", result=outcome.result)
        return Settlement(
            node=self._node,
            instance=claim.instance.id,
            epoch=claim.epoch,
            execution=claim.execution.id,
            attempt=self._record(claim, outcome),
            verdict=judged,
            effects=attempt.effects if judged.status == "succeeded" else [],
            logs=attempt.take_logs() if logs_of is None else logs_of.logs,
            claim_next=claim_next,
            at=now,
        )

    def _record(self, claim: Claim, outcome: Outcome) -> AttemptRecord:
        status: Literal["succeeded", "failed", "lost", "cancelled"] = "succeeded"
        error = outcome.error
        if outcome.lost is not None:
            status, error = "lost", ErrorInfo(type="node_lost", message=outcome.lost)
        elif outcome.cancelled is not None:
            status, error = "cancelled", ErrorInfo(type="cancelled", message=outcome.cancelled)
        elif outcome.failure is not None:
            status = "failed"
        return AttemptRecord(
            number=claim.execution.attempt,
            version=claim.instance.version,
            node=self._node,
            usage=outcome.usage,
            status=status,
            error=error,
        )

    async def _store(self, settlement: Settlement) -> Claim | None:
        """Store a settlement, waiting for storage that cannot take it now."""
        give_up_at = self._clock.boottime() + PATIENCE
        while True:
            try:
                return (await self._storage.settle(settlement)).next
            except Fenced:
                return None
            except (StorageFull, StorageUnavailable) as error:
                log.warning("execution %s cannot be settled yet: %s", settlement.execution, error)
                if settlement.effects and self._clock.boottime() > give_up_at:
                    settlement = _as_lost(settlement, str(error))
                await asyncio.sleep(_PAUSE)


def _as_lost(settlement: Settlement, why: str) -> Settlement:
    """Return the settlement of the same attempt as one that its node lost, without effects."""
    error = ErrorInfo(type="node_lost", message=f"the work could not be stored: {why}")
    return replace(
        settlement,
        attempt=replace(settlement.attempt, status="lost", error=error),
        verdict=Verdict(status="retrying", run_at=settlement.at, counted=False),
        effects=[],
        claim_next=False,
    )
