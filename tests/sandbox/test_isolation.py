"""What code in the sandbox finds when it looks and pushes: real processes, under the real profile."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.sandbox.bench import IN_BOTH_MODES, Bench

pytestmark = [pytest.mark.asyncio(loop_scope="session"), IN_BOTH_MODES]

# `attempt(f)` gives the name of the errno that f() fails with, or what it returns.
ATTEMPT = """
import ctypes, errno, mmap, os, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]

def attempt(f):
    try:
        return f()
    except OSError as error:
        return errno.errorcode[error.errno]

def call(*args):
    ctypes.set_errno(0)
    result = libc.syscall(*(ctypes.c_long(arg) for arg in args))
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]

def map_memory(prot, flags, fd=-1):
    ctypes.set_errno(0)
    address = libc.mmap(None, 4096, prot, flags, fd, 0)
    return "mapped" if address != ctypes.c_void_p(-1).value else errno.errorcode[ctypes.get_errno()]
"""


async def ask(bench: Bench, expression: str) -> Any:
    """Evaluate an expression in the sandbox, with ATTEMPT's helpers at hand."""
    return await bench.probe(f"return {expression}", ATTEMPT)


async def test_an_attempt_does_not_see_what_another_one_wrote(bench: Bench) -> None:
    image = bench.twist("seen.append(len(seen)); return seen", "seen = []")
    assert [await bench.run(image) for _ in range(3)] == [[0], [0], [0]]


async def test_a_generator_made_at_import_is_each_attempts_own_unless_it_has_a_seed(bench: Bench) -> None:
    before = "import random\nSEEDED, OTHER, SUBCLASSED = random.Random(7), random.Random(), type('Own', (random.Random,), {})()"
    image = bench.twist("return SEEDED.random(), OTHER.random(), SUBCLASSED.gauss(0, 1), random.random()", before)
    one, two = [await bench.run(image) for _ in range(2)]
    assert [a == b for a, b in zip(one, two, strict=True)] == [True, False, False, False]
    assert len(set(one)) == 4


async def test_the_tree_has_only_what_is_needed(bench: Bench) -> None:
    found = await ask(
        bench, "sorted(os.listdir('/twist')), attempt(lambda: os.listdir('/')), attempt(lambda: os.listdir('/bundles'))"
    )
    assert found == [["module.py"], "EACCES", "EACCES"]


@pytest.mark.parametrize("path", ["/proc", "/proc/self/status", "/etc/passwd", "/etc/hostname", "/home", "/var", "/sys", "/tmp"])
async def test_files_of_the_host_are_not_there(bench: Bench, path: str) -> None:
    assert await ask(bench, f"attempt(lambda: os.open({path!r}, os.O_RDONLY))") == "ENOENT"


async def test_installed_packages_of_the_host_are_not_there(bench: Bench) -> None:
    found = await ask(
        bench,
        "[attempt(lambda: os.listdir(p)) for p in sys.path if 'packages' in p], __import__('importlib.util').util.find_spec('apsw')",
    )
    assert found == [[], None]


@pytest.mark.parametrize("path", ["/twist/new", "/twist/module.py", "/new", "/dev/null", "/usr/lib/new", "/ropewalk/new"])
async def test_no_file_can_be_opened_for_writing(bench: Bench, path: str) -> None:
    assert await ask(bench, f"attempt(lambda: os.open({path!r}, os.O_WRONLY | os.O_CREAT))") == "EROFS"


async def test_files_cannot_be_changed_by_other_calls(bench: Bench) -> None:
    calls = "lambda: os.unlink(p), lambda: os.mkdir(p + 'd'), lambda: os.rename(p, p), lambda: os.truncate(p, 0), lambda: os.chmod(p, 0), lambda: os.utime(p)"
    found = await ask(bench, f"(lambda p: [attempt(f) for f in ({calls})])('/twist/module.py')")
    assert found == ["EPERM"] * 6


async def test_own_code_and_the_standard_library_can_be_read_late(bench: Bench) -> None:
    body = """
    import sqlite3, wave, xml.dom.minidom, zoneinfo, datetime
    return open("/twist/module.py").read()[:4], str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")))
    """
    assert await bench.probe(body) == ["from", "2024-07-01 00:00:00+09:00"]


async def test_the_environment_is_not_the_hosts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_KEY", "a secret")
    assert set(await ask(bench, "dict(os.environ)")) <= {
        "LANG",
        "LC_CTYPE",
        "TZ",
        "MALLOC_ARENA_MAX",
        "LD_BIND_NOW",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "HOME",
        "PATH",
    }


