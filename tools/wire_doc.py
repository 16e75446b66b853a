"""Write the tables of docs/wire.md from the messages themselves: `make docs`. A test fails while the page differs from the code.

Only what stands between the page's two markers is written; the prose around it is kept.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import msgspec

from ropewalk.wire import control, messages, replay

PAGE = Path(__file__).parent.parent / "docs" / "wire.md"
BEGIN = "<!-- The tables below are written by `make docs`. -->\n"
END = "<!-- End of what `make docs` writes. -->\n"

SECTIONS: tuple[tuple[str, Any], ...] = (
    ("Host to guest", messages.HostMessage),
    ("Guest to host: calls", messages.AnyCall),
    ("Guest to host: the rest", messages.Log | messages.Finished | messages.Raised),
    ("Replays: host to guest", replay.Rerun | replay.Played | replay.Typed),
    ("Replays: guest to host", replay.Standing | replay.Stalled | replay.Told | replay.Asked),
    ("Host to root zygote", control.RootCommand),
    ("Root zygote to host", control.RootReport),
    ("Host to version zygote", control.Import),
    ("Version zygote to host", control.ZygoteReport),
)


def page(text: str) -> str:
    """Return the page with its tables written anew."""
    return rewritten(text, tables())


def rewritten(text: str, tables: str) -> str:
    """Return a page with other tables between its markers."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables}{END}{after}"


def tables() -> str:
    """Return every message and record, in Markdown."""
    parts: list[str] = []
    carried: dict[str, type[msgspec.Struct]] = {}
    for title, union in SECTIONS:
        parts.append(f"## {title}\n\n")
        for message in members(union):
            parts.append(message_table(message))
            carried |= {record.__name__: record for record in records_of(message)}
    parts.append("## Records\n\nMaps; a field that has its default may be left out.\n\n")
    parts += [record_table(carried[name]) for name in sorted(carried)]
    return "".join(parts)


def members(union: Any) -> Iterable[type[msgspec.Struct]]:
    """Return the messages of a union, or the one message."""
    return typing.get_args(union) or (union,)


def message_table(message: type[msgspec.Struct]) -> str:
    """Return a message's tag, meaning and elements by place."""
    answer = getattr(message, "answer", None)
    is_call = issubclass(message, messages.Call)
    lines = [f"### `{message.__struct_config__.tag}`\n\n{summary(message)}"]
    if is_call:
        lines.append(f"\n\nAnswer: `{shown(answer)}`.")
    lines.append("\n\n| place | name | type | default |\n|---|---|---|---|\n")
    lines.append(f"| 0 | | the tag, `{message.__struct_config__.tag}` | |\n")
    lines += [f"| {place} | {row} |\n" for place, row in enumerate(fields(message), start=1)]
    return "".join([*lines, "\n"])


def record_table(record: type[msgspec.Struct]) -> str:
    """Return a record's meaning and fields by name."""
    rows = "".join(f"| {row} |\n" for row in fields(record))
    return f"### {record.__name__}\n\n{summary(record)}\n\n| name | type | default |\n|---|---|---|\n{rows}\n"


def fields(struct: type[msgspec.Struct]) -> Iterator[str]:
    """Yield name, type and default of each field, as cells."""
    for field in msgspec.structs.fields(struct):
        default = "" if field.required else f"`{default_of(field)}`"
        yield f"`{field.encode_name}` | `{shown(types_of(struct)[field.name])}` | {default}"


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """Return a field's default as it is written in JSON or, for bytes, as text."""
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, bytes):
        return value.decode()
    return "{}" if isinstance(value, msgspec.Struct) else msgspec.json.encode(value).decode()


def types_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the types of a struct's fields."""
    return typing.get_type_hints(struct)


def records_of(struct: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """Yield the records that a struct carries, at any depth."""
    types = [*types_of(struct).values(), getattr(struct, "answer", None)]
    while types:
        found = types.pop()
        types += typing.get_args(found)
        if isinstance(found, type) and issubclass(found, messages.Record):
            yield found
            types += types_of(found).values()


NAMES: dict[Any, str] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    bytes: "bin",
    NoneType: "nil",
    Any: "any",
    None: "nil",
}


def shown(kind: Any) -> str:
    """Return a type in msgpack's words."""
    if kind is msgspec.Raw:
        return "the call's answer"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind.__name__
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(f'"{choice}"' for choice in inner)
    if origin in (UnionType, typing.Union):
        return " or ".join(shown(member) for member in inner)
    if origin is list:
        return f"[{shown(inner[0])}]"
    if origin is tuple:
        return f"[{', '.join(shown(member) for member in inner)}]"
    if origin is dict:
        return f"{{{shown(inner[0])}: {shown(inner[1])}}}"
    return NAMES[kind]


def summary(struct: type[msgspec.Struct]) -> str:
    """Return a docstring as one paragraph for each of its own."""
    return re.sub(r"(?<!\n)\n(?!\n) *", " ", re.sub(r"\n +", "\n", (struct.__doc__ or "").strip()))


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
