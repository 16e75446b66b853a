"""The node and the verifiers of those who published the schemes agree about every request: theirs sign, both judge.

What the node refuses beside them is said where it is: a time in the future, which Stripe's library bears.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import standardwebhooks
import stripe
from hypothesis import example, given, settings, strategies as st
from msgspec import Struct
from slack_sdk.signature import SignatureVerifier

from ropewalk.sources.signatures import Refused, Signed, verify

FRESH = st.integers(-290, 290)
"""Seconds of age that every verifier bears, with room for a machine that is late."""

STALE = st.integers(310, 100_000) | st.integers(-100_000, -310)
TEXTS = st.text(max_size=200)
SECRETS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=16, max_size=64)


class Delivery(Struct, frozen=True):
    """What is judged: a body and its headers, and the secret with which both judge it."""

    body: str
    headers: dict[str, str]
    secret: str


def accepted(scheme: str, delivery: Delivery) -> bool:
    """Return whether the node accepts a delivery."""
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    try:
        verify(scheme, delivery.secret, Signed(headers, delivery.body.encode()), time.time())
    except Refused:
        return False
    return True


# ── Theirs ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def signed_for_stripe(body: str, secret: str, at: int) -> Delivery:
    """Return a delivery signed by Stripe's library."""
    header = stripe.WebhookSignature.generate_signature_header(body, secret, at)
    return Delivery(body, {"Stripe-Signature": header}, secret)


def accepted_by_stripe(delivery: Delivery) -> bool:
    """Return whether Stripe's library accepts it."""
    try:
        stripe.WebhookSignature.verify_header(delivery.body, delivery.headers["Stripe-Signature"], delivery.secret, 300)
    except stripe.SignatureVerificationError:
        return False
    return True


def signed_for_slack(body: str, secret: str, at: int) -> Delivery:
    """Return a delivery signed by Slack's library."""
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    assert signature is not None
    return Delivery(body, {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": signature}, secret)


def accepted_by_slack(delivery: Delivery) -> bool:
    """Return whether Slack's library accepts it."""
    return SignatureVerifier(delivery.secret).is_valid_request(delivery.body, delivery.headers)


def signed_for_standard(body: str, secret: str, at: int) -> Delivery:
    """Return a delivery signed by the library of Standard Webhooks."""
    whole = "whsec_" + base64.b64encode(secret.encode()).decode()
    key = standardwebhooks.Webhook(whole)
    signature = f"v0,nonsense {_standard_signature(key, body, at)}"
    return Delivery(body, {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}, whole)


def accepted_by_standard(delivery: Delivery) -> bool:
    """Return whether the library of Standard Webhooks accepts it."""
    try:
        standardwebhooks.Webhook(delivery.secret).verify(delivery.body, delivery.headers, json_parse=False)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def _standard_signature(key: standardwebhooks.Webhook, body: str, at: int) -> str:
    return key.sign(msg_id="msg_1", timestamp=datetime.fromtimestamp(at, tz=UTC), data=body)


class Scheme(Struct, frozen=True):
    """One scheme: its name here, and its publisher's library."""

    name: str
    signed: Callable[[str, str, int], Delivery]
    accepted: Callable[[Delivery], bool]
    bears_the_future: bool = False


SCHEMES = [
    Scheme("stripe", signed_for_stripe, accepted_by_stripe, bears_the_future=True),
    Scheme("slack", signed_for_slack, accepted_by_slack),
    Scheme("standard", signed_for_standard, accepted_by_standard),
]
few = settings(max_examples=30, deadline=None)
every_scheme = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)


# ── Both ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@every_scheme
@few
@given(body=TEXTS, secret=SECRETS, age=FRESH)
def test_what_is_signed_rightly_is_accepted_by_both(scheme: Scheme, body: str, secret: str, age: int) -> None:
    delivery = scheme.signed(body, secret, int(time.time()) - age)
    assert scheme.accepted(delivery)
    assert accepted(scheme.name, delivery)


@every_scheme
@few
@given(body=TEXTS, secret=SECRETS, age=STALE)
def test_an_old_or_early_one_is_refused(scheme: Scheme, body: str, secret: str, age: int) -> None:
    delivery = scheme.signed(body, secret, int(time.time()) - age)
    assert scheme.accepted(delivery) is (scheme.bears_the_future and age < 0)
    assert not accepted(scheme.name, delivery)


@every_scheme
@few
@given(body=TEXTS, other=TEXTS, secret=SECRETS, age=FRESH)
@example(body="", other=" ", secret="0123456789abcdef", age=0)
def test_another_body_is_refused_by_both(scheme: Scheme, body: str, other: str, secret: str, age: int) -> None:
    delivery = scheme.signed(body, secret, int(time.time()) - age)
    changed = Delivery(other, delivery.headers, delivery.secret)
    assert scheme.accepted(changed) is accepted(scheme.name, changed) is (body == other)


@every_scheme
@few
@given(secret=SECRETS, other=SECRETS)
def test_another_secret_is_refused_by_both(scheme: Scheme, secret: str, other: str) -> None:
    now = int(time.time())
    delivery = scheme.signed("{}", secret, now)
    changed = Delivery(delivery.body, delivery.headers, scheme.signed("{}", other, now).secret)
    assert scheme.accepted(changed) is accepted(scheme.name, changed) is (secret == other)


@every_scheme
@few
@given(data=st.data(), secret=SECRETS)
def test_a_changed_signature_is_refused_by_both(scheme: Scheme, data: st.DataObject, secret: str) -> None:
    delivery = scheme.signed("{}", secret, int(time.time()))
    name, value = list(delivery.headers.items())[-1]
    place = data.draw(
        st.integers(len(value) - 30, len(value) - 4)
    )  # within the digest, before base64's last bits, which mean nothing
    changed = value[:place] + ("1" if value[place] != "1" else "2") + value[place + 1 :]
    forged = Delivery(delivery.body, delivery.headers | {name: changed}, delivery.secret)
    assert scheme.accepted(forged) is accepted(scheme.name, forged)
    assert not accepted(scheme.name, forged)
