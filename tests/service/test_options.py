"""Options given as text, typed by the manifest, and whether they do for another version."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import msgspec
import pytest

from ropewalk import Options, Secret, secret
from ropewalk.errors import InvalidValue
from ropewalk.guest.author import option_info
from ropewalk.sdk.options import option_fields
from ropewalk.service.options import Chosen, Given, choose, misfits
from ropewalk.wire.control import OptionField


class Colour(Enum):
    """For an option."""

    RED = "red"
    BLUE = "blue"


class Place(TypedDict):
    """For an option."""

    name: str
    at: tuple[float, float]


class Wide(Options):
    """Options of many types."""

    base_url: str
    per_page: int = 50
    ratio: float = 1.0
    dry: bool = False
    words: list[str] = []
    since: datetime | None = None
    day: date = date(2026, 1, 31)
    wait: timedelta = timedelta(seconds=5)
    id: UUID | None = None
    price: Decimal = Decimal("1.50")
    mode: Literal["fast", "slow", 3] = "fast"
    colour: Colour = Colour.RED
    places: list[Place] = []
    either: int | str = 0
    few: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    token: Secret = secret(urls=["https://x.test/*"], header="Authorization")
    pin: Secret | None = secret(default=None)


FIELDS = [option_info(Wide, field) for field in option_fields(Wide)]
INNER = OptionField(ns="calendar", name="inner", type="string", annotation="str", required=True)
NEEDED = {"base_url": Given("u"), "token": Given("hush-hush", named=True)}


def typed(**given: str) -> Any:
    chosen = choose([*FIELDS, INNER], NEEDED | {name: Given(text) for name, text in given.items()})
    return msgspec.json.decode(chosen.json)


def test_only_what_was_given_is_kept_and_secrets_apart() -> None:
    chosen = choose(FIELDS, NEEDED)
    assert chosen == Chosen({"base_url": "u"}, {"token": "hush-hush"})
    assert b"hush" not in chosen.json


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("base_url", "5", "5"),
        ("base_url", "", ""),
        ("per_page", "-7", -7),
        ("per_page", " +12 ", 12),
        ("ratio", "2", 2),
        ("ratio", "1e-3", 0.001),
        ("dry", "true", True),
        ("dry", "No", False),
        ("dry", "1", True),
        ("words", '["a", "ü"]', ["a", "ü"]),
        ("since", "2026-01-31T09:00:00+01:00", "2026-01-31T09:00:00+01:00"),
        ("since", "2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z"),
        ("day", "2026-02-01", "2026-02-01"),
        ("wait", "PT90S", "PT90S"),
        ("id", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("price", "2.75", "2.75"),
        ("mode", "slow", "slow"),
        ("mode", "3", 3),
        ("colour", "blue", "blue"),
        ("places", '[{"name": "a", "at": [1, 2.5]}]', [{"name": "a", "at": [1, 2.5]}]),
        ("either", "5", 5),
        ("either", "five", "five"),
        ("few", "10", 10),
    ],
)
def test_values_are_typed(name: str, text: str, value: object) -> None:
    given = typed(**{name: text})
    assert given == {"base_url": "u", name: value}
    opened = msgspec.json.decode(msgspec.json.encode({**given, "token": {"mark": "m"}}), type=Wide, dec_hook=_secret)
    assert getattr(opened, name) is not None


def _secret(_: type, form: Any) -> Secret:
    return Secret(**form)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("per_page", "ten", r"option 'per_page' \(int\): 'ten' is not a whole number"),
        ("per_page", "1.5", "1.5 is not a whole number"),
        ("per_page", "true", "true is not a whole number"),
        ("ratio", "nan", "'nan' is not a number"),
        ("ratio", "x", "is not a number"),
        ("dry", "maybe", "'maybe' is not yes or no"),
        ("words", "a,b", r"'a,b' is not a JSON array, such as \[\"a\", \"b\"\]"),
        ("words", '["a", 1]', r"at \[1\]: 1 is not text"),
        ("words", "[" * 100_000, "is not a JSON array"),
        ("since", "yesterday", "'yesterday' is not a time with its zone, such as 2026-01-31T09:00:00"),
        ("since", "2026-01-31T09:00:00", "is not a time with its zone"),
        ("day", "31.1.2026", "is not a date, such as 2026-01-31"),
        ("wait", "90", "is not a duration"),
        ("id", "x", "is not a UUID"),
        ("price", "cheap", "is not a decimal number"),
        ("mode", "medium", "'medium' is not one of 3, 'fast', 'slow'"),
        ("colour", "green", "'green' is not one of 'blue', 'red'"),
        ("places", '[{"name": "a"}]', r"at \[0\]: it lacks 'at'"),
        ("places", '[{"name": "a", "at": [1, "x"]}]', r"at \[0\].at\[1\]: 'x' is not a number"),
        ("few", "11", "11 is above 10"),
        ("pin", "1234", r"is a secret, .* give pin=@FILE, pin=@- \(stdin\) or pin=@env:VARIABLE"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        typed(**{name: text})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidValue) as caught:
        choose(FIELDS, {"per_pag": Given("1"), "ratio": Given("x"), "pin": Given("12345678")})
    told = str(caught.value)
    assert "no option 'per_pag': did you mean 'per_page'" in told
    assert "'x' is not a number" in told
    assert (
        "options are missing: base_url (str), token (Secret): give each with --option NAME=VALUE and --option NAME=@FILE" in told
    )
    assert "12345678" not in told


def test_a_tool_s_options_are_not_the_activator_s() -> None:
    with pytest.raises(InvalidValue, match="no option 'inner'"):
        typed(inner="x")


def test_a_twist_without_options_says_so() -> None:
    with pytest.raises(InvalidValue, match="no option 'x': this twist has none"):
        choose([], {"x": Given("1")})


@pytest.mark.parametrize("value", ["two\nlines", " spaces ", "emoji 🙂", "null\0"])
def test_a_secret_that_no_header_can_carry(value: str) -> None:
    with pytest.raises(InvalidValue, match="goes into the header Authorization") as caught:
        choose(FIELDS, NEEDED | {"token": Given(value, named=True)})
    assert value not in str(caught.value)
    assert choose(FIELDS, NEEDED | {"pin": Given(value, named=True)}).secrets["pin"] == value


def test_a_change_keeps_what_it_does_not_name() -> None:
    before = choose(FIELDS, NEEDED | {"per_page": Given("7")})
    after = choose(FIELDS, {"ratio": Given("0.5"), "pin": Given("1234", named=True)}, before)
    assert after == Chosen({"base_url": "u", "per_page": 7, "ratio": 0.5}, {"token": "hush-hush", "pin": "1234"})
    assert before.secrets == {"token": "hush-hush"}


def test_options_that_do_not_do_for_another_version() -> None:
    class Later(Options):
        region: str
        per_page: Literal["all"] = "all"
        base_url: Secret

    fields = [option_info(Later, field) for field in option_fields(Later)]
    had = Chosen({"base_url": "u", "per_page": 7, "gone": 1}, {"token": "hush-hush"})
    assert misfits(FIELDS, had) == []
    assert sorted(misfits(fields, had)) == [
        "the option 'base_url' (Secret) is required and has no value",
        "the option 'per_page' (Literal['all']): 7 is not one of 'all'",
        "the option 'region' (str) is required and has no value",
    ]


@pytest.mark.parametrize(
    "schema",
    [
        b'{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}',
        b'{"anyOf":[{"anyOf":[{"anyOf":5}]}]}',
        b'{"type":5,"minimum":"x","enum":7}',
        b'{"type":"array","items":[1],"prefixItems":{"a":1},"minItems":{}}',
        b'{"type":"object","required":[1,{}],"properties":[]}',
        b'{"$defs":5,"$ref":[]}',
    ],
)
@pytest.mark.parametrize("text", ["1", "[1]", '{"a":1}', "x"])
def test_a_schema_that_makes_no_sense_is_survived(schema: bytes, text: str) -> None:
    field = OptionField(ns="", name="odd", type="json", annotation="Odd", required=False, schema=schema)
    try:
        choose([field], {"odd": Given(text)})
    except InvalidValue:
        pass
