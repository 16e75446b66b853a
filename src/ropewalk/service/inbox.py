"""What webhooks received, for operators: listed, shown, delivered again. The command line and the HTTP API both ask here."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ropewalk.service.lookup import find_delivery, find_instance
from ropewalk.service.service import Service
from ropewalk.service.shapes import Shape, delivery_shape

MOST_AT_ONCE: Final = 200
"""Requests that one answer of the HTTP API lists: with their bodies they are megabytes, which hold the node up while they are written."""


class Inbox(Struct, frozen=True):
    """The requests that a database's webhooks received. Names and ids are taken as the command line takes them."""

    service: Service

    async def received(self, instance: str | None = None, limit: int | None = None) -> list[Shape]:
        """Return what was received, newest first, of all instances or of one. Raises NotFound, InvalidValue."""
        storage = self.service.storage
        of = None if instance is None else (await find_instance(storage, instance)).id
        return [delivery_shape(one) for one in await storage.deliveries(of, limit)]

    async def one(self, delivery: str) -> Shape:
        """Return one request, whole. Raises NotFound, InvalidValue."""
        return delivery_shape(await find_delivery(self.service.storage, delivery))

    async def redeliver(self, delivery: str) -> Shape:
        """Have the method run for a request once more; returns the new execution. Raises NotFound, InvalidValue, and as `Service.redeliver`."""
        found = await find_delivery(self.service.storage, delivery)
        return {"execution": await self.service.redeliver(found), "redelivers": found.execution}
