"""Imports an author's module, finds its twist, checks it and describes it.

Everything that can be known to be wrong is said here, at deploy, with file, line and name: afterwards an event may find the method
gone, but never badly formed. Before: `zygote`, in a process that trusts nothing of the author's. After: the host, which stores the
manifest and lets it rule, and `attempt`, which follows the plan.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from typing import Any, Final, cast

import msgspec

from ropewalk.errors import InvalidValue, NotSerializable
from ropewalk.guest.logs import OUTPUT
from ropewalk.guest.plan import LIFECYCLE, OPTIONS_CHANGED, TOOLS_DEEP, Plan, ToolPlan, declared_tools, every_tool, hooks_of
from ropewalk.guest.raised import message_of, traceback_of
from ropewalk.guest.randomness import note_generators, stop_noting
from ropewalk.sdk.checks import seconds
from ropewalk.sdk.marks import schedules_of
from ropewalk.sdk.methods import Method, methods_of
from ropewalk.sdk.options import Options, option_fields, secret_spec
from ropewalk.sdk.renames import former_names
from ropewalk.sdk.secrets import Secret
from ropewalk.sdk.settings import Limits, RetryPolicy, retry_of
from ropewalk.sdk.tool import BuiltIn, Tool, given_options
from ropewalk.sdk.twist import Twist
from ropewalk.sdk.unit import Unit
from ropewalk.sdk.values import encode, reader_of
from ropewalk.wire.control import (
    Import,
    Imported,
    ImportFailed,
    Injection,
    LimitsInfo,
    Manifest,
    Method as MethodInfo,
    OptionField,
    Parameter,
    RetryInfo,
    ScheduleInfo,
    ToolInfo,
)
from ropewalk.wire.messages import PROTOCOL
from ropewalk.wire.plan import PACKAGES, TWIST

DESCRIPTION_LIMIT: Final = 4_000
"""Most characters of a twist's description."""

_HOOKS: Final = tuple(f"{when}_{lifecycle}" for lifecycle in LIFECYCLE for when in ("pre", "post"))
_OWN: Final = frozenset(name for name in vars(Unit) if not name.startswith("_"))

_bundle = TWIST
"""Where the author's files are; messages name them as they are called in there."""


class BadTwist(Exception):
    """The module's twist is not well formed; the message says where and how."""


def load(request: Import, folder: str) -> tuple[Plan | None, Imported | ImportFailed]:
    """Import what the host names, from the bundle at `folder`, and describe its twist.

    Whatever the module does short of ending the process, this returns.
    """
    try:
        plan = _imported(request, folder)
        return plan, Imported(manifest=_describe(plan))
    except BaseException as error:  # noqa: BLE001 — the module is the author's: SystemExit, RecursionError, anything
        return None, _failure(error, request.module)


def load_plan(request: Import, folder: str) -> Plan | ImportFailed:
    """Import what the host names for the one event of this process. The host knows what it declares since it was deployed.

    Raises:
        MemoryError: the import needed more than it may have.
    """
    try:
        return _imported(request, folder)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 — importing runs the author's module, which may raise anything
        return _failure(error, request.module)


def _imported(request: Import, folder: str) -> Plan:
    global _bundle
    _bundle = folder
    OUTPUT.install()
    note_generators()
    plan = plan_class(_find(_import(request.module), request.cls), request.memory)
    stop_noting()
    OUTPUT.adopt_root_logger()
    return plan


def _failure(error: BaseException, module: str) -> ImportFailed:
    if isinstance(error, BadTwist):
        return ImportFailed(type="BadTwist", message=str(error))
    return ImportFailed(type=_type_name(error), message=_why(error, module), traceback=traceback_of(error))


# ── Importing ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _import(name: str) -> types.ModuleType:
    if name in sys.modules:
        raise BadTwist(f"the module's name {name!r} is already that of a Python module: rename {name}.py, to twist.py for one")
    return importlib.import_module(name)


