"""A response, and how a request is put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypedDict

import pytest

from ropewalk import HTTPStatusError, InvalidValue
from ropewalk.sdk.http import Response
from ropewalk.sdk.network import Network, with_params
from ropewalk.wire.messages import HttpAnswer


def response(status: int = 200, body: bytes = b"", **headers: str) -> Response:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Response(HttpAnswer(status=status, headers=fields, body=body, url="https://a.b/c"))


class Page(TypedDict):
    items: list[int]


def test_headers_ignore_case_and_join_repeats() -> None:
    fields = [("Set-Cookie", "a=1"), ("X-One", "1"), ("set-cookie", "b=2")]
    headers = Response(HttpAnswer(status=200, headers=fields, body=b"", url="")).headers
    assert headers["SET-COOKIE"] == "a=1, b=2"
    assert headers.get_all("Set-cookie") == ["a=1", "b=2"]
    assert headers.get("nothing") is None
    assert ("x-one" in headers, len(headers), list(headers)) == (True, 2, ["set-cookie", "x-one"])


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("é".encode(), "", "é"),
        ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", "é"),
        ("é".encode(), "text/plain; charset=no-such", "é"),
        (b"\xef\xbb\xbfa", "", "a"),
        (b"\xff", "", "\ufffd"),
        ("é".encode("utf-16"), 'application/json; charset="utf-16"', "é"),
    ],
)
def test_text_is_read_by_its_charset(body: bytes, content_type: str, text: str) -> None:
    assert response(body=body, Content_Type=content_type).text() == text


def test_json_is_converted() -> None:
    assert response(body=b'\xef\xbb\xbf{"items":[1]}').json() == {"items": [1]}
    assert response(body=b'{"items":[1]}').json(Page) == {"items": [1]}
    assert response(body='{"a":"é"}'.encode("latin-1"), Content_Type="a/b; charset=latin-1").json() == {"a": "é"}


@pytest.mark.parametrize(
    ("body", "words"), [(b"<html>", "the answer of https://a.b/c is no JSON"), (b'{"items":["a"]}', r"\$\.items\[0\]")]
)
def test_json_that_does_not_fit_says_so(body: bytes, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        response(body=body).json(Page if body.startswith(b"{") else None)


def test_only_errors_raise_for_status() -> None:
    fine = response(399)
    assert fine.raise_for_status() is fine
    assert fine.ok
    with pytest.raises(HTTPStatusError, match=r"GET https://a\.b/c answered 404 Not Found: gone") as caught:
        response(404, b"gone").raise_for_status()
    assert (caught.value.status, caught.value.response.content) == (404, b"gone")
    with pytest.raises(HTTPStatusError, match="answered 799: "):
        response(799).raise_for_status()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("", None), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("٣", None)],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert response(503, Retry_After=text).retry_after() == seconds


def test_retry_after_may_be_a_date_to_come() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3_500 < (response(503, Retry_After=at).retry_after() or 0) <= 3_600


@pytest.mark.parametrize(
    ("url", "params", "expected"),
    [
        ("https://a.b/c", None, "https://a.b/c"),
        ("https://a.b/c", {"a": None}, "https://a.b/c"),
        ("https://a.b/c", {"a": 1, "b": "x y&z", "c": None, "d": True, "e": 1.5}, "https://a.b/c?a=1&b=x+y%26z&d=true&e=1.5"),
        ("https://a.b/c?x=1", {"a": ["1", None, "2"]}, "https://a.b/c?x=1&a=1&a=2"),
        ("https://a.b/c#part", {"a": "é"}, "https://a.b/c?a=%C3%A9"),
        ("https://a.b/c#part", None, "https://a.b/c"),
        ("https://a.b", {"a": ""}, "https://a.b?a="),
    ],
)
def test_params_become_the_query(url: str, params: dict[str, str | None] | None, expected: str) -> None:
    assert with_params(url, params) == expected


@pytest.mark.parametrize(("url", "params"), [("https://a.b/\ud800", None), ("https://a.b/", {"a": "\ud800"})])
def test_surrogates_are_refused(url: str, params: dict[str, str] | None) -> None:
    with pytest.raises(InvalidValue, match="surrogates"):
        with_params(url, params)


def test_urls_are_a_list() -> None:
    assert Network(urls=("https://a.b/*",)).declared() == {"urls": ["https://a.b/*"]}
    with pytest.raises(TypeError, match="takes a list"):
        Network(urls=[5])  # type: ignore[list-item]
