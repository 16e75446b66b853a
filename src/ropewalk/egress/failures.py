"""What went wrong with a connection, as errors for authors: they name the request, say what the system said, and what can be done about it.

Before: `fetch`, while a request is sent and its answer read. After: the author, who may catch a `NetworkError`. Pure.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import h11

from ropewalk.egress.connections import Refused, Unreachable
from ropewalk.egress.guard import not_public
from ropewalk.egress.hops import Hop
from ropewalk.egress.urls import Url
from ropewalk.errors import NetworkError


@contextmanager
def told(hop: Hop) -> Iterator[None]:
    """Raise what goes wrong with a connection as an error for authors."""
    try:
        yield
    except Refused as error:
        raise not_public(hop.url, str(error)) from None
    except (Unreachable, h11.ProtocolError, OSError) as error:
        why, remedy = explained(error, hop.url)
        raise NetworkError(f"{hop.method} {hop.url.shown} failed: {why}: {remedy}") from None


def explained(error: Exception, url: Url) -> tuple[str, str]:
    """Return what the system said of a failure, or the library where it said nothing, and what can be done about it."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return str(cause), _UNTRUSTED if cause.verify_code not in _OTHER_NAME else _NAMED_OTHERWISE.format(host=url.host)
        if isinstance(cause, ssl.SSLError):
            return str(cause), _NO_TLS.format(scheme=url.scheme, port=url.port)
        if isinstance(cause, socket.gaierror):
            return (
                f"the name {url.host} cannot be resolved: {cause.strerror}",
                _NOT_NOW if cause.errno == socket.EAI_AGAIN else _NO_NAME,
            )
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno), _REMEDIES.get(cause.errno, _AGAIN).format(port=url.port)
    if isinstance(error, Unreachable):
        return str(error), _NO_NAME
    if isinstance(error, h11.LocalProtocolError):
        return str(error), _MALFORMED
    if isinstance(error, h11.RemoteProtocolError):
        return str(error), _NO_HTTP.format(scheme=url.scheme, port=url.port)
    return str(error) or type(error).__name__, _AGAIN


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_AGAIN: Final = (
    "the server may have begun to work on it, so send what it knows a repetition by (`self.execution.key(name)`), and try again later: let the "
    "execution fail, or raise Retry(after=…)"
)
_NOT_NOW: Final = "the node's resolver did not know it right now: try again later, as an execution that fails does by itself"
_NO_NAME: Final = "see how it is spelt, and whether the node's own resolver knows it"
_NO_ROUTE: Final = "the node has no way there: whoever operates it should look at its network"
_NAMED_OTHERWISE: Final = "ask for it under a name that its certificate has, which {host} is not"
_UNTRUSTED: Final = (
    "whoever runs the server should mend its certificate, or, if it is of an authority of their own, the node's operator add that to the "
    "authorities that the system trusts (or to those in the file that SSL_CERT_FILE names)"
)
_NO_TLS: Final = "see whether the server speaks TLS on port {port}, and else ask for http:// (the URL says {scheme}://)"
_MALFORMED: Final = (
    "the request cannot be sent like that: see its headers, and whether its body has the length that they announce"
)
_NO_HTTP: Final = "see whether it is HTTP/1.1 that the server speaks on port {port}, and over {scheme}; if it does, it broke the answer off: try again later"

_OTHER_NAME: Final = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h: the certificate is good, but for another."""

_REMEDIES: Final = {
    errno.ECONNREFUSED: "nothing listens on port {port} there: see whether it is the right one, or try again when the server is up",
    errno.ETIMEDOUT: "nobody answers on port {port} there: see whether it is the right one and not firewalled, or try again later",
    errno.EHOSTUNREACH: _NO_ROUTE,
    errno.ENETUNREACH: _NO_ROUTE,
}
