"""A coroutine method that events, tasks and callbacks may run: its signature, and how JSON becomes its arguments.

Made once for each method (`methods_of`), before any event comes; binding an event then looks nothing up.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ropewalk.errors import NotSerializable
from ropewalk.sdk.renames import former_names
from ropewalk.sdk.values import decode, encode
from ropewalk.wire.messages import Json

UNBOUND: Final[Json] = b"[[],{}]"
"""The arguments of a target to which nothing is bound."""

NO_EVENT: Final[Json] = b"[]"
"""What an event that brings nothing brings."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_read_event = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_bound = msgspec.json.Decoder(tuple[list[msgspec.Raw], dict[str, msgspec.Raw]]).decode

AsyncMethod = Callable[..., typing.Coroutine[Any, Any, Any]]


class Method:
    """One coroutine method of a class.

    Raises, when made:
        NameError, or what else resolving its annotations raises.
    """

    __slots__ = (
        "_by_name",
        "_maximum",
        "_positional",
        "_required",
        "_rest",
        "_rest_by_name",
        "former",
        "function",
        "name",
        "signature",
    )

    def __init__(self, name: str, function: AsyncMethod) -> None:
        self.name = name
        self.function = function
        self.former = former_names(function)
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        several = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        self.signature = inspect.Signature(parameters)
        self._positional = [hints.get(parameter.name) for parameter in positional]
        self._by_name = {p.name: hints.get(p.name) for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self._rest = _rest_hint(parameters, hints, inspect.Parameter.VAR_POSITIONAL)
        self._rest_by_name = _rest_hint(parameters, hints, inspect.Parameter.VAR_KEYWORD)
        self._required = sum(parameter.default is parameter.empty for parameter in positional)
        # Most positions that fit when there are no names; none do while a name has to be given.
        named = any(parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty for parameter in parameters)
        self._maximum = -1 if named else sys.maxsize if several else len(positional)

    def check(self, count: int, names: Collection[str]) -> None:
        """Raise TypeError unless `count` positions and `names` fit the signature."""
        if not names and self._required <= count <= self._maximum:
            return
        try:
            self.signature.bind(*[None] * count, **dict.fromkeys(names))
        except TypeError as error:
            raise TypeError(f"{self.function.__qualname__}(): {error}") from None

    def check_bound(self, count: int, names: Collection[str]) -> None:
        """Raise TypeError unless `count` positions and `names` can fit, with an event's own arguments before them or without."""
        if not names and count <= self._maximum:
            return
        why: TypeError | None = None
        for event in range(len(self._positional) + 1):
            try:
                self.signature.bind(*[None] * (event + count), **dict.fromkeys(names))
            except TypeError as error:
                why = why or error
            else:
                return
        raise TypeError(f"{self.function.__qualname__}(): {why}")

    def bind(self, event: Json, bound: Json) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments for what the event brings and what was bound, converted by the annotations.

        Raises:
            TypeError: they do not fit the signature.
            InvalidValue: one does not fit its annotation.
        """
        if event == NO_EVENT and bound == UNBOUND:
            self.check(0, ())
            return [], {}
        raws, names = _read_bound(bound)
        raws = _read_event(event) + raws
        self.check(len(raws), names)
        return self._converted(raws, 0), self._converted_by_name(names)

    def bind_after(self, values: Sequence[object], bound: Json) -> tuple[list[Any], dict[str, Any]]:
        """Return `values`, as they are, with what was bound after them, converted. Raises as `bind`."""
        raws, names = _read_bound(bound)
        self.check(len(values) + len(raws), names)
        return [*values, *self._converted(raws, len(values))], self._converted_by_name(names)

    def bound_json(self, arguments: Sequence[object], names: Mapping[str, object], limit: int) -> Json:
        """Return the JSON in which arguments are bound to this method. Raises NotSerializable, ValueTooLarge."""
        return bound_json(f"{self.function.__qualname__}()", arguments, names, limit)

    def _converted(self, raws: Iterable[msgspec.Raw], first: int) -> list[Any]:
        kinds = self._positional
        return [
            decode(bytes(raw), kinds[at] if at < len(kinds) else self._rest, f"argument {at + 1} of", self.name)
            for at, raw in enumerate(raws, first)
        ]

    def _converted_by_name(self, raws: dict[str, msgspec.Raw]) -> dict[str, Any]:
        kinds, rest = self._by_name, self._rest_by_name
        return {name: decode(bytes(raw), kinds.get(name, rest), "the argument", name) for name, raw in raws.items()}


def bound_json(called: str, arguments: Sequence[object], names: Mapping[str, object], limit: int) -> Json:
    """Return the JSON in which arguments are bound to what is `called` so. Raises NotSerializable, ValueTooLarge."""
    if not arguments and not names:
        return UNBOUND
    try:
        return encode([arguments, names], f"what is bound to {called}", limit=limit)
    except NotSerializable:
        for at, value in enumerate(arguments, 1):
            encode(value, f"argument {at} of {called}")
        for name, value in names.items():
            encode(value, f"the argument {name!r} of {called}")
        raise


def _rest_hint(parameters: Iterable[inspect.Parameter], hints: Mapping[str, Any], kind: Any) -> Any:
    """Return what each of `*rest` or `**rest` is annotated as; `Unpack[...]` says no one type for all, so the JSON form is kept."""
    hint = next((hints.get(parameter.name) for parameter in parameters if parameter.kind is kind), None)
    return None if typing.get_origin(hint) is typing.Unpack else hint


def methods_of(cls: type) -> dict[str, Method]:
    """Return the coroutine methods that a class and its bases add to the SDK's own, by name."""
    found = _methods.get(cls)
    if found is None:
        found = _methods[cls] = _collect(cls)
    return found


def method_called(cls: type, name: str) -> Method | None:
    """Return the method that a class has under this name, or that had it before; None when there is none."""
    methods = methods_of(cls)
    found = methods.get(name)
    return found or next((method for method in methods.values() if name in method.former), None)


_methods: dict[type, dict[str, Method]] = {}


def _collect(cls: type) -> dict[str, Method]:
    methods: dict[str, Method] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("ropewalk.sdk."):
            continue
        for name, value in vars(base).items():
            if inspect.iscoroutinefunction(value) and not name.startswith("__"):
                methods[name] = Method(name, value)
            else:
                methods.pop(name, None)
    return methods
