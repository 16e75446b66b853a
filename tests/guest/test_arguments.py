"""How a method gets its arguments: what the event brings first, what was bound after it, converted by the annotations."""

from __future__ import annotations

import msgspec
import pytest

from tests.guest.playing import IN_BOTH_MODES, MakeVersion, Version

pytestmark = IN_BOTH_MODES

MODULE = """
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

@dataclass
class Point:
    x: int
    y: int = 0

class Sample(Twist):
    async def typed(self, at: date, ids: set[UUID], *rest: Decimal, point: Point, **others: int) -> list[str]:
        return [repr(at), repr(ids), repr(rest), repr(point), repr(others)]

    async def plain(self, a, b=2, /, c: "object" = 3, *, d=None):
        return [a, b, c, d]

    async def tokens(self, token: Callback):
        return type(token).__name__

    async def stored(self, activity: Activity, priority: Priority | None = None):
        return [activity.title, str(activity.start), type(activity.id).__name__]
"""


def run(version: Version, method: str, *, event: object = (), args: object = (), kwargs: object = None) -> object:
    arguments = msgspec.json.encode([args, kwargs or {}])
    with version.attempt(method, event=msgspec.json.encode(event), arguments=arguments) as guest:
        return msgspec.json.decode(getattr(guest.last_word(), "result", b"null"))


def refusal(version: Version, method: str, *, args: object = (), kwargs: object = None) -> tuple[str, str, str]:
    with version.attempt(method, arguments=msgspec.json.encode([args, kwargs or {}])) as guest:
        raised = guest.raised()
        assert guest.calls == []
        return raised.kind, raised.type, raised.message


def test_arguments_are_converted_by_their_annotations(module: MakeVersion) -> None:
    uuid = "6a1c4a6e-0000-4000-8000-000000000001"
    kwargs = {"point": {"x": 1}, "more": 7}
    assert run(module(MODULE), "typed", event=["2030-01-02"], args=[[uuid], "1.5"], kwargs=kwargs) == [
        "datetime.date(2030, 1, 2)",
        f"{{UUID('{uuid}')}}",
        "(Decimal('1.5'),)",
        "Point(x=1, y=0)",
        "{'more': 7}",
    ]


def test_without_annotations_the_json_form_is_given(module: MakeVersion) -> None:
    assert run(module(MODULE), "plain", args=[{"x": [1]}], kwargs={"d": "2030-01-02"}) == [{"x": [1]}, 2, 3, "2030-01-02"]


def test_what_the_event_brings_comes_first(module: MakeVersion) -> None:
    assert run(module(MODULE), "plain", event=["event"], args=["bound"]) == ["event", "bound", 3, None]


def test_a_callback_comes_back_as_a_callback(module: MakeVersion) -> None:
    assert run(module(MODULE), "tokens", args=["cb_1"]) == "Callback"


def test_a_record_comes_back_as_a_record(module: MakeVersion) -> None:
    activity = {
        "id": "6a1c4a6e-0000-4000-8000-000000000001",
        "type": "event",
        "title": "Holiday",
        "start": "2030-01-02",
        "priority": "6a1c4a6e-0000-4000-8000-000000000001",
        "created_at": "2030-01-02T00:00:00Z",
        "updated_at": "2030-01-02T00:00:00Z",
    }
    assert run(module(MODULE), "stored", args=[activity]) == ["Holiday", "2030-01-02", "UUID"]


MISFITS: list[tuple[str, list[object], dict[str, object], str, str]] = [
    ("plain", [], {}, "TypeError", "Sample.plain(): missing a required argument: 'a'"),
    ("plain", [1, 2, 3, 4], {}, "TypeError", "too many positional arguments"),
    ("plain", [1], {"a": 1}, "TypeError", "'a'"),
    ("typed", ["2030-01-02", []], {}, "TypeError", "missing a required argument: 'point'"),
    (
        "typed",
        ["2030-01-02", ["x"]],
        {"point": {"x": 1}},
        "InvalidValue",
        "argument 2 of 'typed' does not fit set[uuid.UUID]",
    ),
    ("typed", ["2030-01-02", []], {"point": {"x": "one"}}, "InvalidValue", "the argument 'point' does not fit Point"),
    ("typed", ["2030-01-02", []], {"point": {"x": 1}, "z": "one"}, "InvalidValue", "the argument 'z'"),
    ("gone", [], {}, "CallbackNotFound", "Sample.gone"),
]


@pytest.mark.parametrize(("method", "args", "kwargs", "kind", "words"), MISFITS)
def test_arguments_that_do_not_fit_are_not_tried_again(
    module: MakeVersion, method: str, args: list[object], kwargs: dict[str, object], kind: str, words: str
) -> None:
    verdict, found, message = refusal(module(MODULE), method, args=args, kwargs=kwargs)
    assert (verdict, found) == ("unretried", kind)
    assert words in message


def test_a_type_error_of_the_methods_own_is_tried_again(twist: MakeVersion) -> None:
    with twist("async def main(self):\n    len(5)").attempt() as guest:
        raised = guest.raised()
    assert (raised.kind, raised.type) == ("error", "TypeError")
