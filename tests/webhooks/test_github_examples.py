"""Real payloads: whatever GitHub publishes arrives as it was sent, signed as GitHub signs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from itertools import count

import pytest

from tests.webhooks.conftest import Site
from tests.webhooks.github_examples import examples

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "It's a Secret to Everybody"
SOURCE = """
import hashlib
from ropewalk import Priority, Twist, WebhookRequest
from ropewalk.tools import Network


class Examples(Twist):
    network = Network(urls=[])

    async def activate(self, priority: Priority) -> None:
        await self.set("url", await self.network.create_webhook(self.receive, signature="github", secret="It's a Secret to Everybody"))

    async def receive(self, request: WebhookRequest) -> None:
        digest = hashlib.sha256(request.raw_body).hexdigest()
        parsed = isinstance(request.body, dict) and request.body == request.json(dict)
        await self.set(request.headers["x-github-delivery"], [request.headers["X-GitHub-Event"], digest, parsed])
"""


async def test_every_example_arrives_intact(site: Site) -> None:
    instance = await site.runtime.run(SOURCE)
    url = await site.runtime.get(instance, "url")
    sent = {f"delivery-{number}": example for number, example in zip(count(), examples(), strict=False)}
    assert len(sent) > 700
    senders = asyncio.Semaphore(16)

    async def deliver(delivery: str, event: str, body: bytes) -> int:
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        async with senders:
            return (await site.post(url, content=body, headers=headers)).status_code

    assert set(await asyncio.gather(*(deliver(delivery, *example) for delivery, example in sent.items()))) == {202}
    await site.runtime.drain()
    received = {delivery: await site.runtime.get(instance, delivery) for delivery in sent}
    assert received == {delivery: [event, hashlib.sha256(body).hexdigest(), True] for delivery, (event, body) in sent.items()}
