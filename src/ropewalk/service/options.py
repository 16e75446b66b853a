"""The options that a person gives an instance, as the types that the manifest declares; the secret ones apart from the others.

Only what was given is kept: a default belongs to the version, and may be another in the next one. What is given as text is read by the
type that is wanted. All that is wrong is said at once, each with the option, what was given and how to give it; a secret is never shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ropewalk.errors import InvalidValue
from ropewalk.service.lookup import nearest
from ropewalk.service.schemas import Misfit, Schema, check
from ropewalk.wire.control import OptionField
from ropewalk.wire.messages import Json

LONGEST_SECRET: Final = 64 * 1024
"""Most characters of a secret."""

_WORDS: Final[Mapping[str, bool]] = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class Given(Struct, frozen=True):
    """A value as it was given. `named` says that it was read from a file, stdin or a variable, as a secret has to be."""

    text: str
    named: bool = False


class Chosen(Struct, frozen=True):
    """An instance's options: the open ones as JSON, the secret ones as they are."""

    open: dict[str, Any] = {}
    secrets: dict[str, str] = {}

    @property
    def json(self) -> Json:
        """The open ones, as they are stored."""
        return msgspec.json.encode(self.open)


def choose(fields: Sequence[OptionField], given: Mapping[str, Given], before: Chosen | None = None) -> Chosen:
    """Return the options that an instance has after these were given.

    Args:
        fields: what its version declares.
        given: texts by option.
        before: what it had.

    Raises:
        InvalidValue: options are unknown, missing or do not fit; the message names each.
    """
    own = {field.name: field for field in fields if not field.ns}
    chosen = Chosen({**before.open}, {**before.secrets}) if before else Chosen({}, {})
    wrong: list[str] = []
    for name, value in given.items():
        try:
            _put(chosen, own, name, value)
        except InvalidValue as error:
            wrong.append(str(error))
    missing = [field for name, field in own.items() if field.required and name not in given and not _has(chosen, field)]
    if missing:
        wanted_ones = ", ".join(f"{field.name} ({field.annotation})" for field in missing)
        how = " and ".join(dict.fromkeys(_how(field) for field in missing))
        wrong.append(f"options are missing: {wanted_ones}: give each with {how}")
    if wrong:
        raise InvalidValue("; ".join(wrong))
    return chosen


def misfits(fields: Sequence[OptionField], chosen: Chosen) -> list[str]:
    """Return why an instance's options do not do for a version with these fields; nothing when they do."""
    return list(_misfits([field for field in fields if not field.ns], chosen))


def _misfits(own: Sequence[OptionField], chosen: Chosen) -> Iterator[str]:
    for field in own:
        if not _has(chosen, field):
            if field.required:
                yield f"the option {field.name!r} ({field.annotation}) is required and has no value"
        elif field.type != "secret":
            try:
                check(chosen.open[field.name], _schema(field))
            except Misfit as misfit:
                yield f"the option {field.name!r} ({field.annotation}): {misfit}"


def _has(chosen: Chosen, field: OptionField) -> bool:
    return field.name in (chosen.secrets if field.type == "secret" else chosen.open)


def _put(chosen: Chosen, own: Mapping[str, OptionField], name: str, given: Given) -> None:
    if name not in own:
        raise InvalidValue(_unknown(name, own))
    field = own[name]
    if field.type == "secret":
        chosen.secrets[name] = _secret(field, given)
        chosen.open.pop(name, None)  # from a version in which it was none
    else:
        chosen.open[name] = _typed(field, given.text)
        chosen.secrets.pop(name, None)


def _how(field: OptionField) -> str:
    return "--option NAME=@FILE, NAME=@- or NAME=@env:VARIABLE" if field.type == "secret" else "--option NAME=VALUE"


def _unknown(name: str, own: Mapping[str, OptionField]) -> str:
    if not own:
        return f"there is no option {name!r}: this twist has none"
    near = nearest(name, own)
    return f"there is no option {name!r}{'' if near is None else f': did you mean {near!r}?'} (the options are {', '.join(own)})"


# ── Secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _secret(field: OptionField, given: Given) -> str:
    name, value = field.name, given.text
    if not given.named:
        raise InvalidValue(
            f"option {name!r} is a secret, which is not written on a command line, where others see it: give {name}=@FILE, {name}=@- (stdin) "
            f"or {name}=@env:VARIABLE"
        )
    if not value or len(value) > LONGEST_SECRET:
        raise InvalidValue(f"option {name!r}: the secret has {len(value):,} characters, and may have 1 to {LONGEST_SECRET:,}")
    if field.injected is not None and field.injected.header is not None and not _fits_header(value):
        raise InvalidValue(
            f"option {name!r}: the secret goes into the header {field.injected.header}, and holds a character that headers cannot carry, "
            "such as a line break"
        )
    return value


def _fits_header(value: str) -> bool:
    return all(" " <= character <= "~" or "\xa0" <= character <= "\xff" for character in value) and value == value.strip()


# ── What is open ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _typed(field: OptionField, text: str) -> object:
    """Return the first way to read a text that fits."""
    schema, first = _schema(field), ""
    for value in _readings(field, text):
        try:
            check(value, schema)
        except Misfit as misfit:
            first = first or str(misfit)
        else:
            return value
    raise InvalidValue(f"option {field.name!r} ({field.annotation}): {first}")


def _readings(field: OptionField, text: str) -> Iterator[object]:
    """Yield what a text may stand for: a text is no number where text is wanted, and no text where it can be JSON."""
    if field.type == "boolean" and (word := text.strip().lower()) in _WORDS:
        yield _WORDS[word]
    if field.type != "string":
        with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            yield msgspec.json.decode(text.strip().removeprefix("+"))
    yield text


def _schema(field: OptionField) -> Schema:
    return {} if field.schema is None else msgspec.json.decode(field.schema, type=Schema)
