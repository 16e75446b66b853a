"""What is known of a twist's class before any event comes: its tools, options, hooks and methods.

Made once, when the version is imported; each attempt only follows it. Before: `author`, which has checked the class. After: `attempt`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Final

from msgspec import Struct

from ropewalk.sdk.host import Running
from ropewalk.sdk.methods import methods_of
from ropewalk.sdk.options import Options
from ropewalk.sdk.tool import BuiltIn, Tool, bind_tool
from ropewalk.sdk.twist import Twist
from ropewalk.sdk.unit import Bound

LIFECYCLE: Final = ("activate", "upgrade", "deactivate")
OPTIONS_CHANGED: Final = "options_changed"
TOOLS_DEEP: Final = 16
"""Most tools below one another."""


class ToolPlan(Struct, frozen=True, kw_only=True):
    """A declared tool: its attribute's name, its namespace, and the tools that it declares itself."""

    name: str
    ns: str
    declared: Tool | BuiltIn
    options: Options | None
    tools: tuple[ToolPlan, ...]


class Plan(Struct, frozen=True, kw_only=True):
    """A twist's class, taken apart.

    Attributes:
        cls: the class.
        options: its Options class, None when it declares none.
        tools: its tools, in the order of their declaration.
        hooks: for each lifecycle method, the hooks to run before and after it, as namespace and method.
        memory: bytes that an execution may use, for the message that says it needed more.
        prepares: whether the class has an `__init__` of its own.
    """

    cls: type[Twist]
    options: type[Options] | None
    tools: tuple[ToolPlan, ...]
    hooks: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]]
    memory: int
    prepares: bool


def declared_tools(cls: type) -> Iterator[tuple[str, Tool | BuiltIn]]:
    """Yield the tools that a class declares, its bases' first, with their attributes' names."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Tool | BuiltIn):
                found[name] = value
            else:
                found.pop(name, None)
    yield from found.items()


def every_tool(tools: tuple[ToolPlan, ...]) -> Iterator[ToolPlan]:
    """Yield tools and those below them, the outermost first."""
    for tool in tools:
        yield tool
        yield from every_tool(tool.tools)


def hooks_of(tools: tuple[ToolPlan, ...], lifecycle: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the hooks that tools define: those before the lifecycle method, deepest first, and those after it, outermost first."""
    custom = [tool for tool in every_tool(tools) if isinstance(tool.declared, Tool)]
    before = [
        (tool.ns, f"pre_{lifecycle}") for tool in _deepest_first(tools) if f"pre_{lifecycle}" in methods_of(type(tool.declared))
    ]
    after = [(tool.ns, f"post_{lifecycle}") for tool in custom if f"post_{lifecycle}" in methods_of(type(tool.declared))]
    return before, after


def _deepest_first(tools: tuple[ToolPlan, ...]) -> Iterator[ToolPlan]:
    for tool in tools:
        yield from _deepest_first(tool.tools)
        if isinstance(tool.declared, Tool):
            yield tool


def build(plan: Plan, running: Running) -> Twist:
    """Return a new twist with its tools, each in its place in the attempt. Its options and `__init__` are for `prepare`."""
    twist = object.__new__(plan.cls)
    twist._ropewalk = Bound(running, "", tuple(tool.name for tool in plan.tools))
    running.units[""] = twist
    vars(twist).update((tool.name, _bind(tool, running)) for tool in plan.tools)
    return twist


def _bind(tool: ToolPlan, running: Running) -> Tool | BuiltIn:
    bound = Bound(running, tool.ns, tuple(child.name for child in tool.tools))
    if isinstance(tool.declared, BuiltIn):
        return bind_tool(tool.declared, bound)
    custom = bind_tool(tool.declared, bound)
    running.units[tool.ns] = custom
    vars(custom).update((child.name, _bind(child, running)) for child in tool.tools)
    if tool.options is not None:
        vars(custom)["options"] = tool.options
    return custom


def steps(plan: Plan, running: Running, twist: Twist, lifecycle: str) -> Coroutine[Any, Any, None] | None:
    """Return the coroutine of a lifecycle event with its hooks, None when the author wrote nothing for it."""
    before, after = plan.hooks[lifecycle]
    own = lifecycle in methods_of(plan.cls)
    if not own and not before and not after:
        return None
    return _lifecycle(running, twist, lifecycle, [*before, *([("", lifecycle)] if own else []), *after])


async def _lifecycle(running: Running, twist: Twist, lifecycle: str, methods: list[tuple[str, str]]) -> None:
    arguments = (twist.priority,) if lifecycle == "activate" else ()
    for ns, name in methods:
        running.no_commit = "" if name == "activate" else f"{name}()"
        await getattr(running.units[ns], name)(*arguments)
