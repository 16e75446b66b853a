"""The guard's verdicts, against a table."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ropewalk.egress.guard import Guard, why_refused
from ropewalk.egress.patterns import BadPattern, parse_pattern
from ropewalk.egress.urls import BadUrl, parse
from ropewalk.errors import NetworkDenied
from tests.egress.verdicts import ADDRESSES, OWN_ALLOWED, PATHS, PATTERNS, SPELLINGS, Case

ALLOWED = ("http://127.0.0.1:8080/*", "http://intern.test/open/*")


def verdict(patterns: tuple[str, ...], url: str, answers: tuple[str, ...], private: tuple[str, ...] = ()) -> str:
    guard = Guard(declared=tuple(map(parse_pattern, patterns)), private=tuple(map(parse_pattern, private)))
    try:
        parsed = parse(url)
    except BadUrl:
        return "url"
    try:
        may_be_private = guard.admit(parsed)
    except NetworkDenied:
        return "declared"
    addresses = [parsed.address] if parsed.address is not None else [ip_address(answer) for answer in answers]
    return "yes" if may_be_private or not why_refused(addresses) else "public"


def test_table_is_large() -> None:
    assert len(PATTERNS) + len(PATHS) + len(SPELLINGS) + len(ADDRESSES) + len(OWN_ALLOWED) >= 150


@pytest.mark.parametrize("case", [*PATTERNS, *PATHS, *SPELLINGS, *ADDRESSES], ids=lambda case: f"{case[1][:60]!a} {case[3]}")
def test_verdict(case: Case) -> None:
    patterns, url, answers, expected = case
    assert verdict(patterns, url, answers) == expected


@pytest.mark.parametrize("case", OWN_ALLOWED, ids=lambda case: f"{case[1]} {case[3]}")
def test_verdict_where_the_operator_allows_private_addresses(case: Case) -> None:
    patterns, url, answers, expected = case
    assert verdict(patterns, url, answers, ALLOWED) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "**", "example.com", "*.example.com", "ftp://example.com/*", "https://", "https://*", "https://*/*", "https://a.*.com/*",
        "https://example.*/*", "https://*example.com/*", "https://example.com/v1*", "https://example.com*", "https://example.com/*/x",
        "https://example.com/*?q=1", "https://example.com/#x", "https://user@example.com/*", "https://example.com:*/*",
        "https://example.com:0/*", "https://*.127.0.0.1/*", "https://*.[::1]/*", "https://0x7f.1/*", "https://example.com/a b/*",
        "https://example.com/v1/../*", "https://example.com/v1/%2e%2e/*", "https://example.com/v1/%252e%252e/*", "https://exa%6dple.com/*",
        "https://example.com/\\*", "*://example.com/*", " https://example.com/*", "https://example.com/*\n", "https://127.1/*",
    ],
)  # fmt: skip
def test_bad_pattern(text: str) -> None:
    with pytest.raises(BadPattern, match="no URL pattern"):
        parse_pattern(text)
