"""Modules that cannot be versions: the deploy is refused with what is wrong and where, and the sandbox goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.sandbox import zygotes
from ropewalk.service.bundles import BundleError
from tests.badinput.aftermath import BENIGN, assert_goes_on
from tests.harness.runtime import RefusedImport, Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = "from ropewalk import Limits, Options, Priority, RetryPolicy, Twist\nfrom ropewalk.tools import Network\n"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def beside(lasting: Runtime) -> str:
    """An instance that is there all the while."""
    return await lasting.run(BENIGN)


async def refused(runtime: Runtime, beside: str, source: str) -> RefusedImport:
    """Deploy what has to be refused, see that another instance goes on, and return the refusal."""
    with pytest.raises(RefusedImport) as caught:
        await runtime.deploy(source)
    assert [twist.name for twist in await runtime.storage.twists()] == ["benign"]
    await assert_goes_on(runtime, beside)
    return caught.value


# ── No twist, or two ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", ["no", "Twist"]),
        ("x = 1", ["no", "Twist"]),
        ("class Hello: pass", ["no", "Twist"]),
        ("from ropewalk import Twist", ["no", "Twist"]),
        (f"{TWIST}class _Hidden(Twist): pass", ["no", "Twist"]),
        (f"{TWIST}class One(Twist): pass\nclass Two(Twist): pass", ["One", "Two"]),
        (f"{TWIST}class One(Twist): pass\nclass Two(One): pass", ["One", "Two"]),
    ],
)
async def test_a_module_must_hold_one_twist(lasting: Runtime, beside: str, source: str, says: list[str]) -> None:
    why = await refused(lasting, beside, source)
    assert all(word in why.message for word in says)


# ── Imports that fail ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("import not_there", "ModuleNotFoundError", "not_there"),
        ("from ropewalk import nothing_like_it", "ImportError", "nothing_like_it"),
        ("from . import neighbour", "ImportError", "relative import"),
        ("import ropewalk.storage", "ModuleNotFoundError", "ropewalk.storage"),
        ("import httpx", "ModuleNotFoundError", "httpx"),
        ("x = (\n", "SyntaxError", "twist.py"),
        ("def f(:\n  pass", "SyntaxError", "twist.py"),
        ("if True:\nx = 1", "IndentationError", "twist.py"),
        ("x = 'a\0b'", "SyntaxError" if sys.version_info >= (3, 11, 4) else "ValueError", "null byte"),
        ("raise ValueError('at import')", "ValueError", "at import"),
        ("raise SystemExit('at import')", "SystemExit", "at import"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("class Odd(BaseException): pass\nraise Odd('at import')", "Odd", "at import"),
        ("class Odd(Exception):\n  def __str__(self): raise Odd\nraise Odd", "Odd", ""),
        ("def f(): f()\nf()", "RecursionError", "recursion"),
        ("open('/tmp/x', 'w')", "OSError", "/tmp/x"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "PermissionError", ""),
        ("import os\nos.fork()", "PermissionError", ""),
    ],
)
async def test_an_import_that_raises_is_reported_with_its_traceback(
    lasting: Runtime, beside: str, source: str, error: str, says: str
) -> None:
    why = await refused(lasting, beside, source)
    assert why.type == error
    assert says in why.message


async def test_the_traceback_is_the_authors(lasting: Runtime, beside: str) -> None:
    why = await refused(lasting, beside, "def inner():\n    raise ValueError('at import')\n\ninner()\n")
    assert "twist.py" in why.traceback
    assert "inner()" in why.traceback
    assert "line 2" in why.traceback
    assert "zygote.py" not in why.traceback


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import os\nos._exit(0)", "0"),
        ("import os\nos._exit(3)", "3"),
        ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
    ],
)
async def test_a_module_that_ends_its_process_is_refused(lasting: Runtime, beside: str, source: str, says: str) -> None:
    why = await refused(lasting, beside, source)
    assert why.type == "crash"
    assert says in why.message


async def test_a_module_that_takes_all_memory_is_refused(lasting: Runtime, beside: str) -> None:
    why = await refused(lasting, beside, "x = []\nwhile True:\n    x.append(bytearray(1024 * 1024))\n")
    assert why.type in {"memory_limit", "MemoryError"}


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(3600)", "input()"])
async def test_a_module_that_hangs_at_import_is_refused_in_time(
    lasting: Runtime, beside: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygotes, "IMPORT_SECONDS", 2.0)
    why = await refused(lasting, beside, body)
    assert why.type in {"timeout", "cpu_limit", "EOFError"}
    assert why.message


@pytest.mark.parametrize(
    "source",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n",
        "import socket\nkept = socket.socketpair()\n",
        "import mmap\nkept = mmap.mmap(-1, 4096)\n",
        "import os\nkept = os.memfd_create('kept')\n",
        "import os\nkept = os.pipe()\n",
    ],
)
async def test_a_module_that_keeps_what_attempts_would_share_is_refused(lasting: Runtime, beside: str, source: str) -> None:
    why = await refused(lasting, beside, f"{source}{TWIST}class Keeps(Twist): pass\n")
    assert why.message


# ── Twists that are not well formed ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def activate(self, priority): pass", ["activate", "async"]),
        ("async def activate(self): pass", ["activate", "priority"]),
        ("async def upgrade(self, version): pass", ["upgrade"]),
        ("async def work(self, x: 'NotThere'): pass", ["work", "NotThere", "twist.py:4"]),
        ("async def work(self) -> 'NotThere': pass", ["work", "NotThere"]),
        ("concurrency = 2", ["concurrency", "2"]),
        ("limits = Limits(cpu=3600)", ["cpu", "3,600", "60"]),
        ("limits = Limits(memory=-1)", ["memory"]),
        ("limits = 5", ["limits"]),
        ("retry = RetryPolicy(attempts=0)", ["attempts"]),
        ("network = Network(urls=['ftp://example.com'])", ["ftp://example.com"]),
        ("network = Network(urls=['https://exa mple.com/*'])", ["exa mple.com"]),
        ("network = Network(urls=['{missing}/*'])", ["missing"]),
        ("options = 5", ["options"]),
    ],
)
async def test_a_twist_that_is_not_well_formed_is_refused_by_name(
    lasting: Runtime, beside: str, body: str, says: list[str]
) -> None:
    why = await refused(lasting, beside, f"{TWIST}class Wrong(Twist):\n    {body}\n")
    text = f"{why.message} {why.traceback}"
    assert [word for word in says if word not in text] == []


async def test_options_without_a_type_are_refused(lasting: Runtime, beside: str) -> None:
    source = f"{TWIST}class Wrong(Options):\n    x = 5\n\nclass Odd(Twist):\n    options: Wrong\n"
    assert "x" in (await refused(lasting, beside, source)).message


async def test_a_class_that_hides_from_being_looked_at_is_refused(lasting: Runtime, beside: str) -> None:
    source = f"""{TWIST}