def _why(error: BaseException, module: str) -> str:
    """Say why a module could not be imported."""
    match error:
        case SyntaxError():
            return f"{file_name(error.filename)}:{error.lineno}: {error.msg}"
        case ModuleNotFoundError(name=str(missing)) if missing == module:
            return f"there is no module {module!r} in the bundle"
        case ModuleNotFoundError(name=str(missing)):
            return (
                f"{_line_of(error)}there is no module {missing!r} in the sandbox: if it is a package, name it in the dependencies; "
                "if it is a file of the project, put it into the folder that is deployed"
            )
        case _:
            return f"{_line_of(error)}{_type_name(error)}: {message_of(error)}"


def _line_of(error: BaseException) -> str:
    """Return `file:line: ` of the author's line that raised, "" when it is not known."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(f"{_bundle}/") and not file.startswith(f"{_bundle}/{PACKAGES}/"):
            found = f"{file_name(file)}:{trace.tb_lineno}: "
        trace = trace.tb_next
    return found


def file_name(path: str | None) -> str:
    """Return a path as the author knows it, below the bundle's folder."""
    return (path or "<unknown>").removeprefix(f"{_bundle}/")


def _type_name(error: BaseException) -> str:
    return str.__str__(type(error).__name__)[:200]


# ── Finding ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _find(module: types.ModuleType, named: str | None) -> type[Twist]:
    """Return the class that the manifest names, or else the one public Twist that the module defines."""
    if named is not None:
        cls = getattr(module, named, None)
        if not isinstance(cls, type) or not issubclass(cls, Twist):
            raise BadTwist(f"{module.__name__} has no Twist named {named!r}, which the project's configuration names")
        return cls
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Twist)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    found = list(dict.fromkeys(found))
    if not found:
        raise BadTwist(f"{module.__name__} defines no twist: a module has one public class that subclasses ropewalk.Twist")
    if len(found) > 1:
        names = " and ".join(cls.__name__ for cls in found)
        raise BadTwist(
            f"{module.__name__} defines {len(found)} twists, {names}: keep one, put an underscore before the others, "
            'or name one in pyproject.toml ([tool.ropewalk] twist = "module:Class")'
        )
    return found[0]


# ── Checking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan_class(cls: type[Twist], memory: int) -> Plan:
    """Check a class and its tools and take them apart.

    Raises:
        BadTwist: it is not well formed.
    """
    _check_settings(cls)
    options = _options_class(cls)
    tools = _tools(cls, "", 0)
    for unit in (cls, *(type(tool.declared) for tool in every_tool(tools) if isinstance(tool.declared, Tool))):
        _check_unit(unit)
        logger = logging.getLogger(unit.__qualname__)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.DEBUG)
    if options is None and OPTIONS_CHANGED in methods_of(cls):
        raise BadTwist(f"{_place(cls)}{cls.__name__} has {OPTIONS_CHANGED}() and no options: write options: SomeOptions")
    hooks = {lifecycle: hooks_of(tools, lifecycle) for lifecycle in LIFECYCLE}
    return Plan(cls=cls, options=options, tools=tools, hooks=hooks, memory=memory, prepares=_prepares(cls))


def _check_settings(cls: type[Twist]) -> None:
    for name, kind in (("limits", Limits), ("retry", RetryPolicy)):
        if not isinstance(given := getattr(cls, name), kind):
            raise BadTwist(f"{_place(cls)}{cls.__name__}.{name} is {given!r:.80}: write {name} = {kind.__name__}(...)")
    if cls.concurrency != 1:
        raise BadTwist(f"{_place(cls)}{cls.__name__}.concurrency is {cls.concurrency!r:.80}: only 1 can be had for now")
    if cls.__init__ is not Twist.__init__ and not _callable_without_arguments(cls):
        raise BadTwist(
            f"{_place(cls.__init__)}{cls.__name__}.__init__ takes arguments: the runtime has none to give; declare Options"
        )


def _prepares(cls: type[Twist]) -> bool:
    """Whether the class, or a base of the author's, has an `__init__` of its own."""
    return inspect.getattr_static(cls, "__init__") is not inspect.getattr_static(Twist, "__init__")


def _callable_without_arguments(cls: type[Twist]) -> bool:
    try:
        inspect.signature(inspect.getattr_static(cls, "__init__")).bind(None)
    except TypeError:
        return False
    return True


