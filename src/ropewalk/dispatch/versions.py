"""Versions as the dispatcher needs them: the image to make processes of, and what the manifest allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.sandbox.interface import Image, Limits
from ropewalk.storage.interface import Storage, StorageUnusable
from ropewalk.storage.records import Claim, Version
from ropewalk.wire.control import Manifest, RetryInfo
from ropewalk.wire.messages import Target

_KEPT = 256


class LoadedVersion(Struct, frozen=True, kw_only=True):
    """A version whose files are on this node's disk."""

    image: Image
    manifest: Manifest
    limits: Limits
    retries: dict[tuple[str, str], RetryInfo] = {}

    def retry_of(self, target: Target) -> RetryInfo:
        """Return the retry policy of a method: its own, or the twist's."""
        return self.retries.get((target.ns, target.method), self.manifest.retry)

    def within(self, wall: float) -> LoadedVersion:
        """Return the same with no more than so many seconds of wall time."""
        return replace(self, limits=replace(self.limits, wall=min(self.limits.wall, wall)))


class Versions:
    """Finds versions by twist and number, and keeps those used last.

    Args:
        storage: where versions and their files are.
        limits: the operator's, which a version may lower.
        materialise: puts a bundle's files where the sandbox can see them, unless they are there already.
        strict: whether the module of every version is imported in each attempt's own process, not only of those that ask for it.
        import_memory: bytes that the import of a version's module may take, where an execution may take less.
    """

    def __init__(
        self,
        storage: Storage,
        limits: Limits,
        materialise: Callable[[str], Awaitable[None]],
        *,
        strict: bool = False,
        import_memory: int = 0,
    ) -> None:
        self._storage = storage
        self._limits = limits
        self._materialise = materialise
        self._strict = strict
        self._import_memory = import_memory
        self._loaded: OrderedDict[tuple[str, int], LoadedVersion] = OrderedDict()

    async def of(self, claim: Claim) -> LoadedVersion:
        """Return the version that the claimed execution runs in.

        Raises:
            StorageUnusable: the version or its bundle is not in the database.
        """
        key = (claim.instance.twist, claim.instance.version)
        loaded = self._loaded.get(key)
        if loaded is None:
            version = await self._storage.version(*key)
            if version is None:
                raise StorageUnusable(f"version {key[1]} of {claim.instance.twist_name} is not in the database")
            await self._materialise(version.bundle)
            loaded = self._loaded[key] = self.load(version)
            if len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
        else:
            self._loaded.move_to_end(key)
        return loaded

    def load(self, version: Version) -> LoadedVersion:
        """Return what the dispatcher needs of a stored version."""
        manifest = version.manifest
        limits = self._limits.lowered_by(manifest.limits)
        image = Image(
            bundle=version.bundle,
            module=version.module,
            cls=manifest.cls,
            limits=limits,
            strict=self._strict or manifest.isolation == "strict",
            network=manifest.declares_network,
            import_memory=self._import_memory,
        )
        return LoadedVersion(image=image, manifest=manifest, limits=limits, retries=_own_policies(manifest))


def _own_policies(manifest: Manifest) -> dict[tuple[str, str], RetryInfo]:
    """Return the policies of those methods that have one of their own, by namespace and every name that they have or had."""
    return {
        (method.ns, name): method.retry
        for method in manifest.methods
        if method.retry is not None
        for name in (method.name, *method.renamed_from)
    }
