"""What people see of text that authors wrote."""

from __future__ import annotations

import pytest

from ropewalk.cli.common.output import bytes_text, duration_text, safe, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\rb"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202eevil", "\\u202eevil"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\x00\x07\x7f", "\\x00\\x07\\x7f"),
        ("lone \ud800", "lone \\ud800"),
        ("naïve 日本 🎉", "naïve 日本 🎉"),
    ],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_lines_stay_where_lines_are_meant() -> None:
    assert safe("a\n\tb\x1b]0;t\x07", lines=True) == "a\n\tb\\x1b]0;t\\x07"


def test_a_table_in_a_pipe_is_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table([{"a": "long text", "b": "\x1b[2J"}], (("first", lambda row: row["a"]), ("second", lambda row: row["b"])))
    assert capsys.readouterr().out == "FIRST      SECOND\nlong text  \\x1b[2J\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**20, "3.0 MiB"), (2**31, "2.0 GiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(("milliseconds", "text"), [(None, "–"), (1.25, "1.2 ms"), (1500.0, "1.5 s")])
def test_durations(milliseconds: float | None, text: str) -> None:
    assert duration_text(milliseconds) == text