def _check_unit(cls: type[Unit]) -> None:
    """Check a twist's or tool's methods: what the runtime calls is async and takes what it is given, and nothing hides the SDK's own."""
    for base in cls.__mro__:
        if base.__module__.startswith("ropewalk.sdk."):
            continue
        for name, value in vars(base).items():
            if name in _OWN:
                raise BadTwist(
                    f"{_place(value)}{cls.__name__}.{name} hides what every twist and tool has under that name: rename it"
                )
            if (name in (*LIFECYCLE, OPTIONS_CHANGED) and issubclass(cls, Twist)) or (name in _HOOKS and issubclass(cls, Tool)):
                _check_called(cls, name, value)
            if schedules_of(value):
                _check_scheduled(cls, name, value)
            if retry_of(value, RetryPolicy()) is not None and not inspect.iscoroutinefunction(value):
                raise BadTwist(f"{_place(value)}{cls.__name__}.{name} has @retry and is not async: only async methods run again")
            own = f"{base.__qualname__}.{name}"  # a class written there is no tool that lacks its parentheses
            if isinstance(value, type) and issubclass(value, Tool | BuiltIn) and value.__qualname__ != own:
                raise BadTwist(
                    f"{cls.__name__}.{name} is the class {value.__name__} itself: write {name} = {value.__name__}(...)"
                )
    _check_former_names(cls, _methods(cls))


def _check_former_names(cls: type[Unit], methods: dict[str, Method]) -> None:
    """Check that each name means one method, present or former, and that only what is called back by its name had another."""
    taken = {name: name for name in methods}
    for name, method in methods.items():
        where = f"{_place(method.function)}{cls.__name__}.{name}"
        if method.former and (name in LIFECYCLE or name in _HOOKS):
            raise BadTwist(f"{where} is renamed_from {method.former[0]!r}: the runtime calls it by its own name alone")
        for former in dict.fromkeys(method.former):
            if former in taken:
                raise BadTwist(
                    f"{where} is renamed_from {former!r}, which is {cls.__name__}.{taken[former]}'s: a name means one method"
                )
            taken[former] = name
    for name, value in ((name, value) for base in cls.__mro__ for name, value in vars(base).items()):
        if isinstance(value, types.FunctionType) and not inspect.iscoroutinefunction(value) and former_names(value):
            raise BadTwist(f"{_place(value)}{cls.__name__}.{name} has former names and is not async: write async def {name}(...)")


def _check_called(cls: type, name: str, value: object) -> None:
    if not inspect.iscoroutinefunction(value):
        raise BadTwist(f"{_place(value)}{cls.__name__}.{name} is not async: write async def {name}(...)")
    with_priority = name.endswith("_activate") or name == "activate"
    count = 2 if with_priority or name == OPTIONS_CHANGED else 1
    try:
        inspect.signature(value).bind(*[None] * count)
    except TypeError as error:
        takes = (
            f"{name}(self, priority: Priority)" if with_priority else f"{name}(self, before)" if count > 1 else f"{name}(self)"
        )
        raise BadTwist(f"{_place(value)}{cls.__name__}.{name}: {error}: write async def {takes}") from None


def _check_scheduled(cls: type, name: str, value: object) -> None:
    if not inspect.iscoroutinefunction(value):
        raise BadTwist(f"{_place(value)}{cls.__name__}.{name} has @on.schedule and is not async: write async def {name}(self)")
    if len(inspect.signature(value).parameters) != 1:
        raise BadTwist(
            f"{_place(value)}{cls.__name__}.{name} has @on.schedule and takes arguments, of which a schedule brings none: "
            f"write async def {name}(self) -> None"
        )


def _methods(cls: type) -> dict[str, Method]:
    """Return a unit's methods, their annotations resolved and what converts to them made."""
    try:
        methods = methods_of(cls)
    except Exception:
        # Annotations are expressions of the author's; resolving one may raise anything. Find which it was.
        _refuse_annotations(cls)
        raise
    return methods


def _refuse_annotations(cls: type) -> None:
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if not inspect.iscoroutinefunction(value):
                continue
            try:
                Method(name, value)
            except Exception as error:  # noqa: BLE001 — resolving an annotation evaluates the author's text
                raise BadTwist(
                    f"{_place(value)}an annotation of {cls.__name__}.{name} cannot be resolved: {_type_name(error)}: {message_of(error)}; "
                    "import what it names at the top of the module, outside `if TYPE_CHECKING:`"
                ) from None


