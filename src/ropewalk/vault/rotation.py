"""Replacing the master key while nodes run: data keys are wrapped anew, what they seal stays as it is.

    new key first in the file ─► in force in the database ─► data keys wrapped anew, some at a time ─► old keys leave the file

Each step can be the last before a crash: rotating again goes on from there. Once a key is in force the database takes no data key that
another one wrapped, so that none is left behind by a process that has not heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import DataKey
from ropewalk.vault.ciphers import unwrap, wrap
from ropewalk.vault.errors import KeyMissing, KeyRefused, Tampered
from ropewalk.vault.masters import MasterKey, Masters

if TYPE_CHECKING:
    from ropewalk.storage.interface import Storage

_AT_ONCE: Final = 200


class Rotated(Struct, frozen=True, kw_only=True):
    """What a rotation did.

    Attributes:
        key: the id of the key in force now.
        previous: of the one before.
        rewrapped: how many data keys were wrapped anew.
        unopened: data keys that no key at hand opens, by their instances, and why: they stay as they are.
        removed: how many old keys left the file.
    """

    key: str
    previous: str | None
    rewrapped: int
    unopened: dict[str, str]
    removed: int


async def rotate(storage: Storage, masters: Masters, progress: Callable[[int], None] = lambda _: None) -> Rotated:
    """Put a new master key in force and wrap every data key anew; what was begun and not ended is ended first.

    Args:
        storage: the database.
        masters: the master keys at hand; the old ones must be among them.
        progress: told how many data keys are done, again and again.

    Raises:
        KeyMissing: the key in force is not at hand.
        KeyRefused: the setting has no newer key than the one in force, the file cannot be used, or another rotation is at it.
    """
    with masters.alone():
        return await _rotate(storage, masters, progress)


async def is_unfinished(storage: Storage, masters: Masters) -> bool:
    """Whether a rotation was begun and not ended, and none is under way now. Raises KeyRefused when the file cannot be used."""
    in_force = await storage.master_key()
    if in_force is None:
        return False
    begun = await _has_begun(storage, masters, in_force) or (masters.in_file and len(masters.texts()) > 1)
    return begun and not masters.are_changing


async def _rotate(storage: Storage, masters: Masters, progress: Callable[[int], None]) -> Rotated:
    before = await storage.master_key()
    if before is not None:
        masters.find(before)
    new = await _new_master(storage, masters, before)
    if await storage.adopt_master_key(new.id, instead_of=before) != new.id:
        raise DoesNotApply("another master key has come into force meanwhile: see `ropewalk key show`")
    rewrapped = 0
    unopened: dict[str, str] = {}
    while waiting := await _waiting(storage, new, unopened):
        changed: list[tuple[DataKey, DataKey]] = []
        for old in waiting:
            try:
                changed.append((old, _rewrapped(old, masters, new)))
            except (KeyMissing, Tampered) as error:  # one that is damaged is not to keep the others under an old key
                unopened[old.instance] = str(error)
        await storage.rewrap(changed)
        rewrapped += len(changed)
        progress(rewrapped)
    removed = masters.keep_only(new.id) if masters.in_file else 0
    return Rotated(key=new.id, previous=before, rewrapped=rewrapped, unopened=unopened, removed=removed)


async def _waiting(storage: Storage, new: MasterKey, unopened: Collection[str]) -> list[DataKey]:
    """Return some data keys that another master key wraps, and of which it is not known that they do not open."""
    some = await storage.data_keys(other_than=new.id, limit=_AT_ONCE + len(unopened))
    return [old for old in some if old.instance not in unopened]


async def _new_master(storage: Storage, masters: Masters, in_force: str | None) -> MasterKey:
    first = masters.first()
    unfinished = in_force is not None and await _has_begun(storage, masters, in_force)
    if first.id != in_force or unfinished:
        return first
    if masters.in_file:
        return first if len(masters.texts()) > 1 else masters.add()
    raise KeyRefused(
        "ROPEWALK_KEY begins with the key that is in force already: make one with `ropewalk key new` and put it before it, "
        "ROPEWALK_KEY=new,old, for the nodes too"
    )


async def _has_begun(storage: Storage, masters: Masters, in_force: str) -> bool:
    """Whether there are data keys that a master key at hand opens, and another one than that in force."""
    return any(_opens(old, masters) for old in await storage.data_keys(other_than=in_force, limit=_AT_ONCE))


def _opens(old: DataKey, masters: Masters) -> bool:
    try:
        unwrap(masters.find(old.master).cipher, old.wrapped, [old.instance])
    except (KeyMissing, Tampered):
        return False
    return True


def _rewrapped(old: DataKey, masters: Masters, new: MasterKey) -> DataKey:
    key = unwrap(masters.find(old.master).cipher, old.wrapped, [old.instance])
    return DataKey(instance=old.instance, master=new.id, wrapped=wrap(new.cipher, new.id, key, [old.instance]))
