"""The errors that authors of twists see, and the two that they raise.

    RopewalkError
     ├─ NotSerializable        a value that has no JSON form
     ├─ InvalidValue           a value that does not fit the type or form asked for
     ├─ ValueTooLarge          a key, value, batch or body beyond its limit
     ├─ NotFound               an activity, note or other record that is not there
     │   └─ CallbackNotFound   a callback or method that is not there
     ├─ QueueFull              too many pending tasks or callbacks of the instance
     ├─ PermissionDenied       something the manifest or the moment does not allow
     │   └─ NetworkDenied      a URL outside the declared patterns, or a private address
     ├─ NetworkError           DNS, connection or TLS failed
     │   └─ FetchTimeout       the request took longer than its timeout
     ├─ HTTPStatusError        the answer's status was 400 or more (`raise_for_status`)
     ├─ RequestLimitExceeded   the execution made more requests than it may; ends it
     ├─ Retry                  raised by authors: run this again, then
     └─ GiveUp                 raised by authors: never run this again

Every message says what happened, to what, the limit and the figure where there is one, and what to do next.
Host and guest share these classes: an error raised by the host's answer is raised again, by name, at the author's `await`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ropewalk.sdk.http import Response


class RopewalkError(Exception):
    """Base of every error that the runtime raises to authors."""


class NotSerializable(RopewalkError):
    """The value has no JSON form: a function, an open file, NaN, an infinity, a string with lone surrogates."""


class InvalidValue(RopewalkError):
    """The value does not fit what was asked for; the message names the key and the path inside the value."""


class ValueTooLarge(RopewalkError):
    """A key, value, batch, body or result beyond its limit; the message gives the limit and the size."""


class NotFound(RopewalkError):
    """The record that was named is not there, or not visible to this instance."""


class CallbackNotFound(NotFound):
    """The callback was deleted, never made, or names a method that the class does not have."""


class QueueFull(RopewalkError):
    """The instance has as many pending tasks or callbacks as it may."""


class PermissionDenied(RopewalkError):
    """The manifest does not declare this, or this moment does not allow it."""


class NetworkDenied(PermissionDenied):
    """The URL matches no declared pattern, or leads to an address that is not public."""


class NetworkError(RopewalkError):
    """The request could not be made or its answer not read: DNS, connection, TLS or protocol."""


class FetchTimeout(NetworkError):
    """The request did not finish within its `timeout`, in seconds."""


class HTTPStatusError(RopewalkError):
    """The server answered with a status of 400 or more.

    `response` is the whole answer and `status` its status code.
    """

    def __init__(self, message: str, *, response: Response) -> None:
        super().__init__(message)
        self.response = response

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.response.status


class RequestLimitExceeded(RopewalkError):
    """The execution made more host calls and HTTP requests than it may. It is ended even if this is caught."""


class Retry(RopewalkError):
    """Raise this to have the event run again after `after` (seconds or a timedelta), whatever the policy's delay."""

    def __init__(self, *, after: float | timedelta, reason: str = "") -> None:
        super().__init__(reason or f"retry after {after}")
        self.after = after.total_seconds() if isinstance(after, timedelta) else float(after)
        self.reason = reason


class GiveUp(RopewalkError):
    """Raise this to end the event for good: its execution is `dead` and is kept, with `reason`, to be retried by hand."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "gave up")
        self.reason = reason
