"""Takes wheels apart, as data: bytes in, files out. Nothing of a wheel is run, imported, compiled or written on the way.

A wheel is made by strangers. Every path is checked before anything is read, only regular files are taken, and sizes are bounded by what the
archive says before it is read (`zipfile` reads no more than that, and refuses contents whose checksum is another's).

What a file becomes is the binary distribution format's: the archive's root and the `purelib`, `platlib` and `data` folders of its `.data`
are what can be imported; its `scripts` and `headers` are left out, since the sandbox runs no commands and no compiler. So is what a wheel
brings in `__pycache__`: what runs is what can be read.
Before: `dependencies`, which fetches wheels. After: `packages`.
"""

from __future__ import annotations

import email
import io
import re
import stat
import zipfile
import zlib
from typing import Final

from msgspec import Struct

from ropewalk.wire.plan import PACKAGES

_DATA: Final = re.compile(r"[^/]+\.data/([^/]+)/(.+)")
_METADATA: Final = re.compile(r"[^/]+\.dist-info/METADATA")
_TAKEN: Final = ("purelib", "platlib", "data")
_LEFT_OUT: Final = ("scripts", "headers")
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_ENTRY: Final = b"PK\x01\x02"
_LONGEST_PATH: Final = 1024
_LONGEST_NAME: Final = 255


class BadWheel(Exception):
    """A wheel that is not well formed, or hostile; the message says what of it."""


class TooLarge(Exception):
    """What is to be unpacked is over the limits that were given."""


class Unpacked(Struct, frozen=True, kw_only=True):
    """The files of a wheel, by relative POSIX paths, and the requirements that its metadata names."""

    files: dict[str, bytes]
    requires: list[str]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(map(len, self.files.values()))


def unpack(wheel: bytes, *, most_bytes: int, most_files: int) -> Unpacked:
    """Return the files of a wheel, given as what its file holds.

    Raises:
        BadWheel: it is no wheel, or holds what none may hold.
        TooLarge: it has more files or bytes than allowed.
    """
    if wheel.count(_ENTRY) > 2 * most_files:  # before the list of them is made; folders have entries too
        raise TooLarge(f"has more entries than the {most_files:,} files that are left")
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_size(members, most_bytes, most_files)
            files = {path: archive.read(member) for path, member in _places(members).items()}
    # `zipfile` has an error of its own for damage that it looks for; the others are what it lets through of what damaged bytes do to it:
    # an early end, an unknown method, a name that is no text, an impossible number, a stream that does not inflate.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, ValueError, zlib.error) as error:
        raise BadWheel(f"is no well-formed archive: {error}") from None
    return Unpacked(files=files, requires=_requires(files))


def _check_size(members: list[zipfile.ZipInfo], most_bytes: int, most_files: int) -> None:
    size = sum(member.file_size for member in members)
    if len(members) > most_files:
        raise TooLarge(f"unpacks to {len(members):,} files, and {most_files:,} are left")
    if size > most_bytes:
        raise TooLarge(f"unpacks to {size:,} bytes, and {most_bytes:,} are left")


def _places(members: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return what goes where."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        _check_member(member)
        path = _place(member.filename)
        if path is None:
            continue
        if path.startswith(PACKAGES):
            raise BadWheel(f"holds {member.filename!r}, and {PACKAGES} is the runtime's own")
        if path in found:
            raise BadWheel(f"holds {path!r} twice")
        found[path] = member
    return found


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.orig_filename != name or not _is_safe(name):
        raise BadWheel(f"holds the path {member.orig_filename!r:.200}, which leads out of its folder or can be none")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BadWheel(f"holds {name!r}, which is a link or another special file")
    if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
        raise BadWheel(f"holds {name!r}, which is encrypted or compressed in a way that wheels are not")


def _is_safe(name: str) -> bool:
    """Return whether a path stays below its folder, and is the same path to everyone."""
    parts = name.split("/")
    return (
        len(name) <= _LONGEST_PATH
        and name.isprintable()
        and "\\" not in name
        and all(part not in {"", ".", ".."} and len(part.encode()) <= _LONGEST_NAME for part in parts)
    )


def _place(name: str) -> str | None:
    """Return where a member of the archive goes, None when it is left out."""
    if "__pycache__" in name.split("/"):
        return None
    found = _DATA.fullmatch(name)
    if found is None:
        return name
    scheme, path = found.groups()
    if scheme in _TAKEN:
        return path
    if scheme in _LEFT_OUT:
        return None
    raise BadWheel(f"holds {name!r}, and {scheme!r} is no place that the format knows")


def _requires(files: dict[str, bytes]) -> list[str]:
    """Return the requirements in a wheel's metadata."""
    for path, content in files.items():
        if _METADATA.fullmatch(path):
            return [str(line) for line in email.message_from_bytes(content).get_all("Requires-Dist", [])]
    raise BadWheel("holds no .dist-info/METADATA")
