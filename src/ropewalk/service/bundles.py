"""What a deploy packs, and how a stored bundle is laid out on disk for the sandbox.

A bundle is the files of one version, named by a digest of their paths and contents: whoever holds the digest can tell whether the files
are the ones that were deployed. `pack` reads the author's folder before a deploy; `materialise` lays files from storage out again on
whichever host runs them, all or nothing, and never believes what it finds there without checking the digest.

Not packed: hidden files and folders, `__pycache__`, `*.pyc`, virtual environments (a folder with `pyvenv.cfg`), `node_modules`, the
top-level `tests` folder (a changed test is no new version), and the database with what lies beside it. Everything else of the folder is,
data files too. Of a single module file, only that file is. Packages that the project depends on are added afterwards: the digest covers
their lock, and the lock their files. Each package is laid out once, under a digest of its own, and its files are linked into the bundles of
the versions that have it, so that they take room once, on the disk and in memory.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
import tomllib
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.service import packages
from ropewalk.service.packages import Lock
from ropewalk.service.requirements import PROVIDED, BadRequirement, wanted
from ropewalk.wire.control import Isolation
from ropewalk.wire.plan import PACKAGES

MOST_BYTES: Final = 64 * 1024 * 1024
"""Most bytes in a bundle, all files together, packages aside."""

MOST_FILES: Final = 10_000
"""Most files in a bundle, packages aside."""

_SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "node_modules"})
_MANIFEST_KEYS: Final = ("twist", "name", "isolation")
_ISOLATIONS: Final[tuple[Isolation, ...]] = typing.get_args(Isolation)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SCRIPT_BLOCK: Final = re.compile(r"(?m)^# /// script[ \t]*$\n(?P<content>(^#(| .*)$\n)+?)^# ///[ \t]*$")


class BundleError(Exception):
    """What was to be deployed cannot be packed, or a stored bundle is not what its digest says; the message names the remedy."""


class Packed(Struct, frozen=True, kw_only=True):
    """A folder or file, ready to be deployed.

    `name` is the one that the manifest gives, None when it gives none; `cls` likewise, and `isolation` what it asks for. `files` maps
    relative POSIX paths to contents. `requirements` are the packages that it asks for.
    """

    path: str
    name: str | None
    module: str
    cls: str | None
    files: dict[str, bytes]
    digest: str
    isolation: Isolation = "standard"
    requirements: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all files, packages aside."""
        return sum(map(len, self.files.values()))

    def locked(self, lock: Lock) -> Packed:
        """Return the same with the packages of a lock."""
        files = {**self.files, packages.LOCK: packages.encode_lock(lock)}
        return replace(self, files=files, digest=digest_of(files))


def kebab_case(name: str) -> str:
    """Return a class's name as a twist's: `IssueSync` is `issue-sync`, `HTTPPing2` is `http-ping2`."""
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3-\2\4", name)
    return words.replace("_", "-").strip("-").lower()


