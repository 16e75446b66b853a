"""The answer to a request made with `Network.fetch`."""

from __future__ import annotations

import email.message
import http
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ropewalk.clock import SystemClock, to_datetime
from ropewalk.errors import HTTPStatusError
from ropewalk.sdk.values import decode
from ropewalk.wire.messages import HttpAnswer

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Headers(Mapping[str, str]):
    """Header fields by name, whatever the case. A name that came several times has its values joined by ", "."""

    __slots__ = ("_all", "_joined")

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._all = fields
        self._joined: dict[str, str] = {}
        for name, value in fields:
            lower = name.lower()
            self._joined[lower] = f"{self._joined[lower]}, {value}" if lower in self._joined else value

    def __getitem__(self, name: str) -> str:
        return self._joined[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._joined

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)

    def __repr__(self) -> str:
        return f"Headers({self._all!r})"

    def get_all(self, name: str) -> list[str]:
        """Return every value of a name, in the order in which they came."""
        return [value for given, value in self._all if given.lower() == name.lower()]


class Response:
    """What a server answered.

    Attributes:
        status: the HTTP status code.
        headers: the header fields, by name in any case.
        content: the body.
        url: where it came from, after redirects.
    """

    __slots__ = ("_method", "content", "headers", "status", "url")

    status: int
    headers: Headers
    content: bytes
    url: str

    def __init__(self, answer: HttpAnswer, method: str = "GET") -> None:
        self.status = answer.status
        self.headers = Headers(answer.headers)
        self.content = answer.body
        self.url = answer.url
        self._method = method

    def __repr__(self) -> str:
        return f"<Response {self.status} from {self.url}, {len(self.content):,} bytes>"

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def text(self) -> str:
        """Return the body as text, by the charset that the server names, else UTF-8; what does not fit becomes U+FFFD."""
        body = self.content.removeprefix(_BYTE_ORDER_MARK)
        try:
            return body.decode(self._charset() or "utf-8", errors="replace")
        except LookupError:
            return body.decode(errors="replace")

    @overload
    def json(self, type: None = None) -> Any: ...

    @overload
    def json(self, type: TypeForm[T]) -> T: ...

    def json(self, type: Any = None) -> Any:  # noqa: A002 — the contract's name
        """Return the body's JSON value, converted to `type` when it is given.

        Raises:
            InvalidValue: it is no JSON, or does not fit; the message has the path.
        """
        charset = self._charset()
        plain = charset is None or charset.lower() in ("utf-8", "utf8", "us-ascii")
        body = self.content.removeprefix(_BYTE_ORDER_MARK) if plain else self.text().encode()
        return decode(body, type, f"the answer of {self.url}")

    def raise_for_status(self) -> Response:
        """Return this response when its status is below 400.

        Raises:
            HTTPStatusError: it is not. Uncaught, a 429 or 503 is tried again no sooner than its Retry-After says.
        """
        if self.ok:
            return self
        try:
            phrase = f" {http.HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = ""
        raise HTTPStatusError(f"{self._method} {self.url} answered {self.status}{phrase}: {self.text()[:200]}", response=self)

    def retry_after(self) -> float | None:
        """Return how many seconds the server asks to wait, None when it does not say."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text)
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - _now()).total_seconds())

    def _charset(self) -> str | None:
        message = email.message.Message()
        message["content-type"] = self.headers.get("content-type", "")
        return message.get_content_charset()


def _now() -> datetime:
    return to_datetime(SystemClock().now())
