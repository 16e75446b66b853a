"""A webhook's request becomes an event: whose it is, whether it is signed, and that it is stored before it is answered.

    look_up ─► the webhook, or the execution that is making it
    settled ─► the webhook, once that execution has committed
    take_in ─► what the sender calls the delivery, once its signature is right; then
               one execution, durable, or the one that this delivery had before
    result  ─► what that execution's method returned, where the sender waits for it

Webhooks that were looked up are remembered, since looking costs as much as storing. What is remembered only ever leads on: the transaction
that stores a request looks again, and nobody is refused before somebody has.

Knows nothing of HTTP: `web.webhooks` comes before. After: `storage`, and whoever is `woken`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.clock import Clock
from ropewalk.sources import signatures, tokens, urls
from ropewalk.sources.tokens import Claims
from ropewalk.sources.watching import Watch
from ropewalk.storage.interface import DoesNotApply, Storage, UnknownWebhook
from ropewalk.storage.records import PENDING, Accepted, NewDelivery, NewExecution, Progress, Rank, Webhook
from ropewalk.vault.vault import Vault
from ropewalk.wire.messages import RequestRecord

_REMEMBERED: Final = 1_000
"""Most webhooks that are remembered."""

_SMALL: Final = 1024
"""Most bytes of such a webhook's arguments."""


class Endpoint(Struct, frozen=True):
    """Where a token leads: a webhook, or (None) an execution that still runs and may have made one."""

    token: str
    claims: Claims
    webhook: Webhook | None


