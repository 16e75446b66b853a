"""The security page has the filter that attempts run under, call by call."""

from __future__ import annotations

import re

import pytest

from ropewalk.sandbox.seccomp import printed, without_fork, zygotes_table
from ropewalk.sandbox.syscalls import NUMBERS
from tools import security_doc

PAGE = security_doc.PAGE.read_text(encoding="utf-8")
ATTEMPT = printed(without_fork(zygotes_table()))


def test_it_is_made_from_the_code() -> None:
    assert security_doc.page(PAGE) == PAGE, "run `make docs`"


@pytest.mark.parametrize("name", ["read", "mmap", "ptrace", "io_uring_setup", "execve"])
def test_a_call_stands_under_its_verdict(name: str) -> None:
    verdict = ATTEMPT.verdicts[str(NUMBERS[name])]
    heading = {"allow": "### Allowed", "arguments": "### Decided by arguments"}.get(verdict, f"### Refused with {verdict}")
    below = PAGE[PAGE.index(heading) + len(heading) :]
    assert f"`{name}` {NUMBERS[name]}" in below[: below.index("\n### ")]


def test_every_call_stands_there_once() -> None:
    tables = PAGE[PAGE.index("### Allowed") :]
    assert sorted(re.findall(r"`(\w+)` \d+", tables)) == sorted(NUMBERS)


def test_rules_by_arguments_are_said_in_words() -> None:
    networked = printed(without_fork(zygotes_table(network=True)))
    assert set(security_doc.IN_WORDS) == {table.names[number] for table in (ATTEMPT, networked) for number in table.rules}
