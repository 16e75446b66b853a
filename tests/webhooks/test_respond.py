"""`respond=True`: the sender waits for what the method answers."""

from __future__ import annotations

import asyncio

import pytest

from ropewalk.web.webhooks import Bounds
from tests.webhooks.conftest import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("how", "status", "kind", "content"),
    [
        ("text", 200, "text/plain; charset=utf-8", "héllo".encode()),
        ("json", 200, "application/json", b'{"got":{"a":1}}'),
        ("none", 200, None, b""),
        ("whole", 418, "text/tea", b"pot"),
        ("bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("no content", 204, None, b""),
    ],
)
async def test_the_answer_is_what_the_method_returns(site: Site, how: str, status: int, kind: str | None, content: bytes) -> None:
    url = await site.create("answer", how, respond=True)
    answer = await site.post(url, json={"a": 1})
    assert (answer.status_code, answer.headers.get("content-type"), answer.content) == (status, kind, content)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert await site.get("count") == 1


@pytest.mark.parametrize("how", ["raise", "forged"])
async def test_a_failure_is_not_tried_again(site: Site, how: str) -> None:
    url = await site.create("answer", how, respond=True)
    answer = await site.post(url)
    assert answer.status_code == 500
    await site.runtime.drain()
    (execution,) = await site.runtime.executions(site.instance, "answer")
    assert execution.status == ("failed" if how == "raise" else "succeeded")


async def test_one_that_takes_too_long_is_ended_and_leaves_nothing(site: Site) -> None:
    site.webhooks.bounds = Bounds(responding=0.5)
    url = await site.create("answer", "slow", respond=True)
    answer = await site.post(url)
    assert answer.status_code == 504
    (execution,) = await site.runtime.executions(site.instance, "answer")
    assert execution.status == "cancelled"
    assert await site.get("count") is None


async def test_one_that_cannot_start_in_time_is_taken_back(site: Site) -> None:
    site.webhooks.bounds = Bounds(responding=0.2)
    url = await site.create("answer", "text", respond=True)
    await site.runtime.service.suspend(site.instance, "for the test")
    answer = await site.post(url, headers={"Idempotency-Key": "1"})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    await site.runtime.service.resume(site.instance)
    again = await site.post(url, headers={"Idempotency-Key": "1"})
    assert (again.status_code, again.text) == (200, "héllo")
    assert await site.get("count") == 1


async def test_a_second_delivery_has_the_answer_of_the_first(site: Site) -> None:
    url = await site.create("answer", "text", respond=True)
    answers = await asyncio.gather(*(site.post(url, headers={"Idempotency-Key": "1"}) for _ in range(3)))
    assert {answer.text for answer in answers} == {"héllo"}
    assert await site.get("count") == 1
