"""Which packages a deploy gets: those that the twist's latest version has, while it asks for the same, else newly resolved ones.

So a deploy of unchanged source gives the same bundle, whatever has appeared on the index since, and needs no index. Before: `bundles.pack`.
After: `dependencies`, when there is something to resolve, and `service`, which imports the result in the sandbox.
"""

from __future__ import annotations

from ropewalk.service import packages
from ropewalk.service.bundles import Packed
from ropewalk.service.packages import Lock
from ropewalk.storage.interface import Storage


async def fitting_locks(storage: Storage, packed: Packed) -> dict[str, Lock]:
    """Return the locks of latest versions that are an answer to what `packed` asks for, by the twist's name, newest first."""
    found: dict[str, Lock] = {}
    if packed.requirements:
        for twist in await storage.twists():
            version = await storage.version(twist.id)
            lock = None if version is None else packages.lock_of(await storage.bundle(version.bundle))
            if lock is not None and lock.fits(packed.requirements):
                found[twist.name] = lock
    return found
