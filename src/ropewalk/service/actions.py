"""What people ask of a database: activate, deactivate, invoke, write to a store. The command line speaks before; the queue comes after.

Everything here is one write, durable when it returns; nothing here runs an author's code. What is refused is refused before anything is
written, with the error that an author would see.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

import msgspec

from ropewalk.answers.store import check_key
from ropewalk.answers.tasks import new_id
from ropewalk.clock import Clock
from ropewalk.errors import CallbackNotFound, InvalidValue, PermissionDenied, ValueTooLarge
from ropewalk.service.lookup import nearest
from ropewalk.service.options import typed_options
from ropewalk.storage.interface import Storage, StorageUnavailable
from ropewalk.storage.records import Instance, NewExecution, NewInstance, Rank, Twist
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Json, Target

_SECRET_BYTES = 32
_STORE_PATIENCE = 20.0
_STORE_PAUSE = 0.05


async def activate(storage: Storage, clock: Clock, twist: Twist, priority: str, options: Mapping[str, str]) -> NewInstance:
    """Store a new instance of the twist's latest version, with its `activate` execution queued.

    Raises:
        InvalidValue: an option is unknown, missing, or does not fit.
    """
    version = await storage.version(twist.id)
    if version is None:
        raise InvalidValue(f"twist {twist.name!r} has no version: deploy it first")
    instance = new_id()
    execution = NewExecution(
        id=new_id(),
        instance=instance,
        trigger="activate",
        target=Target(ns="", method="activate"),
        rank=Rank.BARRIER,
        at=clock.now(),
    )
    new = NewInstance(
        id=instance,
        twist=twist.id,
        version=version.number,
        priority=priority,
        options=typed_options(version.manifest.options, options),
        secret=secrets.token_bytes(_SECRET_BYTES),
        activate=execution,
    )
    await storage.activate(new)
    return new


async def deactivate(storage: Storage, clock: Clock, instance: Instance) -> str:
    """Fence an instance and queue its `deactivate`; returns that execution's id."""
    execution = NewExecution(
        id=new_id(),
        instance=instance.id,
        trigger="deactivate",
        target=Target(ns="", method="deactivate"),
        rank=Rank.DEACTIVATE,
        at=clock.now(),
    )
    await storage.begin_deactivation(execution)
    return execution.id


async def invoke(storage: Storage, clock: Clock, instance: Instance, method: str, arguments: Json) -> str:
    """Queue one call of a method by hand, before what is not waited for; returns the execution's id.

    `arguments` is the JSON of `[[positional, …], {"name": value, …}]`; `method` may have a tool's path before it (`calendar.sync`).

    Raises:
        CallbackNotFound: neither the twist nor a tool of its has the method.
        PermissionDenied: the instance accepts no calls now; the message says what lifts that.
    """
    _check_accepts(instance)
    ns, _, name = method.rpartition(".")
    version = await storage.version(instance.twist, instance.version)
    if version is not None:
        _check_method(version.manifest, ns, name, f"{instance.twist_name} version {version.number}")
    execution = NewExecution(
        id=new_id(),
        instance=instance.id,
        trigger="invoke",
        target=Target(ns=ns, method=name, arguments=arguments),
        rank=Rank.WAITED_FOR,
        at=clock.now(),
    )
    return await storage.enqueue(execution)


async def write_values(
    storage: Storage, clock: Clock, instance: Instance, ns: str, values: Mapping[str, Json | None], most: int
) -> None:
    """Write or (None) remove values of a store from outside, between two executions of the instance.

    `most` is the most bytes of one value.

    Raises:
        InvalidValue, ValueTooLarge: a key or value is over its limit or no JSON.
        StorageUnavailable: the instance ran executions for all of the time that this waits.
    """
    for key, value in values.items():
        check_key(key)
        if value is not None and len(value) > most:
            raise ValueTooLarge(f"the value of {key!r} has {len(value):,} bytes and may have {most:,}")
    until = clock.boottime() + _STORE_PATIENCE
    while True:
        try:
            return await storage.write_values(instance.id, ns, dict(values), clock.now())
        except StorageUnavailable:
            if clock.boottime() > until:
                raise
            await asyncio.sleep(_STORE_PAUSE)


def bound_arguments(text: str | None) -> Json:
    """Return a call's arguments from the JSON of an array (by position) or an object (by name).

    Raises:
        ValueError: the text is no JSON; the message says where it goes wrong.
        InvalidValue: it is JSON of something else.
    """
    arguments: object = [] if text is None else parse_json(text)
    if isinstance(arguments, list):
        return msgspec.json.encode([arguments, {}])
    if isinstance(arguments, dict):
        return msgspec.json.encode([[], arguments])
    raise InvalidValue("arguments are a JSON array (by position) or a JSON object (by name)")


def parse_json(text: str) -> object:
    """Return the value of a JSON text, strictly: no NaN, no lone surrogates.

    Raises:
        ValueError: it is no JSON; the message says where it goes wrong.
    """
    import json

    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeError:
        raise ValueError("it has bytes that are no UTF-8") from None
    except msgspec.DecodeError as error:
        try:
            json.loads(text)
        except json.JSONDecodeError as where:
            raise ValueError(f"{where.msg} at line {where.lineno}, column {where.colno}") from None
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        raise ValueError(str(error)) from None


def _check_accepts(instance: Instance) -> None:
    """Refuse a call to an instance that would not run it."""
    match instance.status:
        case "suspended":
            raise PermissionDenied(f"instance {instance.id} is suspended: nothing of it runs until it is resumed")
        case "failed":
            raise PermissionDenied(
                f"instance {instance.id} is failed, since its activation is dead: `ropewalk retry` that execution, "
                "or deactivate the instance",
            )
        case "deactivating":
            raise PermissionDenied(f"instance {instance.id} is being deactivated: it accepts nothing any more")
        case _:
            return


def _check_method(manifest: Manifest, ns: str, name: str, where: str) -> None:
    """Refuse a method that the version does not have."""
    shown = [f"{method.ns}.{method.name}" if method.ns else method.name for method in manifest.methods]
    wanted = f"{ns}.{name}" if ns else name
    if wanted not in shown:
        near = nearest(wanted, shown)
        raise CallbackNotFound(f"{where} has no method {wanted!r}{'' if near is None else f': did you mean {near!r}?'}")
