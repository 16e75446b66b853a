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

from ropewalk.wire import control, messages
from ropewalk.wire.messages import GuestMessage
from tests.fuzz.choices import Choices

SPOKEN: Final[tuple[type[messages.Message], ...]] = typing.get_args(GuestMessage)
CALLS: Final[tuple[type[messages.Message], ...]] = typing.get_args(messages.AnyCall)

UUIDS: Final = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(4)]
"""Ids of an author's own choosing, few enough to meet again."""

_TEXTS: Final = [
    "",
    "a",
    "b",
    "ab",
    "a:1",
    "\0",
    "é",
    "\u202e",
    "\ufffd",
    "\U0010ffff",
    "\x1b[2J",
    "\n",
    "%",
    "_",
    "'",
    '"',
    "*",
    "..",
]
_INTEGERS: Final = [0, 1, -1, 2, 100, 1000, 10_001, 2**31, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), 2**64 - 1]
_FLOATS: Final = [0.0, -0.0, 1.0, -1.0, 1e-9, 60.0, 1e11, 1e308, 5e-324, float("nan"), float("inf"), float("-inf")]
_JSONS: Final = [
    b"null", b"0", b"1e400", b"-0", b'""', b'"\\u0000"', b'"\\ud800"', b'"\xff"', b"[]", b"{}", b"[[],{}]", b'[[1],{"a":2}]', b"", b"{",
    b"NaN", b'{"a":1,"a":2}', b"18446744073709551616", b"\xef\xbb\xbf1", b" 1 ", b"1 2", b"true", b'{"\\u0000":1}',
]  # fmt: skip
_URLS: Final = [
    "http://127.0.0.1/", "http://[::1]/", "https://api.example.com/v1/x", "https://api.example.com/v1/../x", "http://x@y/", "//x", "",
    "http://api.example.com:99999/", "https://éxample.com/", "http://2130706433/", "ftp://x/", "https://api.example.com/%2e%2e/%00",
]  # fmt: skip
_MOMENTS: Final = [
    "2026-01-31",
    "2026-02-30",
    "2026-01-31T09:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "now",
]

_NAMED: Final[dict[str, list[str]]] = {
    "ns": ["", "plot", "web", "calendar", "calendar.contacts", "missing"],
    "method": ["go", "sync", "GET", "POST", "get", "CONNECT", "activate", "__init__"],
    "key": ["a", "b", "k" * 512, "k" * 513],
    "prefix": ["", "a", "\U0010ffff"],
    "source_prefix": ["", "a", "s:"],
    "source": ["s:1", "s:2", "a"],
    "url": _URLS,
    "start": _MOMENTS,
    "end": _MOMENTS,
    "done_at": _MOMENTS,
    "content_type": ["markdown", "text", "text/x-é"],
    "cursor": ["a0.00000000-0000-4000-8000-000000000000", "affffffffffffffff." + UUIDS[0], "aFF." + "-" * 36],
    "kind": ["Network", "Plot", "custom", "callback", "external"],
    "name": ["go", "sync", "per_page", "base_url", "class"],
    "type": ["note", "action", "event", "string"],
}
_IDS: Final = frozenset({"id", "activity", "note", "token", "callback", "token_or_key", "priority", "cursor"})
"""Fields that may hold what was heard."""

_OBJECTS: Final = {"changes": (messages.ActivityRecord, messages.NoteRecord)}


StructT = TypeVar("StructT", bound=msgspec.Struct)


class Tongue:
    """What says such messages. `heard` are the ids and tokens that it knows of."""

    def __init__(self, choices: Choices, heard: list[str]) -> None:
        self._choices = choices
        self.heard = heard
        self._calls = 0

    def message(self, among: tuple[type[messages.Message], ...]) -> messages.Message:
        """Return a message of one of these kinds."""
        return self.struct(self._choices.pick(among))

    def struct(self, kind: type[StructT]) -> StructT:
        """Return a struct whose fields have their types; one with a default mostly has it."""
        fields = {
            name: self.value(of, name)
            for name, (of, required) in _fields(kind).items()
            if required or self._choices.once_in(3) or name == "own_id"
        }
        if issubclass(kind, messages.Call):
            self._calls += 1
            fields["id"] = self._choices.pick([0, fields["id"]]) if self._choices.once_in(24) else self._calls
        return kind(**fields)

    def value(self, kind: Any, name: str) -> Any:
        """Return a value of a type, for a field of that name."""
        origin, inside = typing.get_origin(kind) or kind, typing.get_args(kind)
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
        if name in _IDS and not choices.once_in(4):
            return choices.pick([*self.heard, *UUIDS])
        own = _NAMED.get(name.removesuffix("s")) or _NAMED.get(name) or UUIDS
        match choices.number(8):
            case 0 | 1 | 2 | 3 | 4:
                return choices.pick(own)
            case 5:
                return choices.pick(_TEXTS)
            case 6:
                return choices.pick(_TEXTS) * choices.pick([2, 200, 201, 512, 2001, 70_000])
            case _:
                return choices.raw(choices.number(24)).decode("utf-8", "replace")

    def json(self, name: str) -> bytes:
        """Return what should be the text of a JSON value, and mostly is."""
        choices = self._choices
        match choices.number(8):
            case 0 | 1 | 2:
                return choices.pick(_JSONS)
            case 3:
                return choices.raw(choices.number(32))
            case 4:
                return choices.pick([b"[", b'{"a":']) * choices.pick([10, 1000, 100_000])
            case 5:
                return msgspec.json.encode(self.text("content") * choices.pick([1, 20]))
            case _:
                return _encoded(self._object(name))

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
        return choices.pick([101, 1001]) if choices.once_in(64) else choices.number(4)

    def bytes(self, name: str) -> bytes:
        """Return the body of a request, or JSON."""
        return self._choices.raw(self._choices.number(64)) if name == "body" else self.json(name)

    def integer(self, name: str) -> int:
        """Return an integer that fits 64 bits."""
        return self._choices.pick(_INTEGERS) if self._choices.once_in(2) else self._choices.number(256) - 16

    def real(self, name: str) -> float:
        """Return a number, which may be none."""
        return self._choices.pick(_FLOATS)

    def boolean(self, name: str) -> bool:
        """Return either; but an id is mostly said to be the author's own, which it is."""
        return self._choices.once_in(2) or (name == "own_id" and not self._choices.once_in(8))

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


def reports() -> tuple[type[messages.Message], ...]:
    """Return the kinds of message that zygotes send."""
    return (control.Imported, control.ImportFailed, control.Ready, control.Spawned, control.Exits)
