"""What becomes of an execution when an attempt at it has failed: again, when, or never.

Pure: the random number and the time are passed in. The waits are exponential with full jitter, so that what failed together does not
return together (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.records import LOST_FOR_GOOD, Execution, Rank, Verdict
from ropewalk.wire.control import RetryInfo
from ropewalk.wire.messages import Raised

LIMITS = frozenset({"timeout", "cpu_limit", "memory_limit", "thread_limit", "request_limit"})
"""The limits that end an execution; what they end is retried once."""

DEACTIVATION = RetryInfo(attempts=3, first=1.0, maximum=5.0)
"""`deactivate` gets this policy, whatever the twist's or its own wishes: it must be over within a minute."""

DEACTIVATION_TIME: Micros = 50_000_000
"""Wall time that all attempts of a `deactivate` share: with the two waits between them they make up the minute. What was lost with its node
does not count, nor does the time for which no node runs."""

LONGEST_WAIT = 366 * 86_400.0
"""Seconds that a guest may ask to wait: a longer wait is cut to that, and a senseless one is as if it had asked for none."""

LONGEST_RETRY_AFTER = 86_400.0
"""Seconds beyond which a server's Retry-After is not heeded: it may be wrong, or mean harm."""

LOST_FIRST, LOST_MAXIMUM = 0.5, 300.0
"""Seconds from which, and to which, the waits grow between attempts that the host itself could not see through."""


class Failure(Struct, frozen=True, kw_only=True):
    """Why an attempt failed, as far as retrying goes.

    `kind` is `limit` or `crash` when the process was ended or ended by itself, `conflict` when its work could not be
    committed beside what others committed meanwhile, which even those who are waited for do again; else the kind of the guest's own `Raised`.
    """

    type: str
    kind: str
    after: float | None = None

    @classmethod
    def of(cls, raised: Raised) -> Failure:
        """Return the failure that the guest reports: out of memory is a limit, everything else is what it says."""
        if raised.type == "memory_limit":
            return cls(type=raised.type, kind="limit")
        sane = raised.after is not None and raised.after >= 0
        return cls(type=raised.type, kind=raised.kind, after=min(raised.after or 0.0, LONGEST_WAIT) if sane else None)


def verdict(execution: Execution, failure: Failure, policy: RetryInfo, now: Micros, jitter: float, spent: Micros = 0) -> Verdict:
    """Return what becomes of `execution`, whose newest attempt failed by `failure`.

    Args:
        execution: as it was claimed, so that `tries` does not count this attempt and `error` is that of the one before.
        failure: why.
        policy: the method's own, or its twist's.
        now: wall time.
        jitter: a random number from 0 to 1.
        spent: of a `deactivate`, the wall time that its attempts have taken, this one too.
    """
    if failure.kind == "give_up":
        return Verdict(status="dead")
    if failure.kind == "unretried" or (_is_waited_for(execution) and failure.kind != "conflict"):
        return Verdict(status="failed")
    if execution.trigger == "deactivate":
        policy = DEACTIVATION
        if spent >= DEACTIVATION_TIME:
            return Verdict(status="dead")
    tries = execution.tries + 1
    if tries >= policy.attempts or (failure.kind == "limit" and _limited_before(execution)):
        return Verdict(status="dead")
    wait = delay(failure, policy, tries, jitter)
    if execution.trigger == "deactivate":
        wait = min(wait, policy.maximum)
    return Verdict(status="retrying", run_at=now + round(wait * 1e6), ordered=policy.ordered)


def delay(failure: Failure, policy: RetryInfo, tries: int, jitter: float) -> float:
    """Return the seconds to wait after the `tries`-th failed attempt."""
    if failure.kind == "conflict":
        return 0.0
    if failure.kind == "retry" and failure.after is not None:
        return max(0.0, failure.after)
    waited = jitter * min(policy.maximum, policy.first * 2.0 ** min(tries - 1, 60))
    return max(waited, min(failure.after or 0.0, LONGEST_RETRY_AFTER)) if failure.kind == "retry_at_least" else waited


def lost(execution: Execution, policy: RetryInfo, now: Micros, jitter: float) -> Verdict:
    """Return what becomes of `execution`, whose newest attempt this host could not see through: no process, or no disk.

    It does not count by the policy; but what is lost `LOST_FOR_GOOD` times, nodes that died with it included, is set aside. By the waits
    between them that takes about an hour of nothing else.
    """
    if execution.lost + 1 >= LOST_FOR_GOOD:
        return Verdict(status="dead", counted=False)
    wait = (0.5 + jitter / 2) * min(LOST_MAXIMUM, LOST_FIRST * 2.0**execution.lost)
    return Verdict(status="retrying", run_at=now + round(wait * 1e6), ordered=policy.ordered, counted=False)


def _is_waited_for(execution: Execution) -> bool:
    """Whether somebody waits for the result of this very execution: a person, or the sender of a webhook's request."""
    return execution.trigger == "invoke" or (execution.trigger == "webhook" and execution.rank == Rank.WAITED_FOR)


def _limited_before(execution: Execution) -> bool:
    return execution.tries > 0 and execution.error is not None and execution.error.type in LIMITS
