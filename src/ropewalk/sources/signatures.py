"""Who signed a webhook's request, by the published schemes of those that send them.

    github       X-Hub-Signature-256: sha256=<hex>                     of the body
    stripe       Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]    of "<t>.<body>"
    slack        X-Slack-Signature: v0=<hex>                           of "v0:<X-Slack-Request-Timestamp>:<body>"
    standard     webhook-signature: v1,<base64>[ v1,<base64>…]         of "<webhook-id>.<webhook-timestamp>.<body>"
    hmac-sha256  one of `GENERIC`: <hex> or <base64>, [sha256=] before  of the body

All are HMACs with SHA-256, compared in constant time. Where the scheme signs a time, one more than five minutes away is refused. What the
sender calls the delivery is believed once the signature is right. Pure: the time is passed in.

Sources: docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries, docs.stripe.com/webhooks/signature,
api.slack.com/authentication/verifying-requests-from-slack, github.com/standard-webhooks/standard-webhooks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

TOLERANCE: Final = 300.0
"""Seconds by which the time that is signed may differ from ours, either way: what all of the schemes advise."""

GENERIC: Final = (
    "x-signature-256",
    "x-signature-sha256",
    "x-hub-signature-256",
    "x-webhook-signature",
    "x-webhook-signature-256",
    "webhook-signature",
    "x-hmac-sha256",
    "x-shopify-hmac-sha256",
    "x-gitea-signature",
    "x-gogs-signature",
    "linear-signature",
    "x-signature",
    "signature",
)
"""Header fields in which `hmac-sha256` looks for the signature; one of those that are there has to be right."""

DELIVERY_IDS: Final = (
    "webhook-id",
    "svix-id",
    "x-github-delivery",
    "x-gitea-delivery",
    "x-gogs-delivery",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
    "i-twilio-idempotency-token",
    "idempotency-key",
)
"""Header fields by which senders name a delivery, the same each time that they send it."""

LONGEST_ID: Final = 255
"""Characters of a delivery's id; a longer one is known by its hash."""


class BadSecret(ValueError):
    """A secret that the scheme cannot use."""


class Refused(Exception):
    """The request is not signed as it has to be; the message says why."""


class Signed(Struct, frozen=True):
    """A request, as far as signatures go: names of `headers` are lower case, of several with one name it is the first."""

    headers: Mapping[str, str]
    body: bytes


def schemes() -> tuple[str, ...]:
    """Return the names of the schemes."""
    return tuple(_SCHEMES)


def check_secret(scheme: str, secret: str) -> None:
    """Raise BadSecret when the scheme cannot use a secret."""
    if not secret:
        raise BadSecret("the secret is empty")
    if scheme == "standard":
        _standard_key(secret)


def verify(scheme: str, secret: str, request: Signed, now: float) -> str | None:
    """Return what the sender calls this delivery, None when it has no name for it.

    Args:
        scheme: one of `schemes()`.
        secret: what both sides know.
        request: what came.
        now: seconds since 1970.

    Raises:
        Refused: the signature is missing or wrong, or too old.
    """
    return _SCHEMES[scheme](secret, request, now)


def delivery_id(request: Signed) -> str | None:
    """Return the delivery id in a request's headers, None when there is none. For requests that nobody signed, or signed rightly."""
    return next((_short(found) for name in DELIVERY_IDS if (found := request.headers.get(name))), None)


# ── The schemes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _github(secret: str, request: Signed, now: float) -> str | None:
    given = _required(request, "x-hub-signature-256")
    _require_one([_hex(given.removeprefix("sha256="))] if given.startswith("sha256=") else [], secret.encode(), request.body)
    return delivery_id(request)


def _stripe(secret: str, request: Signed, now: float) -> str | None:
    pairs = [part.strip().partition("=") for part in _required(request, "stripe-signature").split(",")]
    timestamp = next((value for key, _, value in pairs if key == "t"), "")
    _require_recent(timestamp, now)
    given = [_hex(value) for key, _, value in pairs if key == "v1"]
    right = _require_one(given, secret.encode(), timestamp.encode() + b"." + request.body)
    return _body_id(request.body, _StripeEvent) or f"{timestamp}.{right.hex()}"


