"""How authors' values become JSON text and come back.

`encode` gives the JSON form that everything is stored, bound and returned in; `decode` gives the JSON form, or, with a type, a value of
that type. Messages name what the value is for, the path inside it, and the remedy. `fitting` takes over for types that msgspec's
decoders do not know: unions that JSON alone cannot tell apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from ropewalk.errors import InvalidValue, NotSerializable, ValueTooLarge
from ropewalk.sdk.secrets import Secret
from ropewalk.wire.messages import Json

VALUE_LIMIT: Final = 1024 * 1024
"""Most bytes of a value, unless the operator says otherwise."""

_DEPTH_SHOWN: Final = 100


def encode(value: object, what: str, name: object = "", limit: int = VALUE_LIMIT) -> Json:
    """Return the JSON form of `value`.

    Args:
        value: anything made of the builtins, dataclasses, Structs, TypedDicts, dates, UUIDs, Decimals, enums, pydantic models.
        what: what the value is, for messages, such as "the value of".
        name: which one, such as its key.
        limit: most bytes.

    Raises:
        NotSerializable: something in it has no JSON form.
        ValueTooLarge: the text has more than `limit` bytes.
    """
    try:
        text = _encode(value)
    except MemoryError:
        raise
    except RecursionError:
        raise NotSerializable(f"{_called(what, name)} contains itself, or is nested too deep for JSON") from None
    except Exception as error:  # noqa: BLE001 — the value's own methods (`model_dump`, properties) may raise anything
        raise NotSerializable(_explain(value, what, name, error)) from None
    if b"null" in text:
        _refuse_nan(value, what, name)
    if len(text) > limit:
        raise ValueTooLarge(
            f"{_called(what, name)} has {len(text):,} bytes and may have {limit:,}: keep only what is needed, or spread it over several keys"
        )
    return text


def decode(text: Json, wanted: Any, what: str, name: object = "") -> Any:
    """Return the value of a JSON text, as a `wanted`, or its JSON form when that is None.

    Raises:
        InvalidValue: it is no JSON, or does not fit; the message has the path.
    """
    try:
        if wanted is None:
            return _decode(text)
        return reader_of(wanted)(text)
    except (msgspec.DecodeError, InvalidValue, UnicodeDecodeError, RecursionError) as error:
        asked = "is no JSON" if wanted is None else f"does not fit {type_name(wanted)}"
        raise InvalidValue(f"{_called(what, name)} {asked}: {error}") from None


def reader_of(wanted: Any) -> Callable[[Json], Any]:
    """Return what reads a JSON text as a `wanted`; made once for each type."""
    try:
        return _cached_reader(wanted)
    except TypeError:  # not hashable, such as Annotated[int, []]
        return _reader(wanted)


def type_name(wanted: Any) -> str:
    """Return a type expression as an author writes it."""
    return (
        wanted.__qualname__
        if isinstance(wanted, type) and not hasattr(wanted, "__args__")
        else str(wanted).replace("typing.", "")
    )


def from_json(wanted: Any, form: Any) -> Any:
    """Return a value of a class that msgspec does not know, made from its JSON form: its `dec_hook`."""
    if wanted is object:
        return form
    if wanted is Secret:
        return Secret(**form)
    validate = getattr(wanted, "model_validate_json", None)
    if validate is not None:
        return validate(_encode(form))
    for base in (str, int, float):
        if isinstance(wanted, type) and issubclass(wanted, base) and isinstance(form, base):
            return wanted(form)
    raise TypeError(f"{type_name(wanted)} cannot be read from JSON: use a dataclass, TypedDict or msgspec.Struct")


def _reader(wanted: Any) -> Callable[[Json], Any]:
    try:
        return msgspec.json.Decoder(wanted, dec_hook=from_json).decode
    except TypeError:
        from ropewalk.sdk.fitting import fit

        return lambda text: fit(_decode(text), wanted, "$")


_cached_reader = lru_cache(maxsize=512)(_reader)


def plain_of(value: object) -> str | int | float | None:
    """Return a text or number of a class of its own (a Callback, for one) as what it is; None for anything else."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else None


def _to_json(value: object) -> object:
    """Return something simpler for a value that msgspec does not know: its `enc_hook`."""
    kind: Any = type(value)
    if (plain := plain_of(value)) is not None:
        return plain
    dump = getattr(kind, "model_dump", None)
    if dump is not None:
        return dump(value, mode="json")
    raise TypeError(f"{type_name(kind)} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
_decode = msgspec.json.Decoder().decode


# ── Saying what is wrong ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _called(what: str, name: object) -> str:
    return f"{what} {name!r:.120}" if name != "" else what


def _refuse_nan(value: object, what: str, name: object) -> None:
    """Raise when a `null` of the text stands for a NaN or an infinity, which msgspec writes so."""
    try:
        json.dumps(msgspec.to_builtins(value, enc_hook=_to_json, str_keys=True), allow_nan=False)
    except ValueError as error:
        raise NotSerializable(_explain(value, what, name, error)) from None


def _explain(value: object, what: str, name: object, error: Exception) -> str:
    """Say which part of `value` has no JSON form, and what to do."""
    path, fault = next(_faults(value, "", _DEPTH_SHOWN), ("", f"has no JSON form: {type(error).__name__}: {error}"))
    return f"{_called(what, name)} cannot be stored: {f'at {path} it' if path else 'it'} {fault}"


def _faults(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the parts of a value that have no JSON form: their paths, and what each is."""
    kind = cast("Any", type(value))
    if depth == 0:
        return
    if issubclass(kind, Mapping):
        for key, item in value.items():
            if fault := _key_fault(key):
                yield f"{path}[{key!r:.40}]", fault
            yield from _faults(item, f"{path}[{key!r:.40}]", depth - 1)
    elif issubclass(kind, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _faults(item, f"{path}[{index}]", depth - 1)
    elif names := _field_names(kind):
        for field in names:
            yield from _faults(getattr(value, field, None), f"{path}.{field}", depth - 1)
    elif fault := _fault(value):
        yield path, fault


def _fault(part: object) -> str | None:
    if isinstance(part, float):
        return None if math.isfinite(part) else f"is {part}, which JSON cannot say: use None, or leave it out"
    if isinstance(part, str):
        return None if _is_utf8(part) else "has lone surrogates, which UTF-8 cannot say: decode it with errors='replace'"
    kind = type_name(type(part))
    try:
        _encode(part)
    except (TypeError, ValueError):
        if callable(part):
            return f"is a {kind}: to have a method called later, store what `await self.callback(...)` returns"
        return f"is a {kind}, which has no JSON form: use builtin types, a dataclass, a TypedDict or a msgspec.Struct"
    except Exception as error:  # noqa: BLE001 — its own methods may raise anything
        return f"is a {kind}, whose own methods raised {type(error).__name__}: {error}"
    return None


def _key_fault(key: object) -> str | None:
    if isinstance(key, str):
        return None if _is_utf8(key) else "has a key with lone surrogates, which UTF-8 cannot say"
    try:
        _encode({key: None})
    except (TypeError, ValueError):
        return f"has a {type_name(type(key))} as key: keys are texts, numbers, dates, UUIDs or enums"
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _field_names(kind: Any) -> list[str]:
    """Return the fields of a Struct, dataclass or pydantic model; none of anything else, a class among it."""
    places = ("__struct_fields__", "__dataclass_fields__", "model_fields")
    found: Iterator[Any] = (getattr(kind, place, None) for place in places)
    return [] if issubclass(kind, type) else list(next(filter(None, found), ()))
