"""What becomes of failed attempts: the policy, as values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from ropewalk.queue.retries import DEACTIVATION_TIME, Failure, delay, lost, verdict
from ropewalk.storage.records import LOST_FOR_GOOD, ErrorInfo, Execution, Rank
from ropewalk.wire.control import RetryInfo
from ropewalk.wire.messages import Raised, Target

NOW = 1_700_000_000_000_000
POLICY = RetryInfo()
BOOM = Failure(type="ValueError", kind="error")

TASK = Execution(
    id="e",
    instance="i",
    twist="t",
    version=1,
    target=Target(ns="", method="m"),
    callback=None,
    trigger="task",
    event=b"[]",
    cause="",
    depth=0,
    rank=Rank.ORDINARY,
    ns="",
    key=None,
    status="running",
    attempt=1,
    tries=0,
    lost=0,
    run_at=None,
    queued_at=NOW,
)


def test_a_failure_is_retried_after_a_wait() -> None:
    judged = verdict(TASK, BOOM, POLICY, NOW, jitter=0.5)
    assert (judged.status, judged.run_at) == ("retrying", NOW + 500_000)


def test_the_wait_doubles_up_to_the_maximum() -> None:
    waits = [delay(BOOM, POLICY, tries, 1.0) for tries in (1, 2, 3, 9, 10, 5000)]
    assert waits == [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]


def test_the_last_attempt_leaves_it_dead() -> None:
    assert verdict(replace(TASK, tries=4), BOOM, POLICY, NOW, 0.5).status == "dead"


def test_giving_up_leaves_it_dead_at_once() -> None:
    assert verdict(TASK, Failure(type="GiveUp", kind="give_up"), POLICY, NOW, 0.5).status == "dead"


@pytest.mark.parametrize("kind", ["error", "crash", "limit"])
def test_an_invoke_by_hand_is_not_retried(kind: str) -> None:
    assert verdict(replace(TASK, trigger="invoke"), Failure(type="x", kind=kind), POLICY, NOW, 0.5).status == "failed"


def test_what_could_not_be_committed_is_done_again_at_once_even_for_who_is_waited_for() -> None:
    conflict = Failure(type="conflict", kind="conflict")
    again = verdict(replace(TASK, trigger="invoke"), conflict, POLICY, NOW, 0.5)
    assert (again.status, again.run_at) == ("retrying", NOW)


def test_what_cannot_be_cured_by_running_again_fails() -> None:
    assert verdict(TASK, Failure(type="CallbackNotFound", kind="unretried"), POLICY, NOW, 0.5).status == "failed"


def test_a_limit_is_retried_once() -> None:
    limit = Failure(type="cpu_limit", kind="limit")
    assert verdict(TASK, limit, POLICY, NOW, 0.5).status == "retrying"
    again = replace(TASK, tries=1, error=ErrorInfo(type="timeout", message=""))
    assert verdict(again, limit, POLICY, NOW, 0.5).status == "dead"


def test_a_limit_after_another_failure_is_retried() -> None:
    after_error = replace(TASK, tries=1, error=ErrorInfo(type="ValueError", message=""))
    assert verdict(after_error, Failure(type="timeout", kind="limit"), POLICY, NOW, 0.5).status == "retrying"


def test_retry_waits_as_long_as_it_says() -> None:
    judged = verdict(TASK, Failure(type="Retry", kind="retry", after=90.0), POLICY, NOW, jitter=0.0)
    assert judged.run_at == NOW + 90_000_000


def test_retry_after_is_the_least_wait() -> None:
    assert delay(Failure(type="HTTPStatusError", kind="retry_at_least", after=30.0), POLICY, 1, 1.0) == 30.0
    assert delay(Failure(type="HTTPStatusError", kind="retry_at_least", after=0.5), POLICY, 3, 1.0) == 4.0


def test_a_server_that_asks_for_very_long_is_asked_again_after_a_day() -> None:
    assert delay(Failure(type="HTTPStatusError", kind="retry_at_least", after=10.0**7), POLICY, 1, 1.0) == 86_400.0


def test_what_the_host_could_not_see_through_comes_back_ever_later_and_is_set_aside_in_the_end() -> None:
    waits = [(lost(replace(TASK, lost=count), POLICY, NOW, 1.0).run_at or 0) - NOW for count in range(LOST_FOR_GOOD - 1)]
    assert waits[:4] == [500_000, 1_000_000, 2_000_000, 4_000_000]
    assert waits[-1] == 300_000_000
    assert 3000e6 < sum(waits) < 4000e6
    judged = lost(replace(TASK, lost=LOST_FOR_GOOD - 1), POLICY, NOW, 1.0)
    assert (judged.status, judged.counted) == ("dead", False)


def test_deactivation_is_over_within_a_minute() -> None:
    leaving, policy = replace(TASK, trigger="deactivate"), RetryInfo(attempts=50)
    assert verdict(leaving, BOOM, policy, NOW, 0.5, spent=DEACTIVATION_TIME).status == "dead"
    assert verdict(replace(leaving, tries=2), BOOM, policy, NOW, 0.5).status == "dead"
    asked = Failure(type="Retry", kind="retry", after=3600.0)
    waits = [verdict(replace(leaving, tries=tries), asked, policy, NOW, 1.0) for tries in (0, 1)]
    assert all(wait.status == "retrying" for wait in waits)
    assert DEACTIVATION_TIME + sum((wait.run_at or 0) - NOW for wait in waits) <= 60_000_000


def test_a_deactivation_that_nobody_could_run_for_long_gets_its_attempts() -> None:
    leaving = replace(TASK, trigger="deactivate", queued_at=NOW - 3_600_000_000)
    assert verdict(leaving, BOOM, POLICY, NOW, 0.5, spent=1_000_000).status == "retrying"


def test_ordered_policies_hold_later_events_back() -> None:
    assert verdict(TASK, BOOM, RetryInfo(ordered=True), NOW, 0.5).ordered


def test_out_of_memory_is_a_limit() -> None:
    raised = Raised(kind="error", type="memory_limit", message="", traceback="")
    assert Failure.of(raised).kind == "limit"


@given(st.floats(), st.sampled_from(["retry", "retry_at_least"]))
def test_no_wait_that_a_guest_asks_for_breaks_the_host(after: float, kind: str) -> None:
    raised = Raised(kind=kind, type="Retry", message="", traceback="", after=after)  # type: ignore[arg-type]
    judged = verdict(TASK, Failure.of(raised), POLICY, NOW, 1.0)
    assert judged.run_at is not None
    assert NOW <= judged.run_at < NOW + 10**16
    assert math.isfinite(judged.run_at)
