"""Other processes: reaching into them, ending them, making more, becoming another program, outliving the execution."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ropewalk.sandbox.profile import NOBODY
from tests.escape.guards import guest, host, landlock, limit, namespace, no_fork, privileges, seccomp, together
from tests.escape.harness import Attack, Bait, Outcome, bait_taken

PIDS = namespace("pid")
REACHING = seccomp("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd", "kcmp")
SETTING = seccomp("prlimit64", "setpriority", "sched_setaffinity", "setsid", "prctl")
SIGNALS = seccomp("kill", "tkill", "tgkill", "rt_sigqueueinfo", "pidfd_open", "pidfd_send_signal")
FORKING = seccomp("clone", "clone3", "fork", "vfork")
BECOMING = seccomp("execve", "execveat", "arch_prctl")  # without the last, the C library of the new program ends it at once
THREADS_COUNTED = guest("threads counted within", "guest/threads.py", "def bound(): threading.stack_size(STACK)")
THREADS_SEEN = host("ropewalk.sandbox.watch._THREADS_SEEN", 1000)
OTHERS_OWN = together("landlock and privileges", landlock(), privileges())
"""What keeps processes of one user apart: each that is not dumpable may be reached only with capabilities, or from a landlock above it."""

EXIT_STATUS = 77

VFORK = bytes.fromhex("b83a000000 0f05 85c0 7509 b83c000000 31ff 0f05 c3")
"""A function that makes a process by vfork, in which it exits at once, and returns its number."""


def _program() -> bytes:
    """Return a program of Linux's that exits with EXIT_STATUS."""
    code = bytes([0xB8, 60, 0, 0, 0, 0xBF, EXIT_STATUS, 0, 0, 0, 0x0F, 0x05])
    base, headers = 0x40_0000, 120
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, headers + len(code), headers + len(code), 0x1000)
    return header + segment + code


def ran_a_program(outcome: Outcome) -> bool:
    """The process ended as only the other program does."""
    return f"exit status {EXIT_STATUS}" in outcome.text


@contextlib.contextmanager
def victim() -> Iterator[Bait]:
    """A process of the host's that the sandbox's user may signal as far as users go; taken when it is gone."""
    user = NOBODY if os.geteuid() == 0 else None
    with subprocess.Popen(["/bin/sleep", "60"], user=user, cwd="/") as process:
        try:
            yield Bait(pid=process.pid, taken=lambda: ends(process))
        finally:
            process.kill()


