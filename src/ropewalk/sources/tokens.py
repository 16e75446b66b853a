"""Tokens of webhooks: the part of a URL that cannot be guessed, and that says whose it is before the database knows the webhook.

An execution may give its webhook's URL away at once, while the webhook itself commits with the execution. So a token names the instance
and the execution that made it, and is signed with the instance's secret (128 bits of an HMAC): a request that comes early is known for
genuine, and for whom to wait. The same call in another attempt of the same execution gives the same token, so that what a provider was told
by an attempt that failed still leads somewhere. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

import msgspec
from msgspec import Struct

PREFIX: Final = "wh_"
"""What every webhook's token begins with."""

_SIGNED: Final = 16
_SHAPE: Final = re.compile(r"wh_[A-Za-z0-9_-]{40,400}")


class Claims(Struct, array_like=True, frozen=True):
    """What a token says: whose webhook it names, made by which execution, and how its handshake is answered.

    `which` tells the webhooks of one execution apart.
    """

    instance: str
    execution: str
    which: bytes
    challenge: str | None = None


def which(secret: bytes, asked: tuple[object, ...]) -> bytes:
    """Return what tells a webhook from the others of its execution, from all that it was asked for with."""
    return hmac.digest(secret, msgspec.msgpack.encode(("which webhook", asked)), hashlib.sha256)[:9]


def make(secret: bytes, claims: Claims) -> str:
    """Return the token that says so, signed with the secret of the instance that it names."""
    said = msgspec.msgpack.encode(claims)
    return PREFIX + base64.urlsafe_b64encode(_signature(secret, said) + said).decode().rstrip("=")


def read(token: str) -> Claims | None:
    """Return what a token says, signed or not; None when it is no token."""
    said = _said(token)
    try:
        return None if said is None else _decode(said[_SIGNED:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_genuine(secret: bytes, token: str) -> bool:
    """Return whether a token was made with an instance's secret."""
    said = _said(token)
    return said is not None and bool(secret) and hmac.compare_digest(said[:_SIGNED], _signature(secret, said[_SIGNED:]))


def find(url: str) -> str | None:
    """Return the token within a URL, whatever its prefix; None when there is none."""
    found = _SHAPE.search(url)
    return None if found is None else found[0]


def name(token: str) -> str:
    """Return what people call the webhook: nobody can make its token of that."""
    return hashlib.sha256(token.encode()).hexdigest()[:24]


_decode: Final = msgspec.msgpack.Decoder(Claims).decode


def _said(token: str) -> bytes | None:
    if not _SHAPE.fullmatch(token):
        return None
    text = token[len(PREFIX) :]
    try:
        said = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        return None
    # Only one spelling names a webhook: the bits that fill up the last character are looked at too.
    return said if base64.urlsafe_b64encode(said).decode().rstrip("=") == text else None


def _signature(secret: bytes, said: bytes) -> bytes:
    return hmac.digest(secret, b"webhook token\0" + said, hashlib.sha256)[:_SIGNED]
