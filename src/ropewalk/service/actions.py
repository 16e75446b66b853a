"""What people ask of an instance, checked before anything is written: a method to call, values to put into its store.

Nothing here runs an author's code. What is refused is refused with the error that an author would see. The command line comes before,
storage after.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import msgspec

from ropewalk.answers.store import check_key
from ropewalk.clock import Clock
from ropewalk.errors import CallbackNotFound, InvalidValue, PermissionDenied, ValueTooLarge
from ropewalk.service.lookup import nearest
from ropewalk.storage.interface import Storage, StorageUnavailable
from ropewalk.storage.records import Instance
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Json, Target

_PATIENCE = 20.0
"""Seconds for which a write waits for a pause between two executions."""

_PAUSE = 0.02


async def call_target(storage: Storage, instance: Instance, method: str, arguments: Json) -> Target:
    """Return what a call of an instance's method by hand runs.

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
    return Target(ns=ns, method=name, arguments=arguments)


async def write_values(
    storage: Storage, clock: Clock, instance: str, ns: str, values: Mapping[str, Json | None], most: int
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
    until = clock.boottime() + _PATIENCE
    while True:
        try:
            return await storage.write_values(instance, ns, dict(values), clock.now())
        except StorageUnavailable:
            if clock.boottime() > until:
                raise
            await asyncio.sleep(_PAUSE)


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


def hold_of(instance: Instance) -> str | None:
    """Return what keeps an instance from running, by name, and what lifts that; None when nothing does."""
    if instance.suspension is not None:
        lifted = f"`ropewalk resume {instance.id}` lifts that"
        if instance.suspension.budget is not None:
            lifted += f", and so does a new version of {instance.twist_name}"
        return f"instance {instance.id} is suspended: {instance.suspension.reason}; {lifted}"
    if instance.status == "failed":
        return (
            f"instance {instance.id} is failed, since its activation is dead: `ropewalk retry` that execution, "
            "or deactivate the instance"
        )
    return None


def _check_accepts(instance: Instance) -> None:
    """Refuse a call to an instance that would not run it."""
    held = hold_of(instance)
    if held is not None:
        raise PermissionDenied(held)
    if instance.status == "deactivating":
        raise PermissionDenied(f"instance {instance.id} is being deactivated: it accepts nothing any more")


def _check_method(manifest: Manifest, ns: str, name: str, where: str) -> None:
    """Refuse a method that the version does not have."""
    shown = [f"{method.ns}.{method.name}" if method.ns else method.name for method in manifest.methods]
    wanted = f"{ns}.{name}" if ns else name
    if wanted not in shown:
        near = nearest(wanted, shown)
        raise CallbackNotFound(f"{where} has no method {wanted!r}{'' if near is None else f': did you mean {near!r}?'}")
