"""The options that a person gives at activation, as the types that the manifest declares.

Only what was given is kept: a default belongs to the version, and may be another in the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from ropewalk.errors import InvalidValue
from ropewalk.service.lookup import nearest
from ropewalk.wire.control import OptionField
from ropewalk.wire.messages import Json

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def typed_options(fields: Sequence[OptionField], given: Mapping[str, str]) -> Json:
    """Return the JSON object of the options that were given as text.

    Raises:
        InvalidValue: an option is unknown, does not fit its type, or a required one is missing; the message names it.
    """
    own = {field.name: field for field in fields if not field.ns}
    for name in given:
        if name not in own:
            raise InvalidValue(_unknown(name, own))
    missing = [name for name, field in own.items() if field.required and name not in given]
    if missing:
        wanted = ", ".join(f"{name} ({own[name].annotation})" for name in missing)
        raise InvalidValue(f"options are missing: {wanted}: give each with --option NAME=VALUE")
    return msgspec.json.encode({name: _typed(own[name], text) for name, text in given.items()})


def _unknown(name: str, own: Mapping[str, OptionField]) -> str:
    if not own:
        return f"there is no option {name!r}: this twist has none"
    near = nearest(name, own)
    return f"there is no option {name!r}{'' if near is None else f': did you mean {near!r}?'} (the options are {', '.join(own)})"


def _typed(field: OptionField, text: str) -> object:
    """Return one option's value."""
    match field.type:
        case "string":
            return text
        case "integer" if re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            return int(text)
        case "number":
            return _number(field, text)
        case "boolean" if text.strip().lower() in _TRUE | _FALSE:
            return text.strip().lower() in _TRUE
        case "json":
            return _json(field, text)
        case "secret":
            raise InvalidValue(
                f"option {field.name!r} is a secret, and this release keeps none: the twist cannot be activated yet"
            )
        case _:
            raise InvalidValue(f"option {field.name!r}: {text!r} is no {field.type} ({field.annotation})")


def _number(field: OptionField, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -float("inf") < value < float("inf"):
        raise InvalidValue(f"option {field.name!r}: {text!r} is no number ({field.annotation})")
    return value


def _json(field: OptionField, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidValue(f"option {field.name!r}: {text!r} is no JSON for {field.annotation}: {error}") from None
