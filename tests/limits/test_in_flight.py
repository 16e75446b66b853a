"""What an execution has sent and is not answered yet is bounded: it waits, and nothing fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio

from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually
from tests.harness.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

UPLOADS = """
import asyncio
from ropewalk import FetchTimeout, Options, Twist
from ropewalk.tools import Network

class UploadOptions(Options):
    base_url: str

class Uploads(Twist):
    options: UploadOptions
    network = Network(urls=["{base_url}/*"])

    async def upload(self, path: str, count: int, timeout: float) -> list[str]:
        return await asyncio.gather(*(self.one(path, timeout) for _ in range(count)))

    async def one(self, path: str, timeout: float) -> str:
        try:
            url = f"{self.options.base_url}/{path}"
            response = await self.network.fetch(url, method="POST", content=b"x" * (6 << 20), timeout=timeout)
        except FetchTimeout:
            return "timeout"
        return str(response.status)

    async def download(self, count: int) -> list[int]:
        fetch = self.network.fetch
        answers = await asyncio.gather(*(fetch(f"{self.options.base_url}/large?bytes={30 << 20}") for _ in range(count)))
        return [len(answer.content) for answer in answers]

    async def commits(self) -> int:
        writes = [self.set(f"key {number}", "x" * 100_000) for number in range(100)]
        await asyncio.gather(self.commit(), *writes)
        return len(await self.keys("key"))
"""


@pytest_asyncio.fixture(loop_scope="session")
async def runtime(opened: Callable[..., AbstractAsyncContextManager[Runtime]], web: Web) -> AsyncIterator[Runtime]:
    """A runtime whose twists have the memory for what they send."""
    async with opened(limit_memory=512 << 20, allow_private=(f"{web.url}/*",)) as one:
        yield one


async def test_calls_wait_when_sixteen_megabytes_are_in_flight(runtime: Runtime, web: Web) -> None:
    """Three uploads of 6 MiB are sent on; as long as none of those is answered, no other is even listened to."""
    instance, beside = await runtime.run(UPLOADS, base_url=web.url), await runtime.activate("uploads", base_url=web.url)
    uploading = await runtime.queue(instance, "upload", "silent", 6, 30)
    await runtime.start()

    async def three_came() -> bool:
        return len(web.asked("/silent")) >= 3

    await eventually(three_came, "three uploads to come")
    for _ in range(3):
        assert await runtime.invoke(beside, "upload", "missing", 2, 30) == ["404"] * 2
    assert len(web.asked("/silent")) == 3
    await runtime.storage.cancel(uploading, runtime.clock.now())


async def test_many_uploads_side_by_side_all_come_through(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(UPLOADS, base_url=web.url)
    assert await runtime.invoke(instance, "upload", "large", 0, 30) == []
    assert await runtime.invoke(instance, "upload", "missing", 8, 30) == ["404"] * 8


async def test_large_answers_come_one_after_another(runtime: Runtime, web: Web) -> None:
    """Together they are more than is kept for a guest that does not read: each is read when the one before has been taken."""
    instance = await runtime.run(UPLOADS, base_url=web.url)
    assert await runtime.invoke(instance, "download", 4) == [30 << 20] * 4


async def test_what_is_said_during_a_commit_waits_for_it(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(UPLOADS, base_url=web.url)
    assert await runtime.invoke(instance, "commits") == 100
