"""The service as the campaign has it: everything as in production, but for where processes come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ropewalk.sandbox.interface import Source
from ropewalk.service.bundles import Packed
from ropewalk.service.config import Settings
from ropewalk.service.packages import Tell, Trees
from ropewalk.service.releasing import Releases
from ropewalk.service.service import Service, storage_limits
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.control import Manifest
from tests.crash.light import LightSource
from tests.crash.versions import NAME, code_of
from tests.crash.watched import Journal, WatchedSource
from tests.harness.clock import SteppedClock


class SandboxedService(Service):
    """A service whose processes are watched."""

    journal: Journal
    watched: Any = None
    """A `WatchedSource`: what is not watched goes to the source itself."""

    @property
    def releases(self) -> Releases:
        """What makes its versions."""
        return Releases(self)

    async def sandbox(self, hash_seed: int | None = None) -> Source:
        if self.watched is None:
            self.watched = WatchedSource(await super().sandbox(hash_seed), self.journal)
        return cast("Source", self.watched)


class LightService(SandboxedService):
    """A service whose sandbox gives light processes, and whose bundles need no disk."""

    light: LightSource

    async def sandbox(self, hash_seed: int | None = None) -> Source:
        if self.watched is None:
            self.light = LightSource(self.journal)
            self.watched = WatchedSource(self.light, self.journal)
        return cast("Source", self.watched)

    async def materialise(self, digest: str) -> None:
        self.light.codes[digest] = code_of(await self.storage.bundle(digest))

    @property
    def releases(self) -> Releases:
        return LightReleases(self)


class LightReleases(Releases):
    """Makes versions of code that is known, and installs nothing."""

    async def describe(self, packed: Packed, trees: Trees, tell: Tell) -> Manifest:
        return code_of(packed.files).manifest

    async def _build(
        self, packed: Packed, name: str | None, upgrade_packages: bool, tell: Tell
    ) -> tuple[Packed, Trees, Manifest, str]:
        """Return the bundle, with a package's files as one that has requirements would have."""
        trees = {f"package-of-{packed.digest}": {"package.py": packed.digest.encode()}}
        return packed, trees, await self.describe(packed, trees, tell), NAME


async def open_service(
    database: Path, clock: SteppedClock, journal: Journal, origin: str, *, sandboxed: bool = False, create: bool = False
) -> SandboxedService:
    """Open a database."""
    settings = Settings(
        database=f"sqlite:///{database}",
        concurrency=3,
        allow_private=(f"{origin}/*",),
        keep_versions=1,
        keep_bundles=86_400.0,
    )
    storage = await open_sqlite(database, clock=clock, create=create, limits=storage_limits(settings))
    service = (SandboxedService if sandboxed else LightService)(settings, storage, clock)
    service.journal = journal
    return service
