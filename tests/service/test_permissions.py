"""Which permissions are new beside those that were had."""

from __future__ import annotations

import itertools

import pytest

from ropewalk.egress.patterns import parse_pattern
from ropewalk.egress.urls import parse
from ropewalk.service.permissions import added, covers

PATTERNS = [
    "*",
    "https://example.com",
    "https://example.com/*",
    "https://example.com/v1/*",
    "https://example.com/v1/a/*",
    "https://example.com/v1/a",
    "https://example.com/v1",
    "https://example.com/%76%31/*",
    "http://example.com/*",
    "https://example.com:8443/*",
    "https://*.example.com",
    "https://*.api.example.com",
    "https://api.example.com/*",
    "https://deep.api.example.com/v1/*",
    "https://other.org/*",
    "http://127.0.0.1:8080/*",
    "http://127.0.0.1/*",
]

URLS = [
    f"{scheme}://{host}{path}"
    for scheme, host, path in itertools.product(
        ("http", "https"),
        (
            "example.com",
            "example.com:8443",
            "api.example.com",
            "deep.api.example.com",
            "notexample.com",
            "other.org",
            "127.0.0.1",
            "127.0.0.1:8080",
        ),
        ("/", "/v1", "/v1/", "/v1/a", "/v1/a/b", "/v1/ab", "/v2"),
    )
]


@pytest.mark.parametrize("outer", PATTERNS)
@pytest.mark.parametrize("inner", PATTERNS)
def test_what_contains_a_pattern_matches_whatever_it_matches(outer: str, inner: str) -> None:
    wide, narrow = parse_pattern(outer), parse_pattern(inner)
    matched = [url for url in URLS if narrow.matches(parse(url))]
    assert matched
    assert wide.contains(narrow) == all(wide.matches(parse(url)) for url in matched)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("network: https://example.com/*", "network: https://example.com/v1/*", True),
        ("network: https://example.com/v1/*", "network: https://example.com/*", False),
        ("network: https://example.com/*", "secret: token is sent to https://example.com/v1/*", False),
        ("secret: token is sent to https://example.com/*", "secret: token is sent to https://example.com/v1/*", True),
        ("secret: token is sent to https://example.com/*", "secret: other is sent to https://example.com/v1/*", False),
        ("network: {base_url}/*", "network: {base_url}/*", True),
        ("network: {base_url}/*", "network: {base_url}/v1/*", False),
        ("network: *", "network: {base_url}/*", False),
        ("plot: activity_access write", "plot: activity_access read", False),
        ("plot: activity_access read", "plot: activity_access read", True),
    ],
)
def test_a_permission_covers_itself_and_narrower_patterns_of_its_kind(wide: str, narrow: str, covered: bool) -> None:
    assert covers(wide, narrow) == covered


def test_only_what_nothing_covers_is_new() -> None:
    had = ["network: https://example.com/*", "plot: x"]
    assert added(["network: https://example.com/v1/*", "network: https://b.org/*", "plot: x"], had) == [
        "network: https://b.org/*"
    ]
