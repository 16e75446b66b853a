"""Which packages a deploy gets: those that the twist's latest version has, while it asks for the same, else newly resolved ones.

So a deploy of unchanged source gives the same bundle, whatever has appeared on the index since, and needs no index. A wheel that some
twist has already is not compiled again, and its files are not stored again. Before: `bundles.pack`. After: `service`, which imports the
result in the sandbox and stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from ropewalk.sandbox.interface import Source
from ropewalk.service import packages
from ropewalk.service.bundles import BundleError, Packed, digest_of
from ropewalk.service.compiling import compile_files
from ropewalk.service.config import Settings
from ropewalk.service.dependencies import Wheel, fetch
from ropewalk.service.packages import Lock, Overlap, Package, Tell, Trees, machine, merged
from ropewalk.storage.interface import Storage


class Installer(Struct, frozen=True, kw_only=True):
    """What installing takes: `directory` is where bundles are laid out for the sandbox `source`."""

    storage: Storage
    source: Source
    directory: Path
    settings: Settings
    tell: Tell

    async def install(self, packed: Packed, lock: Lock | None) -> tuple[Packed, Trees]:
        """Return a bundle with the packages of a lock, or newly resolved ones, and the files of those that may not be stored yet.

        Raises:
            BundleError: they cannot be met, fetched or unpacked; the message says which, why, and what to do.
        """
        if not packed.requirements:
            return packed, {}
        stored = await self.storage.bundles()
        if lock is not None:
            return packed.locked(lock), await self._restored(
                [package for package in lock.packages if package.files not in stored]
            )
        wheels = await fetch(packed.requirements, self.settings, self.tell)
        locks = (await _locks(self.storage)).values()
        known = {package.sha256: package for one in locks for package in one.packages if package.files in stored}
        made = [await self._package(wheel, known.get(wheel.sha256)) for wheel in wheels]
        return packed.locked(_lock(packed.requirements, made)), {package.files: files for package, files in made}

    async def _restored(self, lost: list[Package]) -> Trees:
        """Return the files of packages that are stored no more, from the very wheels that they came from."""
        trees: dict[str, Mapping[str, bytes]] = {}
        pinned = tuple(f"{package.name}=={package.version}" for package in lost)
        wheels = {wheel.sha256: wheel for wheel in await fetch(pinned, self.settings, self.tell)} if lost else {}
        for package in lost:
            wheel = wheels.get(package.sha256)
            made = None if wheel is None else await self._package(wheel, None)
            if made is None or made[0] != package:
                raise BundleError(
                    f"the files of {package.name} {package.version} got lost, and {package.wheel} cannot be had as it was: "
                    "deploy with --upgrade-packages"
                )
            trees[package.files] = made[1]
        return trees

    async def _package(self, wheel: Wheel, known: Package | None) -> tuple[Package, Mapping[str, bytes]]:
        if known is not None:
            return known, await self.storage.bundle(known.files)
        self.tell(f"Compiling {wheel.name}")
        files = {**wheel.files, **await compile_files(self.source, self.directory, wheel.files)}
        package = Package(
            name=wheel.name,
            version=wheel.version,
            wheel=wheel.file,
            sha256=wheel.sha256,
            files=digest_of(files),
            size=sum(map(len, files.values())),
            requires=wheel.requires,
        )
        return package, files


def _lock(requirements: tuple[str, ...], made: list[tuple[Package, Mapping[str, bytes]]]) -> Lock:
    try:
        tree = digest_of(merged(files for _, files in made))
    except Overlap as error:
        raise BundleError(f"the dependencies do not go together: {error}") from None
    python, platform = machine()
    return Lock(
        requirements=requirements, python=python, platform=platform, packages=tuple(package for package, _ in made), tree=tree
    )


async def fitting_locks(storage: Storage, packed: Packed) -> dict[str, Lock]:
    """Return the locks of latest versions that are an answer to what `packed` asks for, by the twist's name, newest first."""
    if not packed.requirements:
        return {}
    return {name: lock for name, lock in (await _locks(storage)).items() if lock.requirements == packed.requirements}


async def _locks(storage: Storage) -> dict[str, Lock]:
    """Return the locks of latest versions that hold on this machine, by the twist's name; a version whose files got lost has none."""
    found: dict[str, Lock] = {}
    stored = await storage.bundles()
    for twist in await storage.twists():
        version = await storage.version(twist.id)
        if version is None or version.bundle not in stored:
            continue
        lock = packages.lock_of(await storage.bundle(version.bundle))
        if lock is not None and (lock.python, lock.platform) == machine():
            found[twist.name] = lock
    return found
