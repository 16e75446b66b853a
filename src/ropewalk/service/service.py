"""A database, open, and what commands and nodes do with it. The only place that names the concrete backends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Unpack

from msgspec.structs import replace

from ropewalk.answers.secrets import seal_secrets
from ropewalk.answers.tasks import new_id
from ropewalk.clock import Clock, SystemClock, to_datetime
from ropewalk.errors import NotFound
from ropewalk.sandbox.interface import Image, Source
from ropewalk.service import bundles, doorbell, packages
from ropewalk.service.changing import chosen_of
from ropewalk.service.config import Settings
from ropewalk.service.deploying import Deployed, How, check_manifest, check_options, permissions
from ropewalk.service.gate import BreaksLive, breakages
from ropewalk.service.membership import live_nodes
from ropewalk.service.options import Chosen
from ropewalk.service.packages import Tell, Trees
from ropewalk.service.rolling_out import RolledOut, RollOut
from ropewalk.sources import urls
from ropewalk.storage.interface import DoesNotApply, Storage, StorageUnavailable, StorageUnusable
from ropewalk.storage.pace import Pace
from ropewalk.storage.records import (
    Delivery,
    Execution,
    Instance,
    NewExecution,
    NewInstance,
    NewVersion,
    Rank,
    StorageLimits,
    Suspension,
    Twist,
    Version,
)
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.vault.masters import Masters
from ropewalk.vault.vault import Vault
from ropewalk.wire.control import Manifest
from ropewalk.wire.messages import Target, Trigger

if TYPE_CHECKING:
    from ropewalk.sandbox.source import ForkSource

log: Final = logging.getLogger(__name__)


class Service:
    """One process's way to a database.

    Args:
        settings: the settings in force.
        storage: the open database.
        clock: what time it is.

    Attributes:
        masters: the master keys at hand.
        vault: what seals and opens secrets of instances.
        public_url: what webhooks' URLs begin with, "" while that is where another process has listened.
    """

    def __init__(self, settings: Settings, storage: Storage, clock: Clock) -> None:
        self.settings = settings
        self.storage = storage
        self.clock = clock
        self.masters = Masters(settings.key, settings.key_file)
        self.vault = Vault(storage, self.masters)
        self.public_url = settings.public_url
        self._source: ForkSource | None = None
        self._laying_out: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def nodes_directory(self) -> Path:
        """The folder beside the database with the nodes' locks and doorbells."""
        database = self.settings.database_path
        return database.with_name(f"{database.name}-nodes")

    async def sandbox(self, hash_seed: int | None = None) -> Source:
        """Return where processes come from, started when first asked for. Without isolation, when so told, it says so each time.

        Args:
            hash_seed: what its processes are to hash texts by, when it is started for this.

        Raises:
            SandboxError: this host cannot isolate; the message says what is missing.
        """
        if self._source is None:
            from ropewalk.sandbox.assessment import UNSAFE  # with `source`, a quarter of the time of a command that only looks
            from ropewalk.sandbox.source import ForkSource

            directory = self.settings.bundles_directory.absolute()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            unsafe = self.settings.unsafe_no_sandbox
            if unsafe:
                log.warning("%s: %s", self.settings.sources.get("unsafe_no_sandbox", "unsafe_no_sandbox"), UNSAFE)
            source = ForkSource(str(directory), unsafe=unsafe, memory=self.settings.node_memory, hash_seed=hash_seed)
            await source.start()
            self._source = source
        return self._source

    async def close(self) -> None:
        """End the sandbox and close the database."""
        if self._source is not None:
            await self._source.stop()
        await self.storage.close()

    def ring(self) -> None:
        """Tell the nodes of this database that there is something new."""
        doorbell.ring(self.nodes_directory)

    async def listening_at(self, url: str) -> None:
        """Take note of where this process listens: webhooks' URLs begin with that, here and in processes that listen nowhere."""
        self.public_url = self.settings.public_url or url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        await self.storage.note_fact(urls.LISTENING, self.public_url)

    async def base_url(self) -> str:
        """Return what webhooks' URLs begin with."""
        return self.public_url or await self.storage.fact(urls.LISTENING) or urls.DEFAULT

    def has_live_node(self) -> bool:
        """Whether some node, in any process, runs this database's executions now."""
        return bool(live_nodes(self.nodes_directory))

    async def materialise(self, digest: str) -> None:
        """Lay a stored bundle's files out for the sandbox, unless they are there.

        Raises:
            StorageUnusable: the files are missing or damaged in the database.
            StorageUnavailable: they cannot be written now; the disk may be full.
        """
        directory = self.settings.bundles_directory
        try:
            async with self._laying_out[digest]:  # not once for each of a version's first executions
                await self._lay_out(directory, digest)
        except bundles.BundleError as error:
            raise StorageUnusable(str(error)) from error
        except OSError as error:
            raise StorageUnavailable(f"{directory} cannot be written: {error.strerror}") from error

    async def _lay_out(self, directory: Path, digest: str) -> None:
        """Lay out a stored bundle, after the packages that it links to, in a thread: a big one takes a while."""
        if await asyncio.to_thread(bundles.is_whole, directory / digest, digest):
            bundles.touch(directory / digest)
            return
        files = await self.storage.bundle(digest)
        for package in packages.packages_of(files):
            await self._lay_out(directory, package.files)
        await asyncio.to_thread(bundles.materialise, directory, digest, files)

    # ── Deploying ────────────────────────────────────────────────────────────────────────────────────────────────────────────

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
        version = await self.storage.version(twist.id, number)
        if version is None:
            raise NotFound(
                f"{twist.name} has no version {number} to go back to: its latest is {twist.latest} "
                f"(`ropewalk versions {twist.name}` lists them)"
            )
        if version.removed_at is not None:
            raise NotFound(
                f"the files of version {number} of {twist.name} were removed on {to_datetime(version.removed_at):%Y-%m-%d}: no instance was in it for longer "
                f"than `keep_bundles` ({self.settings.keep_bundles / 86_400:g} days); deploy its source again"
            )
        packed = bundles.Packed(
            path=f"version {number} of {twist.name}",
            name=twist.name,
            module=version.module,
            cls=version.manifest.cls,
            files=await self.storage.bundle(version.bundle),
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
            permissions_added=await RollOut(self.storage, self.clock).adds(latest, asked),
            packages=list(packages.packages_of(built.files)),
        )
        if latest is not None and latest.bundle == built.digest and latest.manifest == manifest:
            if not dry_run:
                await self.storage.keep_bundle(built.digest, built.files)  # files that got lost are there again
                await self.roll_out(tell)  # what a deploy of it that was killed has left
            return {**result, "version": latest.number, "unchanged": True}
        broken = [] if latest is None else await breakages(self.storage, latest.twist, manifest, self.chosen, tell)
        if broken and not force:
            raise BreaksLive(f"this version of {name}", broken)
        if broken:
            result["breaks"] = [breakage.shape() for breakage in broken]
        if dry_run:
            return {**result, "dry_run": True}
        for digest, files in trees.items():
            await self.storage.keep_bundle(digest, files)
        stored = await self.storage.deploy(
            NewVersion(
                name=name,
                bundle=built.digest,
                module=built.module,
                manifest=manifest,
                files=built.files,
                packages=tuple(sorted({package.files for package in packages.packages_of(built.files)})),
                grants=grant,
                at=self.clock.now(),
            )
        )
        rolled_out = await self.roll_out(tell)
        mine = rolled_out.get(stored.twist, RolledOut())
        # A node may have offered it to some of them in the same moment.
        upgrading = {*mine.upgrading, *await self.storage.upgrades(stored.twist, stored.number)}
        waiting = [one.id for one in await self.storage.instances() if (one.twist, one.awaiting) == (stored.twist, stored.number)]
        return {**result, "version": stored.number, "upgrading": sorted(upgrading), "awaiting_grant": waiting}

    async def roll_out(self, tell: Tell = lambda _: None) -> dict[str, RolledOut]:
        """Offer every twist's latest version to the instances that were not offered it: those of a deploy, or left by one that was killed."""
        rolled_out = await RollOut(self.storage, self.clock).finish(tell)
        if rolled_out:
            self.ring()
        return rolled_out

    async def _build(
        self, packed: bundles.Packed, name: str | None, upgrade_packages: bool, tell: Tell
    ) -> tuple[bundles.Packed, Trees, Manifest, str]:
        """Return the bundle with its packages, those of them that may not be stored yet, what it declares, and its twist's name.

        A twist whose manifest gives no name has its class's, which is only known once it is imported: until then it is taken for the last
        one deployed that asks for the same packages.
        """
        from ropewalk.service.installing import Installer, fitting_locks  # which only a deploy has to wait for

        locks = {} if upgrade_packages else await fitting_locks(self.storage, packed)
        likely = name or next(iter(locks), "")
        directory, source = self.settings.bundles_directory, await self.sandbox()
        installer = Installer(storage=self.storage, source=source, directory=directory, settings=self.settings, tell=tell)
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
        limits = self.settings.limits.lowered_by(manifest.limits)
        return replace(self._image(built), cls=manifest.cls, limits=limits, network=manifest.declares_network)

    async def describe(self, packed: bundles.Packed, trees: Trees, tell: Tell) -> Manifest:
        """Import a bundle in the sandbox and return the manifest that it declares, checked. `trees` has packages that are not stored."""
        directory = self.settings.bundles_directory
        for package in packages.packages_of(packed.files):
            if package.files in trees:
                await asyncio.to_thread(bundles.materialise, directory, package.files, trees[package.files])
            else:
                await self._lay_out(directory, package.files)
        await asyncio.to_thread(bundles.materialise, directory, packed.digest, packed.files)
        tell(f"Importing {packed.module} in the sandbox")
        described = await (await self.sandbox()).describe(self._image(packed))
        manifest = replace(described, isolation=packed.isolation)
        check_manifest(manifest, self.settings.limits)
        return manifest

    def _image(self, packed: bundles.Packed) -> Image:
        return Image(
            bundle=packed.digest,
            module=packed.module,
            cls=packed.cls,
            limits=self.settings.limits,
            strict="strict" in (self.settings.isolation, packed.isolation),
            import_memory=self.settings.limit_import,
        )

    async def _latest(self, name: str) -> Version | None:
        twist = next((twist for twist in await self.storage.twists() if twist.name == name), None)
        return await self.storage.version(twist.id) if twist else None

    # ── Instances ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def chosen(self, instance: Instance) -> Chosen:
        """Return the options that an instance was given. Raises VaultError."""
        return await chosen_of(self.storage, self.vault, instance)

    async def activate(self, version: Version, priority: str, options: Chosen) -> tuple[str, str]:
        """Make an instance and queue its `activate`; returns the ids of both.

        Raises:
            DoesNotApply: there is no such priority.
            InvalidValue: the options give a tool what it cannot take.
            VaultError: there are secrets among them, and they cannot be sealed.
        """
        check_options(version.manifest, options.json)
        if await self.storage.priority(priority) is None:
            raise DoesNotApply(f"there is no priority {priority!r}: `ropewalk priorities` lists them")
        instance = new_id()
        execution = self._lifecycle(instance, "activate", Rank.BARRIER)
        key, sealer = await self.vault.new_key(instance) if options.secrets else (None, None)
        await self.storage.activate(
            NewInstance(
                id=instance,
                twist=version.twist,
                version=version.number,
                priority=priority,
                options=options.json,
                secret=secrets.token_bytes(32),
                activate=execution,
                key=key,
                sealed=None if sealer is None else seal_secrets(sealer, options.secrets),
            )
        )
        self.ring()
        await self.roll_out()  # a newer version may have been deployed while its options were looked at
        return instance, execution.id

    async def asked_of(self, instance: Instance) -> list[str]:
        """Return what an instance waits to be granted."""
        return await RollOut(self.storage, self.clock).awaited(instance)

    async def grant(self, instance: Instance, *, dry_run: bool = False, force: bool = False) -> str | None:
        """Grant an instance what the version asks for that it waits for; returns the execution of its `upgrade`.

        What has become live of it since that version was deployed is checked as `deploy` does. None when it waits for no grant, or with
        `dry_run`, which only checks.

        Raises:
            BreaksLive: the version would break what is live, and not `force`.
            DoesNotApply: it waits for another version by now.
        """
        version = await self.storage.version(instance.twist, instance.awaiting) if instance.awaiting is not None else None
        if version is None:
            return None
        broken = await breakages(self.storage, instance.twist, version.manifest, self.chosen, only=instance.id)
        if broken and not force:
            raise BreaksLive(f"version {version.number} of {instance.twist_name}", broken)
        if dry_run:
            return None
        execution = self._lifecycle(instance.id, "upgrade", Rank.BARRIER)
        await self.storage.grant(version.number, execution)
        self.ring()
        return execution.id

    async def suspend(self, instance: str, reason: str) -> Suspension:
        """Have nothing more of an instance run until it is resumed, whatever is deployed meanwhile.

        Raises:
            DoesNotApply: it is being deactivated.
        """
        suspension = Suspension(reason=reason, since=self.clock.now())
        await self.storage.suspend(instance, suspension)
        return suspension

    async def resume(self, instance: str) -> bool:
        """Lift an instance's suspension and begin its budgets anew; False when it was not suspended."""
        was_suspended = await self.storage.resume(instance, self.clock.now())
        self.ring()
        return was_suspended

    async def deactivate(self, instance: str) -> str:
        """Fence an instance and queue its `deactivate`; returns that execution's id."""
        execution = self._lifecycle(instance, "deactivate", Rank.DEACTIVATE)
        await self.storage.begin_deactivation(execution)
        self.ring()
        return execution.id

    async def invoke(self, instance: Instance, target: Target) -> str:
        """Queue a method for a person who waits for its result; returns the execution's id."""
        execution = NewExecution(
            id=new_id(),
            instance=instance.id,
            trigger="invoke",
            target=target,
            rank=Rank.WAITED_FOR,
            cause="invoke",
            at=self.clock.now(),
        )
        await self.storage.enqueue(execution)
        self.ring()
        return execution.id

    async def redeliver(self, delivery: Delivery) -> str:
        """Have a webhook's request run once more, as if it had come again; returns the new execution.

        Raises:
            UnknownInstance, QueueIsFull, DoesNotApply: as `Storage.redeliver`.
        """
        original = await self.storage.execution(delivery.execution)
        if original is None:
            raise DoesNotApply(f"there is no execution {delivery.execution} any more")
        execution = NewExecution(
            id=new_id(),
            instance=delivery.instance,
            trigger="webhook",
            target=original.target,
            callback=original.callback,
            ns=original.ns,
            cause=f"redelivery of {delivery.execution}",
            at=self.clock.now(),
        )
        await self.storage.redeliver(delivery.execution, execution)
        self.ring()
        return execution.id

    async def is_held(self, execution: Execution) -> bool:
        """Whether an execution that is not over waits for its suspended instance to be resumed."""
        if execution.status == "running":
            return False
        instance = await self.storage.instance(execution.instance)
        return instance is not None and instance.suspension is not None

    def _lifecycle(self, instance: str, trigger: Trigger, rank: Rank) -> NewExecution:
        return NewExecution(
            id=new_id(),
            instance=instance,
            trigger=trigger,
            target=Target(ns="", method=trigger),
            rank=rank,
            cause="operator",
            at=self.clock.now(),
        )


def storage_limits(settings: Settings) -> StorageLimits:
    """Return what one instance may keep and start."""
    return StorageLimits(
        pending=settings.limit_queue,
        pending_bytes=settings.limit_queue_bytes,
        store_bytes=settings.limit_store,
        callbacks=settings.limit_callbacks,
        record_bytes=settings.limit_records,
        delivery_bytes=settings.limit_deliveries,
        pace=Pace(burst=settings.pace_burst, rate=settings.pace_rate),
        daily=settings.limit_daily,
        chain=settings.limit_chain,
    )


@contextlib.asynccontextmanager
async def open_service(settings: Settings, *, create: bool = False) -> AsyncIterator[Service]:
    """Open the database that the settings name.

    Raises:
        StorageUnusable: there is none (and `create` is false), or it cannot be used.
    """
    clock = SystemClock()
    storage = await open_sqlite(settings.database_path, clock=clock, create=create, limits=storage_limits(settings))
    service = Service(settings, storage, clock)
    try:
        yield service
    finally:
        await service.close()
