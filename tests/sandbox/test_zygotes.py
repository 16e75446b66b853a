"""Importing versions, what is refused, and zygotes that end when they should not."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
from collections import Counter
from collections.abc import Callable

import pytest

from ropewalk.sandbox import zygotes
from ropewalk.sandbox.interface import Ended, Image, Limits, RefusedImport, SandboxError
from tests.harness.processes import children, living, zygote_tree
from tests.harness.waiting import eventually
from tests.sandbox.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")


HELPER = """
import time
from ropewalk.guest import kernel, zygote
if kernel.clone(zygote._FORK_FLAGS) == 0:
    time.sleep(60)
"""
"""Makes a process that goes on."""


async def refusal(bench: Bench, code: str) -> RefusedImport:
    """Return why a module is refused."""
    with pytest.raises(RefusedImport) as refused:
        await bench.source.describe(bench.image(code + "\nclass Probe(Twist):\n    async def probe(self): return 1\n"))
    return refused.value


async def test_a_module_is_described(bench: Bench) -> None:
    manifest = await bench.source.describe(bench.twist("return 1"))
    assert (manifest.cls, [method.name for method in manifest.methods]) == ("Probe", ["probe"])


async def test_what_a_module_raises_is_told(bench: Bench) -> None:
    refused = await refusal(bench, "raise ValueError('not today')")
    assert refused.type == "ValueError"
    assert "not today" in refused.message
    assert "module.py" in refused.traceback


async def test_a_fork_has_few_areas_of_each_library_to_copy(bench: Bench) -> None:
    process = await bench.source.take(bench.twist("return 1"))
    with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
        areas = Counter(line.split()[1] for line in maps)
    process.kill()
    libraries = areas["r-xp"]  # one with code for each
    assert libraries > 10
    assert areas["r--p"] < 0.5 * libraries, areas
    assert areas["rw-p"] < 1.5 * libraries, areas


async def test_a_bundle_that_is_not_there_is_no_fault_of_the_authors(bench: Bench) -> None:
    with pytest.raises(SandboxError):
        await bench.source.take(Image(bundle="missing", module="module", cls=None, limits=Limits()))


@pytest.mark.parametrize("name", ["../other", "/etc", "", ".", "a/b"])
async def test_a_bundle_is_a_folders_name(bench: Bench, name: str) -> None:
    with pytest.raises(SandboxError, match="bundle"):
        await bench.source.take(Image(bundle=name, module="module", cls=None, limits=Limits()))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os._exit(0)", "ended its process with exit code 0"),
        ("import os; os._exit(3)", "ended its process with exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "ended its process by SIGSEGV"),
        ("import os, time; os.close(3); time.sleep(60)", "ended its process by SIGKILL"),
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "started 1 thread"),
        ("held = open(__file__)", "left files, sockets or an event loop open"),
        ("import asyncio; loop = asyncio.new_event_loop()", "left files, sockets or an event loop open"),
        ("import os; os.dup2(os.pipe()[0], 0)", "left files, sockets or an event loop open"),
        (HELPER, "started 1 process(es)"),
        ("import os; os.write(3, b'noise')", "broke what the sandbox runs it with"),
    ],
    ids=["exit", "exit-3", "segfault", "close", "thread", "file", "loop", "replaced", "process", "noise"],
)
async def test_an_import_that_leaves_something_behind_is_refused(bench: Bench, code: str, says: str) -> None:
    assert says in (await refusal(bench, code)).message


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass"], ids=["sleep", "loop"])
async def test_an_import_that_hangs_is_refused(bench: Bench, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "IMPORT_SECONDS", 0.3)
    assert "took more than 0.3 s" in (await refusal(bench, code)).message


async def test_an_import_that_wants_too_much_memory_is_refused(bench: Bench) -> None:
    refused = await refusal(bench, "held = bytearray(200 << 20)")
    assert refused.type == "memory_limit"
    assert "134,217,728 bytes" in refused.message


async def test_processes_that_an_import_makes_end_with_it(own_bench: Callable[[], Bench]) -> None:
    doubling = "from ropewalk.guest import kernel, zygote\nfor _ in range(8): kernel.clone(zygote._FORK_FLAGS)\nimport time; time.sleep(60)"
    async with own_bench().running() as bench:
        assert (await refusal(bench, doubling)).type == "thread_limit"
        root = bench.source._root
        assert root is not None
        await eventually(lambda: nobody_lives(root.pid), "the processes to be gone")


async def test_processes_that_are_made_while_the_one_that_imports_sleeps_are_counted(own_bench: Callable[[], Bench]) -> None:
    later = """
    import signal, time
    from ropewalk.guest import kernel, zygote
    if kernel.clone(zygote._FORK_FLAGS) == 0:
        time.sleep(0.3)  # what is tried: to begin when the one that imports has done nothing for long (no test waits for it)
        for _ in range(100):
            if kernel.clone(zygote._FORK_FLAGS) == 0:
                break
    signal.pause()
    """
    async with own_bench().running() as bench:
        assert (await refusal(bench, textwrap.dedent(later))).type == "thread_limit"


async def nobody_lives(root: int) -> bool:
    """Whether a process has no children that live."""
    return not list(living(children(root)))


async def test_a_zygote_that_keeps_a_connection_gives_no_process(bench: Bench) -> None:
    before = """
    import os, socket
    from ropewalk.guest import kernel
    clone = kernel.clone

    def keep(*args):
        queue = socket.socket(fileno=4)
        _, ((_, _, kept),), _, _ = queue.recvmsg(1, 64, socket.MSG_PEEK)
        queue.detach()
        pid = clone(*args)
        if pid == 0:
            os.close(kept[0])
        return pid

    kernel.clone = keep
    """
    with pytest.raises(RefusedImport, match="kept the connection"):
        await bench.source.take(bench.twist("return 1", before))


async def test_a_process_that_keeps_another_descriptor_is_not_given(bench: Bench) -> None:
    before = "import os\ndup2 = os.dup2\nos.dup2 = lambda old, new: (dup2(old, new), os.dup(new))"
    with pytest.raises(RefusedImport, match="not what was asked for"):
        await bench.source.take(bench.twist("return 1", before))


async def test_a_zygote_that_cannot_fork_gives_no_process(bench: Bench) -> None:
    before = "from ropewalk.guest import kernel\ndef clone(*args): raise OSError(11, 'no')\nkernel.clone = clone"
    with pytest.raises(SandboxError):
        await bench.source.take(bench.twist("return 1", before))


async def test_a_zygote_that_does_not_answer_gives_no_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "FORK_SECONDS", 0.1)
    before = "import time\nfrom ropewalk.guest import kernel\nkernel.clone = lambda *args: time.sleep(60)"
    with pytest.raises(SandboxError):
        await bench.source.take(bench.twist("return 1", before))


async def test_takers_each_get_a_process_of_their_own(bench: Bench) -> None:
    image = bench.twist("import os; return os.getpid()")
    pids = await asyncio.gather(*(bench.run(image) for _ in range(20)))
    assert len(set(pids)) == 20


async def test_a_taker_that_gives_up_leaves_its_process_to_others(bench: Bench) -> None:
    image = bench.twist("return 1")
    await bench.source.describe(image)
    takers = [asyncio.ensure_future(bench.source.take(image)) for _ in range(8)]
    await asyncio.sleep(0)
    for taker in takers:
        taker.cancel()
    await asyncio.gather(*takers, return_exceptions=True)
    assert await bench.run(image) == 1


async def test_a_killed_version_zygote_is_replaced(own_bench: Callable[[], Bench]) -> None:
    async with own_bench().running() as bench:
        image = bench.twist("import time; time.sleep(args[0]); return 1")
        attempt = await bench.begin(image, "probe", 0.5)
        for version in zygote_tree(os.getpid()).versions:
            os.kill(version, signal.SIGKILL)
        assert await bench.run(image, 0) == 1
        assert await attempt.result() == 1, "what it had forked lives on"


async def test_a_killed_root_zygote_is_replaced(own_bench: Callable[[], Bench]) -> None:
    async with own_bench().running() as bench:
        image = bench.twist("import time; time.sleep(args[0]); return 1")
        attempt = await bench.begin(image, "probe", 60)
        os.kill(attempt_parent(attempt.process.pid), signal.SIGKILL)
        assert await attempt.ended() == Ended(signal=9)
        assert await bench.run(image, 0) == 1


def attempt_parent(pid: int) -> int:
    """Return the parent of a process: an attempt's is the root zygote."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])