def _options_class(cls: type[Unit]) -> type[Options] | None:
    """Return the Options class that a unit annotates as `options`."""
    for base in cls.__mro__:
        annotation = inspect.get_annotations(base).get("options")
        if annotation is None and "options" in vars(base):
            raise BadTwist(
                f"{_place(base)}{base.__name__}.options has no annotation: write options: {_type_of(vars(base)['options'])}"
            )
        if annotation is None:
            continue
        namespace = vars(sys.modules[base.__module__])
        holder = types.SimpleNamespace(__annotations__={"options": annotation})
        try:
            options = typing.get_type_hints(holder, namespace, dict(vars(base)))["options"]
        except Exception as error:  # noqa: BLE001 — an expression of the author's
            raise BadTwist(
                f"{_place(base)}the annotation of {base.__name__}.options cannot be resolved: {_type_name(error)}: {message_of(error)}"
            ) from None
        if not isinstance(options, type) or not issubclass(options, Options):
            raise BadTwist(
                f"{_place(base)}{base.__name__}.options is annotated as {options!r:.80}: use a subclass of ropewalk.Options"
            )
        return _checked_options(options)
    return None


def _untyped(options: type[Options]) -> Iterator[tuple[str, object]]:
    """Yield what an Options class holds under a public name without an annotation, methods and properties aside."""
    fields = {field.name for field in option_fields(options)}
    for base in options.__mro__[: options.__mro__.index(Options)]:
        for name, value in vars(base).items():
            if not name.startswith("_") and name not in fields and not hasattr(value, "__get__") and not isinstance(value, type):
                yield name, value


def _type_of(options: object) -> str:
    return options.__name__ if isinstance(options, type) else type(options).__name__


def _checked_options(options: type[Options]) -> type[Options]:
    try:
        fields = option_fields(options)
        reader_of(options)
        for field in fields:
            reader_of(field.type)
    except Exception as error:  # noqa: BLE001 — expressions of the author's
        raise BadTwist(
            f"{_place(options)}the fields of {options.__name__} cannot be read: {_type_name(error)}: {message_of(error)}"
        ) from None
    for name, value in _untyped(options):
        raise BadTwist(
            f"{_place(options)}{options.__name__}.{name} has no type: write {name}: {type(value).__name__} = {value!r:.40}"
        )
    for field in fields:
        _check_secret(options, field)
    return options


def _check_secret(options: type[Options], field: msgspec.structs.FieldInfo) -> None:
    spec, where = secret_spec(options, field), f"{_place(options)}{options.__name__}.{field.name}"
    if spec is not None and field.type not in ((Secret | None,) if spec.optional else (Secret,)):
        wanted = "Secret | None" if spec.optional else "Secret"
        raise BadTwist(f"{where} is a secret(): write {field.name}: {wanted} = secret(…), or default=None for Secret | None")
    if spec is None and _mentions_secret(field.type):
        raise BadTwist(f"{where} has a Secret within another type: give each secret an option of its own")


def _mentions_secret(form: Any) -> bool:
    return form is Secret or any(map(_mentions_secret, typing.get_args(form)))


def _tools(cls: type[Unit], ns: str, depth: int) -> tuple[ToolPlan, ...]:
    if depth > TOOLS_DEEP:
        raise BadTwist(f"the tool {ns} is the {depth}th below another: a tool that declares its own class never ends")
    return tuple(_tool(cls, name, f"{ns}.{name}".removeprefix("."), declared, depth) for name, declared in declared_tools(cls))


def _tool(owner: type[Unit], name: str, ns: str, declared: Tool | BuiltIn, depth: int) -> ToolPlan:
    if name in _OWN:
        raise BadTwist(
            f"{_place(owner)}{owner.__name__}.{name} hides what every twist and tool has under that name: rename the tool"
        )
    if isinstance(declared, BuiltIn):
        return ToolPlan(name=name, ns=ns, declared=declared, options=None, tools=())
    options = _given_options(owner, name, declared)
    return ToolPlan(name=name, ns=ns, declared=declared, options=options, tools=_tools(type(declared), ns, depth + 1))


