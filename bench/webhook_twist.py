"""The twist whose webhooks are measured. It is deployed like any other."""

from __future__ import annotations

from ropewalk import Priority, Twist, WebhookRequest
from ropewalk.tools import Network


class Hooked(Twist):
    """Counts what it is sent."""

    network = Network(urls=[])

    async def activate(self, priority: Priority) -> None:
        """Ask for a webhook."""
        await self.set("url", await self.network.create_webhook(self.receive))

    async def receive(self, request: WebhookRequest) -> None:
        """Count one delivery."""
        await self.set("count", await self.get("count", int, default=0) + 1)
