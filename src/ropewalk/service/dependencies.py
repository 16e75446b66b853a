"""Resolves what a twist depends on, fetches the wheels, and takes them apart.

The resolving is pip's, in a process of its own that cannot start another: a package without a wheel would have to be built, which runs its
author's code here, outside the sandbox, and so does asking it what it needs. `--only-binary` alone does not hold that back, since it does
not apply to what a package's metadata names by URL. Only an operator who says `package_builds` lets pip build. Where packages come from
(index, proxy, certificates, cache) is pip's own configuration, but for `package_index`.

Before: `requirements`. After: `installing`, which makes packages of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

from msgspec import Struct
from packaging.requirements import InvalidRequirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from ropewalk.service.bundles import BundleError
from ropewalk.service.config import Settings
from ropewalk.service.packages import Tell
from ropewalk.service.requirements import PROVIDED, needs, provided_version
from ropewalk.service.wheels import BadWheel, TooLarge, unpack

MOST_PACKAGE_FILES: Final = 50_000
"""Most files in all packages of a version."""

_LOCAL: Final = "sandbox"
"""The local version that marks what the sandbox has already, so that no index can have the same."""

_LONGEST_LINE: Final = 16 * 1024 * 1024
"""Bytes of the longest line that pip may say: it lists every version of a package that has none to choose."""

_NO_PROCESS: Final = "ropewalk: no process may be started"

_MEMORY: Final = 2 * 1024 * 1024 * 1024
"""Bytes of address space for resolving: what a wheel says of itself is read whole, and may be a bomb."""

# The hook holds for the whole process and cannot be removed. What pip starts besides builds (to say in its requests which compiler there is,
# say) it can do without.
_WITHOUT_BUILDS: Final = f"""
import resource, runpy, sys
def refuse(event, arguments):
    if event in {{"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}}:
        raise PermissionError({_NO_PROCESS!r})
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
resource.setrlimit(resource.RLIMIT_AS, ({_MEMORY}, {_MEMORY}))
sys.addaudithook(refuse)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""

_PROGRESS: Final = re.compile(r"(?:Collecting|Downloading|Building wheel for) \S+.*")
_UNREACHABLE: Final = re.compile(r"after connection broken by '(.*?)': /")


class Wheel(Struct, frozen=True, kw_only=True):
    """A wheel, taken apart: the name of its file, the SHA-256 of that in hex, and what it held."""

    name: str
    version: str
    file: str
    sha256: str
    files: dict[str, bytes]
    requires: tuple[str, ...]


async def fetch(requirements: tuple[str, ...], settings: Settings, tell: Tell) -> list[Wheel]:
    """Resolve requirements for this machine and return the wheels that meet them, by name.

    Raises:
        BundleError: they cannot be met, fetched or unpacked; the message says which, why, and what to do.
    """
    with tempfile.TemporaryDirectory(prefix="ropewalk-packages-") as work:
        wheels = await _fetch(requirements, settings, Path(work), tell)
        tell(f"Unpacking {len(wheels)} packages")
        return await asyncio.to_thread(_take_apart, wheels, settings.limit_packages)


# ── Fetching ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _fetch(requirements: tuple[str, ...], settings: Settings, work: Path, tell: Tell) -> list[Path]:
    """Have pip put the wheels into a folder; returns those that the sandbox does not have already."""
    provided, wheels = work / "provided", work / "wheels"
    provided.mkdir()
    for name in PROVIDED:
        _write_stand_in(provided, name)
    (work / "constraints").write_text("".join(f"{name}=={provided_version(name)}+{_LOCAL}\n" for name in PROVIDED))
    arguments = ["--wheel-dir", str(wheels), "--find-links", str(provided), "--constraint", str(work / "constraints")]
    if settings.package_index:
        arguments += ["--index-url", settings.package_index]
    if not settings.package_builds:
        arguments += ["--only-binary", ":all:"]
    said = await _run_pip([*arguments, "--", *requirements], settings, work, tell)
    if said is not None:
        raise BundleError(_why(requirements, said, settings))
    return sorted(path for path in wheels.glob("*.whl") if f"+{_LOCAL}-" not in path.name)


def _write_stand_in(folder: Path, name: str) -> None:
    """Write a wheel with nothing but metadata, for what the sandbox has: resolving takes it into account, installing leaves it out."""
    version = f"{provided_version(name)}+{_LOCAL}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if name != "ropewalk":  # a twist needs what the runtime gives it, and none of what the runtime needs
        theirs = metadata.metadata(name)
        lines += [f"{key}: {line}" for key in ("Provides-Extra", "Requires-Dist") for line in theirs.get_all(key, [])]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        info = f"{name}-{version}.dist-info"
        wheel.writestr(f"{info}/METADATA", "\n".join([*lines, ""]))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: ropewalk\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


async def _run_pip(arguments: list[str], settings: Settings, work: Path, tell: Tell) -> str | None:
    """Run `pip wheel`; returns None when it has done its work, else everything that it said."""
    program = ["-m", "pip"] if settings.package_builds else ["-c", _WITHOUT_BUILDS, str(settings.limit_packages)]
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    said: list[str] = []
    try:
        async with asyncio.timeout(settings.package_timeout), _process([*program, "wheel", *quiet, *arguments], work) as pip:
            assert pip.stdout is not None
            async for line in pip.stdout:
                said.append(line.decode(errors="replace").rstrip())
                if (found := _PROGRESS.search(said[-1])) is not None:
                    tell(found[0])
            return None if await pip.wait() == 0 else "\n".join(said)
    except TimeoutError:
        raise BundleError(
            f"the dependencies were not there after {settings.package_timeout:g} s: "
            f"try again, or give it longer (package_timeout). It had come to: {said[-1] if said else 'nothing'}",
        ) from None


@asynccontextmanager
async def _process(arguments: list[str], work: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Have a Python of ours, in a folder where it finds nothing of the twist's, and end it with all that it started."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        *arguments,
        cwd=work,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ROPEWALK_")},
            "TMPDIR": str(work),
            "NO_COLOR": "1",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=_LONGEST_LINE,
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all of it has ended
        await process.wait()


def _why(requirements: tuple[str, ...], said: str, settings: Settings) -> str:
    """Return why pip failed, from what it said."""
    listed = ", ".join(requirements)
    errors = "\n".join(line.removeprefix("ERROR: ")[:500] for line in said.splitlines() if line.startswith(("ERROR:", "    ")))
    if said.rstrip().endswith(_NO_PROCESS) or "No permission to execute" in said:
        last = [line.strip() for line in said.splitlines() if line.lstrip().startswith("Collecting ")][-1]
        return (
            f"the dependencies ({listed}) lead to one that is no wheel and would have to be built, which runs its code outside the "
            f"sandbox ({last}): ask for another, or see package_builds"
        )
    if (broken := _UNREACHABLE.search(said)) is not None and "from versions: none" in said:
        where = settings.package_index or "the package index"
        return f"the dependencies ({listed}) cannot be resolved, since {where} cannot be reached: {broken[1]}"
    hint = ""
    if "from versions: none" in said and not settings.package_builds:
        hint = "\nOnly wheels for this Python and platform are taken, nothing is built (package_builds): does it have one?"
    return f"the dependencies ({listed}) cannot be resolved:\n{errors or said[-2000:]}{hint}"


# ── Taking apart ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _take_apart(wheels: Iterable[Path], most_bytes: int) -> list[Wheel]:
    """Return what is in wheels, within the limits of a version's packages."""
    taken: list[Wheel] = []
    bytes_left, files_left = most_bytes, MOST_PACKAGE_FILES
    for path in wheels:
        wheel = _wheel(path, bytes_left, files_left, most_bytes)
        bytes_left -= sum(map(len, wheel.files.values()))
        files_left -= len(wheel.files)
        taken.append(wheel)
    return sorted(taken, key=lambda wheel: wheel.name)


def _wheel(path: Path, bytes_left: int, files_left: int, most_bytes: int) -> Wheel:
    """Return what is in one of them."""
    content = path.read_bytes()
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        unpacked = unpack(content, most_bytes=bytes_left, most_files=files_left)
        return Wheel(
            name=name,
            version=str(version),
            file=path.name,
            sha256=hashlib.sha256(content).hexdigest(),
            files=unpacked.files,
            requires=needs(unpacked.requires),
        )
    except TooLarge as error:
        raise BundleError(
            f"{path.name} {error}, of the {most_bytes:,} bytes (limit_packages) and {MOST_PACKAGE_FILES:,} files of a version: "
            "depend on less, or have the operator raise it",
        ) from None
    except (BadWheel, InvalidWheelFilename, InvalidRequirement) as error:
        raise BundleError(f"{path.name} {error}: it cannot be installed; ask for another version") from None
