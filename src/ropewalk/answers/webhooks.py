"""The host's answers about webhooks: URLs whose requests run a method.

The URL is there at once; the webhook, like all that an execution does, when it commits. What comes before that waits: see
`sources.tokens`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from ropewalk.answers.interface import Session
from ropewalk.answers.tasks import what_to_run
from ropewalk.errors import InvalidValue, PermissionDenied, QueueFull, ValueTooLarge
from ropewalk.sources import challenges, signatures, tokens, urls
from ropewalk.storage.records import DropWebhook, PutWebhook, Webhook
from ropewalk.wire.messages import Target, WebhookCreate, WebhookDelete

SECRET_LIMIT: Final = 1024
"""Most bytes of a signing secret."""

_OVERHEAD: Final = 400


class WebhookOverlay:
    """The tokens of the webhooks that the attempt has made and deleted, and of those that storage has, once that was asked."""

    __slots__ = ("deleted", "made", "stored")

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.deleted: set[str] = set()
        self.stored: set[str] | None = None


async def webhook_create(session: Session, call: WebhookCreate) -> str:
    """Make a webhook and return its URL."""
    session.require_staying("create_webhook()")
    tool = session.tool(call.ns)
    if tool is None or tool.kind != "Network":
        raise PermissionDenied(
            f"the twist declares no Network tool at {call.ns[:80]!r}: add one as a class attribute and deploy again"
        )
    session.require_staying("create_webhook()")
    _check_schemes(call)
    target = await what_to_run(session, call)
    token = _token(session, call, target)
    await _check_room(session, token)
    name = tokens.name(token)
    webhook = Webhook(
        id=name,
        token=token,
        instance=session.claim.instance.id,
        ns=call.ns,
        target=target,
        callback=call.callback,
        respond=call.respond,
        signature=call.signature,
        secret=None if call.secret is None else await _sealed(session, name, call.secret),
        challenge=call.challenge,
        created_at=session.stamp(),
    )
    session.add(PutWebhook(webhook=webhook), len(target.arguments) + _OVERHEAD)
    session.overlay(WebhookOverlay).made.add(token)
    base = session.host.public_url or await session.host.storage.fact(urls.LISTENING) or urls.DEFAULT
    return urls.url_of(base, token)


async def webhook_delete(session: Session, call: WebhookDelete) -> None:
    """Have a webhook of this instance take no more requests."""
    token = tokens.find(call.url)
    if token is None:
        raise InvalidValue(f"{call.url[:120]!r} is no URL of a webhook: give delete_webhook() what create_webhook() returned")
    session.add(DropWebhook(token=token), len(token))
    overlay = session.overlay(WebhookOverlay)
    overlay.deleted.add(token)
    overlay.made.discard(token)


def _check_schemes(call: WebhookCreate) -> None:
    """Raise InvalidValue or ValueTooLarge when the host does not know a scheme, or a secret is missing or of no use."""
    _check_known("signature", call.signature, signatures.schemes())
    _check_known("challenge", call.challenge, challenges.kinds())
    if (call.secret is None) != (call.signature is None):
        raise InvalidValue("secret= and signature= go together: the one says what the sender signs with, the other how")
    if call.secret is None or call.signature is None:
        return
    if len(call.secret.encode()) > SECRET_LIMIT:
        raise ValueTooLarge(f"the secret has {len(call.secret.encode()):,} bytes and may have {SECRET_LIMIT:,}")
    try:
        signatures.check_secret(call.signature, call.secret)
    except signatures.BadSecret as error:
        raise InvalidValue(f"secret= cannot be used with signature={call.signature!r}: {error}") from None


def _check_known(what: str, given: str | None, known: Collection[str]) -> None:
    if given is not None and given not in known:
        raise InvalidValue(f"{what}={given[:40]!r} is none of {', '.join(known)}")


async def _check_room(session: Session, token: str) -> None:
    """Raise QueueFull when this would be one webhook more than the instance may have; one that is there already is none."""
    overlay, instance = session.overlay(WebhookOverlay), session.claim.instance
    if overlay.stored is None:
        overlay.stored = {webhook.token for webhook in await session.host.storage.webhooks(instance.id)}
    have = (overlay.stored | overlay.made) - overlay.deleted
    limit = session.host.limits.webhooks
    if len(have) >= limit and token not in have:
        raise QueueFull(f"this instance has {len(have):,} webhooks and may have {limit:,}: delete_webhook() those that are over")


def _token(session: Session, call: WebhookCreate, target: Target) -> str:
    """Return the webhook's token: that of the same call in another attempt, and none that this attempt was given before."""
    instance = session.claim.instance
    asked = (call.ns, target.ns, target.method, target.arguments, call.respond)
    which = tokens.which(instance.secret, (*asked, session.how_often(msgspec.msgpack.encode(asked))))
    return tokens.make(instance.secret, tokens.Claims(instance.id, session.claim.execution.id, which, call.challenge))


async def _sealed(session: Session, name: str, secret: str) -> bytes:
    sealer = await session.host.vault.sealer(session.claim.instance.id)
    return sealer.seal(secret.encode(), urls.SEALED_AS, name)
