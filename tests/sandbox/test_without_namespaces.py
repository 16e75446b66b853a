"""The sandbox of a host that allows no user namespaces: landlock and seccomp alone, for real."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.facts import gather_facts
from ropewalk.sandbox.interface import Ended
from ropewalk.sandbox.profile import describe_profile, make_plan
from ropewalk.sandbox.source import ForkSource
from tests.harness.forbidding import without
from tests.harness.processes import children, living
from tests.harness.waiting import until
from tests.sandbox.bench import Bench
from tests.sandbox.test_isolation import ATTEMPT
from tests.sandbox.test_lifetime import ROOT, lonely_host, read, wait_for_end

FACTS = msgspec.structs.replace(gather_facts(), user_namespaces=False)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(assess(FACTS).problems), reason="this kernel's landlock is too old to stand in for namespaces"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def poor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A bench of a sandbox without namespaces."""
    bundles = tmp_path_factory.mktemp("bundles")
    async with Bench(ForkSource(str(bundles), facts=FACTS), bundles).running() as bench:
        yield bench


async def ask(bench: Bench, expression: str) -> Any:
    """Evaluate an expression in the sandbox, with ATTEMPT's helpers at hand."""
    return await bench.probe(f"return {expression}", ATTEMPT)


def opened(path: str | Path) -> str:
    return f"attempt(lambda: os.open({str(path)!r}, os.O_RDONLY))"


async def test_an_attempt_does_not_see_what_another_one_wrote(poor: Bench) -> None:
    image = poor.twist("seen.append(len(seen)); return seen", "seen = []")
    assert [await poor.run(image) for _ in range(3)] == [[0], [0], [0]]


async def test_own_code_and_the_standard_library_can_be_read_late(poor: Bench) -> None:
    body = """
    import importlib, sqlite3, wave, xml.dom.minidom, zoneinfo, datetime
    importlib.invalidate_caches()
    import mailbox, msgspec.toml
    return open(__file__).read()[:4], str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")))
    """
    assert await poor.probe(body) == ["from", "2024-07-01 00:00:00+09:00"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/hostname", "/proc/self/status", "/proc/1/environ", "/", "/tmp", "/proc", "/sys"]
)
async def test_files_of_the_host_cannot_be_read(poor: Bench, path: str) -> None:
    assert await ask(poor, opened(path)) == "EACCES"