def _slack(secret: str, request: Signed, now: float) -> str | None:
    timestamp = _required(request, "x-slack-request-timestamp")
    _require_recent(timestamp, now)
    given = _required(request, "x-slack-signature")
    signatures = [_hex(given.removeprefix("v0="))] if given.startswith("v0=") else []
    right = _require_one(signatures, secret.encode(), b"v0:" + timestamp.encode() + b":" + request.body)
    return _body_id(request.body, _SlackEvent) or f"{timestamp}.{right.hex()}"


def _standard(secret: str, request: Signed, now: float) -> str | None:
    prefix = "webhook" if "webhook-signature" in request.headers else "svix"
    name, timestamp = _required(request, f"{prefix}-id"), _required(request, f"{prefix}-timestamp")
    _require_recent(timestamp, now)
    versions = [part.partition(",") for part in _required(request, f"{prefix}-signature").split()]
    given = [_base64(value) for version, _, value in versions if version == "v1"]
    _require_one(given, _standard_key(secret), f"{name}.{timestamp}.".encode() + request.body)
    return _short(name)


def _generic(secret: str, request: Signed, now: float) -> str | None:
    found = [request.headers[name] for name in GENERIC if name in request.headers]
    if not found:
        raise Refused(f"it has none of the headers in which a signature is looked for: {', '.join(GENERIC)}")
    texts = [text.strip().removeprefix("sha256=") for text in found]
    _require_one([either for text in texts for either in (_hex(text), _base64(text))], secret.encode(), request.body)
    return delivery_id(request)


_SCHEMES: Final[dict[str, Callable[[str, Signed, float], str | None]]] = {
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
    "standard": _standard,
    "hmac-sha256": _generic,
}


# ── What they have in common ──────────────────────────────────────────────────────────────────────────────────────────────────

_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class _StripeEvent(Struct):
    id: str


class _SlackEvent(Struct):
    event_id: str


def _required(request: Signed, name: str) -> str:
    found = request.headers.get(name)
    if found is None:
        raise Refused(f"it has no {name} header")
    return found


def _require_recent(timestamp: str, now: float) -> None:
    if not _SECONDS.fullmatch(timestamp):
        raise Refused("the time that it is signed with is no number of seconds")
    if abs(int(timestamp) - now) > TOLERANCE:
        raise Refused(
            f"it was signed {now - int(timestamp):.0f} s ago, and {TOLERANCE:.0f} s either way are borne: the sender's clock, or a replay"
        )


def _require_one(given: Iterable[bytes], key: bytes, signed: bytes) -> bytes:
    """Return the right signature when it is among those given."""
    right = hmac.digest(key, signed, hashlib.sha256)
    # All are compared, so that nothing is told by the time.
    if not sum([hmac.compare_digest(one, right) for one in given]):
        raise Refused("the signature is not that of this body with the webhook's secret")
    return right


def _hex(text: str) -> bytes:
    """Return the bytes of a hexadecimal text; none when it is none."""
    try:
        return binascii.unhexlify(text)
    except ValueError:
        return b""


def _base64(text: str) -> bytes:
    """Return the bytes of a base64 text; none when it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _standard_key(secret: str) -> bytes:
    key = _base64(secret.removeprefix("whsec_"))
    if not key:
        raise BadSecret("a secret of Standard Webhooks is base64, with whsec_ before it or not, and this is none")
    return key


def _body_id(body: bytes, kind: type[_StripeEvent | _SlackEvent]) -> str | None:
    try:
        event = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _short(event.id if isinstance(event, _StripeEvent) else event.event_id)


def _short(text: str) -> str:
    """Return a delivery's id, or what stands for one that is too long to be kept."""
    return text if len(text) <= LONGEST_ID else "sha256:" + hashlib.sha256(text.encode()).hexdigest()
