"""The options of an instance as one attempt has them: what its process is told, what the host adds to requests, what is hidden.

    injected secret   ──► `complete`: into requests that match its patterns; the process is told that there is one
    readable secret   ──► the process, in its Start
    either            ──► `redactor`: hidden in logs and errors, and in answers to requests that the first was put into

Opened once for an attempt, before it starts, and kept while they are the same: an instance without secrets costs a look at its manifest.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from ropewalk.answers.declared import filled, option_values
from ropewalk.egress.credentials import Credential
from ropewalk.storage.interface import DoesNotApply
from ropewalk.vault.redaction import Redactor
from ropewalk.wire.control import Manifest, OptionField
from ropewalk.wire.messages import Json

if TYPE_CHECKING:
    from ropewalk.storage.interface import Storage
    from ropewalk.storage.records import Instance
    from ropewalk.vault.vault import Sealer, Vault

PLACE: Final = "options"
"""Where an instance's secret options are sealed."""

_REMEMBERED: Final = 1024


class InstanceOptions(Struct, frozen=True, kw_only=True):
    """The options of an instance.

    Attributes:
        told: what a process is told.
        open: those that are no secrets.
        credentials: what the host puts into requests.
        redactor: hides every secret; None when there is none.
    """

    told: Json
    open: Json
    credentials: tuple[Credential, ...] = ()
    redactor: Redactor | None = None


class OptionsReader:
    """Opens options of a database's instances."""

    def __init__(self, storage: Storage, vault: Vault) -> None:
        self._storage = storage
        self._vault = vault
        self._known: OrderedDict[tuple[str, int, Json, bytes], InstanceOptions] = OrderedDict()

    async def read(self, instance: Instance, manifest: Manifest) -> InstanceOptions:
        """Return the options of an instance that runs the version with this manifest.

        Raises: as `Vault.sealer`, and Tampered; BadPattern when a secret's URL patterns cannot be made of the options; DoesNotApply when they
            were changed since the instance was claimed: new secrets must not go where old options say.
        """
        fields = [field for field in manifest.options if field.type == "secret"]
        now, sealed = await self._storage.options(instance.id) if fields else (instance.options, None)
        if now != instance.options:
            raise DoesNotApply(f"the options of instance {instance.id} were changed since it was claimed")
        if sealed is None:
            return InstanceOptions(told=instance.options, open=instance.options)
        key = (instance.id, instance.version, instance.options, sealed)
        known = self._known.get(key)
        if known is None:
            secrets = open_secrets(await self._vault.sealer(instance.id), sealed)
            known = self._known[key] = _opened(instance, manifest, fields, secrets)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known


def seal_secrets(sealer: Sealer, secrets: Mapping[str, str]) -> bytes | None:
    """Return an instance's secret options as they are stored, None when there are none."""
    return sealer.seal(msgspec.json.encode(secrets), PLACE) if secrets else None


def open_secrets(sealer: Sealer, sealed: bytes) -> dict[str, str]:
    """Return what `seal_secrets` sealed. Raises Tampered."""
    return msgspec.json.decode(sealer.open(sealed, PLACE), type=dict[str, str])


def without_values(options: Json, secrets: Mapping[str, str], instance_secret: bytes, why: str) -> Json:
    """Return options as a process is told of them that gets none of the secrets; `why` says that to whoever asks for one."""
    shown = {name: {"mark": _mark(instance_secret, name, value), "absent": why} for name, value in secrets.items()}
    return msgspec.json.encode({**msgspec.json.decode(options), **shown})


def _opened(instance: Instance, manifest: Manifest, fields: list[OptionField], secrets: Mapping[str, str]) -> InstanceOptions:
    told: dict[str, Any] = msgspec.json.decode(instance.options)
    values = option_values(manifest, instance.options)
    credentials: list[Credential] = []
    for field in fields:
        if (value := secrets.get(field.name)) is None:
            continue
        mark = _mark(instance.secret, field.name, value)
        if field.injected is None:
            told[field.name] = {"mark": mark, "value": value}
            continue
        told[field.name] = {"mark": mark, "absent": _kept_back(field.name, field.injected.urls)}
        credentials.append(
            Credential(
                name=field.name,
                patterns=filled(field.injected.urls, values),
                value=value,
                sent=field.injected.format.replace("{}", value),
                header=field.injected.header,
                query=field.injected.query,
            )
        )
    return InstanceOptions(
        told=msgspec.json.encode(told),
        open=instance.options,
        credentials=tuple(credentials),
        redactor=Redactor(secrets.values()),
    )


def _mark(instance_secret: bytes, name: str, value: str) -> str:
    """Return what is the same for the same secret of the same option, and tells nothing about it."""
    return hmac.digest(instance_secret, f"{name}\0{value}".encode(), "sha256")[:12].hex()


def _kept_back(name: str, urls: list[str]) -> str:
    return (
        f"the secret {name!r} is put into requests to {', '.join(urls[:5])} by the host, and the twist never holds it: "
        "to read it, declare it with secret() without urls"
    )
