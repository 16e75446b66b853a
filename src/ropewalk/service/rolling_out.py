"""A deploy's second half: each twist's latest version is offered to the instances that have not been offered it.

    deploy ─► the version is stored ─► every instance that is behind: upgrade queued, or it waits for a grant
                                       └─ some at a time; who is killed on the way leaves the rest to the next that comes by

An instance is behind as long as it was not offered the latest version, and that is a column of its row: so nothing is lost when a deploy
is killed, nor when an instance is activated while one is under way. Nodes look for what is behind when they start and now and then.

What a version asks for is granted when the operator who deployed it did so, or when the instance has it already; otherwise the instance goes
on in its version, and waits for `ropewalk grant`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, field

from ropewalk.answers.tasks import new_id
from ropewalk.clock import Clock
from ropewalk.service.deploying import permissions
from ropewalk.service.permissions import added
from ropewalk.storage.interface import Storage, StorageUnusable
from ropewalk.storage.records import Behind, Instance, NewExecution, Offer, Rank, Version
from ropewalk.wire.messages import Target

AT_ONCE: Final = 500
"""Instances in one transaction."""


class RolledOut(Struct, kw_only=True):
    """What became of the instances that a version was offered to: the executions of their `upgrade`, and those that wait for a grant."""

    upgrading: list[str] = field(default_factory=list[str])
    awaiting_grant: list[str] = field(default_factory=list[str])


class RollOut:
    """Offers latest versions to the instances that are behind.

    Args:
        storage: where they are.
        clock: what time it is.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._asked: dict[tuple[str, int], list[str]] = {}

    async def finish(self, tell: Callable[[str], None] = lambda _: None) -> dict[str, RolledOut]:
        """Offer what is to be offered, until nothing is behind; returns what became of the instances, by twist."""
        found: defaultdict[str, RolledOut] = defaultdict(RolledOut)
        while behind := await self._storage.behind(AT_ONCE):
            for (twist, latest), instances in _by_version(behind).items():
                version = await self._version(twist, latest)
                offers = [await self._offer(version, instance) for instance in instances]
                queued = set(await self._storage.offer(twist, latest, offers))
                found[twist].upgrading += [one.execution.id for one in offers if one.execution and one.execution.id in queued]
                found[twist].awaiting_grant += [one.instance for one in offers if one.execution is None]
            tell(f"Upgrading instances: {sum(len(one.upgrading) for one in found.values()):,} so far")
            await asyncio.sleep(0)
        return dict(found)

    async def adds(self, latest: Version | None, asked: Sequence[str]) -> list[str]:
        """Return what of the permissions asked for a twist's latest version did not ask for, or some instance of its does not have."""
        if latest is None:
            return sorted(asked)
        found = set(added(asked, permissions(latest.manifest)))
        instances = [one for one in await self._storage.instances() if one.twist == latest.twist and one.status != "deactivating"]
        for own, granted in {(one.version, one.granted) for one in instances}:
            found.update(added(asked, await self._had(latest.twist, own, granted)))
        return sorted(found)

    async def awaited(self, instance: Instance) -> list[str]:
        """Return what the version that an instance waits for asks for beyond what the instance has; nothing when it waits for none."""
        if instance.awaiting is None:
            return []
        asked = await self._permissions(instance.twist, instance.awaiting)
        return added(asked, await self._had(instance.twist, instance.version, instance.granted))

    async def _offer(self, version: Version, behind: Behind) -> Offer:
        had = await self._had(version.twist, behind.version, behind.granted)
        waits = not version.grants and bool(added(permissions(version.manifest), had))
        return Offer(
            instance=behind.instance,
            version=behind.version,
            granted=behind.granted,
            execution=None if waits else upgrade_of(behind.instance, self._clock),
            grants=version.grants,
        )

    async def _had(self, twist: str, own: int, granted: int) -> list[str]:
        """Return what an instance in version `own` has, which was granted what version `granted` asks for."""
        return [*await self._permissions(twist, own), *(await self._permissions(twist, granted) if granted else ())]

    async def _permissions(self, twist: str, number: int) -> list[str]:
        known = self._asked.get((twist, number))
        if known is None:
            known = self._asked[twist, number] = permissions((await self._version(twist, number)).manifest)
        return known

    async def _version(self, twist: str, number: int) -> Version:
        version = await self._storage.version(twist, number)
        if version is None:
            raise StorageUnusable(f"version {number} of twist {twist} is not in the database: restore it from a backup")
        return version


def upgrade_of(instance: str, clock: Clock) -> NewExecution:
    """Return the event that has an instance run `upgrade`."""
    return NewExecution(
        id=new_id(),
        instance=instance,
        trigger="upgrade",
        target=Target(ns="", method="upgrade"),
        rank=Rank.BARRIER,
        cause="operator",
        at=clock.now(),
    )


def _by_version(behind: Sequence[Behind]) -> dict[tuple[str, int], list[Behind]]:
    found: defaultdict[tuple[str, int], list[Behind]] = defaultdict(list)
    for one in behind:
        found[one.twist, one.latest].append(one)
    return found
