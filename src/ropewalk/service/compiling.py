"""Compiles the modules of a package, so that importing it takes a third of the time, in every process that imports it late too.

Python's compiler is a large program in C, and what it is given here was written by strangers. So it runs where their code runs: in the
process of an execution, of a twist of ours, which has the package's files and nothing else. What it answers is trusted as the package is:
it is kept with the package's files, for those alone that have them, and a module whose compilation ends the process is left as it is.

Before: `dependencies`, which takes wheels apart. After: `installing`.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from ropewalk.sandbox.interface import Ended, Image, Limits, Source
from ropewalk.sandbox.watch import CPUS
from ropewalk.service.bundles import digest_of, materialise
from ropewalk.wire.messages import Finished, GuestMessage, PriorityRecord, Raised, Start, Target

_COMPILER: Final = """
from importlib._bootstrap_external import _code_to_hash_pyc
from importlib.util import source_hash
from pathlib import Path
from ropewalk import Twist

FOLDER = Path(__file__).parent

def compiled(name: str) -> bytes | None:
    source = (FOLDER / name).read_bytes()
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except Exception:  # it is no Python of this version
        return None
    return bytes(_code_to_hash_pyc(code, source_hash(source), False))

class Compiler(Twist):
    async def compile(self, names: list[str]) -> dict[str, bytes]:
        return {name: code for name in names if (code := compiled(name)) is not None}
"""

_AT_ONCE: Final = 512 * 1024
"""Bytes of source that one process compiles."""

_LARGEST: Final = 2 * 1024 * 1024
"""Bytes of the largest module that is compiled: what comes back has to fit a message."""

_LIMITS: Final = Limits(cpu=60.0, wall=120.0, memory=256 * 1024 * 1024)
_SKIPPED: Final = frozenset({"test", "tests"})
_decode: Final = msgspec.json.Decoder(dict[str, bytes]).decode


async def compile_files(source: Source, directory: Path, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the compiled form of a package's modules, its tests aside, by the path where Python looks for it.

    `directory` is where the sandbox sees bundles.
    """
    modules = {f"modules/{path}": content for path, content in files.items() if _is_compiled(path, content)}
    if not modules:
        return {}
    bundle = {"compiler.py": _COMPILER.encode(), "once": secrets.token_bytes(16), **modules}
    folder = await asyncio.to_thread(materialise, directory, digest_of(bundle), bundle)
    image = Image(bundle=folder.name, module="compiler", cls=None, limits=_LIMITS)
    turns = asyncio.Semaphore(CPUS)
    try:
        answers = await asyncio.gather(*[_compile(source, image, turns, names) for names in _parts(modules)])
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    found = {name: code for answer in answers for name, code in answer.items()}
    return {_cached(name.removeprefix("modules/")): found[name] for name in modules if name in found}


def _is_compiled(path: str, content: bytes) -> bool:
    return path.endswith(".py") and len(content) <= _LARGEST and _SKIPPED.isdisjoint(path.split("/"))


def _cached(path: str) -> str:
    """Return where Python looks for the compiled form of a module."""
    module = PurePosixPath(path)
    return str(module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc")


def _parts(modules: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Yield the modules' names, so many at once as one process compiles."""
    part: list[str] = []
    size = 0
    for name, content in modules.items():
        if part and size + len(content) > _AT_ONCE:
            yield part
            part, size = [], 0
        part.append(name)
        size += len(content)
    yield part


async def _compile(source: Source, image: Image, turns: asyncio.Semaphore, names: list[str]) -> dict[str, bytes]:
    """Have a process compile modules; nothing when that ended it."""
    async with turns:
        process = await source.take(image)
        result: asyncio.Future[dict[str, bytes]] = asyncio.get_running_loop().create_future()

        def hear(message: GuestMessage) -> None:
            if isinstance(message, Finished | Raised) and not result.done():
                result.set_result(_answer(message))

        def end(_: Ended) -> None:
            if not result.done():
                result.set_result({})

        process.listen(hear, end)
        process.start(_start(names), image.limits)
        try:
            return await result
        finally:
            process.kill()


def _answer(message: Finished | Raised) -> dict[str, bytes]:
    try:
        return _decode(message.result) if isinstance(message, Finished) else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}


def _start(names: list[str]) -> Start:
    return Start(
        execution="compile",
        attempt=1,
        instance="compile",
        version=1,
        previous_version=None,
        trigger="invoke",
        target=Target(ns="", method="compile", arguments=msgspec.json.encode([[names], {}])),
        event=b"[]",
        options=b"{}",
        priority=PriorityRecord(id="00000000-0000-0000-0000-000000000000", title="", parent=None),
        seed=bytes(16),
        started_at=0,
        cpu=_LIMITS.cpu,
        wall=_LIMITS.wall,
        requests=_LIMITS.requests,
        value=2 * _LARGEST + 2 * _AT_ONCE,
    )
