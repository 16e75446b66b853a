"""What the guard has to say: a list from public corpora.

A line of verdicts.jsonl says where it comes from (`origin`, and `why` where that does not say it), the URL, the patterns that the twist
declares, those that the operator lets lead to private addresses (`private`), and to what names resolve (`resolve`; to a public address
unless given). `expected` is yes, or what the denial is about: `url` (no parser should be trusted with it), `declared` (no pattern
matches it), `public` (it leads to an address or name that is not), `unresolved`; `oracle` says the same without the guard. `sent` is what leaves when it is another text: for
WHATWG's tests what they say it is. Those are of web-platform-tests (BSD 3-Clause), which also says what browsers make of each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ropewalk.egress.guard import Guard
from ropewalk.egress.patterns import parse_pattern
from ropewalk.egress.verdicts import Verdict

PUBLIC: Final = "93.184.216.34"

REASONS: Final = {
    "was not sent": "url",
    "matches no URL pattern": "declared",
    "leads to an address that is not public": "public",
    "has no address": "unresolved",
}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    origin: str
    url: str
    patterns: tuple[str, ...]
    expected: str
    resolve: dict[str, list[str]] = msgspec.field(default_factory=lambda: {"*": [PUBLIC]})
    private: tuple[str, ...] = ()
    sent: str | None = None
    why: str = ""

    @property
    def guard(self) -> Guard:
        return Guard(declared=tuple(map(parse_pattern, self.patterns)), private=tuple(map(parse_pattern, self.private)))


LINES: Final = (Path(__file__).parent / "verdicts.jsonl").read_bytes().splitlines()
CASES: Final = [msgspec.json.decode(line, type=Case) for line in LINES]


def meaning(verdict: Verdict) -> str:
    """Return what a verdict is, in the words of the list."""
    if verdict.allowed:
        return "yes"
    return next(word for words, word in REASONS.items() if words in verdict.reason)