class Received(Struct, frozen=True, kw_only=True):
    """A request as it came; header names are as received."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class TooLate(Exception):
    """What somebody waits for was not there in time; `started` is whether it had begun."""

    def __init__(self, *, started: bool) -> None:
        super().__init__()
        self.started = started


class Receiver:
    """What takes webhooks' requests in.

    Args:
        storage: the database.
        vault: what opens signing secrets.
        clock: what time it is.
        watch: what waits for executions.
        new_id: makes the ids of executions.
        woken: called when there is a new event.
    """

    def __init__(
        self,
        storage: Storage,
        vault: Vault,
        clock: Clock,
        watch: Watch,
        *,
        new_id: Callable[[], str],
        woken: Callable[[], None],
    ) -> None:
        self._storage = storage
        self._vault = vault
        self._clock = clock
        self._watch = watch
        self._new_id = new_id
        self._woken = woken
        self._remembered: dict[str, Endpoint] = {}

    async def look_up(self, token: str) -> Endpoint | None:
        """Return where a token leads, None when it leads nowhere; or where it lately led."""
        endpoint = self._remembered.get(token) or await self._look(token)
        if endpoint is not None and _is_to_be_remembered(endpoint):
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[token] = endpoint
        return endpoint

    async def is_gone(self, token: str) -> bool:
        """Return whether a token that led somewhere leads nowhere now."""
        return self._remembered.pop(token, None) is not None and await self._look(token) is None

    async def _look(self, token: str) -> Endpoint | None:
        claims = tokens.read(token)
        if claims is None:
            return None
        webhook = await self._storage.webhook(claims.instance, token)
        if webhook is None:
            if not await self._is_genuine(claims, token):
                return None
            over, webhook = await self._made(token, claims)
            if over and webhook is None:
                return None
        return Endpoint(token, claims, webhook)

    async def settled(self, endpoint: Endpoint, seconds: float) -> Webhook | None:
        """Return the webhook once its execution has committed it, None when it never will.

        Raises:
            TooLate: the execution was not over in time.
            Stopped: this node stops.
        """
        if endpoint.webhook is not None:
            return endpoint.webhook

        async def look() -> tuple[Webhook | None] | None:
            over, webhook = await self._made(endpoint.token, endpoint.claims)
            return (webhook,) if over or webhook is not None else None

        found = await self._watch.until(endpoint.claims.execution, look, seconds)
        if found is None:
            raise TooLate(started=True)
        return found[0]

    async def take_in(self, webhook: Webhook, request: Received) -> Accepted:
        """Store a request as an event, unless this delivery was stored before. It is durable when this returns.

        Raises:
            signatures.Refused: it is not signed as it has to be.
            UnknownWebhook: the webhook was deleted meanwhile, or its instance takes no more events.
            QueueIsFull: the instance has no room for it.
            VaultError: the secret cannot be opened.
            StorageError: it cannot be stored now.
        """
        try:
            return await self.accept(webhook, request, await self.check(webhook, request))
        except (signatures.Refused, UnknownWebhook) as error:
            self._remembered.pop(webhook.token, None)
            now = await self._storage.webhook(webhook.instance, webhook.token)
            if now is None:
                raise UnknownWebhook(f"webhook {webhook.id} is not there any more") from error
            if now == webhook:
                raise
        return await self.accept(now, request, await self.check(now, request))

    async def check(self, webhook: Webhook, request: Received) -> str | None:
        """Return what the sender calls this delivery, None when it has no name for it.

        Raises:
            signatures.Refused: it is not signed as it has to be.
            VaultError: the secret cannot be opened.
        """
        headers: dict[str, str] = {}
        for name, value in request.headers:
            headers.setdefault(name.lower(), value)
        signed = signatures.Signed(headers, request.body)
        if webhook.signature is None:
            return signatures.delivery_id(signed)
        if webhook.secret is None:  # a damaged row, which is no reason to believe whoever comes
            raise signatures.Refused("the secret that it would be checked with is gone: the webhook has to be made again")
        sealer = await self._vault.sealer(webhook.instance)
        secret = sealer.open(webhook.secret, urls.SEALED_AS, webhook.id).decode()
        return signatures.verify(webhook.signature, secret, signed, self._clock.now() / 1e6)

    async def accept(self, webhook: Webhook, request: Received, delivery: str | None) -> Accepted:
        """Store a request as an event, unless this delivery was stored before. It is durable when this returns.

        Raises:
            UnknownWebhook: it was deleted or made anew meanwhile, or its instance takes no more events.
            QueueIsFull: the instance has no room for it.
            StorageError: it cannot be stored now.
        """
        execution = self._new_id()
        record = RequestRecord(
            id=delivery or execution,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=list(request.headers),
            body=request.body,
        )
        new = NewExecution(
            id=execution,
            instance=webhook.instance,
            trigger="webhook",
            target=webhook.target,
            callback=webhook.callback,
            event=_encode((record,)),
            rank=Rank.WAITED_FOR if webhook.respond else Rank.ORDINARY,
            ns=webhook.ns,
            cause=f"webhook {webhook.id}",
            at=self._clock.now(),
        )
        accepted = await self._storage.accept(
            NewDelivery(token=webhook.token, webhook=webhook.id, made_at=webhook.created_at, delivery=delivery, execution=new)
        )
        self._woken()
        return accepted

    async def result(self, execution: str, seconds: float) -> Progress:
        """Return how an execution ended. One that is not over in time is ended, and leaves nothing.

        Raises:
            TooLate: it was ended, or could not be started.
            Stopped: this node stops.
        """
        found = await self._watch.until(execution, partial(self._over, execution), seconds)
        if found is None:
            before = await self._storage.progress(execution)
            if await self._cancelled(execution):
                raise TooLate(started=before is not None and before.status != "queued")
            found = await self._over(execution)
        return found or Progress(status="cancelled", result=None)

    async def _cancelled(self, execution: str) -> bool:
        try:
            cancelled = await self._storage.cancel(execution, self._clock.now())
        except DoesNotApply:
            return False
        self._woken()  # whoever runs it is to end it now
        return cancelled

    async def _over(self, execution: str) -> Progress | None:
        """Return how an execution ended, None while it has not. One that is gone was cancelled with its instance."""
        found = await self._storage.progress(execution)
        if found is None:
            return Progress(status="cancelled", result=None)
        return None if found.status in PENDING else found

    async def _is_genuine(self, claims: Claims, token: str) -> bool:
        instance = await self._storage.instance(claims.instance)
        return instance is not None and instance.status != "deactivating" and tokens.is_genuine(instance.secret, token)

    async def _made(self, token: str, claims: Claims) -> tuple[bool, Webhook | None]:
        """Return whether the execution that makes a webhook is over, and the webhook if it is there: asked in this order."""
        progress = await self._storage.progress(claims.execution)
        return progress is None or progress.status not in PENDING, await self._storage.webhook(claims.instance, token)


def _is_to_be_remembered(endpoint: Endpoint) -> bool:
    """Return whether all that a request brings about is looked at again: handshakes are answered before it is. Small ones only."""
    webhook = endpoint.webhook
    return webhook is not None and webhook.challenge is None and len(webhook.target.arguments) <= _SMALL


_encode = msgspec.json.Encoder().encode