def ends(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process ends within a moment, otherwise than by exit 0."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(0.05) != 0
    return False


@contextlib.contextmanager
def outliving() -> Iterator[Bait]:
    """A name by which a process is known that is still there a while after the execution."""
    name = f"rw-{secrets.token_hex(5)}"
    yield Bait(name=name, taken=lambda: stays(name))
    end_all(name)


def end_all(name: str) -> None:
    """End the processes of the host with a thread of this name."""
    for pid in _named(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stays(name: str) -> bool:
    """Whether there is such a process, and there still is after a while."""
    deadline = time.monotonic() + 2
    while _named(name):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)  # between two looks
    return False


def _named(name: str) -> list[int]:
    """Return the processes of the host with a thread of this name."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if name in _threads_of(pid)]


def _threads_of(pid: int) -> set[str]:
    names: set[str] = set()
    with contextlib.suppress(OSError):  # it may end meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):  # so may the thread
                names.add(Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip())
    return names


def signals(*arguments: str) -> str:
    """Return the source of an attack that ends the bait by a system call."""
    return f"pid = given['pid']\ncall({', '.join(arguments)})"


TAKE_NAME = """
def be_named(name):
    held = ctypes.create_string_buffer(name.encode())
    call("prctl", 15, ctypes.addressof(held), 0, 0, 0)
"""

# What a process of its own does in an attack: it ends, and its parent has seen that it could be made.
MADE = "\nif pid == 0:\n    os._exit(0)\nreturn THROUGH"


ATTACKS = [
    # ── Reaching into others ──────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="trace a process of another instance",
        source="return any_works(lambda pid=pid: call('ptrace', 0x4206, pid, 0, 0) for pid in neighbours())",
        held_by=[REACHING, OTHERS_OWN],
    ),
    Attack(
        name="trace itself",
        source="call('ptrace', 0, 0, 0, 0)\nreturn THROUGH",
        held_by=[REACHING],
    ),
    Attack(
        name="read another process's memory",
        source="""
            here, there = ctypes.create_string_buffer(8), (ctypes.c_uint64 * 2)(id(sys), 8)
            local = (ctypes.c_uint64 * 2)(ctypes.addressof(here), 8)
            addresses = ctypes.addressof(local), ctypes.addressof(there)
            return any_works(
                lambda pid=pid: call("process_vm_readv", pid, addresses[0], 1, addresses[1], 1, 0) for pid in neighbours()
            )
        """,
        held_by=[REACHING, OTHERS_OWN],
    ),
    Attack(
        name="write to another process's memory",
        source="""
            here = ctypes.create_string_buffer(ctypes.string_at(id(sys) + 8, 8), 8)
            there = (ctypes.c_uint64 * 2)(id(sys) + 8, 8)
            local = (ctypes.c_uint64 * 2)(ctypes.addressof(here), 8)
            addresses = ctypes.addressof(local), ctypes.addressof(there)
            return any_works(
                lambda pid=pid: call("process_vm_writev", pid, addresses[0], 1, addresses[1], 1, 0) for pid in neighbours()
            )
        """,
        held_by=[REACHING, OTHERS_OWN],
    ),
    Attack(
        name="take a descriptor of another process",
        source="""
            def steal(pid):
                call("pidfd_getfd", call("pidfd_open", pid, 0), 3, 0)
            return any_works(lambda pid=pid: steal(pid) for pid in neighbours())
        """,
        held_by=[REACHING, OTHERS_OWN],
    ),
    Attack(
        name="compare its kernel objects with another's",
        source="return any_works(lambda pid=pid: call('kcmp', os.getpid(), pid, 1, 0, 0) for pid in neighbours())",
        held_by=[REACHING, OTHERS_OWN],
    ),
    Attack(
        name="change another process's limits",
        source="""
            nothing = (ctypes.c_uint64 * 2)(0, 0)
            return any_works(
                lambda pid=pid: call("prlimit64", pid, resource.RLIMIT_CORE, ctypes.addressof(nothing), 0) for pid in neighbours()
            )
        """,
        held_by=[SETTING],
    ),
    Attack(
        name="change another process's share of the processor",
        source="return any_works(lambda pid=pid: os.setpriority(os.PRIO_PROCESS, pid, 19) for pid in neighbours())",
        held_by=[SETTING],
    ),
    Attack(
        name="bind another process to a processor",
        source="return any_works(lambda pid=pid: os.sched_setaffinity(pid, os.sched_getaffinity(0)) for pid in neighbours())",
        held_by=[SETTING],
    ),
    # ── Ending others ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="kill a process of the host",
        source="os.kill(given['pid'], 9)",
        bait=victim,
        held_by=[SIGNALS, PIDS, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="kill a thread of the host",
        source=signals("'tkill'", "pid", "9"),
        bait=victim,
        held_by=[SIGNALS, PIDS, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="kill a thread of a process of the host",
        source=signals("'tgkill'", "pid", "pid", "9"),
        bait=victim,
        held_by=[SIGNALS, PIDS, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="queue a signal for a process of the host",
        source="""
            told = ctypes.create_string_buffer(struct.pack("iiiiiii", signal.SIGTERM, 0, -1, 0, os.getpid(), os.getuid(), 0), 128)
            call("rt_sigqueueinfo", given["pid"], signal.SIGTERM, ctypes.addressof(told))
        """,
        bait=victim,
        held_by=[SIGNALS, PIDS, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="kill a process of the host by a handle",
        source="call('pidfd_send_signal', call('pidfd_open', given['pid'], 0), 9, 0, 0)",
        bait=victim,
        held_by=[SIGNALS, PIDS, landlock(since=6)],
        through=bait_taken,
    ),
    Attack(
        name="kill everyone",
        source="os.kill(-1, 9)\nreturn THROUGH",
        held_by=[SIGNALS],
    ),
    Attack(
        name="stop its siblings",
        source="return any_works(lambda pid=pid: os.kill(pid, signal.SIGSTOP) for pid in neighbours())",
        held_by=[SIGNALS],
    ),
    Attack(
        name="end the root zygote",
        source="os.kill(1, 0)\nreturn THROUGH",
        held_by=[SIGNALS, landlock(since=6), privileges(by_user=True)],
    ),
    # ── Making more ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(name="fork", source="pid = os.fork()" + MADE, held_by=[FORKING, no_fork()]),
    Attack(name="fork by its old number", source="pid = call('fork')" + MADE, held_by=[FORKING]),
    Attack(
        name="vfork",
        source="return THROUGH if machine_code('code', ctypes.c_int)() > 0 else ''",
        files={"code": VFORK},
        held_by=[FORKING],
    ),
    Attack(
        name="fork as the zygote does",
        source="pid = call('clone', 0x01208000, 0, 0, ctypes.addressof(ctypes.c_int()), 0)" + MADE,
        held_by=[no_fork()],
    ),
    Attack(
        name="clone with flags in the high half",
        source="pid = call('clone', (1 << 32) | 17, 0, 0, 0, 0)" + MADE,
        held_by=[FORKING, no_fork()],
    ),
    Attack(
        name="fork by clone3",
        source="arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17)\npid = call('clone3', ctypes.addressof(arguments), 64)" + MADE,
        held_by=[FORKING],
    ),
    Attack(
        name="clone into a user namespace",
        source="pid = call('clone', 0x10000000 | 17, 0, 0, 0, 0)" + MADE,
        held_by=[FORKING, no_fork()],
    ),
    Attack(
        name="fork in a way that its parent waits for",
        source="pid = call('clone', 0x4000 | 17, 0, 0, 0, 0)" + MADE,
        held_by=[FORKING, no_fork()],
    ),
    # ── Becoming another program ──────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="become another program",
        source=f"os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', 'import os; os._exit({EXIT_STATUS})'])",
        held_by=[BECOMING, landlock()],
        through=ran_a_program,
    ),
    Attack(
        name="become another program by a descriptor",
        source=f"""
            program = os.open(sys.executable, os.O_RDONLY)
            path, words = ctypes.create_string_buffer(b""), [sys.executable.encode(), b"-I", b"-S", b"-c", b"import os; os._exit({EXIT_STATUS})"]
            arguments, environment = (ctypes.c_char_p * 6)(*words), (ctypes.c_char_p * 1)()
            call("execveat", program, ctypes.addressof(path), ctypes.addressof(arguments), ctypes.addressof(environment), 0x1000)
        """,
        held_by=[BECOMING, landlock()],
        through=ran_a_program,
    ),
    Attack(
        name="become a program made in memory",
        source=f"""
            name = ctypes.create_string_buffer(b"x")
            program = call("memfd_create", ctypes.addressof(name), 0)
            os.write(program, {_program()!r})
            path = ctypes.create_string_buffer(b"")
            arguments = (ctypes.c_char_p * 2)(b"x")
            call("execveat", program, ctypes.addressof(path), ctypes.addressof(arguments), 0, 0x1000)
        """,
        held_by=[seccomp("memfd_create"), BECOMING, limit(resource.RLIMIT_FSIZE)],
        through=ran_a_program,
    ),
    # ── Outliving the execution ───────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="leave a daemon behind",
        module=TAKE_NAME,
        source="""
            if call("clone", 0x01208000, 0, 0, ctypes.addressof(ctypes.c_int()), 0) == 0:
                be_named(given["name"])
                os.close(3)
                time.sleep(60)  # what outlives the execution
                os._exit(0)
        """,
        bait=outliving,
        held_by=[no_fork()],
        through=bait_taken,
    ),
    Attack(
        name="leave a thread behind",
        module=TAKE_NAME,
        source="""
            def stay():
                be_named(given["name"])
                time.sleep(60)  # what outlives the execution
            threading.Thread(target=stay).start()
        """,
        bait=outliving,
        held_by=[host("ropewalk.sandbox.processes.ForkedProcess._signal", lambda self: None)],
        through=bait_taken,
    ),
    Attack(
        name="go on after its last word",
        module=TAKE_NAME,
        source="""
            import select
            select.poll = None
            be_named(given["name"])
            signal.pause = lambda: time.sleep(60)
        """,
        bait=outliving,
        held_by=[host("ropewalk.sandbox.processes.ForkedProcess._signal", lambda self: None)],
        through=bait_taken,
    ),
    Attack(
        name="start threads without end",
        source="""
            for _ in range(40):
                threading.Thread(target=time.sleep, args=(60,)).start()
            time.sleep(1)
            return THROUGH
        """,
        held_by=[THREADS_COUNTED, THREADS_SEEN],
    ),
    Attack(
        name="start threads past the library",
        source="""
            thread, small = ctypes.c_ulong(), ctypes.create_string_buffer(64)
            libc.pthread_attr_init(small)
            libc.pthread_attr_setstacksize(small, ctypes.c_size_t(65536))
            for _ in range(40):
                if libc.pthread_create(ctypes.byref(thread), small, libc.sleep, ctypes.c_void_p(60)):
                    return ""
            time.sleep(1)
            return THROUGH
        """,
        held_by=[THREADS_SEEN],
    ),
    Attack(
        name="leave its family",
        source="os.setsid()\nreturn THROUGH",
        held_by=[SETTING],
    ),
    # ── Becoming someone else ─────────────────────────────────────────────────────────────────────────────────────────────────
    Attack(
        name="become root",
        source="os.setresuid(0, 0, 0)\nreturn THROUGH",
        held_by=[seccomp("setresuid"), privileges(by_user=True)],
    ),
    Attack(
        name="be dumped",
        source="call('prctl', 4, 1, 0, 0, 0)\nreturn THROUGH",
        held_by=[SETTING],
    ),
    Attack(
        name="be dumped by an option hidden in the high half",
        source="call('prctl', (1 << 32) | 4, 1, 0, 0, 0)\nreturn THROUGH",
        held_by=[SETTING],
    ),
]
