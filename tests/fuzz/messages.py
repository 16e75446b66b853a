"""Messages of a guest that knows the schema and means no good: every field has the right type, and anything else may be wrong with it.

What is made follows from the types in `wire`, so that a message added there is among these at once. Names and ids come from small sets, and
from what the host has answered, so that calls meet what earlier ones did, and what belongs to somebody else.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

import msgspec

from ropewalk.wire import messages
from ropewalk.wire.messages import GuestMessage
from tests.fuzz.choices import Choices

SPOKEN: Final[tuple[type[messages.Message], ...]] = typing.get_args(GuestMessage)
CALLS: Final[tuple[type[messages.Message], ...]] = typing.get_args(messages.AnyCall)

UUIDS: Final = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(2)]
"""Ids of an author's own choosing, few enough to meet again."""

_NAMED: Final[dict[str, list[str]]] = {
    "ns": ["", "calendar", "calendar.contacts"],
    "method": ["go", "sync", "GET", "POST"],
    "key": ["a", "b", "ab"],
    "keys": ["a", "b", "ab"],
    "prefix": ["", "a"],
    "source_prefix": ["s", "s:1"],
    "source": ["s:1", "s:9", "a"],
    "url": ["https://api.example.com/v1/x", "http://127.0.0.1/", "https://éxample.com/a?b#c"],
    "start": ["2026-01-31", "2026-01-31T09:00:00Z", "2026-01-31T11:00:00.5+02:00"],
    "end": ["2026-02-01", "2026-02-01T09:00:00Z"],
    "done_at": ["2026-01-31T09:00:00Z"],
    "content_type": ["markdown", "text"],
    "cursor": [f"a0.{UUIDS[0]}", f"a{10**16:x}.{UUIDS[1]}"],
    "kind": ["Network", "Plot", "custom", "callback", "external"],
    "name": ["go", "sync", "per_page", "base_url"],
    "type": ["note", "action", "event", "string"],
}
"""What makes sense for a field of that name."""

_HEARD: Final[dict[str, Callable[[str], bool]]] = {
    **dict.fromkeys(("id", "activity", "note"), lambda told: len(told) == len(UUIDS[0])),
    **dict.fromkeys(("token", "callback"), lambda told: told.startswith("cb_")),
    "token_or_key": lambda told: len(told) == _TASK,
    "cursor": lambda told: "." in told,
    "priority": str.isalpha,
}
"""Fields that hold what was heard, of that form."""

_TASK: Final = 24
_NEWEST: Final = 8

_TOOLS: Final = {"Activity": "plot", "Activities": "plot", "Note": "plot", "Fetch": "web", "Webhook": "web"}
"""The tool that a call is for, by how its name begins."""

_OBJECTS: Final = {"changes": (messages.ActivityRecord, messages.NoteRecord)}