async def test_it_runs_as_nobody_without_capabilities(bench: Bench) -> None:
    # An ordinary user has one uid and one gid to give, and may not drop its groups: they grant nothing beyond what it shows the sandbox.
    expected = 65534 if os.geteuid() == 0 else 0
    users, groups, further = await ask(bench, "os.getresuid(), os.getresgid(), os.getgroups()")
    assert (users, groups) == ([expected] * 3, [expected] * 3)
    assert further == [] or os.geteuid() != 0


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW"])
async def test_there_are_no_sockets(bench: Bench, family: str, kind: str) -> None:
    assert await ask(bench, f"attempt(lambda: socket.socket(socket.{family}, socket.{kind}).fileno())") == "EPERM"


async def test_the_pair_of_an_event_loop_is_the_only_socket(bench: Bench) -> None:
    assert await ask(
        bench, "attempt(lambda: len(socket.socketpair())), attempt(lambda: len(socket.socketpair(type=socket.SOCK_DGRAM)))"
    ) == [2, "EPERM"]


async def test_processes_cannot_be_made(bench: Bench) -> None:
    calls = "os.fork, os.forkpty, lambda: os.posix_spawn('/x', ['x'], {}), lambda: os.execv('/x', ['x']), lambda: __import__('subprocess').run(['x'])"
    found = await ask(
        bench,
        f"[attempt(f) for f in ({calls})], [call(n, f, 0, 0, 0, 0) for n, f in ((56, 0x01208000), (56, 17), (57, 0), (58, 0), (435, 0))]",
    )
    assert found[0].pop(1) in ("EROFS", "ENOENT")  # a Python asks the C library for a terminal, another opens it
    assert found[0] == ["EPERM", "EPERM", "EPERM", "EPERM"]
    assert found[1] == ["EPERM", "EPERM", "EPERM", "EPERM", "ENOSYS"]


async def test_threads_can_be_made(bench: Bench) -> None:
    body = """
    import asyncio
    return await asyncio.gather(*(asyncio.to_thread(pow, 2, n) for n in range(4)))
    """
    assert await bench.probe(body) == [1, 2, 4, 8]


async def test_nothing_outside_can_be_signalled_or_traced(bench: Bench) -> None:
    found = await ask(
        bench,
        "[attempt(lambda: os.kill(pid, 0)) for pid in (1, 2, 3, -1)], call(101, 16, 1, 0, 0), call(310, 1, 0, 0, 0, 0), call(434, 1, 0)",
    )
    assert found == [["EPERM"] * 4, "EPERM", "EPERM", "EPERM"]


async def test_memory_is_never_shared_nor_both_written_and_run(bench: Bench) -> None:
    read_write, run, private, shared, anonymous = 3, 4, 2, 1, 0x20
    wanted = [
        (read_write, private | anonymous),
        (read_write, shared | anonymous),
        (1 | run, private | anonymous),
        (read_write | run, private | anonymous),
    ]
    found = await ask(
        bench, f"[map_memory(*w) for w in {wanted}], call(319, 0, 0), call(425, 1, 0), call(323, 0), call(29, 0, 4096, 0o600)"
    )
    assert found == [["mapped", "EPERM", "EPERM", "EPERM"], "ENOSYS", "ENOSYS", "EPERM", "EPERM"]


async def test_written_memory_cannot_be_made_to_run(bench: Bench) -> None:
    found = await ask(
        bench,
        "(lambda m: call(10, ctypes.addressof(ctypes.c_char.from_buffer(m)), 4096, 5))(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE))",
    )
    assert found == "EPERM"


async def test_limits_cannot_be_raised(bench: Bench) -> None:
    body = """
    import resource
    limits = resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
    except ValueError as error:
        return str(error), [resource.getrlimit(limit)[0] for limit in limits]
    """
    assert await bench.probe(body) == ["not allowed to raise maximum limit", [256, 0, 0]]


async def test_the_32_bit_numbers_of_x86_64_end_the_process(bench: Bench) -> None:
    attempt = await bench.begin(bench.twist("return call(0x40000000 + 39)", ATTEMPT))
    assert (await attempt.ended()).signal == 31


async def test_versions_do_not_see_each_other(bench: Bench) -> None:
    other = bench.image("class One(Twist): pass", secret="TOKEN = 1")
    await bench.source.describe(other)
    assert await ask(bench, f"attempt(lambda: os.listdir('/bundles/{other.bundle}'))") in ("EACCES", "ENOENT")
