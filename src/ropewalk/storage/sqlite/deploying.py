"""Twists, their versions and the bundles that versions are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from ropewalk.storage.interface import DoesNotApply, StorageUnusable
from ropewalk.storage.records import NewVersion, Twist, Version
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.wire.control import Manifest

VERSION: Final = "twist, number, bundle, module, created_at, manifest, grants, removed_at"
"""Columns of a Version, from `versions`."""

TWIST: Final = "id, name, latest, created_at"
"""Columns of a Twist, from `twists`."""

AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes of files in one transaction, unless one file alone has more: every other writer waits for as long as it takes."""

_LATEST: Final = f"SELECT {VERSION} FROM versions WHERE twist = ? ORDER BY number DESC LIMIT 1"

_encode_manifest = msgspec.json.encode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


def version_record(row: Row) -> Version:
    """Return the version whose `VERSION` columns `row` is. Raises StorageUnusable when its manifest is damaged."""
    twist, number, bundle, module, created_at, manifest, grants, removed_at = row
    try:
        decoded = _decode_manifest(manifest)
    except msgspec.MsgspecError as error:
        what = f"what version {number} of twist {twist} declares cannot be read ({error})"
        raise StorageUnusable(f"{what}: restore the database from a backup") from None
    return Version(
        twist=twist,
        number=number,
        bundle=bundle,
        module=module,
        manifest=decoded,
        created_at=created_at,
        grants=bool(grants),
        removed_at=removed_at,
    )


def twist_record(row: Row) -> Twist:
    """Return the twist whose `TWIST` columns `row` is."""
    return Twist(id=row[0], name=row[1], latest=row[2], created_at=row[3])


def deploy(tx: Transaction, new: NewVersion) -> Version:
    """Store a version under its twist's next number; an unchanged one gives the latest as it is.

    Raises:
        DoesNotApply: packages that it stands on are not there.
    """
    twist = tx.row(f"SELECT {TWIST} FROM twists WHERE name = ?", (new.name,))
    if twist is None:
        id_ = tx.value("INSERT INTO twists VALUES (lower(hex(randomblob(16))), ?, 0, ?) RETURNING id", (new.name, new.at))
        return _add_version(tx, id_, 1, new)
    row = tx.row(_LATEST, (twist[0],))
    if row is None:
        return _add_version(tx, twist[0], twist[2] + 1, new)
    latest = version_record(row)
    if (latest.bundle, latest.module, latest.manifest) == (new.bundle, new.module, new.manifest):
        return latest
    return _add_version(tx, twist[0], latest.number + 1, new)


def parts(files: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield files, so many at once as one transaction may write."""
    part: dict[str, bytes] = {}
    size = 0
    for path, content in files.items():
        if part and size + len(content) > AT_ONCE:
            yield part
            part, size = {}, 0
        part[path] = content
        size += len(content)
    if part:
        yield part


def keep_files(tx: Transaction, digest: str, files: Mapping[str, bytes]) -> None:
    """Store files of a bundle, but for those that are there."""
    tx.run_many(
        "INSERT OR IGNORE INTO bundle_files (bundle, path, content) VALUES (?, ?, ?)",
        [(digest, path, content) for path, content in files.items()],
    )


def _add_version(tx: Transaction, twist: str, number: int, new: NewVersion) -> Version:
    keep_files(tx, new.bundle, new.files)
    for package in new.packages:
        if tx.value("SELECT 1 FROM bundle_files WHERE bundle = ?", (package,)) is None:
            raise DoesNotApply("files of its packages, which no version stood on, were removed meanwhile: deploy again")
        tx.run("INSERT INTO version_packages (twist, number, bundle) VALUES (?, ?, ?)", (twist, number, package))
    row = (twist, number, new.bundle, new.module, new.at, _encode_manifest(new.manifest), new.grants, None)
    tx.run(f"INSERT INTO versions ({VERSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    tx.run("UPDATE twists SET latest = ? WHERE id = ?", (number, twist))
    return version_record(row)
