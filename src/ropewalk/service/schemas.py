"""Whether a JSON value fits the JSON Schema that a version's manifest gives an option: of the schema what msgspec writes, and no more.

The schema comes from the sandbox: whatever it says, judging takes bounded time and raises nothing but `Misfit`. Where it is not to be
understood the value passes, since the guest converts it once more, by the author's own types.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

import msgspec

_DEEP: Final = 32
_SHOWN: Final = 8
_LARGEST: Final = 2**63

Schema = dict[str, Any]
"""A JSON Schema, as JSON has it."""


class Misfit(ValueError):
    """The value does not fit; the message says where, and what would."""


def check(value: Any, schema: Schema) -> None:
    """Raise Misfit when `value`, of JSON, does not fit `schema`."""
    _check(value, schema, _object(schema.get("$defs")), "", 0)


def _wanted(schema: Schema) -> str:
    """Return what fits, in words."""
    if "enum" in schema:
        return _one_of(_array(schema["enum"]))
    if parts := _schemas(schema.get("anyOf")):
        return " or ".join(dict.fromkeys(_wanted(part) for part in parts if part.get("type") != "null"))
    form = schema.get("format", schema.get("contentEncoding"))
    return (_FORMS.get(str(form)) or _KINDS.get(str(schema.get("type"))) or ((), "JSON"))[1]


def _object(value: Any) -> Schema:
    return cast("Schema", value) if isinstance(value, dict) else {}


def _array(value: Any) -> list[Any]:
    return [*cast("Any", value)] if isinstance(value, list) else []


def _schemas(value: Any) -> list[Schema]:
    return [part for part in _array(value) if isinstance(part, dict)]


_KINDS: Final[Mapping[str, tuple[Any, str]]] = {
    "string": (str, "text"),
    "integer": (int, "a whole number"),
    "number": ((int, float), "a number"),
    "boolean": (bool, "yes or no"),
    "null": (type(None), "null"),
    "array": (list, 'a JSON array, such as ["a", "b"]'),
    "object": (dict, 'a JSON object, such as {"a": 1}'),
}

_FORMS: Final[Mapping[str, tuple[Any, str]]] = {
    "date-time": (datetime, "a time with its zone, such as 2026-01-31T09:00:00+01:00"),
    "date": (date, "a date, such as 2026-01-31"),
    "time": (time, "a time of day, such as 09:00:00"),
    "duration": (timedelta, "a duration as ISO 8601 writes it, such as PT90S"),
    "uuid": (UUID, "a UUID"),
    "decimal": (Decimal, "a decimal number"),
    "base64": (bytes, "base64"),
}


def _check(value: Any, schema: Schema, defs: Schema, path: str, depth: int) -> None:
    if depth > _DEEP:
        return
    if "$ref" in schema:
        _check(value, _object(defs.get(str(schema["$ref"]).removeprefix("#/$defs/"))), defs, path, depth + 1)
    elif parts := _schemas(schema.get("anyOf")):
        _check_any(value, parts, defs, path, depth)
    elif "enum" in schema:
        if not any(type(value) is type(choice) and value == choice for choice in _array(schema["enum"])):
            raise _misfit(value, schema, path)
    else:
        _check_kind(value, schema, path)
        _check_bounds(value, schema, path)
        _check_parts(value, schema, defs, path, depth)


def _check_any(value: Any, parts: list[Schema], defs: Schema, path: str, depth: int) -> None:
    misfits: list[Misfit] = []
    for part in parts:
        try:
            return _check(value, part, defs, path, depth + 1)
        except Misfit as misfit:
            if part.get("type") != "null":
                misfits.append(misfit)
    if len(misfits) == 1:
        raise misfits[0]
    raise _misfit(value, {"anyOf": parts}, path)


def _check_kind(value: Any, schema: Schema, path: str) -> None:
    kind = str(schema.get("type"))
    kinds = _KINDS.get(kind, (object, ""))[0]
    is_odd = isinstance(value, bool) or (isinstance(value, int) and abs(value) >= _LARGEST)
    if not isinstance(value, kinds) or (is_odd and kind in ("integer", "number")):
        raise _misfit(value, schema, path)
    form = _FORMS.get(str(schema.get("format", schema.get("contentEncoding"))))
    if form is None or not isinstance(value, str):
        return
    try:
        read = msgspec.convert(value, form[0])
    except (msgspec.ValidationError, ArithmeticError):
        raise _misfit(value, schema, path) from None
    if isinstance(read, datetime) and read.tzinfo is None:
        raise _misfit(value, schema, path)


_BOUNDS: Final[Mapping[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "minimum": (lambda value, bound: value >= bound, "is below {}"),
    "exclusiveMinimum": (lambda value, bound: value > bound, "is not above {}"),
    "maximum": (lambda value, bound: value <= bound, "is above {}"),
    "exclusiveMaximum": (lambda value, bound: value < bound, "is not below {}"),
    "minLength": (lambda value, bound: len(value) >= bound, "has fewer than {} characters"),
    "maxLength": (lambda value, bound: len(value) <= bound, "has more than {} characters"),
    "minItems": (lambda value, bound: len(value) >= bound, "has fewer than {} items"),
    "maxItems": (lambda value, bound: len(value) <= bound, "has more than {} items"),
}


def _check_bounds(value: Any, schema: Schema, path: str) -> None:
    for name, (fits, words) in _BOUNDS.items():
        bound = schema.get(name)
        if not isinstance(bound, int | float) or not isinstance(value, int | float | str | list):
            continue
        with contextlib.suppress(TypeError):  # a bound that is not for what this is
            if not fits(value, bound):
                raise Misfit(f"{_at(path)}{_shown(value)} {words.format(bound)}")


def _check_parts(value: Any, schema: Schema, defs: Schema, path: str, depth: int) -> None:
    if isinstance(value, list):
        first, rest = _schemas(schema.get("prefixItems")), _object(schema.get("items"))
        for index, item in enumerate(_array(value)):
            _check(item, first[index] if index < len(first) else rest, defs, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        given, named = _object(value), _object(schema.get("properties"))
        for name in _array(schema.get("required")):
            if name not in given:
                raise Misfit(f"{_at(path)}it lacks {name!r:.80}")
        others = _object(schema.get("additionalProperties"))
        for name, item in given.items():
            _check(item, _object(named.get(name, others)), defs, f"{path}.{name}", depth + 1)


def _misfit(value: Any, schema: Schema, path: str) -> Misfit:
    return Misfit(f"{_at(path)}{_shown(value)} is not {_wanted(schema)}")


def _at(path: str) -> str:
    return f"at {path.removeprefix('.')[:200]}: " if path else ""


def _shown(value: Any) -> str:
    return repr(value)[:80] if isinstance(value, str) else msgspec.json.encode(value).decode()[:80]


def _one_of(choices: list[Any]) -> str:
    shown = ", ".join(_shown(choice) for choice in choices[:_SHOWN] if choice is not None)
    return f"one of {shown}{', …' if len(choices) > _SHOWN else ''}"
