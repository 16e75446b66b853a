"""Tools: capabilities that a twist, or another tool, declares as class attributes.

A declaration is an object in a class body that can do nothing yet. When an attempt begins, each unit gets its own copy, bound to
its namespace: the path of attribute names. A built-in tool's calls are answered by the host; a custom one is the author's own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ropewalk.sdk.options import Options
from ropewalk.sdk.unit import Bound, Unit

if TYPE_CHECKING:
    from ropewalk.sdk.records import Priority

DeclaredT = TypeVar("DeclaredT", "Tool", "BuiltIn")


class _Nowhere:
    """Stands where a tool's place in an attempt would be, while it is only declared."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("a tool is used through the twist that declares it, while that runs: self.plot.create_note(...)")


class BuiltIn:
    """Base of the tools whose calls the host answers."""

    kind: ClassVar[str]
    """What the manifest calls the tool."""

    _ropewalk: Bound = _Nowhere()  # type: ignore[assignment]  # answers every use with what to do instead

    def declared(self) -> dict[str, Any]:
        """Return what the declaration asks for, as the manifest says it."""
        raise NotImplementedError


class Tool(Unit):
    """Base of custom tools: code of the author's with a store, callbacks and tasks of its own.

    Keyword arguments, or one Options object, become `self.options` of the class that the tool annotates as `options`.
    """

    _ropewalk: Bound = _Nowhere()  # type: ignore[assignment]  # answers every use with what to do instead

    def __init__(self, *options: Any, **values: Any) -> None:
        if len(options) > 1 or (options and values) or not all(isinstance(given, Options) for given in options):
            raise TypeError(f"{type(self).__qualname__}() takes its options as keyword arguments, or one Options object")
        self._given: Options | dict[str, Any] = options[0] if options else values

    async def pre_activate(self, priority: Priority) -> None:
        """Run before the twist's `activate`; the deepest dependency's first."""

    async def post_activate(self, priority: Priority) -> None:
        """Run after the twist's `activate`; the outermost tool's first."""

    async def pre_upgrade(self) -> None:
        """Run before the twist's `upgrade`; the deepest dependency's first."""

    async def post_upgrade(self) -> None:
        """Run after the twist's `upgrade`; the outermost tool's first."""

    async def pre_deactivate(self) -> None:
        """Run before the twist's `deactivate`; the deepest dependency's first."""

    async def post_deactivate(self) -> None:
        """Run after the twist's `deactivate`; the outermost tool's first."""


def given_options(declared: Tool) -> Options | dict[str, Any]:
    """Return the options that a declaration gives, as they were given; none where the author's `__init__` keeps them to itself."""
    given: Options | dict[str, Any] = vars(declared).get("_given", {})
    return given


def bind_tool(declared: DeclaredT, bound: Bound) -> DeclaredT:
    """Return a copy of a declared tool with its place in a running attempt."""
    tool = object.__new__(type(declared))
    vars(tool).update(vars(declared))
    tool._ropewalk = bound
    return tool
