"""Authenticated encryption: what is sealed opens with its own key, in its own place, unchanged, and not otherwise.

    sealed value   form (1 byte) │ nonce (12) │ AES-256-GCM ciphertext and tag, bound to the form and the place
    wrapped key    form (1 byte) │ id of the master key (8) │ nonce (12) │ the same, of a data key, bound to its instance too

A *place* is a list of texts, such as instance, table and row: a ciphertext that was moved to another does not open. Pure but for the
system's randomness. Nonces are random: one key may seal some four thousand million values (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from ropewalk.vault.errors import Tampered

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
ID_BYTES: Final = 8
NONCE_BYTES: Final = 12

_FORM: Final = b"\x01"
_WRAPPED: Final = b"\x02"


def cipher(key: bytes) -> AESGCM:
    """Return what seals and opens with a key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # takes as long as all of the storage, and few commands seal

    return AESGCM(key)


def new_key() -> bytes:
    """Return a new key."""
    return os.urandom(KEY_BYTES)


def seal(cipher: AESGCM, plain: bytes, place: list[str]) -> bytes:
    """Return `plain` sealed for its place."""
    return _FORM + _encrypt(cipher, plain, _FORM + msgspec.json.encode(place))


def unseal(cipher: AESGCM, sealed: bytes, place: list[str]) -> bytes:
    """Return what was sealed for this place.

    Raises:
        Tampered: it was changed, moved, or sealed with another key.
    """
    if sealed[:1] != _FORM:
        raise Tampered(f"what is sealed at {'/'.join(place)} has a form that this release does not know")
    return _decrypt(cipher, sealed[1:], _FORM + msgspec.json.encode(place), place)


def wrap(master: AESGCM, master_id: str, key: bytes, place: list[str]) -> bytes:
    """Return a data key, sealed by a master key whose id (hexadecimal) it bears."""
    head = _WRAPPED + bytes.fromhex(master_id)
    return head + _encrypt(master, key, head + msgspec.json.encode(place))


def wrapped_by(wrapped: bytes) -> str:
    """Return the id of the master key that a data key was wrapped by.

    Raises:
        Tampered: it is no wrapped key.
    """
    if wrapped[:1] != _WRAPPED or len(wrapped) <= 1 + ID_BYTES + NONCE_BYTES:
        raise Tampered("a data key has a form that this release does not know")
    return wrapped[1 : 1 + ID_BYTES].hex()


def unwrap(master: AESGCM, wrapped: bytes, place: list[str]) -> bytes:
    """Return the data key that `wrap` wrapped. Raises Tampered."""
    head, rest = wrapped[: 1 + ID_BYTES], wrapped[1 + ID_BYTES :]
    return _decrypt(master, rest, head + msgspec.json.encode(place), place)


def _encrypt(cipher: AESGCM, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, bound)


def _decrypt(cipher: AESGCM, sealed: bytes, bound: bytes, place: list[str]) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise Tampered(f"what is sealed at {'/'.join(place)} does not open: it was changed or moved in the database") from None
