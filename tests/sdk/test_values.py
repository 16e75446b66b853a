"""Values become JSON text and come back as what they were, or are refused with the key, the path and the remedy."""

from __future__ import annotations

import enum
import math
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ropewalk.errors import InvalidValue, NotSerializable, ValueTooLarge
from ropewalk.sdk.records import Activity, ActivityType, Link, Note, Priority
from ropewalk.sdk.tokens import Callback, TaskToken
from ropewalk.sdk.values import decode, encode

ID = UUID(int=1)
AT = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"


class State(TypedDict):
    page: int
    token: NotRequired[str]


class Row(NamedTuple):
    name: str
    at: date | str


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True)
class Cloud:
    points: list[Point] = field(default_factory=list[Point])
    seen: datetime | date | None = None


class Circle(msgspec.Struct):
    radius: float


class Square(msgspec.Struct):
    side: float
    name: str | date = "square"


class Renamed(msgspec.Struct, rename="camel", array_like=False):
    first_seen: datetime | str


class Model:
    """Stands for a pydantic model: known by its methods, never by its class."""

    model_fields: dict[str, object] = {"size": None}

    def __init__(self, size: object) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.size == other.size

    __hash__ = None  # type: ignore[assignment]  # compared by value, as models are

    def model_dump(self, *, mode: str) -> dict[str, object]:
        assert mode == "json"
        return {"size": self.size}

    @classmethod
    def model_validate_json(cls, text: bytes) -> Model:
        size = msgspec.json.decode(text)["size"]
        if not isinstance(size, int):
            raise ValueError("size is no number")
        return cls(size)


@dataclass
class Picky:
    at: datetime | str

    def __post_init__(self) -> None:
        if self.at == "never":
            raise ValueError("never is no time")


UserId = NewType("UserId", int)
ACTIVITY = Activity(id=ID, type=ActivityType.EVENT, title="a", start=date(2030, 1, 2), priority=ID, created_at=AT, updated_at=AT)

