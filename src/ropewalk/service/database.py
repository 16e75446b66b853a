"""A database that is open, and what one process has for it: keys, a sandbox, its bundles on the disk, word to its nodes."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from pathlib import Path
from typing import Final

import msgspec

from ropewalk.answers.secrets import open_secrets
from ropewalk.clock import Clock
from ropewalk.sandbox.interface import Source
from ropewalk.sandbox.source import ForkSource
from ropewalk.service import bundles, doorbell, packages
from ropewalk.service.config import Settings
from ropewalk.service.membership import live_nodes
from ropewalk.service.options import Chosen
from ropewalk.sources import urls
from ropewalk.storage.interface import Storage, StorageUnavailable, StorageUnusable
from ropewalk.storage.records import Instance
from ropewalk.vault.masters import Masters
from ropewalk.vault.vault import Vault

log: Final = logging.getLogger(__name__)


class Database:
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
                await self.lay_out(directory, digest)
        except bundles.BundleError as error:
            raise StorageUnusable(str(error)) from error
        except OSError as error:
            raise StorageUnavailable(f"{directory} cannot be written: {error.strerror}") from error

    async def lay_out(self, directory: Path, digest: str) -> None:
        """Lay out a stored bundle, after the packages that it links to, in a thread: a big one takes a while."""
        if await asyncio.to_thread(bundles.is_whole, directory / digest, digest):
            bundles.touch(directory / digest)
            return
        files = await self.storage.bundle(digest)
        for package in packages.packages_of(files):
            await self.lay_out(directory, package.files)
        await asyncio.to_thread(bundles.materialise, directory, digest, files)

    async def chosen(self, instance: Instance) -> Chosen:
        """Return the options that an instance was given. Raises VaultError."""
        _, sealed = await self.storage.options(instance.id)
        secrets = {} if sealed is None else open_secrets(await self.vault.sealer(instance.id), sealed)
        return Chosen(msgspec.json.decode(instance.options), secrets)