def _given_options(owner: type, name: str, declared: Tool) -> Options | None:
    """Return the options that a tool's declaration gives, as the tool's own class says they are."""
    wanted = _options_class(type(declared))
    given = given_options(declared)
    where = f"{_place(owner)}{owner.__name__}.{name} = {type(declared).__name__}(...)"
    if wanted is not None and (
        hidden := next((field.name for field in option_fields(wanted) if secret_spec(wanted, field)), None)
    ):
        raise BadTwist(
            f"{where}: {wanted.__name__}.{hidden} is a Secret, and a tool's options stand in the code: "
            "declare it among the twist's own Options, for the URLs that the tool asks"
        )
    if isinstance(given, Options):
        if wanted is None or not isinstance(given, wanted):
            raise BadTwist(f"{where} is given a {type(given).__name__}, and takes {wanted.__name__ if wanted else 'no options'}")
        return given
    if wanted is None:
        if given:
            raise BadTwist(f"{where} is given {', '.join(given)}, and takes no options")
        return None
    known = {field.name for field in option_fields(wanted)}
    if unknown := [name for name in given if name not in known]:
        raise BadTwist(f"{where} is given {', '.join(unknown)}, which {wanted.__name__} does not have")
    try:
        return cast("Options", reader_of(wanted)(encode(given, "an option")))
    except (msgspec.ValidationError, InvalidValue, NotSerializable) as error:
        raise BadTwist(f"{where}: {error}") from None


def _place(thing: Any) -> str:
    """Return `file:line: ` of a class or function, "" when it is not known."""
    code = getattr(thing, "__code__", None)
    if code is not None:
        return f"{file_name(code.co_filename)}:{code.co_firstlineno}: "
    try:
        return f"{file_name(inspect.getsourcefile(thing))}:{inspect.getsourcelines(thing)[1]}: "
    except (OSError, TypeError):
        return ""


# ── Describing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _describe(plan: Plan) -> Manifest:
    cls = plan.cls
    tools = list(every_tool(plan.tools))
    units: list[tuple[str, type]] = [
        ("", cls),
        *((tool.ns, type(tool.declared)) for tool in tools if isinstance(tool.declared, Tool)),
    ]
    return Manifest(
        protocol=PROTOCOL,
        python=".".join(map(str, sys.version_info[:3])),
        cls=cls.__name__,
        description=inspect.cleandoc(cls.__doc__ or "")[:DESCRIPTION_LIMIT].encode(errors="replace").decode(),
        methods=[_method_info(ns, method, cls.retry) for ns, unit in units for method in methods_of(unit).values()],
        schedules=[found for ns, unit in units for method in methods_of(unit).values() for found in _schedule_infos(ns, method)],
        tools=[_tool_info(tool) for tool in tools],
        options=[] if plan.options is None else [option_info(plan.options, field) for field in option_fields(plan.options)],
        limits=_limits_info(cls.limits),
        retry=_retry_info(cls.retry),
        concurrency=cls.concurrency,
    )


def _schedule_infos(ns: str, method: Method) -> Iterator[ScheduleInfo]:
    for number, schedule in enumerate(schedules_of(method.function), 1):
        yield ScheduleInfo(
            ns=ns,
            method=method.name,
            key=method.name if number == 1 else f"{method.name} {number}",
            every=None if schedule.every is None else round(schedule.every * 1e6),
            cron=schedule.cron,
            tz=schedule.tz,
            catch_up=schedule.catch_up,
        )


def _method_info(ns: str, method: Method, retry: RetryPolicy) -> MethodInfo:
    parameters = method.signature.parameters.values()
    policy = retry_of(method.function, retry)
    return MethodInfo(
        ns=ns,
        name=method.name,
        retry=None if policy is None else _retry_info(policy),
        parameters=[
            Parameter(name=p.name, kind=p.kind.name, required=p.default is p.empty and p.kind not in _REST) for p in parameters
        ],
        renamed_from=sorted(set(method.former)),
    )


