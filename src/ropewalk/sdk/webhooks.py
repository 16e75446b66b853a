"""What a webhook's method is called with, and what it may answer when its sender waits for that."""

from __future__ import annotations

import email.message
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload
from urllib.parse import parse_qsl

import msgspec

from ropewalk.errors import InvalidValue
from ropewalk.sdk.http import Headers
from ropewalk.sdk.values import VALUE_LIMIT, decode, encode
from ropewalk.wire.answering import check_answer
from ropewalk.wire.messages import AnswerRecord, Json, RequestRecord

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MOST_FIELDS: Final = 10_000


class WebhookRequest:
    """A request that a webhook received.

    Attributes:
        id: the delivery's: what the sender calls it, the same when it sends it again, or else the execution's own id.
        method: the HTTP method.
        path: what followed the webhook's URL and a slash, decoded; "" when nothing did.
        headers: the header fields, by name in any case.
        raw_body: the body, byte for byte.
    """

    def __init__(self, record: RequestRecord) -> None:
        self.id = record.id
        self.method = record.method
        self.path = record.path
        self.headers = Headers(record.headers)
        self.raw_body = record.body
        self._query = record.query

    def __repr__(self) -> str:
        return f"<WebhookRequest {self.id}: {self.method} /{self.path}, {len(self.raw_body):,} bytes>"

    @cached_property
    def params(self) -> dict[str, str]:
        """The query's parameters; of several with one name the last."""
        return _fields(self._query)

    @cached_property
    def body(self) -> Any:
        """The body's JSON value; a dict of a form's fields, without files; the text of other text; None of anything else, and of what is
        malformed.
        """
        kind, charset = self._content_type()
        if kind == "application/x-www-form-urlencoded":
            return _fields(self._text("utf-8"))
        if kind == "multipart/form-data":
            return _parts(self.headers["content-type"], self.raw_body)
        if kind == "" or kind.endswith(("/json", "+json")):
            return self._json_or_text(kind)
        if kind.startswith("text/") or kind.endswith(("/xml", "+xml")):
            return self._text(charset or "utf-8")
        return None

    @overload
    def json(self, type: None = None) -> Any: ...

    @overload
    def json(self, type: TypeForm[T]) -> T: ...

    def json(self, type: Any = None) -> Any:  # noqa: A002 — the contract's name
        """Return the body's JSON value, whatever its content type says, converted to `type` when it is given.

        Raises:
            InvalidValue: it is no JSON, or does not fit; the message has the path.
        """
        return decode(self.raw_body.removeprefix(_BYTE_ORDER_MARK), type, "the body of the webhook's request")

    def _json_or_text(self, kind: str) -> Any:
        """Return a JSON value, and of a body that nothing is said of its text otherwise."""
        try:
            return self.json()
        except InvalidValue:
            pass
        if kind or not self.raw_body:
            return None
        try:
            return self.raw_body.decode()
        except UnicodeDecodeError:
            return None

    def _text(self, charset: str) -> str:
        body = self.raw_body.removeprefix(_BYTE_ORDER_MARK)
        try:
            return body.decode(charset, errors="replace")
        except LookupError:
            return body.decode(errors="replace")

    def _content_type(self) -> tuple[str, str | None]:
        given = self.headers.get("content-type")
        if given is None:
            return "", None
        message = email.message.Message()
        message["content-type"] = given
        return message.get_content_type(), message.get_content_charset()


class WebhookResponse:
    """What a method answers to the sender of a webhook's request that waits for it.

    Args:
        status: from 200 to 599.
        headers: header fields; a content type goes before that of the body's kind.
        body: text, bytes, or anything with a JSON form; None for nothing.

    Raises:
        InvalidValue: no answer can have this status or these headers.
    """

    def __init__(
        self, status: int = 200, headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None, body: object = None
    ) -> None:
        given = cast("Mapping[str, str]", headers).items() if isinstance(headers, Mapping) else headers or ()
        self.status = status
        self.headers = [(str(name), str(value)) for name, value in given]
        check_answer(status, self.headers)
        self.body = body

    def __repr__(self) -> str:
        return f"<WebhookResponse {self.status}>"

    def record(self, limit: int = VALUE_LIMIT) -> AnswerRecord:
        """Return it as the host is told of it. Raises NotSerializable, ValueTooLarge."""
        kind, body = _content(self.body, limit)
        named = any(name.lower() == "content-type" for name, _ in self.headers)
        headers = self.headers if named or kind is None else [("content-type", kind), *self.headers]
        return AnswerRecord(answer_is="http", status=self.status, headers=headers, body=body)


def _content(body: object, limit: int) -> tuple[str | None, bytes]:
    if body is None:
        return None, b""
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode(errors="replace")
    if isinstance(body, bytes | bytearray | memoryview):
        return "application/octet-stream", bytes(cast("bytes", body))
    return "application/json", encode(body, "the body of the answer", limit=limit)


def request_of(event: Json) -> WebhookRequest:
    """Return the request that a webhook's event brings."""
    (record,) = _read_event(event)
    return WebhookRequest(record)


_read_event: Final = msgspec.json.Decoder(tuple[RequestRecord]).decode


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a query or form; of several with one name the last. None of one that is too long to be one."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def _parts(content_type: str, body: bytes) -> dict[str, str] | None:
    """Return the fields of a form that was sent in parts (RFC 7578), without its files; None when it is none."""
    from email import parser, policy, utils  # few webhooks are sent so, and it is large

    message = parser.BytesParser(policy=policy.HTTP).parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    if not message.is_multipart():
        return None
    found: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if name is not None and part.get_filename() is None and isinstance(content, bytes):
            found[utils.collapse_rfc2231_value(name)] = content.decode("utf-8", errors="replace")
    return found
