"""What a replay needs of a database: the record of an attempt, opened, and the code to run it with. Nothing is written."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ropewalk.dispatch.versions import Versions
from ropewalk.recording.record import opened
from ropewalk.replay.script import Script, Unreadable
from ropewalk.sandbox.interface import Image
from ropewalk.service import bundles
from ropewalk.service.config import Settings
from ropewalk.service.packages import Tell
from ropewalk.service.releasing import Releases
from ropewalk.service.service import Service
from ropewalk.storage.records import Execution
from ropewalk.vault.errors import Tampered


class CannotReplay(Exception):
    """There is nothing to replay: no record, or one that cannot be read. The message says why."""


class Recorded(Struct, frozen=True, kw_only=True):
    """A recorded attempt.

    Attributes:
        execution: what it was an attempt at.
        attempt: its number.
        script: what was said.
    """

    execution: Execution
    attempt: int
    script: Script

    @property
    def version(self) -> int:
        """The version that ran."""
        return self.script.record.version


async def recorded(service: Service, execution: Execution, attempt: int | None) -> Recorded:
    """Return the record of an attempt, of the last one that has one when `attempt` is None.

    Raises:
        CannotReplay: there is none, or it cannot be read.
        VaultError: the key that it is sealed with is not at hand.
    """
    known = await service.storage.recorded(execution.id)
    number = attempt if attempt is not None else max(known, default=0)
    content = await service.storage.record(execution.id, number)
    if content is None:
        raise CannotReplay(_why_none(execution, attempt, known, service.settings))
    if await service.storage.instance(execution.instance) is None:
        raise CannotReplay(f"execution {execution.id} is of an instance that was deactivated, and its records' key was destroyed")
    try:
        record = opened(content, await service.vault.sealer(execution.instance), execution.id, number)
        return Recorded(execution=execution, attempt=number, script=Script(record))
    except (Unreadable, Tampered) as error:
        raise CannotReplay(f"attempt {number} of execution {execution.id} cannot be replayed: {error}") from None


async def image_of(service: Service, found: Recorded) -> Image:
    """Return what the attempt ran on: its version's own bundle, laid out.

    Raises:
        CannotReplay: the version is not in the database.
        StorageUnusable: its files are not.
    """
    version = await service.storage.version(found.execution.twist, found.version)
    if version is None:
        raise CannotReplay(f"version {found.version}, which execution {found.execution.id} ran, is not in the database")
    if version.removed_at is not None:
        raise CannotReplay(f"the files of version {found.version} were removed: `--code PATH` runs it on other code")
    await service.materialise(version.bundle)
    return _versions(service).load(version).image


async def image_of_code(service: Service, found: Recorded, path: Path, tell: Tell) -> Image:
    """Return an image of the code at `path`, built in the sandbox as a deploy builds it; nothing of it is stored.

    Raises:
        BundleError, RefusedImport: it cannot be a version.
    """
    names = {twist.id: twist.name for twist in await service.storage.twists()}
    packed = bundles.pack(path, database=service.settings.database_path)
    return await Releases(service).image_of(packed, names.get(found.execution.twist), tell)


def _versions(service: Service) -> Versions:
    settings = service.settings
    return Versions(
        service.storage,
        settings.limits,
        service.materialise,
        strict=settings.isolation == "strict",
        import_memory=settings.limit_import,
    )


def _why_none(execution: Execution, attempt: int | None, known: list[int], settings: Settings) -> str:
    which = f"execution {execution.id}" if attempt is None else f"attempt {attempt} of execution {execution.id}"
    if known:
        return f"{which} has no record; these attempts have: {', '.join(map(str, known))}"
    if execution.finished_at is None and execution.status in ("queued", "running"):
        return f"{which} is {execution.status}: there is a record once an attempt is over"
    reason = (
        f"records are kept for {settings.keep_records / 86_400:g} days and up to {settings.limit_records:,} bytes of an instance, "
        f"and `record` is {settings.record!r} now"
    )
    return f"{which} has no record (any more): {reason}. An attempt that was lost with its node never has one"
