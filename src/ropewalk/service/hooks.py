"""What a node answers over HTTP, assembled: what takes webhooks in, turns requests into events and tells who waits; and the operators' API."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import BaseRoute

from ropewalk.answers.tasks import new_id
from ropewalk.answers.throttle import Throttle
from ropewalk.service.doorbell import Ringer
from ropewalk.service.inbox import MOST_AT_ONCE, Inbox
from ropewalk.service.service import Service
from ropewalk.sources.receiving import Receiver
from ropewalk.sources.watching import Watch
from ropewalk.storage.pace import Pace
from ropewalk.web.api import api
from ropewalk.web.webhooks import Bounds, Webhooks


def receiving(service: Service, wake: Callable[[], None], watch: Watch) -> Webhooks:
    """Return what answers webhooks' requests. For each new event it calls `wake`, and rings for the nodes of other processes."""
    settings, ringer = service.settings, Ringer(service.nodes_directory)

    def woken() -> None:
        wake()
        ringer.ring()

    receiver = Receiver(service.storage, service.vault, service.clock, watch, new_id=new_id, woken=woken)
    throttle = Throttle(Pace(burst=settings.webhook_burst, rate=settings.webhook_rate), service.clock)
    return Webhooks(receiver, throttle, Bounds(body=settings.limit_webhook_body, responding=settings.limit_respond))


def operators_api(service: Service) -> BaseRoute | None:
    """Return the HTTP API for operators, None when no token is set."""
    token = service.settings.api_token
    return api(token, Inbox(service), MOST_AT_ONCE) if token else None
