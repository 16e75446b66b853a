"""The one parser: what it makes of a URL is what is sent."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings, strategies as st

from ropewalk.egress.hops import Request, first_hop
from ropewalk.egress.patterns import BadPattern, parse_pattern
from ropewalk.egress.urls import BadUrl, Url, join, parse
from ropewalk.errors import NetworkDenied

CANONICAL = [
    ("HTTP://Example.COM", "http://example.com/"),
    ("http://example.com:80/", "http://example.com/"),
    ("https://example.com:443/", "https://example.com/"),
    ("http://example.com:443/", "http://example.com:443/"),
    ("http://example.com:00080/", "http://example.com/"),
    ("http://example.com./a", "http://example.com/a"),
    ("http://example.com/a#fragment", "http://example.com/a"),
    ("http://example.com?", "http://example.com/?"),
    ("http://example.com/a/./b/../c", "http://example.com/a/c"),
    ("http://example.com/a/..", "http://example.com/"),
    ("http://example.com/a/.", "http://example.com/a/"),
    ("http://example.com/%2e%2E/a/%2E", "http://example.com/a/"),
    ("http://example.com/../../a", "http://example.com/a"),
    ("http://example.com/a%2fb", "http://example.com/a%2fb"),
    ("http://example.com/ü?ü", "http://example.com/%C3%BC?%C3%BC"),
    ("http://example.com/<>?'", "http://example.com/%3C%3E?%27"),
    ("http://example.com/50%?50%", "http://example.com/50%25?50%25"),
    ("http://example.com/a//b", "http://example.com/a//b"),
    ("http://example.com?a=/../b", "http://example.com/?a=/../b"),
    ("http://[2606:2800:0::1]:80/", "http://[2606:2800::1]/"),
    ("http://bücher.example/", "http://xn--bcher-kva.example/"),
]


@pytest.mark.parametrize(("text", "expected"), CANONICAL)
def test_canonical_form(text: str, expected: str) -> None:
    assert parse(text).text == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("", "http://a.test/b/c?d"),
        ("#x", "http://a.test/b/c?d"),
        ("?e", "http://a.test/b/c?e"),
        ("e", "http://a.test/b/e"),
        ("../e", "http://a.test/e"),
        ("/e", "http://a.test/e"),
        ("//b.test/e", "http://b.test/e"),
        ("https://b.test", "https://b.test/"),
        ("HTTP://B.TEST", "http://b.test/"),
        ("./e:f", "http://a.test/b/e:f"),
        ("https:", None),
        ("https:e", None),
        ("javascript:x", None),
        ("//user@b.test/", None),
        ("\\\\b.test", None),
        ("///b.test", None),
    ],
)
def test_join(reference: str, expected: str | None) -> None:
    base = parse("http://a.test/b/c?d")
    if expected is None:
        with pytest.raises(BadUrl):
            join(base, reference)
    else:
        assert join(base, reference).text == expected


def test_messages_hide_the_query() -> None:
    assert parse("https://a.test/b?token=hush").shown == "https://a.test/b"


HOSTS = st.sampled_from(
    ["a.test", "A.Test.", "x_y.test", "bücher.test", "127.0.0.1", "[::1]", "[2606::1]", "0x7f.1", "1e9", "a..b", "é"]
)
PIECES = st.lists(
    st.sampled_from(
        [*"/?#@:%.;&=+~'\"<>[]{}|^`\\ \t", "..", "%2e", "%2E", "%252e", "%", "%zz", "a", "v1", "ü", "\uff0e", "%c0%ae", "//"]
    ),
    max_size=12,
)


def spell(scheme: str, host: str, port: str, pieces: list[str]) -> str:
    return f"{scheme}://{host}{port}{''.join(pieces)}"


URLS = st.builds(
    spell,
    st.sampled_from(["http", "https", "HTTP"]),
    HOSTS,
    st.sampled_from(["", ":", ":80", ":443", ":8080", ":080", ":0"]),
    PIECES,
)


@settings(max_examples=1000, deadline=None)
@given(URLS | st.text(max_size=40))
@example("http://a.test/%2e%2e//..%2f")
def test_what_is_checked_is_what_is_sent(text: str) -> None:
    """The canonical text parses to itself, and its parts are what is sent."""
    try:
        url = parse(text)
    except BadUrl:
        return
    assert parse(url.text) == url
    hop = first_hop(Request(method="GET", url=text))
    assert hop.url == url
    assert url.text == f"{url.scheme}://{dict(hop.wire_headers())[b'host'].decode()}{hop.url.target}"


@settings(max_examples=1000, deadline=None)
@given(PIECES)
def test_no_path_leaves_its_prefix(pieces: list[str]) -> None:
    """Whatever a prefix pattern lets through is below the prefix, as sent and decoded once, twice and thrice."""
    pattern = parse_pattern("http://a.test/v1/*")
    try:
        url = parse(f"http://a.test/v1/{''.join(pieces)}")
    except BadUrl:
        return
    if pattern.matches(url):
        assert all(reading.startswith("/v1/") for reading in careless_readings(url))


def careless_readings(url: Url) -> list[str]:
    """Return the path as servers of varying care may read it."""
    from posixpath import normpath
    from urllib.parse import unquote

    readings = [url.path]
    for _ in range(3):
        readings.append(unquote(readings[-1]))
    folded = [reading.replace("\\", "/") for reading in readings]
    return [normpath(f"{reading}/.") + "/" for reading in folded]


@given(st.text(max_size=60))
def test_no_text_makes_the_parsers_fail(text: str) -> None:
    for parser, error in ((parse, BadUrl), (parse_pattern, BadPattern)):
        with contextlib.suppress(error):
            parser(text)


def test_bad_url_is_denied_by_name() -> None:
    with pytest.raises(NetworkDenied, match="user name"):
        first_hop(Request(method="GET", url="https://me@example.com/"))
