"""What people write as arguments."""

from __future__ import annotations

import pytest

from ropewalk.errors import InvalidValue
from ropewalk.service.actions import bound_arguments, parse_json


@pytest.mark.parametrize(
    ("text", "bound"),
    [(None, "[[],{}]"), ("[]", "[[],{}]"), ('[1, "a"]', '[[1,"a"],{}]'), ('{"who": "Ada"}', '[[],{"who":"Ada"}]')],
)
def test_arguments_are_an_array_or_an_object(text: str | None, bound: str) -> None:
    assert bound_arguments(text).decode() == bound


@pytest.mark.parametrize("text", ["1", '"a"', "null", "true"])
def test_other_json_is_no_arguments(text: str) -> None:
    with pytest.raises(InvalidValue, match="a JSON array"):
        bound_arguments(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[1,\n 2,", "line 2, column 4"),
        ("{'a': 1}", "line 1, column 2"),
        ("", "line 1, column 1"),
        ("[1] 2", "line 1, column 5"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_malformed_json_says_where(text: str, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        parse_json(text)


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", '"\\ud800"', "\udcff"])
def test_what_python_would_take_and_json_does_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_large_integers_stay_whole() -> None:
    assert parse_json("123456789012345678901234567890") == 123456789012345678901234567890
