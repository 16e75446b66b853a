"""The guard's verdicts, against the list: none may be wrong, neither of those that allow nor of those that deny."""

from __future__ import annotations

import msgspec
import pytest

from ropewalk.egress.patterns import BadPattern, parse_pattern
from ropewalk.egress.urls import parse
from ropewalk.egress.verdicts import judge
from tests.egress.verdicts import CASES, Case, meaning


async def meaning_for(case: Case) -> str:
    async def resolve(host: str, port: int) -> list[str]:
        return case.resolve[host] if host in case.resolve else case.resolve["*"]

    return meaning(await judge(case.url, case.guard, resolve))


def test_list_is_long() -> None:
    assert len({(case.url, case.patterns, case.private, msgspec.json.encode(case.resolve)) for case in CASES}) >= 1_300


@pytest.mark.parametrize("origin", sorted({case.origin for case in CASES}))
async def test_no_verdict_is_wrong(origin: str) -> None:
    cases = [case for case in CASES if case.origin == origin]
    judged = [(case, await meaning_for(case)) for case in cases]
    assert [(case, given) for case, given in judged if given != case.expected] == []


def test_what_is_sent_is_what_browsers_would_send() -> None:
    told = [(case.url, parse(case.url).text, case.sent) for case in CASES if case.sent and case.expected != "url"]
    assert len(told) > 100
    assert [one for one in told if one[1] != one[2]] == []


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
