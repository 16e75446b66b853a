"""Options given as text, typed by the manifest."""

from __future__ import annotations

import json

import pytest

from ropewalk.errors import InvalidValue
from ropewalk.service.options import typed_options
from ropewalk.wire.control import OptionField

FIELDS = [
    OptionField(ns="", name="base_url", type="string", annotation="str", required=True),
    OptionField(ns="", name="per_page", type="integer", annotation="int", required=False, default=b"50"),
    OptionField(ns="", name="ratio", type="number", annotation="float", required=False, default=b"1.0"),
    OptionField(ns="", name="dry", type="boolean", annotation="bool", required=False, default=b"false"),
    OptionField(ns="", name="words", type="json", annotation="list[str]", required=False, default=b"[]"),
    OptionField(ns="", name="token", type="secret", annotation="Secret", required=False),
    OptionField(ns="calendar", name="inner", type="string", annotation="str", required=True),
]


def typed(**given: str) -> object:
    return json.loads(typed_options(FIELDS, {"base_url": "u", **given}))


def test_only_what_was_given_is_kept() -> None:
    assert typed() == {"base_url": "u"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("base_url", "5", "5"),
        ("base_url", "", ""),
        ("per_page", "-7", -7),
        ("per_page", " 12 ", 12),
        ("ratio", "2", 2.0),
        ("ratio", "1e-3", 0.001),
        ("dry", "true", True),
        ("dry", "No", False),
        ("words", '["a", "ü"]', ["a", "ü"]),
        ("words", "null", None),
    ],
)
def test_values_are_typed(name: str, text: str, value: object) -> None:
    assert typed(**{name: text}) == {"base_url": "u", name: value}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("per_page", "ten", r"option 'per_page': 'ten' is no integer \(int\)"),
        ("per_page", "1.5", "is no integer"),
        ("per_page", "1" * 30, "is no integer"),
        ("ratio", "nan", "is no number"),
        ("ratio", "inf", "is no number"),
        ("ratio", "x", "is no number"),
        ("dry", "maybe", "is no boolean"),
        ("words", "[1", r"is no JSON for list\[str\]"),
        ("words", "[" * 100_000, "is no JSON"),
        ("token", "x", "is a secret, and this release keeps none"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        typed(**{name: text})


def test_required_ones_are_named() -> None:
    with pytest.raises(InvalidValue, match=r"options are missing: base_url \(str\): give each with --option NAME=VALUE"):
        typed_options(FIELDS, {})


def test_an_unknown_one_names_the_nearest() -> None:
    with pytest.raises(InvalidValue, match="no option 'per_pag': did you mean 'per_page'"):
        typed(per_pag="1")


def test_a_tool_s_options_are_not_the_activator_s() -> None:
    with pytest.raises(InvalidValue, match="no option 'inner'"):
        typed(inner="x")


def test_a_twist_without_options_says_so() -> None:
    with pytest.raises(InvalidValue, match="no option 'x': this twist has none"):
        typed_options([], {"x": "1"})
