"""The HTTP requests that an execution has sent, as its attempts' records have them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ropewalk.egress.sent import Sent
from ropewalk.recording.record import opened
from ropewalk.service.service import Service
from ropewalk.storage.records import Execution
from ropewalk.vault.errors import VaultError


class SentRequests(Struct, frozen=True, kw_only=True):
    """Requests, each with the number of its attempt, and how many more there were that are not listed."""

    listed: list[tuple[int, Sent]]
    unlisted: int


async def requests_of(service: Service, execution: Execution, attempts: Iterable[int]) -> SentRequests | None:
    """Return what these attempts of an execution, which have records, have sent; None when there is no record that can be read."""
    if await service.storage.instance(execution.instance) is None:
        return None  # its records' key is destroyed
    listed: list[tuple[int, Sent]] = []
    unlisted, read = 0, False
    for attempt in attempts:
        content = await service.storage.record(execution.id, attempt)
        if content is None:
            continue  # it went this moment
        try:
            record = opened(content, await service.vault.sealer(execution.instance), execution.id, attempt)
        except VaultError:
            return None
        listed += [(attempt, sent) for sent in record.sent]
        unlisted, read = unlisted + record.unlisted, True
    return SentRequests(listed=listed, unlisted=unlisted) if read else None