_TEXTS: Final = [
    "", "\0", "é", "\u202e", "\U0010ffff", "\x1b[2J", "\n", "%", "'", '"', "*", "..", "missing", "__init__", "CONNECT", "now", "2026-02-30",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", f"affffffffffffffff.{UUIDS[0]}", "aFF." + "-" * 36, "class", "text/x-é",
    "http://[::1]/", "http://x@y/", "https://api.example.com/v1/%2e%2e/%00", "http://api.example.com:99999/", "http://2130706433/", "ftp://x/",
]  # fmt: skip
_LENGTHS: Final = [2, 200, 201, 512, 513, 2_001, 70_000]
_INTEGERS: Final = [-1, 0, 1001, 10_001, 2**31, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 2**64 - 1]
_FLOATS: Final = [0.0, -0.0, -1.0, 1e-9, 1e11, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")]
_JSONS: Final = [
    b"null", b"0", b"1e400", b"-0", b'""', b'"\\u0000"', b'"\\ud800"', b'"\xff"', b"[]", b"{}", b"[[],{}]", b'[[1],{"a":2}]', b"", b"{",
    b"NaN", b'{"a":1,"a":2}', b"18446744073709551616", b"\xef\xbb\xbf1", b" 1 ", b"1 2", b"true", b'{"\\u0000":1}',
]  # fmt: skip


StructT = TypeVar("StructT", bound=msgspec.Struct)


class Tongue:
    """What says such messages. `heard` are the ids and tokens that it knows of."""

    def __init__(self, choices: Choices, heard: list[str]) -> None:
        self._choices = choices
        self.heard = heard
        self._calls = 0
        self._oddity = 8

    def message(self, among: tuple[type[messages.Message], ...]) -> messages.Message:
        """Return a message of one of these kinds: mostly one of which hardly anything is wrong."""
        self._oddity = self._choices.pick([100, 100, 20, 4])
        return self.struct(self._choices.pick(among))

    def _is_odd(self) -> bool:
        return self._choices.once_in(self._oddity)

    def struct(self, kind: type[StructT]) -> StructT:
        """Return a struct whose fields have their types; one with a default mostly has it."""
        fields = {
            name: self.value(of, name)
            for name, (of, required) in _fields(kind).items()
            if required or self._choices.once_in(4) or name == "own_id"
        }
        if issubclass(kind, messages.Call):
            self._calls += 1
            fields["id"] = self._choices.pick([0, fields["id"]]) if self._is_odd() else self._calls
            tool = next((ns for beginning, ns in _TOOLS.items() if kind.__name__.startswith(beginning)), None)
            if tool is not None and not self._is_odd():
                fields["ns"] = tool
        return kind(**fields)

    def value(self, kind: Any, name: str) -> Any:
        """Return a value of a type, for a field of that name."""
        origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
        if origin is typing.Annotated:
            return self.value(inside[0], name)
        if origin in (typing.Union, types.UnionType):
            return self.value(self._choices.pick(inside), name)
        if origin is Literal:
            return self._choices.pick(inside)
        if origin is list:
            return [self.value(inside[0], name) for _ in range(self._length())]
        if origin is tuple:
            return tuple(self.value(one, name) for one in inside)
        if origin is dict:
            return {self.value(inside[0], "key"): self.value(inside[1], name) for _ in range(self._length())}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind)
        return _PLAIN[kind](self, name)

    def text(self, name: str) -> str:
        """Return a text, mostly one that makes sense for a field of that name."""
        choices = self._choices
        if not self._is_odd():
            fits = _HEARD.get(name)
            heard = [told for told in self.heard if fits(told)][-_NEWEST:] if fits else []
            return choices.pick([*heard, *_NAMED.get(name, UUIDS)])
        match choices.number(4):
            case 0:
                return choices.pick(_TEXTS)
            case 1:
                return choices.pick([*_TEXTS, "a", "a/"]) * choices.pick(_LENGTHS)
            case 2:
                return choices.pick([*self.heard, *UUIDS])
            case _:
                return choices.raw(choices.number(24)).decode("utf-8", "replace")

    def json(self, name: str) -> bytes:
        """Return what should be the text of a JSON value, and mostly is."""
        choices = self._choices
        if not self._is_odd():
            return _encoded(self._object(name))
        match choices.number(4):
            case 0:
                return choices.pick(_JSONS)
            case 1:
                return choices.raw(choices.number(32))
            case 2:
                return choices.pick([b"[", b'{"a":']) * choices.pick([10, 1000, 100_000])
            case _:
                return msgspec.json.encode(self.text("content") * choices.pick([1, 20]))

    def _object(self, name: str) -> Any:
        """Return a value of JSON that has the shape of what the field holds."""
        choices = self._choices
        if name == "options":
            return {"urls": [choices.pick(["*", "https://api.example.com/*", "{base_url}/*", "{", ""])], "access": None}
        if name in _OBJECTS:
            kind = choices.pick(_OBJECTS[name])
            chosen = [choices.pick(kind.__struct_fields__) for _ in range(1 + choices.number(3))]
            return {field: _plain(self.value(_fields(kind)[field][0], field)) for field in chosen}
        if name == "arguments":
            return [[self.text("key")] * choices.number(3), {"per_page": choices.pick(_INTEGERS)}]
        return {self.text("key"): choices.pick([None, True, 1, [], {}]) for _ in range(choices.number(3))}

    def _length(self) -> int:
        choices = self._choices
        return choices.pick([101, 1001]) if self._is_odd() and self._is_odd() else choices.number(4)

    def bytes(self, name: str) -> bytes:
        """Return the body of a request, or JSON."""
        return self._choices.raw(self._choices.number(64)) if name == "body" else self.json(name)

    def integer(self, name: str) -> int:
        """Return an integer that fits 64 bits."""
        return self._choices.pick(_INTEGERS) if self._is_odd() else self._choices.number(256)

    def real(self, name: str) -> float:
        """Return a number, which may be none."""
        return self._choices.pick(_FLOATS) if self._is_odd() else 1.0 + self._choices.number(100)

    def boolean(self, name: str) -> bool:
        """Return either; but an id is mostly said to be the author's own, which it is."""
        return (name == "own_id" and not self._is_odd()) or self._choices.once_in(2)

    def nothing(self, name: str) -> None:
        """Return None."""


_PLAIN: Final[dict[Any, Callable[[Tongue, str], Any]]] = {
    str: Tongue.text,
    bytes: Tongue.bytes,
    int: Tongue.integer,
    float: Tongue.real,
    bool: Tongue.boolean,
    types.NoneType: Tongue.nothing,
}


@functools.cache
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a struct by name: their types, and whether they have to be given."""
    return {field.name: (field.type, field.required) for field in msgspec.structs.fields(kind)}


def _plain(value: Any) -> Any:
    """Return a field's value as it is in JSON: bytes there are JSON already."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except msgspec.MsgspecError:
        return b"{"


def packed(message: msgspec.Struct) -> bytes:
    """Return a message as it is sent."""
    return msgspec.msgpack.encode(message)