class Hiding(type(Twist)):
    def __getattribute__(cls, name):
        raise RuntimeError("nothing to see")

class Hidden(Twist, metaclass=Hiding):
    pass
"""
    assert (await refused(lasting, beside, source)).message


async def test_a_manifest_that_is_too_large_is_refused(lasting: Runtime, beside: str) -> None:
    source = f"{TWIST}\nclass Large(Twist):\n    pass\n\nfor n in range(50_000):\n"
    source += "    async def work(self, argument_with_a_long_name: int) -> None: pass\n"
    source += "    work.__name__ = f'work_{n}'\n    setattr(Large, f'work_{n}', work)\n"
    assert (await refused(lasting, beside, source)).message


# ── What cannot even be packed ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("twist.txt", b"", "no Python file"),
        ("dependent.py", b"# /// script\n# dependencies = ['a package']\n# ///\n", "'a package', which is no"),
    ],
)
async def test_a_file_that_is_no_module_is_refused(
    runtime: Runtime, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BundleError, match=says):
        await runtime.deploy(path)


@pytest.mark.parametrize("content", [b"x = '\xff\xfe'\n", b"# coding: no-such-coding\n"])
async def test_a_module_in_an_unknown_encoding_is_refused(runtime: Runtime, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "twist.py"
    path.write_bytes(content)
    with pytest.raises(RefusedImport) as caught:
        await runtime.deploy(path)
    assert caught.value.type == "SyntaxError"


# ── Deploys beside a live instance ────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_refused_version_leaves_the_old_one_at_work(runtime: Runtime) -> None:
    instance = await runtime.run(BENIGN)
    with pytest.raises(RefusedImport):
        await runtime.deploy("raise ValueError('at import')", name="benign")
    await assert_goes_on(runtime, instance)
    assert (await runtime.instance(instance)).version == 1


async def test_an_upgrade_that_fails_leaves_the_old_version_at_work(runtime: Runtime) -> None:
    instance = await runtime.run(BENIGN)
    failing = "    retry = RetryPolicy(attempts=1)\n    async def upgrade(self):\n        raise ValueError('not like this')\n"
    await runtime.deploy(f"from ropewalk import RetryPolicy\n{BENIGN}\n{failing}", name="benign")
    await runtime.drain()
    await assert_goes_on(runtime, instance)
    found = await runtime.instance(instance)
    assert found.version == 1
    assert "not like this" in (found.upgrade_error or "")
