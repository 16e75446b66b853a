"""What options an instance has, to be shown, and their change.

A change is one transaction, made from what the options were when it was looked at. Executions that start after it have the new ones; one
that runs keeps its own. `options_changed` runs next and before anything that starts later, and tells the instance what they were before;
should it fail for good, the new options stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from ropewalk.answers.secrets import seal_secrets, without_values
from ropewalk.answers.tasks import new_id
from ropewalk.errors import InvalidValue
from ropewalk.service.deploying import check_options
from ropewalk.service.options import Chosen, Given, choose
from ropewalk.service.service import Service
from ropewalk.storage.records import Instance, NewExecution, NewOptions, Rank, Version
from ropewalk.vault.errors import Tampered
from ropewalk.vault.redaction import HIDDEN
from ropewalk.wire.control import Manifest, OptionField
from ropewalk.wire.messages import Target

HOOK = "options_changed"
"""The method that is told of a change."""

_BEFORE = "the secrets from before the change of options are not told: self.options has those that there are now"


async def shown(service: Service, instance: Instance) -> dict[str, Any]:
    """Return the value of each option of an instance, with secrets hidden, and None where there is none."""
    version = await _version(service, instance)
    chosen = await service.chosen(instance)
    return {field.name: _shown(field, chosen) for field in version.manifest.options if not field.ns}


async def change(service: Service, instance: Instance, given: Mapping[str, Given], reset: Sequence[str] = ()) -> str | None:
    """Change options of an instance and return the execution of its `options_changed`; None when nothing changed, or it has none.

    Args:
        service: the database.
        instance: as it was looked at.
        given: new values by option.
        reset: options that go back to their defaults.

    Raises:
        InvalidValue: options are unknown, missing or do not fit.
        UnknownInstance: it is being deactivated.
        DoesNotApply: somebody else has changed them meanwhile.
    """
    version = await _version(service, instance)
    before = await _before(service, instance)
    fields = await _fields(service, version)
    after = choose(fields, given, _without(before, reset, fields))
    if after == before:
        return None
    _, sealed_before = await service.storage.options(instance.id)
    sealed = sealed_before
    if after.secrets != before.secrets:
        sealed = seal_secrets(await service.vault.sealer(instance.id), after.secrets)
    check_options(version.manifest, after.json)
    hook = _hook(instance, version.manifest, before, service.clock.now())
    await service.storage.change_options(
        NewOptions(
            instance=instance.id,
            before=(instance.options, sealed_before),
            after=(after.json, sealed),
            hook=hook,
            at=service.clock.now(),
        )
    )
    service.ring()
    return None if hook is None else hook.id


async def _before(service: Service, instance: Instance) -> Chosen:
    """Return what an instance was given. Secrets that do not open any more are as if they were not: they can be given again."""
    try:
        return await service.chosen(instance)
    except Tampered:
        return Chosen(msgspec.json.decode(instance.options))


async def _version(service: Service, instance: Instance) -> Version:
    version = await service.storage.version(instance.twist, instance.version)
    assert version is not None
    return version


async def _fields(service: Service, version: Version) -> list[OptionField]:
    """Return the options of a version, and those that only the latest one has: they can be given before an upgrade to it is tried again."""
    latest = await service.storage.version(version.twist)
    assert latest is not None
    own = {field.name for field in version.manifest.options}
    coming = [replace(field, required=False) for field in latest.manifest.options if field.name not in own]
    return [*version.manifest.options, *coming]


def _without(chosen: Chosen, reset: Sequence[str], fields: Sequence[OptionField]) -> Chosen:
    own = {field.name for field in fields if not field.ns}
    for name in reset:
        if name not in own:
            raise InvalidValue(f"there is no option {name!r} to reset (the options are {', '.join(sorted(own)) or 'none'})")
    return Chosen(
        {name: value for name, value in chosen.open.items() if name not in reset},
        {name: value for name, value in chosen.secrets.items() if name not in reset},
    )


def _shown(field: OptionField, chosen: Chosen) -> object:
    if field.type == "secret":
        return HIDDEN if field.name in chosen.secrets else None
    if field.name in chosen.open:
        return chosen.open[field.name]
    return None if field.default is None else msgspec.json.decode(field.default)


def _hook(instance: Instance, manifest: Manifest, before: Chosen, at: int) -> NewExecution | None:
    """Return the execution of the instance's `options_changed`; None when it has none, or was never active."""
    if instance.status == "failed" or not any(method.name == HOOK and not method.ns for method in manifest.methods):
        return None
    told = without_values(before.json, before.secrets, instance.secret, _BEFORE)
    return NewExecution(
        id=new_id(),
        instance=instance.id,
        trigger="options",
        target=Target(ns="", method=HOOK),
        rank=Rank.BARRIER,
        cause="operator",
        event=msgspec.json.encode([msgspec.Raw(told)]),
        at=at,
    )