def check_name(name: str) -> str:
    """Return a twist's name, or raise BundleError when it cannot be one."""
    if _NAME.fullmatch(name) is None:
        raise BundleError(
            f"{name!r} cannot be a twist's name: use 1 to 100 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    return name


# ── Packing ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pack(path: Path, *, database: Path | None = None) -> Packed:
    """Return what a deploy of `path` deploys: a module file, a folder with `twist.py`, or one whose pyproject names the twist.

    `database` and what lies beside it under names that begin with its own are left out.

    Raises:
        BundleError: nothing there can be deployed, or it is over a limit, or asks for a dependency that cannot be.
    """
    try:
        source = _source(path)
        files = {source.module_file.name: _contents(source.module_file)} if source.single else _collect(source.root, database)
    except OSError as error:
        raise BundleError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    script = _check_module(source, files)
    return Packed(
        path=str(path),
        name=source.name,
        module=source.module,
        cls=source.cls,
        files=files,
        digest=digest_of(files),
        isolation=source.isolation,
        requirements=tuple(sorted({*source.requirements, *script})),
    )


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256, in hex, of every path and content, in order of path, each preceded by its length."""
    return _digest((path, files[path]) for path in sorted(files))


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for path, content in files:
        name = path.encode()
        digest.update(b"%d %d\n" % (len(name), len(content)))
        digest.update(name)
        digest.update(content)
    return digest.hexdigest()


class _Source(Struct, frozen=True, kw_only=True):
    """Where a bundle comes from: the folder its paths are relative to, and the module with the twist."""

    root: Path
    module: str
    module_file: Path
    cls: str | None = None
    name: str | None = None
    single: bool = False
    isolation: Isolation = "standard"
    requirements: tuple[str, ...] = ()


def _source(path: Path) -> _Source:
    """Return what a path that was given to deploy means."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise BundleError(f"{path} is not there: give a module file, or a folder with twist.py or a pyproject.toml")
    if path.suffix != ".py":
        raise BundleError(f"{path} is no Python file: give a module file (*.py) or a folder")
    return _Source(root=path.parent, module=path.stem, module_file=path, single=True)


def _folder(folder: Path) -> _Source:
    """Return what a folder's pyproject or its `twist.py` says."""
    project = _project(folder)
    manifest = _manifest(folder, project)
    depends = _requirements(
        f"{folder / 'pyproject.toml'}: [project] dependencies", project.get("project", {}).get("dependencies")
    )
    named, name = manifest.get("twist"), manifest.get("name")
    if name is not None:
        check_name(name)
    if named is None:
        if not (folder / "twist.py").is_file():
            raise BundleError(
                f'{folder} holds no twist: add twist.py, or a pyproject.toml with [tool.ropewalk] twist = "module:Class"',
            )
        named = "twist"
    module, _, cls = named.partition(":")
    root, file = _find_module(folder, module)
    return _Source(
        root=root,
        module=module,
        module_file=file,
        cls=cls or None,
        name=name,
        isolation=_isolation(folder, manifest.get("isolation", "standard")),
        requirements=depends,
    )


def _isolation(folder: Path, asked: str) -> Isolation:
    """Return the isolation of this name."""
    for isolation in _ISOLATIONS:
        if asked == isolation:
            return isolation
    where = f"{folder / 'pyproject.toml'}: [tool.ropewalk]"
    raise BundleError(f"{where} isolation {asked!r} is none: it is {' or '.join(_ISOLATIONS)}")


def _project(folder: Path) -> dict[str, Any]:
    """Return the folder's pyproject, empty when there is none."""
    path = folder / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is not well formed: {error}") from error


def _manifest(folder: Path, project: dict[str, Any]) -> dict[str, str]:
    """Return `[tool.ropewalk]`: texts under known keys."""
    table: dict[str, Any] = project.get("tool", {}).get("ropewalk", {})
    where = f"{folder / 'pyproject.toml'}: [tool.ropewalk]"
    for key, value in table.items():
        if key not in _MANIFEST_KEYS:
            near = difflib.get_close_matches(key, _MANIFEST_KEYS, n=1, cutoff=0.0)[0]
            raise BundleError(f"{where} {key!r} is no key: the nearest is {near!r}")
        if not isinstance(value, str):
            raise BundleError(f"{where} {key} must be a text")
    return dict(table)


def _find_module(folder: Path, module: str) -> tuple[Path, Path]:
    """Return the folder that a module is imported from (the folder itself or its `src`) and the module's file."""
    if not all(part.isidentifier() for part in module.split(".")):
        raise BundleError(f'{folder}: {module!r} is no module name: write [tool.ropewalk] twist = "module:Class"')
    stem = Path(*module.split("."))
    for root in (folder, folder / "src"):
        for file in (root / stem.with_suffix(".py"), root / stem / "__init__.py"):
            if file.is_file():
                return root, file
    raise BundleError(f"{folder}: module {module!r} is not there: {stem.with_suffix('.py')} was looked for here and in src/")


def _check_module(source: _Source, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Refuse a module that could not be imported for reasons that only the bundle shows; return what its script block depends on."""
    first = source.module.partition(".")[0]
    if first in sys.stdlib_module_names or first in PROVIDED:
        raise BundleError(f"{source.module_file}: {first!r} is the name of a module of Python or of the runtime: rename it")
    content = files.get(source.module_file.relative_to(source.root).as_posix())
    if content is None:
        raise BundleError(f"{source.module_file} holds the twist but is not packed: move it out of tests/ and hidden folders")
    depends = _script_dependencies(source.module_file, content)
    return _requirements(f"{source.module_file}: the script block's dependencies", depends)


def _script_dependencies(path: Path, content: bytes) -> object:
    """Return the dependencies of a file's inline metadata (PEP 723), None when there are none."""
    found = _SCRIPT_BLOCK.search(content.decode("utf-8", "replace").replace("\r\n", "\n"))
    if found is None:
        return None
    text = "".join(line[2:] if line.startswith("# ") else line[1:] for line in found["content"].splitlines(keepends=True))
    try:
        return tomllib.loads(text).get("dependencies")
    except ValueError as error:
        raise BundleError(f"{path}: the script block is not well formed: {error}") from error


def _requirements(where: str, dependencies: object) -> tuple[str, ...]:
    """Return the packages that a list of dependencies asks for."""
    try:
        return wanted(dependencies)
    except BadRequirement as error:
        raise BundleError(f"{where} {error}") from None


# ── Reading the folder ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _collect(root: Path, database: Path | None) -> dict[str, bytes]:
    """Return every file below a folder that is packed, within the caps, which are checked before anything is read."""
    found: dict[str, Path] = {}
    size = 0
    for path in _walk(root, database):
        found[_portable(path, root)] = path
        size += path.stat().st_size
        _check_caps(root, len(found), size)
    files = {name: _contents(path) for name, path in found.items()}
    _check_caps(root, len(files), sum(map(len, files.values())))
    return files


def _walk(root: Path, database: Path | None) -> Iterator[Path]:
    """Yield the files below a folder that are packed, refusing what is neither a file nor a folder."""
    beside = database.resolve() if database is not None else None
    for folder, folders, names in os.walk(root, onerror=_raise):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not _skips_folder(here / name, root, beside))
        for path in (here / name for name in folders):
            if path.is_symlink():
                raise BundleError(f"{path} is a link to a folder: put the folder itself there, or hide the link (.{path.name})")
        for path in (here / name for name in sorted(names)):
            if not _hidden(path) and path.suffix != ".pyc" and not _belongs_to(path, beside):
                yield _regular(path, root)


def _raise(error: OSError) -> None:
    """Have a folder that cannot be read end the walk rather than be left out."""
    raise error


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _skips_folder(folder: Path, root: Path, database: Path | None) -> bool:
    """Return whether nothing of a folder is packed."""
    return (
        _hidden(folder)
        or folder.name in _SKIPPED_FOLDERS
        or folder == root / "tests"
        or (folder / "pyvenv.cfg").exists()
        or _belongs_to(folder, database)
    )


def _belongs_to(path: Path, database: Path | None) -> bool:
    """Return whether a path is the database or one of the files that SQLite and the node keep beside it."""
    if database is None or path.parent.resolve() != database.parent:
        return False
    return path.name == database.name or path.name.startswith((f"{database.name}-", f"{database.name}."))


def _regular(path: Path, root: Path) -> Path:
    """Return a regular file, or the one of the same folder that a link leads to."""
    target = path.resolve()
    if path.is_symlink() and not target.is_relative_to(root.resolve()):
        raise BundleError(f"{path} is a link out of the folder, to {target}: copy the file, or hide the link (.{path.name})")
    if not stat.S_ISREG(path.stat().st_mode):
        raise BundleError(f"{path} is no regular file: move it out of the folder, or hide it (.{path.name})")
    return path


def _portable(path: Path, root: Path) -> str:
    """Return a path relative to the root as it is stored."""
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BundleError(f"{name!r}: the file's name is not UTF-8: rename it") from error
    return name


def _contents(path: Path) -> bytes:
    """Return a file's bytes, refusing one that alone is over the cap."""
    _check_caps(path, 1, path.stat().st_size)
    return path.read_bytes()


def _check_caps(what: Path, files: int, size: int) -> None:
    """Refuse a bundle of too many files or bytes."""
    if files > MOST_FILES:
        raise BundleError(f"{what}: more than {MOST_FILES:,} files: move what the twist does not need out of the folder")
    if size > MOST_BYTES:
        raise BundleError(
            f"{what}: {size:,} bytes, and a bundle may have {MOST_BYTES:,}: move what the twist does not need out of the folder",
        )


# ── Laying out ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def materialise(bundles: Path, digest: str, files: Mapping[str, bytes]) -> Path:
    """Lay a bundle's files out in `bundles/digest`, all or nothing, and return that folder.

    Whatever is there already is used when it is whole and replaced when it is not. Several processes may do this at once. The packages that
    its lock names must have been laid out before.

    Raises:
        BundleError: the files are not the ones that the digest names.
    """
    if digest_of(files) != digest:
        raise BundleError(f"bundle {digest}: the stored files are damaged: deploy the twist again")
    folder = bundles / digest
    if is_whole(folder, digest):
        touch(folder)
        return folder
    bundles.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = bundles / f".{digest}.{secrets.token_hex(4)}"
    try:
        _write(fresh, files)
        _link_packages(bundles, packages.lock_of(files), fresh / PACKAGES)
        _put(fresh, folder, digest)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


UNTOUCHED: Final = 86_400.0
"""Seconds for which nobody has asked for a folder that is cleared away: whoever is about to use it has asked a moment ago."""


def touch(folder: Path) -> None:
    """Note that a folder is used. One that is gone by now is laid out again."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def clear(bundles: Path, kept: Collection[str], now: float) -> int:
    """Remove folders that nobody has asked for in a while, but those of the bundles in `kept`; returns how many there were."""
    removed = 0
    for folder in bundles.iterdir() if bundles.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # another node clears too
            if folder.name not in kept and folder.stat().st_mtime < now - UNTOUCHED:
                shutil.rmtree(folder)
                removed += 1
    return removed


def is_whole(folder: Path, digest: str) -> bool:
    """Return whether a folder holds exactly the files that the digest names, and the packages that their lock names."""
    try:
        own = [path for path in _paths(folder) if not path.startswith(f"{PACKAGES}/")]
        if _digest_below(folder, own) != digest:
            return False
        lock = packages.lock_of({path: (folder / path).read_bytes() for path in own if path == packages.LOCK})
        return _digest_below(folder / PACKAGES, _paths(folder / PACKAGES)) == (digest_of({}) if lock is None else lock.tree)
    except (OSError, UnicodeEncodeError):
        return False


def _paths(folder: Path) -> list[str]:
    """Return the relative paths of everything below a folder that is no folder."""
    return [Path(here, name).relative_to(folder).as_posix() for here, _, names in os.walk(folder) for name in names]


def _digest_below(folder: Path, paths: list[str]) -> str:
    """Return the digest of files, read one after another; with a link among them it is none."""
    if any((folder / path).is_symlink() for path in paths):
        return ""
    return _digest((path, (folder / path).read_bytes()) for path in sorted(paths))


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a new folder, readable by the sandbox's user whatever the umask."""
    _make_folders(folder, files)
    for name in sorted(files):
        path = folder / name
        path.write_bytes(files[name])
        path.chmod(0o644)


def _make_folders(folder: Path, files: Iterable[str]) -> None:
    """Make a new folder, and those below it that the files stand in."""
    below = {folder / parent for name in files for parent in PurePosixPath(name).parents}
    for path in sorted({folder, *below}):  # each after the one that it is in
        path.mkdir()
        path.chmod(0o755)


def _link_packages(bundles: Path, lock: Lock | None, folder: Path) -> None:
    """Put the files of a lock's packages into one folder; of those that several bring, the first package's."""
    if lock is None:
        return
    sources = [bundles / package.files for package in lock.packages]
    places: dict[str, Path] = {}
    for source in sources:
        for here, _, names in os.walk(source, onerror=_raise):
            for name in names:
                path = Path(here, name)
                places.setdefault(path.relative_to(source).as_posix(), path)
    _make_folders(folder, places)
    for name, path in places.items():
        try:
            (folder / name).hardlink_to(path)
        except OSError:  # more links than the file system allows, or none
            shutil.copy(path, folder / name)


def _put(fresh: Path, folder: Path, digest: str) -> None:
    """Rename a finished folder into place, moving a damaged one out of the way."""
    try:
        fresh.rename(folder)
    except OSError:
        # Somebody else was first, which is as good, or what is there is damaged.
        if is_whole(folder, digest):
            return
        damaged = folder.with_name(f"{fresh.name}.damaged")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(damaged)
        fresh.rename(folder)
        shutil.rmtree(damaged, ignore_errors=True)
