"""What can be wrong with keys and with what is sealed. Nothing is lost by any of them: the right key opens it again.

VaultError
 ├─ KeyMissing    the master key that something was sealed with is not among those given
 ├─ KeyRefused    a master key cannot be used as it is given: others can read its file, or it is no key
 └─ Tampered      something sealed was changed or moved
"""

from __future__ import annotations


class VaultError(Exception):
    """Base of what the vault raises."""


class KeyMissing(VaultError):
    """The master key that the database's secrets are sealed with is not at hand; the message says which and where it was looked for."""


class KeyRefused(VaultError):
    """A master key cannot be used as it is given; the message says why and what to do."""


class Tampered(VaultError):
    """Something sealed does not open though its key is right: it was changed or moved in the database."""
