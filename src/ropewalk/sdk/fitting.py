"""Types that JSON alone cannot tell apart: unions of two classes, of `datetime` and `str`, of `list` and `set`.

msgspec decides by the JSON form at hand and refuses such unions. Here each member is tried: the first whose own JSON form is the same
again, else the first that fits at all; `str` last, since it takes what is meant to be a date or a UUID. `values` comes here only for
types that msgspec refuses, and for these every part that msgspec does know goes back to it.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import types
import typing
from functools import cache
from typing import Any

import msgspec

from ropewalk.errors import InvalidValue
from ropewalk.sdk.values import from_json, type_name

_UNIONS = (typing.Union, types.UnionType)


def fit(form: Any, wanted: Any, path: str) -> Any:
    """Return the JSON form `form` as a `wanted`.

    Raises:
        InvalidValue: it does not fit; the message has the path.
    """
    if _is_known(wanted):
        return _convert(form, wanted, path)
    stands_for = getattr(wanted, "__supertype__", getattr(wanted, "__value__", None))  # a NewType, or a `type` statement's alias
    if stands_for is not None:
        return fit(form, stands_for, path)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Annotated:
        return fit(form, arguments[0], path)
    if origin in _UNIONS:
        return _fit_union(form, arguments, path)
    if isinstance(origin, type):
        return _fit_collection(form, wanted, origin, arguments, path)
    if hints := _fields(wanted):
        return _fit_record(form, wanted, hints, path)
    return _convert(form, wanted, path)


@cache
def _is_known(wanted: Any) -> bool:
    try:
        msgspec.json.Decoder(wanted)
    except TypeError:
        return False
    return True


def _convert(form: Any, wanted: Any, path: str) -> Any:
    try:
        return msgspec.convert(form, wanted, str_keys=True, dec_hook=from_json)
    except msgspec.ValidationError as error:
        raise InvalidValue(str(error).replace("`$", f"`{path}") if "`$" in str(error) else f"{error} - at `{path}`") from None
    except TypeError as error:
        raise InvalidValue(f"{error} - at `{path}`") from None


def _fit_union(form: Any, members: tuple[Any, ...], path: str) -> Any:
    found: list[Any] = []
    for member in sorted(members, key=lambda member: member is str):
        try:
            value = fit(form, member, path)
        except InvalidValue:
            continue
        if _same_again(value, form):
            return value
        found.append(value)
    if not found:
        raise InvalidValue(f"Expected one of {', '.join(map(type_name, members))} - at `{path}`")
    return found[0]


def _same_again(value: Any, form: Any) -> bool:
    return bool(msgspec.to_builtins(value, str_keys=True, enc_hook=lambda custom: _dumped(custom)) == form)


def _dumped(custom: Any) -> Any:
    return custom.model_dump(mode="json") if hasattr(custom, "model_dump") else str(custom)


def _fit_collection(form: Any, wanted: Any, origin: type, arguments: tuple[Any, ...], path: str) -> Any:
    if issubclass(origin, abc.Mapping):
        _expect(form, dict, "object", path)
        keys, items = arguments
        pairs = ((_convert(key, keys, f"{path}[...]"), fit(item, items, f"{path}[{key!r}]")) for key, item in form.items())
        return dict(pairs) if issubclass(dict, origin) else origin(pairs)  # type: ignore[call-arg]  # a concrete mapping
    _expect(form, list, "array", path)
    if issubclass(origin, tuple) and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(form) != len(arguments):
            raise InvalidValue(f"Expected `array` of length {len(arguments)}, got {len(form)} - at `{path}`")
        return tuple(fit(item, kind, f"{path}[{index}]") for index, (item, kind) in enumerate(zip(form, arguments, strict=True)))
    if not issubclass(origin, abc.Iterable):
        return _convert(form, wanted, path)
    items = [fit(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(form)]
    if issubclass(list, origin):
        return items
    return set(items) if issubclass(set, origin) else origin(items)  # type: ignore[call-arg]  # a concrete collection


def _fields(wanted: Any) -> dict[str, Any]:
    """Return the annotations of a Struct, dataclass, TypedDict or NamedTuple; none of anything else."""
    marks = ("__struct_fields__", "__dataclass_fields__", "__required_keys__", "_fields")
    return typing.get_type_hints(wanted) if any(hasattr(wanted, mark) for mark in marks) else {}


def _fit_record(form: Any, wanted: Any, hints: dict[str, Any], path: str) -> Any:
    names = _encoded_names(wanted)
    given: Any = _row(form, list(names.values() or hints)) if _is_array_like(wanted) else form
    _expect(given, dict, "object", path)
    fitted = {
        name: fit(given[names.get(name, name)], kind, f"{path}.{name}")
        for name, kind in hints.items()
        if names.get(name, name) in given
    }
    missing = [name for name in _required(wanted) if name not in fitted]
    if missing:
        raise InvalidValue(f"Object missing required field `{missing[0]}` - at `{path}`")
    try:
        return wanted(**fitted)
    except (TypeError, ValueError) as error:  # its own checks
        raise InvalidValue(f"{error} - at `{path}`") from None


def _row(form: Any, names: list[str]) -> Any:
    """Return an array as the object that its places stand for."""
    return dict(zip(names, form, strict=False)) if issubclass(type(form), list) else form


def _is_array_like(wanted: Any) -> bool:
    return wanted.__struct_config__.array_like if hasattr(wanted, "__struct_config__") else issubclass(wanted, tuple)


def _encoded_names(wanted: Any) -> dict[str, str]:
    """Return the names that a Struct's fields have in JSON; of all others they are their own."""
    return (
        dict(zip(wanted.__struct_fields__, wanted.__struct_encode_fields__, strict=True))
        if hasattr(wanted, "__struct_fields__")
        else {}
    )


def _required(wanted: Any) -> list[str]:
    if hasattr(wanted, "__struct_fields__"):
        return [field.name for field in msgspec.structs.fields(wanted) if field.required]
    if hasattr(wanted, "__dataclass_fields__"):
        missing = dataclasses.MISSING
        return [f.name for f in dataclasses.fields(wanted) if f.init and f.default is missing and f.default_factory is missing]
    names: Any = getattr(wanted, "__required_keys__", None) or getattr(wanted, "_fields", ())
    return [name for name in names if name not in getattr(wanted, "_field_defaults", {})]


def _expect(form: Any, kind: type, called: str, path: str) -> None:
    if not isinstance(form, kind):
        raise InvalidValue(f"Expected `{called}`, got `{type_name(type(form))}` - at `{path}`")
