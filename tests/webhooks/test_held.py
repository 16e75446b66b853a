"""A URL that was given away before its execution is over."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from ropewalk.web.webhooks import Bounds
from tests.harness.waiting import eventually
from tests.harness.web import Web
from tests.webhooks.conftest import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def given_away(web: Web, name: str, times: int = 1) -> str:
    """Return the URL that an execution told the server, which keeps it waiting."""

    async def told() -> bool:
        return len(web.asked(f"/one/{name}")) >= times

    await eventually(told, "the URL to be given away")
    return web.asked(f"/one/{name}")[times - 1].query["url"]


async def create_and_wait(site: Site, *, fails: bool, **keywords: object) -> tuple[str, str]:
    """Have an execution give a webhook's URL away and wait; returns the execution and the URL."""
    site.web.hold(2)
    await site.runtime.start()
    execution = await site.runtime.queue(site.instance, "create_and_wait", fails, keywords)
    return execution, await given_away(site.web, "early")


async def release(site: Site) -> None:
    """Let the execution go on."""
    await asyncio.to_thread(site.web.visit, "/one/release")


async def waiting(site: Site, request: asyncio.Task[httpx.Response]) -> None:
    """Return when a request is held."""

    async def held() -> bool:
        return site.webhooks.taken["held"] > 0

    await eventually(held, "a request to be held")
    assert not request.done()


async def test_it_waits_until_the_webhook_is_there(site: Site) -> None:
    _, url = await create_and_wait(site, fails=False)
    request = asyncio.create_task(site.post(url, content=b"early"))
    await waiting(site, request)
    await release(site)
    answer = await request
    assert answer.status_code == 202
    await site.runtime.finish(answer.json()["execution"])
    assert (await site.get("seen"))["what"] == "early"


async def test_it_is_refused_when_the_execution_fails(site: Site) -> None:
    _, url = await create_and_wait(site, fails=True)
    request = asyncio.create_task(site.post(url))
    await waiting(site, request)
    await release(site)
    assert (await request).status_code == 404
    assert (await site.post(url)).status_code == 404


async def test_it_may_come_again_when_that_takes_long(site: Site) -> None:
    site.webhooks.bounds = Bounds(holding=0.2)
    execution, url = await create_and_wait(site, fails=False)
    answer = await site.post(url)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    await release(site)
    await site.runtime.finish(execution)
    assert (await site.post(url)).status_code == 202


async def test_a_handshake_waits_for_nothing(site: Site) -> None:
    execution, url = await create_and_wait(site, fails=False, challenge="microsoft")
    answer = await site.client.post(url, params={"validationToken": "a b"})
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "a b", "text/plain; charset=utf-8")
    await release(site)
    await site.runtime.finish(execution)


async def test_another_attempt_has_the_same_url(site: Site) -> None:
    version = await site.runtime.instance(site.instance)
    await site.runtime.storage.enqueue(_task(version.id, "create_and_fail_once", site.runtime.clock.now()))
    await site.runtime.drain()
    first, second = (asked.query["url"] for asked in site.web.asked("/one/again"))
    assert first == second
    assert (await site.post(first)).status_code == 202


async def test_a_signed_one_is_checked_when_the_secret_is_known(site: Site) -> None:
    _, url = await create_and_wait(site, fails=False, secret="s", signature="github")
    request = asyncio.create_task(site.post(url, headers={"x-hub-signature-256": "sha256=00"}))
    await waiting(site, request)
    await release(site)
    assert (await request).status_code == 401


def _task(instance: str, method: str, at: int) -> Any:
    from ropewalk.answers.tasks import new_id
    from ropewalk.storage.records import NewExecution
    from ropewalk.wire.messages import Target

    return NewExecution(id=new_id(), instance=instance, trigger="task", target=Target(ns="", method=method), at=at)
