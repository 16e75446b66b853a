"""The whole audit of a live database: what storage finds, what the vault cannot open, and deploys that nobody finishes (G6).

Storage knows what hangs together in its rows. What a key opens, and which versions are still to be offered, is known here. What is mended is
mended by what does it otherwise: a rotation is finished by rotating, a deploy by rolling it out. What only an author's code could mend waits
for a node, as everything that is queued does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from msgspec.structs import replace

from ropewalk.answers.secrets import open_secrets
from ropewalk.clock import boot_id
from ropewalk.service.membership import is_expired
from ropewalk.service.service import Service
from ropewalk.sources import urls
from ropewalk.storage.interface import StorageUnusable
from ropewalk.storage.records import Finding, Sealed
from ropewalk.vault.ciphers import wrapped_by
from ropewalk.vault.errors import KeyMissing, KeyRefused, Tampered
from ropewalk.vault.rotation import is_unfinished, rotate

AT_ONCE: Final = 500
"""Instances whose keys are looked at in one read."""


async def audit(service: Service, *, repair: bool) -> list[Finding]:
    """Find what is stuck in a database, leases that are over included, and mend it when `repair` is true."""
    boot = boot_id()
    dead = [node for node in await service.storage.nodes() if is_expired(node, boot, service.clock)]
    found = await service.storage.audit(service.clock.now(), repair=repair, dead=dead)
    return [*found, *await _keys(service, repair=repair), *await _rollouts(service, repair=repair)]


# ── Deploys ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _rollouts(service: Service, *, repair: bool) -> list[Finding]:
    """Look for versions that were not offered to every instance. While a node lives it is about to: that is no fault."""
    behind = [] if service.has_live_node() else await service.storage.behind(AT_ONCE)
    if not behind:
        return []
    some = f"{len(behind):,}{' or more' if len(behind) == AT_ONCE else ''}"
    finding = Finding(
        name="rollout_unfinished",
        what=f"{some} instances were not offered the latest version of their twist, and no node runs that would do so",
        remedy="it is offered to them: their upgrades are queued, or they wait for a grant",
    )
    if repair:
        try:
            await service.roll_out()
        except StorageUnusable:  # a version that cannot be read: a finding of its own
            return [finding]
    return [replace(finding, repaired=repair)]


# ── Keys, and what they open ──────────────────────────────────────────────────────────────────────────────────────────────────


async def _keys(service: Service, *, repair: bool) -> list[Finding]:
    """Look whether the master key in force is at hand, every data key opens with one, and what that sealed opens with it."""
    in_force = [finding async for finding in _in_force(service, repair=repair)]
    if any(not finding.repaired for finding in in_force):
        return in_force
    unreadable = [finding async for one in _all_sealed(service) if (finding := await _unreadable(service, one)) is not None]
    return [*in_force, *unreadable, *await _rotation(service, repair=repair and not unreadable)]


async def _in_force(service: Service, *, repair: bool) -> AsyncIterator[Finding]:
    try:
        await service.vault.check()
    except KeyMissing as error:
        yield Finding(name="master_key_missing", what=str(error), remedy="give the key back; nothing is lost meanwhile")
        return
    except KeyRefused as error:
        yield Finding(name="master_key_refused", what=str(error), remedy="mend what keeps the key from being used")
        return
    if await service.storage.master_key() is not None:
        return
    async for one in _all_sealed(service):
        if one.key is not None:
            finding = Finding(
                name="no_master_key_in_force",
                what="data keys are wrapped, and no master key is in force",
                remedy="the one that wrapped them is",
                repaired=repair,
            )
            if repair:
                await service.storage.adopt_master_key(wrapped_by(one.key), instead_of=None)
            yield finding
            return


async def _all_sealed(service: Service) -> AsyncIterator[Sealed]:
    last = ""
    while some := await service.storage.sealed(last, AT_ONCE):
        for one in some:
            yield one
        last = some[-1].instance


async def _unreadable(service: Service, one: Sealed) -> Finding | None:
    """Return what of an instance does not open."""
    if one.key is None:
        return Finding(
            name="data_key_missing",
            what=f"secrets of instance {one.instance} are sealed with a key of its own, which is not there",
            remedy=f"restore the database from a backup, or give them again: {_anew(one)}",
            instance=one.instance,
        )
    try:
        sealer = service.vault.opened(one.instance, one.key)
    except (KeyMissing, Tampered) as error:
        return Finding(
            name="data_key_unreadable",
            what=f"the key that secrets of instance {one.instance} are sealed with cannot be opened: {error}",
            remedy="give the master key back, restore the database from a backup, or activate the twist anew",
            instance=one.instance,
        )
    try:
        if one.options is not None:
            open_secrets(sealer, one.options)
        for webhook in await service.storage.webhooks(one.instance) if one.webhooks else ():
            if webhook.secret is not None:
                sealer.open(webhook.secret, urls.SEALED_AS, webhook.id)
    except Tampered as error:
        return Finding(
            name="secrets_unreadable",
            what=f"secrets of instance {one.instance} do not open with its key: {error}",
            remedy=f"restore the database from a backup, or give them again: {_anew(one)}",
            instance=one.instance,
        )
    return None


def _anew(one: Sealed) -> str:
    """Return how the secrets of an instance are given again."""
    options = f"`ropewalk options {one.instance} --option NAME=@FILE`" if one.options is not None else ""
    webhooks = "its twist makes its webhooks again" if one.webhooks else ""
    return ", ".join(filter(None, (options, webhooks)))


async def _rotation(service: Service, *, repair: bool) -> list[Finding]:
    """Look for a rotation that was begun, and that nobody is at."""
    if not await is_unfinished(service.storage, service.masters):
        return []
    finding = Finding(
        name="rotation_unfinished",
        what="a rotation of the master key was begun and not ended: keys are wrapped by the old one, or it is still in its file",
        remedy="it is ended: every key is wrapped by the new one",
        repaired=repair,
    )
    if repair:
        await rotate(service.storage, service.masters)
    return [finding]
