"""New versions: a folder, or an older version's code, becomes its twist's next version.

    pack ─► packages ─► imported in the sandbox ─► its manifest checked ─► what is live held against it ─► stored ─► offered to the instances

Nothing of a version is stored before the gate has let it through, and then all in one transaction; who is killed after that leaves the offers
to whoever comes by (`rolling_out`).
"""

from __future__ import annotations

import asyncio
from typing import Unpack

from msgspec.structs import replace

from ropewalk.clock import to_datetime
from ropewalk.errors import NotFound
from ropewalk.sandbox.interface import Image
from ropewalk.service import bundles, packages
from ropewalk.service.deploying import Deployed, How, check_manifest, permissions
from ropewalk.service.gate import BreaksLive, breakages
from ropewalk.service.packages import Tell, Trees
from ropewalk.service.rolling_out import RolledOut, RollOut
from ropewalk.service.service import Service
from ropewalk.storage.records import NewVersion, Twist, Version
from ropewalk.wire.control import Manifest


class Releases:
    """What makes new versions of twists in a database."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._storage = service.storage
        self._settings = service.settings

    async def deploy(
        self,
        packed: bundles.Packed,
        *,
        name: str | None = None,
        upgrade_packages: bool = False,
        tell: Tell = lambda _: None,
        **how: Unpack[How],
    ) -> Deployed:
        """Install a bundle's packages, import it in the sandbox, check what it declares, and store it as its twist's next version.

        Instances of older versions get an `upgrade`, or wait for a grant. A bundle and manifest that are the latest already make no version.
        While a twist asks for the same packages it keeps those that its latest version has, unless `upgrade_packages`.

        Raises:
            BundleError: its packages cannot be had; nothing was stored.
            RefusedImport: the author's module or manifest cannot be; nothing was stored.
            BreaksLive: it would break what is live of instances, and not `force`; nothing was stored.
        """
        built, trees, manifest, twist_name = await self._build(packed, name or packed.name, upgrade_packages, tell)
        return await self._deploy(built, trees, manifest, twist_name, tell, **how)

    async def rollback(self, twist: Twist, number: int | None, *, tell: Tell = lambda _: None, **how: Unpack[How]) -> Deployed:
        """Deploy the bundle of an older version, the one before the latest unless told, as a twist's next version.

        Raises:
            NotFound: there is no such version.
            RefusedImport, BreaksLive, StorageUnusable: as `deploy`, and when its files are not there.
        """
        number = twist.latest - 1 if number is None else number
        version = await self._storage.version(twist.id, number)
        if version is None:
            raise NotFound(
                f"{twist.name} has no version {number} to go back to: its latest is {twist.latest} "
                f"(`ropewalk versions {twist.name}` lists them)"
            )
        if version.removed_at is not None:
            raise NotFound(
                f"the files of version {number} of {twist.name} were removed on {to_datetime(version.removed_at):%Y-%m-%d}: no instance was in it for longer "
                f"than `keep_bundles` ({self._settings.keep_bundles / 86_400:g} days); deploy its source again"
            )
        packed = bundles.Packed(
            path=f"version {number} of {twist.name}",
            name=twist.name,
            module=version.module,
            cls=version.manifest.cls,
            files=await self._storage.bundle(version.bundle),
            digest=version.bundle,
            isolation=version.manifest.isolation,
        )
        manifest = await self.describe(packed, {}, tell)
        return {**await self._deploy(packed, {}, manifest, twist.name, tell, **how), "rolled_back_to": number}

    async def _deploy(
        self,
        built: bundles.Packed,
        trees: Trees,
        manifest: Manifest,
        name: str,
        tell: Tell,
        *,
        dry_run: bool = False,
        force: bool = False,
        grant: bool = True,
    ) -> Deployed:
        """Check a version against what is live, store it, and offer it to the instances."""
        latest, asked = await self._latest(name), permissions(manifest)
        result = Deployed(
            twist=name,
            version=(latest.number if latest else 0) + 1,
            permissions=asked,
            permissions_added=await RollOut(self._storage, self._service.clock).adds(latest, asked),
            packages=list(packages.packages_of(built.files)),
        )
        if latest is not None and latest.bundle == built.digest and latest.manifest == manifest:
            if not dry_run:
                for digest, files in {built.digest: built.files, **trees}.items():
                    await self._storage.keep_bundle(digest, files)  # files that got lost are there again
                await self._service.roll_out(tell)  # what a deploy of it that was killed has left
            return {**result, "version": latest.number, "unchanged": True}
        broken = [] if latest is None else await breakages(self._storage, latest.twist, manifest, self._service.chosen, tell)
        if broken and not force:
            raise BreaksLive(f"this version of {name}", broken)
        if broken:
            result["breaks"] = [breakage.shape() for breakage in broken]
        if dry_run:
            return {**result, "dry_run": True}
        for digest, files in trees.items():
            await self._storage.keep_bundle(digest, files)
        stored = await self._storage.deploy(
            NewVersion(
                name=name,
                bundle=built.digest,
                module=built.module,
                manifest=manifest,
                files=built.files,
                packages=tuple(sorted({package.files for package in packages.packages_of(built.files)})),
                grants=grant,
                at=self._service.clock.now(),
            )
        )
        rolled_out = await self._service.roll_out(tell)
        mine = rolled_out.get(stored.twist, RolledOut())
        # A node may have offered it to some of them in the same moment.
        upgrading = {*mine.upgrading, *await self._storage.upgrades(stored.twist, stored.number)}
        waiting = [
            one.id for one in await self._storage.instances() if (one.twist, one.awaiting) == (stored.twist, stored.number)
        ]
        return {**result, "version": stored.number, "upgrading": sorted(upgrading), "awaiting_grant": waiting}

    async def _build(
        self, packed: bundles.Packed, name: str | None, upgrade_packages: bool, tell: Tell
    ) -> tuple[bundles.Packed, Trees, Manifest, str]:
        """Return the bundle with its packages, those of them that may not be stored yet, what it declares, and its twist's name.

        A twist whose manifest gives no name has its class's, which is only known once it is imported: until then it is taken for the last
        one deployed that asks for the same packages.
        """
        from ropewalk.service.installing import Installer, fitting_locks  # which only a deploy has to wait for

        locks = {} if upgrade_packages else await fitting_locks(self._storage, packed)
        likely = name or next(iter(locks), "")
        directory, source = self._settings.bundles_directory, await self._service.sandbox()
        installer = Installer(storage=self._storage, source=source, directory=directory, settings=self._settings, tell=tell)
        built, trees = await installer.install(packed, locks.get(likely))
        manifest = await self.describe(built, trees, tell)
        found = bundles.check_name(name or bundles.kebab_case(manifest.cls))
        if likely in locks and found != likely:  # those are another twist's packages
            built, trees = await installer.install(packed, locks.get(found))
            manifest = await self.describe(built, trees, tell)
        return built, trees, manifest, found

    async def image_of(self, packed: bundles.Packed, name: str | None, tell: Tell) -> Image:
        """Build a bundle as a deploy of the twist `name` would, store nothing, and return what its processes are made of.

        Raises:
            BundleError, RefusedImport: it cannot be a version.
        """
        built, _, manifest, _ = await self._build(packed, name, upgrade_packages=False, tell=tell)
        limits = self._settings.limits.lowered_by(manifest.limits)
        return replace(self._image(built), cls=manifest.cls, limits=limits, network=manifest.declares_network)

    async def describe(self, packed: bundles.Packed, trees: Trees, tell: Tell) -> Manifest:
        """Import a bundle in the sandbox and return the manifest that it declares, checked. `trees` has packages that are not stored."""
        directory = self._settings.bundles_directory
        for package in packages.packages_of(packed.files):
            if package.files in trees:
                await asyncio.to_thread(bundles.materialise, directory, package.files, trees[package.files])
            else:
                await self._service.lay_out(directory, package.files)
        await asyncio.to_thread(bundles.materialise, directory, packed.digest, packed.files)
        tell(f"Importing {packed.module} in the sandbox")
        described = await (await self._service.sandbox()).describe(self._image(packed))
        manifest = replace(described, isolation=packed.isolation)
        check_manifest(manifest, self._settings.limits)
        return manifest

    def _image(self, packed: bundles.Packed) -> Image:
        return Image(
            bundle=packed.digest,
            module=packed.module,
            cls=packed.cls,
            limits=self._settings.limits,
            strict="strict" in (self._settings.isolation, packed.isolation),
            import_memory=self._settings.limit_import,
        )

    async def _latest(self, name: str) -> Version | None:
        twist = next((twist for twist in await self._storage.twists() if twist.name == name), None)
        return await self._storage.version(twist.id) if twist else None
