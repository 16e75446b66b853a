"""`ropewalk egress check`: the guard's verdicts, one URL or many."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import defaultdict
from typing import Any

import msgspec
import pytest

from ropewalk.egress.verdicts import Verdict
from tests.cli.calling import Ropewalk
from tests.egress.verdicts import CASES, Case, meaning
from tests.harness.commands import ROPEWALK

PUBLIC = ("--resolve", "*=93.184.216.34")
CHECK = ("egress", "check", "--pattern", "https://*.example.com")


def answers(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch, *lines: bytes, options: tuple[str, ...] = PUBLIC) -> list[Any]:
    """Give lines to --stdin and return what comes back."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    done = ropewalk(*CHECK, "--stdin", *options)
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def test_verdict_for_a_person(ropewalk: Ropewalk) -> None:
    done = ropewalk(*CHECK, *PUBLIC, "https://api.example.com/v1?token=hush")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "allowed: https://*.example.com matches https://api.example.com/v1, which leads to 93.184.216.34: public\n"
    )
    done = ropewalk(*CHECK, *PUBLIC, "https://example.com/")
    assert done.code == 0
    assert done.out.startswith(
        "denied: https://example.com/ matches no URL pattern that the twist declares (https://*.example.com)"
    )


def test_verdict_for_a_program(ropewalk: Ropewalk) -> None:
    url = "https://API.example.com/\u202e"
    assert ropewalk.json(*CHECK, *PUBLIC, url) == {
        "url": url,
        "allowed": True,
        "reason": "https://*.example.com matches https://api.example.com/%E2%80%AE, which leads to 93.184.216.34: public",
    }


@pytest.mark.parametrize(
    ("resolve", "allowed", "reason"),
    [
        (["a.example.com=93.184.216.34,2606:2800:220:1::1"], True, "leads to 93.184.216.34, 2606:2800:220:1::1: public"),
        (["a.example.com=93.184.216.34,10.0.0.1"], False, "private use (10.0.0.0/8)"),
        (["*=10.0.0.1", "A.example.com.=93.184.216.34"], True, "93.184.216.34"),
        (["other.example.com=93.184.216.34", "*=::1"], False, "loopback (::1/128)"),
    ],
)
def test_addresses_that_are_given(ropewalk: Ropewalk, resolve: list[str], allowed: bool, reason: str) -> None:
    flags = [word for item in resolve for word in ("--resolve", item)]
    verdict = ropewalk.json(*CHECK, *flags, "https://a.example.com/")
    assert verdict["allowed"] is allowed
    assert reason in verdict["reason"]


def test_system_is_asked_for_what_is_not_given(ropewalk: Ropewalk) -> None:
    verdict = ropewalk.json(*CHECK, "https://nowhere.invalid.example.com/")
    assert not verdict["allowed"]
    assert "the name nowhere.invalid.example.com cannot be resolved" in verdict["reason"]


def test_operators_patterns_count(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:8080/x"
    check = ("egress", "check", "--pattern", "http://127.0.0.1:8080/*", url)
    assert not ropewalk.json(*check)["allowed"]
    assert ropewalk.json(*check, "--allow-private", "http://127.0.0.1:8080/*")["allowed"]
    monkeypatch.setenv("ROPEWALK_ALLOW_PRIVATE", "http://127.0.0.1:8080/*")
    assert "lets it lead to private addresses" in ropewalk.json(*check)["reason"]


def test_lines_are_answered_in_order(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = [f"https://{name}.example.com/" for name in "abcdef"]
    lines = [json.dumps({"url": url, "resolve": {"c.example.com": ["127.0.0.1"]}}).encode() for url in urls]
    told = answers(ropewalk, monkeypatch, *lines)
    assert [(line["url"], line["allowed"]) for line in told] == [(url, "c." not in url) for url in urls]
    assert all(set(line) == {"url", "allowed", "reason"} for line in told)


def test_lines_own_addresses_go_first(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    line = b'{"url": "https://a.example.com/", "resolve": {"*": ["93.184.216.34"]}}'
    (told,) = answers(ropewalk, monkeypatch, line, options=("--resolve", "*=127.0.0.1"))
    assert told["allowed"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "truncated"),
        (b"https://a.example.com/", "malformed"),
        (b"\xff", "malformed"),
        (b"[]", "Expected `object`"),
        (b'{"url": ' + b"[" * 100_000, "recursion"),
        (b"{}", "Expected `str`, got `null`"),
        (b'{"url": 1}', "Expected `str`, got `int`"),
        (b'{"url": "https://a.example.com/", "resolve": []}', "Expected `object | null`"),
        (b'{"url": "https://a.example.com/", "resolve": {"a.example.com": ["0x7f.1"]}}', "0x7f.1"),
        (b'{"url": "https://a.example.com/", "resolve": {"a.example.com": []}}', "has no address"),
        (b'{"url": "https://\\ud800.example.com/"}', "surrogate"),
    ],
)
def test_malformed_line_ends_nothing(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch, line: bytes, reason: str) -> None:
    well = b'{"url": "https://a.example.com/", "resolve": null}'
    first, second = answers(ropewalk, monkeypatch, line, well, options=PUBLIC)
    assert not first["allowed"]
    assert reason in first["reason"]
    assert second["allowed"]


def test_each_line_is_answered_before_the_next_is_there() -> None:
    process = subprocess.Popen([ROPEWALK, *CHECK, *PUBLIC, "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in ("a", "b"):
            process.stdin.write(b'{"url": "https://%s.example.com/"}\n' % name.encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["url"] == f"https://{name}.example.com/"
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["egress", "check", "https://a.example.com/"], "Missing option '--pattern'"),
        ([*CHECK], "either a URL or --stdin"),
        ([*CHECK, "--stdin", "https://a.example.com/"], "either a URL or --stdin"),
        (["egress", "check", "--pattern", "example.com", "https://example.com/"], "begins neither with https:// nor"),
        ([*CHECK, "--resolve", "127.0.0.1", "https://a.example.com/"], "is not HOST=IP,IP"),
        ([*CHECK, "--resolve", "a=0x7f.1", "https://a.example.com/"], "'0x7f.1' does not appear to be"),
        ([*CHECK, "--resolve", "a=", "https://a.example.com/"], "'' does not appear to be"),
        ([*CHECK, "https://a.example.com/\udcff"], "no UTF-8 text"),
        ([*CHECK, "--allow-private", "x", "https://a.example.com/"], "allow_private"),
    ],
)
def test_wrong_usage(ropewalk: Ropewalk, arguments: list[str], told: str) -> None:
    done = ropewalk(*arguments)
    assert done.code == 2
    assert told in done.err
    assert done.out == ""


def test_command_line_says_the_same(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`egress check --stdin` has a command for each set of patterns, and answers for all of their lines in order."""
    groups: defaultdict[tuple[tuple[str, ...], tuple[str, ...]], list[Case]] = defaultdict(list)
    for case in filter(lambda case: case.patterns, CASES):
        groups[case.patterns, case.private].append(case)
    for (patterns, private), cases in groups.items():
        lines = [json.dumps({"url": case.url, "resolve": case.resolve}).encode() for case in cases]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
        flags = [word for pattern in patterns for word in ("--pattern", pattern)]
        done = ropewalk("egress", "check", "--stdin", *flags, *(("--allow-private", ",".join(private)) if private else ()))
        assert done.code == 0, done.err
        told = [msgspec.json.decode(line, type=Verdict) for line in done.out.splitlines()]
        assert [(one.url, meaning(one)) for one in told] == [(case.url, case.expected) for case in cases]
