"""What hostile twists log: safe on a terminal, and intact for programs."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ropewalk.cli import logs
from ropewalk.cli.common.state import State
from ropewalk.storage.records import LogQuery, NumberedLogLine
from tests.escape.harness import Stages
from tests.harness.commands import Cli

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINES = {
    "a colour": "\x1b[31mred\x1b[0m",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a window's title": "\x1b]0;owned\x07",
    "a hyperlink": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "the clipboard": "\x1b]52;c;bWFsaWNl\x07",
    "a question to the terminal": "\x1b[6n\x1b[c\x05",
    "eight-bit escapes": "\x9b31mred\x9d0;owned\x9c",
    "a bell, a backspace and a delete": "bell\x07 back\x08\x08\x08\x08 del\x7f",
    "a carriage return": "harmless\rharmful ",
    "a form feed and a vertical tab": "one\x0ctwo\x0bthree",
    "a next line": "one\x85two",
    "separators of lines and paragraphs": "one\u2028two\u2029three",
    "text turned around": "\u202egnp.exe\u202c \u2066isolated\u2069 \u200fmark",
    "characters of no width": "pay\u200bpal\u2060\ufeff\u180e",
    "tags that nobody sees": "ok\U000e0041\U000e0042",
    "annotations": "\ufff9over\ufffaunder\ufffb",
    "a NUL": "before\0after",
    "lone surrogates": "\udcff\ud800",
    "bytes that are no text": b"\xff\xfe raw \xc3",
    "every control character": "".join(map(chr, [*range(10), *range(11, 32), *range(127, 160)])),
    "a forged line": "done\n2026-01-01 00:00:00Z  000000000000  ERROR     the disk is full",
}
"""What is logged, or printed when it is bytes."""

CHATTER = """
import sys
from ropewalk import Twist

LINES = {lines!r}

class Chatter(Twist):
    async def chatter(self):
        for line in LINES:
            if isinstance(line, bytes):
                sys.stdout.buffer.write(line + b"\\n")
            else:
                self.log.info(line, extra={{"hostile": line}})
                self.log.info("a key", extra={{line: 1}})
"""

HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ  [0-9a-f]{12}  ")
"""How a line begins for people."""

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True)
class Logged:
    """What hostile lines have become: the stored ones, what people are shown of them, and what programs are."""

    stored: list[NumberedLogLine]
    people: str
    programs: list[dict[str, Any]]


def kept(line: str | bytes) -> str:
    """Return a line as it has to be kept: text that UTF-8 can say."""
    if isinstance(line, bytes):
        return line.decode(errors="replace")
    return line.encode(errors="backslashreplace").decode()


def dangers(text: str) -> list[str]:
    """Return what of a text a terminal would act upon, or not show."""
    return sorted({f"{ord(one):04x}" for one in text if unicodedata.category(one) in UNSEEN and one not in "\t\n"})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def logged(stages: Stages, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """All of them, logged by one twist."""
    runtime = (await stages.without()).runtime
    instance = await runtime.run(CHATTER.format(lines=list(LINES.values())))
    await runtime.invoke(instance, "chatter")
    cli = Cli(tmp_path_factory.mktemp("cli"), Path(runtime.database))
    stored = await runtime.storage.logs(LogQuery(instance=instance))
    return Logged(stored, cli.run("logs", instance).out, list(reversed(cli.json("logs", instance))))


async def test_people_are_shown_nothing_that_a_terminal_acts_upon(logged: Logged) -> None:
    assert dangers(logged.people) == []


async def test_without_that_guard_they_would_be(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("safe", "safe_entry"):
        monkeypatch.setattr(logs, name, str)
    for line in logged.stored:
        logs._print(State(), line)
    shown = capsys.readouterr().out
    assert len(dangers(shown)) > 60
    assert sum(1 for line in shown.splitlines() if HEAD.match(line)) > len(logged.stored)


async def test_no_line_can_pass_for_another(logged: Logged) -> None:
    assert sum(1 for line in logged.people.split("\n") if HEAD.match(line)) == len(logged.stored)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
async def test_programs_get_every_character(logged: Logged, line: str | bytes) -> None:
    assert kept(line) in [one["message"] for one in logged.programs]
    if isinstance(line, str) and kept(line) == line:
        assert {"hostile": line} in [one["fields"] for one in logged.programs]
        assert {line: 1} in [one["fields"] for one in logged.programs]
