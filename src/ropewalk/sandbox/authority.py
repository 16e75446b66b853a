"""The certificate authority that ends the TLS of ordinary clients at the door: made with the sandbox, gone with it.

Its key, and the one that all its certificates are for, live in this process and nowhere else. Only guests of this sandbox trust it; what
they trust it for is shown the real server's place by the door, which verifies that server itself.

Before: `source`, which makes one and has the sandbox show its certificate. After: `door`, which serves TLS by it.
"""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_KEPT: Final = 256
"""Hosts whose certificates are kept; of others it is made anew, in less than a millisecond."""

_VALID: Final = timedelta(days=3650)
"""Longer than a node runs."""

_EARLIER: Final = timedelta(days=1)
"""How much earlier certificates begin to be valid, should the clock be set back."""

_NAME_LIMIT: Final = 64
"""Most characters of a common name (RFC 5280, ub-common-name)."""


class Authority:
    """An authority of its own.

    Args:
        now: when it is made.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._from = (now or datetime.now(UTC)) - _EARLIER
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign_itself()
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    @property
    def certificate(self) -> str:
        """Its certificate, as PEM."""
        return self._certificate.public_bytes(Encoding.PEM).decode("ascii")

    def context_for(self, host: str) -> ssl.SSLContext:
        """Return what serves TLS as `host`, a name or an address, with HTTP/1.1 in it."""
        context = self._contexts.get(host)
        if context is None:
            context = self._contexts[host] = self._make_context(host)
            if len(self._contexts) > _KEPT:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(host)
        return context

    def _make_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        chain = self._sign(host).public_bytes(Encoding.PEM)
        key = self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        memory = os.memfd_create("certificate", os.MFD_CLOEXEC)  # a context takes its key from a file only
        try:
            os.write(memory, chain + key)
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)
        return context

    def _sign_itself(self) -> x509.Certificate:
        name = _name("Ropewalk")
        return (
            self._builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _sign(self, host: str) -> x509.Certificate:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._builder(_name(host[:_NAME_LIMIT]), self._certificate.subject, self._leaf_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_alternative(host)]), critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._from + _VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