_REST: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _tool_info(tool: ToolPlan) -> ToolInfo:
    if isinstance(tool.declared, BuiltIn):
        return ToolInfo(ns=tool.ns, kind=tool.declared.kind, options=encode(tool.declared.declared(), "the options of", tool.ns))
    given: object = {} if tool.options is None else tool.options
    return ToolInfo(ns=tool.ns, kind="custom", options=encode(given, "the options of", tool.ns))


def option_info(options: type[Options], field: msgspec.structs.FieldInfo) -> OptionField:
    """Describe a field of a twist's Options. Raises BadTwist."""
    where = f"{options.__name__}.{field.name}"
    spec = secret_spec(options, field)
    if spec is not None:
        injected = Injection(urls=spec.urls, header=spec.header, query=spec.query, format=spec.format) if spec.urls else None
        return OptionField(
            ns="",
            name=field.name,
            type="secret",
            annotation="Secret",
            required=not spec.optional,
            default=b"null" if spec.optional else None,
            injected=injected,
        )
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    try:
        json = None if field.required else encode(default, "the default of", where)
    except NotSerializable as error:
        raise BadTwist(f"{_place(options)}{error}") from None
    return OptionField(
        ns="",
        name=field.name,
        type=_json_type(field.type),
        annotation=inspect.formatannotation(field.type),
        required=field.required,
        default=json,
        schema=_schema_of(options, field),
    )


def _schema_of(options: type[Options], field: msgspec.structs.FieldInfo) -> bytes:
    """Return what the host judges values of a field by, when somebody gives one."""
    try:
        return msgspec.json.encode(msgspec.json.schema(_zoned(field.type)))
    except TypeError:
        raise BadTwist(
            f"{_place(options)}{options.__name__}.{field.name}: what is given for a {inspect.formatannotation(field.type)} cannot be checked "
            "at activation: use builtin types, dates, UUID, Decimal, enums, Literal, dataclasses, TypedDicts or Structs"
        ) from None


def _zoned(form: Any) -> Any:
    """Return a type whose datetimes have a time zone, as every time has."""
    if form is datetime:
        return typing.Annotated[datetime, msgspec.Meta(tz=True)]
    origin: Any = typing.get_origin(form)
    arguments = tuple(map(_zoned, typing.get_args(form)))
    if origin in (typing.Union, types.UnionType):
        return typing.Union[arguments]  # noqa: UP007 — made of a tuple
    return cast("Any", origin)[arguments] if origin in (list, dict, set, frozenset, tuple) else form


_JsonType = typing.Literal["string", "integer", "number", "boolean", "secret", "json"]


def _json_type(annotation: Any) -> _JsonType:
    """Return the one JSON type of a field's values, null aside; `json` when there are several, or they are made of others."""
    try:
        schema = msgspec.json.schema(annotation)
    except TypeError:
        return "json"
    defined = {f"#/$defs/{name}": part for name, part in schema.get("$defs", {}).items()}
    parts = [defined.get(part.get("$ref"), part) for part in schema.get("anyOf", [schema])]
    found: set[_JsonType] = {_schema_type(part) for part in parts if part.get("type") != "null" and part.get("enum") != [None]}
    return found.pop() if len(found) == 1 else "json"


def _schema_type(schema: dict[str, Any]) -> _JsonType:
    kinds: Iterable[str] = [schema["type"]] if "type" in schema else {_json_name(value) for value in schema.get("enum", [])}
    match sorted(kinds):
        case ["string"]:
            return "string"
        case ["integer"]:
            return "integer"
        case ["number"]:
            return "number"
        case ["boolean"]:
            return "boolean"
        case _:
            return "json"


@cache
def _json_name(value: object) -> str:
    return "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "other"


def _limits_info(limits: Limits) -> LimitsInfo:
    return LimitsInfo(
        cpu=None if limits.cpu is None else seconds(limits.cpu, "cpu"),
        wall=None if limits.wall is None else seconds(limits.wall, "wall"),
        memory=limits.memory,
        requests=limits.requests,
        logs=limits.logs,
    )


def _retry_info(retry: RetryPolicy) -> RetryInfo:
    return RetryInfo(
        attempts=retry.attempts,
        first=seconds(retry.first, "first"),
        maximum=seconds(retry.maximum, "maximum"),
        ordered=retry.ordered,
    )
