"""The gate that a deploy goes through: what is live of a twist's instances must find its methods in the new version.

Callbacks, tasks and whatever else names a method resolve by name when they run, in the version that their instance then has. So each is
held against the new manifest before that is stored: the tool is declared, the method is there, under this name or as its former one, and
what its event brings and what was bound fit its signature. What does not work in the instance's own version either is no news, and stops
nothing. An instance that had to wait for a grant goes through it again when that is given. What the old code makes after the gate was passed,
until its instance is upgraded, is not seen here: it fails when it runs, with `CallbackNotFound`, as everything does that `--force` lets by.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from msgspec import Struct, field

from ropewalk.service.deploying import unfit
from ropewalk.service.options import Chosen
from ropewalk.service.signatures import Signatures
from ropewalk.storage.interface import Storage, StorageUnusable
from ropewalk.storage.records import Instance, Use
from ropewalk.wire.control import Manifest

_SHOWN: Final = 5
_TOLD_EVERY: Final = 10
"""Instances between two words of how far it is."""


class Breakage(Struct, frozen=True, kw_only=True):
    """What a version would break: a method (or an instance's `options`), why, and how much of what is live names it, by kind."""

    method: str
    why: str
    live: dict[str, int] = field(default_factory=dict[str, int])
    instances: list[str] = field(default_factory=list[str])

    def shape(self) -> dict[str, Any]:
        """Return it as JSON that users read."""
        return {"method": self.method, "why": self.why, "live": self.live, "instances": self.instances}

    def __str__(self) -> str:
        found = " and ".join(_counted(count, kind) for kind, count in sorted(self.live.items()))
        return f"{self.method}: {self.why}: {f'{found} of ' if found else ''}{_some(self.instances)}"


class BreaksLive(Exception):
    """A version would break what is live; the message names it and the remedy."""

    def __init__(self, version: str, breakages: Sequence[Breakage]) -> None:
        self.breakages = list(breakages)
        found = "; ".join(map(str, breakages))
        super().__init__(
            f"{version} would break what is live: {found}. Keep what is named, have the method that takes its place bridge "
            'it with @renamed_from("…"), or deploy with --force: what names it then fails with CallbackNotFound or TypeError'
        )


async def breakages(
    storage: Storage,
    twist: str,
    manifest: Manifest,
    chosen: Callable[[Instance], Awaitable[Chosen]],
    tell: Callable[[str], None] = lambda _: None,
    *,
    only: str | None = None,
) -> list[Breakage]:
    """Return what of a twist's instances, or of `only` one, works now and would not in a version with this manifest.

    `chosen` gives an instance's options.
    """
    instances = [one for one in await storage.instances() if one.twist == twist and one.status != "deactivating"]
    if only is not None:
        instances = [one for one in instances if one.id == only]
    new, versions = Signatures(manifest), _Versions(storage, twist)
    found: dict[tuple[str, str], Breakage] = {}
    for number, instance in enumerate(instances):
        if number % _TOLD_EVERY == 0:
            tell(f"Checking what is live: instance {number + 1:,} of {len(instances):,}")
        own = await versions.of(instance)
        for use in await storage.live_uses(instance.id):
            why = new.refusal(use)
            if why is not None and own.refusal(use) is None:
                _note(found, _called(use), why, instance, use)
        given = await chosen(instance)
        why = unfit(manifest, given)
        if why is not None and unfit(own.manifest, given) is None:
            _note(found, "options", why, instance, None)
    return list(found.values())


def _note(found: dict[tuple[str, str], Breakage], method: str, why: str, instance: Instance, use: Use | None) -> None:
    breakage = found.setdefault((method, why), Breakage(method=method, why=why))
    if instance.id not in breakage.instances[-1:]:
        breakage.instances.append(instance.id)
    if use is not None:
        breakage.live[use.kind] = breakage.live.get(use.kind, 0) + use.count


class _Versions:
    """The versions that a twist's instances have, each read once."""

    def __init__(self, storage: Storage, twist: str) -> None:
        self._storage = storage
        self._twist = twist
        self._known: dict[int, Signatures] = {}

    async def of(self, instance: Instance) -> Signatures:
        """Return the methods of the version that the instance has."""
        known = self._known.get(instance.version)
        if known is None:
            version = await self._storage.version(self._twist, instance.version)
            if version is None:
                raise StorageUnusable(
                    f"version {instance.version} of {instance.twist_name} is not in the database: restore it from a backup"
                )
            known = self._known[instance.version] = Signatures(version.manifest)
        return known


# ── In words ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _called(use: Use) -> str:
    return f"{use.ns}.{use.method}()" if use.ns else f"{use.method}()"


def _counted(count: int, kind: str) -> str:
    return f"{count:,} {kind}{'' if count == 1 else 's'}"


def _some(instances: Sequence[str]) -> str:
    more = f" and {len(instances) - _SHOWN:,} more" if len(instances) > _SHOWN else ""
    return f"instance{'s' if len(instances) > 1 else ''} {', '.join(instances[:_SHOWN])}{more}"
