"""The packages of a version: which wheels they came from, and the one tree that they make.

A version's lock is a file of its bundle, so the digest that names the bundle covers it; it names each wheel by its hash and the files that
came out of it by a digest of their own. Those files are kept as a bundle too, once, however many versions have the package. In the sandbox
all packages of a version stand in one folder, as they would in `site-packages`.

Before: `dependencies`, which resolves and unpacks. After: `bundles`, which lays out.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.wire.plan import PACKAGES

Tell = Callable[[str], None]
"""Told what is being done, for a person who waits."""

Trees = Mapping[str, Mapping[str, bytes]]
"""The files of packages, by the digests that name them."""

LOCK: Final = f"{PACKAGES}.json"
"""The file of a bundle that names its packages. Hidden files are not packed, so it is none of the author's."""


class Package(Struct, frozen=True, kw_only=True):
    """A package of a version.

    Attributes:
        name: as PEP 503 normalises it.
        version: its version.
        wheel: the name of the wheel's file.
        sha256: the wheel's, in hex.
        files: the digest of the files that came out of it.
        size: bytes of those files.
        requires: what it asks for itself, extras aside.
    """

    name: str
    version: str
    wheel: str
    sha256: str
    files: str
    size: int
    requires: tuple[str, ...] = ()


class Lock(Struct, frozen=True, kw_only=True):
    """What was installed, for which requirements, on what; `tree` is the digest of all packages' files in one folder."""

    requirements: tuple[str, ...]
    python: str
    platform: str
    packages: tuple[Package, ...]
    tree: str


def machine() -> tuple[str, str]:
    """Return what wheels are chosen for: the version of Python, without its last part, and the platform."""
    return f"{sys.version_info.major}.{sys.version_info.minor}", sysconfig.get_platform()


def encode_lock(lock: Lock) -> bytes:
    """Return the lock as the file of a bundle."""
    return msgspec.json.format(msgspec.json.encode(lock), indent=1)


def lock_of(files: Mapping[str, bytes]) -> Lock | None:
    """Return the lock among a bundle's files, None when the version has no packages."""
    text = files.get(LOCK)
    return None if text is None else msgspec.json.decode(text, type=Lock)


def packages_of(files: Mapping[str, bytes]) -> tuple[Package, ...]:
    """Return the packages of a bundle."""
    lock = lock_of(files)
    return () if lock is None else lock.packages


class Overlap(Exception):
    """Two packages bring the same path, one as a file and one as a folder."""


def merged(trees: Iterable[Mapping[str, bytes]]) -> dict[str, bytes]:
    """Return the files of several packages in one folder. Of those that several bring, the first package's stays.

    Raises:
        Overlap: a file would have to be a folder too.
    """
    found: dict[str, bytes] = {}
    for tree in trees:
        found = {**tree, **found}
    folders = {parent.as_posix() for path in found for parent in PurePosixPath(path).parents}
    if both := sorted(folders & found.keys()):
        raise Overlap(f"{both[0]!r} is a file in one of its packages and a folder in another")
    return found