async def test_what_the_nodes_own_user_keeps_cannot_be_read(poor: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    found = await ask(
        poor,
        f"{opened(secret)}, {opened(f'/proc/{os.getpid()}/environ')}, attempt(lambda: os.readlink('/proc/{os.getpid()}/exe'))",
    )
    assert found == ["EACCES"] * 3


async def test_versions_do_not_see_each_other(poor: Bench) -> None:
    other = poor.image("class One(Twist): pass", secret="TOKEN = 1")
    await poor.source.describe(other)
    folder = poor.bundles / other.bundle
    assert await ask(poor, f"{opened(folder)}, {opened(folder / 'secret.py')}") == ["EACCES", "EACCES"]


async def test_installed_packages_of_the_host_are_not_there(poor: Bench) -> None:
    missing = await ask(poor, "[name for name in ('apsw', 'click', 'pip') if __import__('importlib.util').util.find_spec(name)]")
    assert missing == []
    folders = [path for path in FACTS.site_packages if os.listdir(path)]
    assert folders, "there is something to hide"
    first = [os.path.join(path, min(os.listdir(path))) for path in folders]
    assert await ask(poor, ", ".join(map(opened, first)) + ",") == ["EACCES"] * len(first)


async def test_nodes_own_code_is_not_there(poor: Bench) -> None:
    assert await ask(poor, opened(Path(FACTS.package, "service", "node.py"))) == "EACCES"


@pytest.mark.parametrize("path", ["/dev/null", "/new", "/tmp/new"])
async def test_no_file_can_be_opened_for_writing(poor: Bench, path: str) -> None:
    assert await ask(poor, f"attempt(lambda: os.open({path!r}, os.O_WRONLY | os.O_CREAT))") == "EROFS"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
async def test_there_are_no_sockets(poor: Bench, family: str) -> None:
    assert await ask(poor, f"attempt(lambda: socket.socket(socket.{family}, socket.SOCK_STREAM).fileno())") == "EPERM"


async def test_abstract_sockets_of_the_host_are_out_of_reach(poor: Bench) -> None:
    name = f"\0{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name)
        assert await ask(poor, f"attempt(lambda: socket.socketpair()[0].connect({name!r}))") == "EPERM"


async def test_no_process_is_made_signalled_or_traced(poor: Bench) -> None:
    victim = f"{os.getpid()}"
    found = await ask(
        poor,
        f"attempt(os.fork), attempt(lambda: os.kill({victim}, 0)), attempt(lambda: os.kill(os.getppid(), 9)), "
        f"call(101, 16, {victim}, 0, 0), call(310, {victim}, 0, 0, 0, 0), call(434, {victim}, 0), attempt(lambda: os.setsid())",
    )
    assert found == ["EPERM"] * 7


async def test_no_capability_and_no_new_privilege_is_left(poor: Bench) -> None:
    attempt = await poor.begin(poor.twist("import time; time.sleep(60)"))
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{attempt.process.pid}/status").read_text().splitlines() if ":\t" in line
    )
    attempt.process.kill()
    assert [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


async def test_the_environment_is_not_the_hosts(poor: Bench) -> None:
    environment = make_plan(describe_profile(FACTS, "/bundles", "landlock"), FACTS).environment
    assert set(await ask(poor, "dict(os.environ)")) <= {*environment, "LC_CTYPE"}
    assert not set(environment) & {"PYTHONPATH", "PYTEST_CURRENT_TEST", "USER"}


async def test_errors_of_modules_name_their_files_as_the_author_does(poor: Bench) -> None:
    attempt = await poor.begin(poor.twist("raise ValueError('here')"))
    assert "module.py" in (await attempt.error()).traceback
    with pytest.raises(Exception, match=r"^module\.py:2: ZeroDivisionError"):
        await poor.source.describe(poor.image("1 / 0"))


# ── The end of everything ─────────────────────────────────────────────────────────────────────────────────────────────────────

# A version's zygote forks when it is asked to; nothing keeps the module that it has imported from forking along, behind the host's back.
STRAY = """
import os, time
from ropewalk.guest import kernel

clone = kernel.clone

def along(*arguments):
    if clone(*arguments) == 0:
        os.closerange(3, 256)
        while True: time.sleep(1)
    return clone(*arguments)

kernel.clone = along
"""


@pytest.mark.parametrize("facts", [FACTS, None], ids=["landlock", "namespaces"])
async def test_what_a_module_forks_ends_with_the_sandbox(facts: Any, tmp_path: Path) -> None:
    bench = Bench(ForkSource(str(tmp_path), facts=facts), tmp_path)
    before = set(children(os.getpid()))
    async with bench.running():
        attempt = await bench.begin(bench.twist("import time; time.sleep(60)", STRAY))
        (root,) = set(children(os.getpid())) - before
        pids = children(root)
        assert len(set(pids) - {attempt.process.pid}) >= 2, "the version's zygote and a stray"
    until(lambda: not any(living(pids)), "everything to be gone")


async def test_a_killed_root_zygote_takes_all_along_and_is_replaced(tmp_path: Path) -> None:
    bench = Bench(ForkSource(str(tmp_path), facts=FACTS), tmp_path)
    before = set(children(os.getpid()))
    async with bench.running():
        image = bench.twist("import time; time.sleep(args[0]); return 1", STRAY)
        attempt = await bench.begin(image, "probe", 60)
        (root,) = set(children(os.getpid())) - before
        pids = children(root)
        os.kill(root, 9)
        assert await attempt.ended() == Ended(signal=9)
        until(lambda: not any(living(pids)), "its processes to be gone")
        assert await bench.run(image, 0) == 1


async def test_when_the_host_is_killed_nothing_goes_on(tmp_path: Path) -> None:
    with lonely_host(tmp_path, lacking=("namespaces",)) as host:
        assert read(host)[0] == os.getuid(), "it is the node's own user"
        pids = [int(str(pid)) for pid in read(host)]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        host.kill()
        assert wait_for_end(pidfds)


async def test_the_host_that_lacks_namespaces_really_does() -> None:
    code = "from ropewalk.sandbox.facts import gather_facts; from ropewalk.sandbox.assessment import assess; print(assess(gather_facts()).profile)"
    command = without(("namespaces",), [sys.executable, "-c", code])
    assert subprocess.check_output(command, text=True, cwd=ROOT).strip() == "landlock"