ROUND: list[tuple[Any, Any]] = [
    (None, None),
    (True, bool),
    (10**40, int),
    (1.5, float),
    ("é\x00\U0001f600", str),
    ([1, "a", None], list[int | str | None]),
    ({"a": {"b": [1]}}, dict[str, dict[str, list[int]]]),
    ({1: "a"}, dict[int, str]),
    ({ID: 1}, dict[UUID, int]),
    ({date(2030, 1, 2): 1}, dict[date, int]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    ({1, 2}, set[int]),
    (frozenset({1}), frozenset[int]),
    (b"\x00\xff", bytes),
    (Decimal("1.10"), Decimal),
    (AT, datetime),
    (date(2030, 1, 2), date),
    (timedelta(days=1, microseconds=5), timedelta),
    (ID, UUID),
    (Colour.RED, Colour),
    ("a", Literal["a", "b"]),
    (5, UserId),
    (5, Annotated[int, msgspec.Meta(ge=1)]),
    (5, Annotated[int, []]),
    ({"page": 1}, State),
    (Point(1, 2), Point),
    ([Point(1)], list[Point]),
    (Circle(1.0), Circle),
    (Callback("cb_1"), Callback),
    (TaskToken("t"), TaskToken),
    (Model(3), Model),
    ([Model(3), None], list[Model | None]),
    (Priority(id=ID, title="a"), Priority),
    (ACTIVITY, Activity),
    (Note(id=ID, activity=ACTIVITY, content="c", created_at=AT, links=[Link.external("t", "https://a.b")]), Note),
    # Unions that JSON cannot tell apart by its form.
    (AT, datetime | str),
    (AT, str | datetime),
    (AT, Annotated[datetime | str, "when"]),
    (Picky(AT), Picky),
    ("not a time", datetime | str),
    (ID, str | UUID),
    (date(2030, 1, 2), datetime | date | None),
    (AT, datetime | date | None),
    (None, datetime | date | None),
    ([AT, "x"], list[datetime | str]),
    ({"a": {ID, "x"}}, dict[str, set[UUID | str]]),
    ((1, AT), tuple[int, datetime | str]),
    ((AT, "x"), tuple[datetime | str, ...]),
    (Cloud([Point(1)], date(2030, 1, 2)), Cloud),
    (Square(1.0, date(2030, 1, 2)), Square),
    (Circle(1.0), Square | Circle),
    (Square(2.0), Circle | Square),
    (Point(1, 2), Point | Cloud),
    (Model(3), Model | int),
    (7, Model | int),
    (Renamed(AT), Renamed),
    (Row("a", date(2030, 1, 2)), Row),
    ([Row("a", "b")], list[Row]),
]


@pytest.mark.parametrize(("value", "wanted"), ROUND, ids=[str(wanted) for _, wanted in ROUND])
def test_a_value_comes_back_as_what_it_was(value: object, wanted: Any) -> None:
    back = decode(encode(value, "it"), wanted, "it")
    assert back == value
    assert type(back) is type(value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


# A busy machine makes examples slow, which says nothing about the values.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(json_values)
def test_json_comes_back_as_it_is(value: object) -> None:
    assert decode(encode(value, "it"), None, "it") == value


@unhurried
@given(json_values, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_json_cannot_say_is_found_wherever_it_is(value: object, odd: float) -> None:
    with pytest.raises(NotSerializable, match="which JSON cannot say"):
        encode([value, {"a": [odd]}], "it")


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (AT, "2030-01-02T03:04:05.000006Z"),
        (date(2030, 1, 2), "2030-01-02"),
        (ID, str(ID)),
        (b"a", "YQ=="),
        (Decimal("1.10"), "1.10"),
        ({1}, [1]),
        ((1, 2), [1, 2]),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(int, a=1), {"a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (Point(1), {"x": 1, "y": 0}),
        (Path("/a").name, "a"),
    ],
)
def test_without_a_type_the_json_form_is_given(value: object, form: object) -> None:
    assert decode(encode(value, "it"), None, "it") == form


class Liar:
    def model_dump(self, *, mode: str) -> object:
        raise OSError(f"no {mode} today")


REFUSED: list[tuple[object, str]] = [
    (print, "it is a builtin_function_or_method: to have a method called later, store what `await self.callback(...)` returns"),
    ({"a": [lambda: 0]}, "at ['a'][0] it is a function"),
    (int, "it is a type"),
    ({"a": {"b": object()}}, "at ['a']['b'] it is a object, which has no JSON form"),
    (Point(x=1j), "at .x it is a complex"),  # type: ignore[arg-type]
    ({"a": {(1, 2): 3}}, "at ['a'][(1, 2)] it has a tuple as key: keys are texts"),
    ((n for n in [1]), "it is a generator"),
    (math.nan, "it is nan"),
    ([None, Point(x=-math.inf)], "at [1].x it is -inf"),  # type: ignore[arg-type]
    (Model(math.inf), "at .size it is inf"),
    (["a\ud800"], "at [0] it has lone surrogates"),
    ({"a\ud800": 1}, "at ['a\\ud800'] it has a key with lone surrogates"),
    (Liar(), "no json today"),
    (Path("/a"), "it is a PosixPath"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED)
def test_what_has_no_json_form_is_refused_with_its_path(value: object, words: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        encode(value, "the value of", "k")
    assert str(caught.value).startswith("the value of 'k' cannot be stored: ")
    assert words in str(caught.value)


def test_what_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append({"a": value})
    with pytest.raises(NotSerializable, match="contains itself"):
        encode(value, "it")


def test_the_limit_is_told_with_the_figure() -> None:
    assert len(encode("x" * 98, "it", limit=100)) == 100
    with pytest.raises(ValueTooLarge, match="the value of 'k' has 101 bytes and may have 100"):
        encode("x" * 99, "the value of", "k", limit=100)


MISFITS: list[tuple[bytes, Any, str]] = [
    (b'"1"', int, "Expected `int`, got `str`"),
    (b'{"page":"1"}', State, "at `$.page`"),
    (b"[1]", list[str], "at `$[0]`"),
    (b'{"x":1,"y":"2"}', Point, "at `$.y`"),
    (b'"blue"', Colour, "Invalid enum value 'blue'"),
    (b'{"size":"big"}', Model, "size is no number"),
    (b"5", Path, "Path cannot be read from JSON: use a dataclass"),
    (b'"x"', datetime | date, "Expected one of datetime, date - at `$`"),
    (b'[{"seen":5}]', list[Cloud], "Expected one of datetime, date, NoneType - at `$[0].seen`"),
    (b'[{"points":[{"x":"a"}]}]', list[Cloud], "at `$[0].points[0].x`"),
    (b'[{"at":"never"}]', list[Picky], "never is no time - at `$[0]`"),
    (b"{}", Square, "missing required field `side`"),
    (b"5", list[datetime | str], "Expected `array`, got `int` - at `$`"),
    (b"[]", tuple[int, datetime | str], "length 2, got 0"),
    (b"[]", dict[str, datetime | str], "Expected `object`"),
    (b"5", Cloud | Square, "Expected one of Cloud, Square"),
    (b'"\\ud800"', str, "it"),
    (b"[", None, "is no JSON"),
    (b"[" * 100_000, None, "it"),
]


@pytest.mark.parametrize(("text", "wanted", "words"), MISFITS)
def test_what_does_not_fit_is_told_with_its_path(text: bytes, wanted: Any, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        decode(text, wanted, "it")
    assert words in str(caught.value)


def test_a_value_annotated_object_is_the_json_form() -> None:
    assert decode(b'{"a":[1]}', object, "it") == decode(b'{"a":[1]}', Any, "it") == {"a": [1]}
