"""The memory that all processes of the sandbox begin with: moved to one file in memory, each has a private view of it, and none can change it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.processes import below
from tests.sandbox.bench import Bench

_FILE = "/memfd:ropewalk-image"

needs_large_pages = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists() or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 1),
    reason="MOVING THE IMAGE WAS NOT TESTED: this kernel is older than 6.1 or was built without large pages, so it stays where it is",
)


def run(script: str) -> str:
    """Run a script in an interpreter of its own, and return what it prints."""
    prelude = """
import ctypes, hashlib, json, os, sys
from ropewalk.guest import image, kernel, libraries, pools
process = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
def mapped():
    return sum("ropewalk-image" in line for line in open("/proc/self/maps"))
"""
    done = subprocess.run([sys.executable, "-c", prelude + script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_libraries_whose_parts_are_joined_go_on_working() -> None:
    assert run("""
import decimal, sqlite3, ssl, zlib
before = len(open("/proc/self/maps").readlines())
libraries.join()
joined = before - len(open("/proc/self/maps").readlines())
import lzma, unicodedata
kept = lzma.decompress(lzma.compress(zlib.decompress(zlib.compress(unicodedata.name("a").encode()))))
print(joined > 20, kept, decimal.Decimal(1) / 7)
""") == "True b'LATIN SMALL LETTER A' 0.1428571428571428571428571429\n"  # fmt: skip


def test_what_is_made_next_lies_where_its_pool_begins() -> None:
    assert run("""
import asyncio, decimal, email.message, http.client
del sys.modules["http.client"]
taken = pools.begin_new_ones()
made = {size: bytes(bytearray(size - 33)) for size in range(64, 400, 16)}
print(taken < 40_000, sum(id(block) % 16384 < 4096 for block in made.values()) >= len(made) - 1)  # of one there were more holes
""") == "True True\n"  # fmt: skip


@needs_large_pages
def test_a_process_goes_on_as_if_nothing_had_been_moved() -> None:
    assert run("""
kept = [{"number": number, "text": str(number) * 20, "nested": [number] * 5} for number in range(50_000)]
digest = hashlib.sha256(repr(kept).encode()).hexdigest()
descriptors = len(os.listdir("/proc/self/fd"))
assert image.move_to_file(process) and mapped() >= 3, mapped()
assert hashlib.sha256(repr(kept).encode()).hexdigest() == digest
assert len(os.listdir("/proc/self/fd")) == descriptors
kept.extend({"more": [str(number)] * 100} for number in range(50_000))
del kept[:50_000]
assert [one["more"][99] for one in kept] == [str(number) for number in range(50_000)]
import decimal, sqlite3, xml.dom.minidom
print(sqlite3.connect(":memory:").execute("select 6 * 7").fetchone(), decimal.Decimal(1) / 7)
""") == "(42,) 0.1428571428571428571428571429\n"  # fmt: skip


@needs_large_pages
def test_a_fork_finds_the_interpreters_code_by_the_large_page() -> None:
    assert run("""
import re
libraries.join()
assert image.move_to_file(process)
code = ctypes.cast(ctypes.pythonapi.PyEval_EvalCode, ctypes.c_void_p).value
pid = os.fork()
if not pid:
    large = 0
    for area in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read())[1:]:
        start, end = (int(bound, 16) for bound in area.split()[0].split("-"))
        if start <= code < end:
            assert "r-xp" in area and "ropewalk-image" in area, area
            large = int(re.search(r"ShmemPmdMapped: +([0-9]+) kB", area)[1])
    os._exit(0 if large >= 2048 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""") == "0\n"  # fmt: skip


@needs_large_pages
def test_what_a_fork_writes_is_its_own() -> None:
    assert run("""
kept = [bytearray(b"before" * 1000) for _ in range(2_000)]
assert image.move_to_file(process)
pid = os.fork()
if not pid:
    for one in kept:
        one[:] = b"behind" * 1000
    os._exit(0 if {bytes(one) for one in kept} == {b"behind" * 1000} else 1)
ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(ended, {bytes(one) for one in kept} == {b"before" * 1000})
""") == "0 True\n"  # fmt: skip


@pytest.mark.parametrize(
    "lack",
    [
        "def lacking(*_): raise OSError(22, 'no large pages')\nkernel.make_large = lacking",
        "def lacking(*_): raise AttributeError('no contexts')\nimage._chain = lacking",
        "def lacking(*_): raise OSError(38, 'no files in memory')\nos.memfd_create = lacking",
    ],
)
def test_where_the_system_lacks_what_it_takes_everything_stays_as_it_was(lack: str) -> None:
    script = f"{lack}\ndescriptors = len(os.listdir('/proc/self/fd'))\nprint(image.move_to_file(process), mapped())\n"
    assert run(script + "assert len(os.listdir('/proc/self/fd')) == descriptors") == "False 0\n"


@needs_large_pages
@pytest.mark.asyncio(loop_scope="session")
async def test_the_sandbox_shares_it_privately(bench: Bench) -> None:
    # The process is looked at from outside while it is there, and ended below: it waits for nothing that could come.
    attempt = await bench.begin(bench.twist("import signal; signal.pause()"))
    try:
        lines = [line for pid in below(os.getpid()) for line in _maps(pid) if _FILE in line]
        assert len({line.split()[4] for line in lines}) >= 1  # each root zygote has a file of its own
        assert {line.split()[1] for line in lines} == {"rw-p", "r-xp"}  # its data, and code that nobody can write to
        assert not [name for pid in below(os.getpid()) for name in _open_files(pid) if _FILE in name]
    finally:
        attempt.process.kill()


@needs_large_pages
@pytest.mark.asyncio(loop_scope="session")
async def test_nobody_can_change_what_the_next_one_begins_with(bench: Bench) -> None:
    image = bench.twist(
        """
        before = string.ascii_letters
        libc = ctypes.CDLL(None, use_errno=True)
        page = id(before) & -4096
        gone = libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(4096), 9), ctypes.get_errno()  # MADV_REMOVE
        ctypes.memset(id(before) + sys.getsizeof("") - 1, ord("x"), len(before))
        return before, gone[0]
        """,
        "import ctypes, string, sys",
    )
    assert [await bench.run(image) for _ in range(2)] == [["x" * 52, -1], ["x" * 52, -1]]
    assert await bench.run(bench.twist("return string.ascii_letters", "import string")) == (
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


def _maps(pid: int) -> list[str]:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    return []


def _open_files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
    return []
