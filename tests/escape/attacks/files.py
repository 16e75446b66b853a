"""Reading and changing what is the host's: files, the environment, /proc, inherited descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import socket
from collections.abc import Iterator

from msgspec.structs import replace

from ropewalk.wire.plan import Empty
from tests.escape.guards import Guard, guest, host, landlock, limit, mounts, privileges, seccomp, together
from tests.escape.harness import BAITS, Attack, Bait, Outcome, bait_taken, says_secret

CHANGING = seccomp("openat", "unlink", "truncate", "rename")


@contextlib.contextmanager
def secret_file() -> Iterator[Bait]:
    """A file that everyone on the host may read, and change."""
    path, secret = BAITS / "secret", secrets.token_hex(16)
    path.write_text(secret)
    path.chmod(0o666)
    yield Bait(secret=secret, path=str(path), taken=lambda: not path.exists() or path.read_text() != secret)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def variable() -> Iterator[Bait]:
    """A variable of the host's environment, which it has had since it began."""
    yield Bait(secret=os.environ["PATH"])


@contextlib.contextmanager
def node() -> Iterator[Bait]:
    """The node's own process."""
    with open("/proc/self/cmdline", encoding="utf-8") as cmdline:
        yield Bait(secret=cmdline.read().split("\0")[0], pid=os.getpid())


@contextlib.contextmanager
def name_of_host() -> Iterator[Bait]:
    """What the host is called."""
    yield Bait(secret=socket.gethostname())


FILES = mounts(str(BAITS), name="the host's files")
PROC = mounts("/proc")
ENVIRONMENT = Guard(
    name="a new environment", plan=lambda plan: replace(plan, environment=plan.environment | {"PATH": os.environ["PATH"]})
)
HOSTNAME = Guard(name="a name of its own", profile=lambda profile: replace(profile, hostname=socket.gethostname()))
COVERS = Guard(
    name="covers over packages",
    profile=lambda profile: replace(
        profile, mounts=[step for step in profile.mounts if not (isinstance(step, Empty) and "packages" in step.target)]
    ),
)
READ_ONLY_MOUNTS = guest("read-only mounts", "guest/kernel.py", "def set_mount_attributes(target, attributes, *, below): pass")
OWN_BUNDLE_ONLY = guest(
    "a mount of its own",
    "guest/zygote.py",
    """
    def _see_only(bundle):
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount(f"{BUNDLES}/{bundle}", TWIST, None, kernel.MS_BIND | kernel.MS_REC)
    """,
)
CLOSED_DESCRIPTORS = together(
    "closed descriptors",
    guest(
        "",
        "guest/root.py",
        """
        def _keep(first):
            os.set_inheritable(os.dup2(os.open(__file__, os.O_RDONLY), 9), True)
        kernel.close_from = _keep
        """,
    ),
    guest(
        "",
        "guest/zygote.py",
        """
        def _become_attempt(queue, no_fork, attempt, ahead):
            connection = _take_connection(queue)
            os.dup2(connection, CONTROL_FD)
            no_fork.install()
            os.write(CONTROL_FD, HELLO)
            attempt(ahead)
        """,
    ),
    host("ropewalk.sandbox.inspection.holds_only", lambda pid, *inodes: True),
)


def says_root(outcome: Outcome) -> bool:
    """The list of the host's users came out."""
    return "root:x:0:0" in outcome.text


def says_source(outcome: Outcome) -> bool:
    """Another version's source came out."""
    return "class Bystander" in outcome.text


ATTACKS = [
    Attack(
        name="read a file of the host",
        source="return open(given['path']).read()",
        bait=secret_file,
        held_by=[FILES, landlock()],
        through=says_secret,
    ),
    Attack(
        name="read the list of users",
        source="return open('/etc/passwd').read()",
        held_by=[mounts("/etc"), landlock()],
        through=says_root,
    ),
    Attack(
        name="read a file by a path with dots",
        source="return open('/twist/../dev/../' + given['path']).read()",
        bait=secret_file,
        held_by=[FILES, landlock()],
        through=says_secret,
    ),
    Attack(
        name="read a file by openat2",
        source="""
            path = ctypes.create_string_buffer(given["path"].encode())
            how = (ctypes.c_uint64 * 3)(0, 0, 0)
            found = call("openat2", -100, ctypes.addressof(path), ctypes.addressof(how), 24)
            return os.read(found, 100).decode()
        """,
        bait=secret_file,
        held_by=[together("openat2 and the tree", seccomp("openat2"), FILES), landlock()],
        through=says_secret,
    ),
    Attack(
        name="read the environment",
        source="return dict(os.environ)",
        bait=variable,
        held_by=[ENVIRONMENT],
        through=says_secret,
    ),
    Attack(
        name="read the environment from memory",
        source="""
            environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
            found = []
            while environ[len(found)]:
                found.append(environ[len(found)].decode())
            return found
        """,
        bait=variable,
        held_by=[ENVIRONMENT],
        through=says_secret,
    ),
    Attack(
        name="read another process's command line",
        source="return open(f\"/proc/{given['pid']}/cmdline\").read()",
        bait=node,
        held_by=[PROC, landlock()],
        through=says_secret,
    ),
    Attack(
        name="read its own memory map",
        source="return THROUGH if '[stack]' in open('/proc/self/maps').read() else ''",
        held_by=[PROC, landlock()],
    ),
    Attack(
        name="write to its own code through /proc/self/mem",
        source="""
            address = ctypes.cast(libc.getpid, ctypes.c_void_p).value
            code = ctypes.string_at(address, 4)
            memory = os.open("/proc/self/mem", os.O_RDWR)
            os.lseek(memory, address, os.SEEK_SET)
            os.write(memory, code)
            return THROUGH
        """,
        held_by=[PROC, landlock(), READ_ONLY_MOUNTS, CHANGING, privileges(by_user=True)],
    ),
    Attack(
        name="read other versions' bundles",
        source="""
            paths = [f"/bundles/{one}/{name}" for one in os.listdir("/bundles") for name in os.listdir(f"/bundles/{one}")]
            return [open(path).read() for path in paths if path.endswith(".py")]
        """,
        held_by=[OWN_BUNDLE_ONLY, landlock()],
        through=says_source,
    ),
    Attack(
        name="look into the host's packages",
        source="""
            found = []
            for base in {os.path.dirname(os.__file__), "/usr/lib/python3"}:
                for name in ("site-packages", "dist-packages"):
                    found += os.listdir(f"{base}/{name}") if os.path.isdir(f"{base}/{name}") else []
            return THROUGH if found else ""
        """,
        held_by=[COVERS],
    ),
    Attack(
        name="learn what the host is called",
        source="return [os.uname().nodename, socket.gethostname()]",
        bait=name_of_host,
        held_by=[HOSTNAME],
        needs_namespaces=True,
        through=says_secret,
    ),
    Attack(
        name="find a descriptor that was left open",
        source="""
            found = []
            for number in range(4, 256):
                try:
                    found.append(os.fstat(number))
                except OSError:
                    pass
            return THROUGH if found else ""
        """,
        held_by=[CLOSED_DESCRIPTORS],
    ),
    Attack(
        name="change a file of the host",
        source="return os.write(os.open(given['path'], os.O_WRONLY), b'gone')",
        bait=secret_file,
        held_by=[FILES, landlock(), READ_ONLY_MOUNTS, CHANGING, limit(resource.RLIMIT_FSIZE)],
        through=bait_taken,
    ),
    Attack(
        name="delete a file of the host",
        source="os.unlink(given['path'])",
        bait=secret_file,
        held_by=[FILES, landlock(), READ_ONLY_MOUNTS, CHANGING],
        through=bait_taken,
    ),
    Attack(
        name="empty a file of the host",
        source="os.truncate(given['path'], 0)",
        bait=secret_file,
        held_by=[FILES, landlock(since=3), READ_ONLY_MOUNTS, CHANGING],
        through=bait_taken,
    ),
    Attack(
        name="rename a file of the host",
        source="os.rename(given['path'], given['path'] + '2')",
        bait=secret_file,
        held_by=[FILES, landlock(), READ_ONLY_MOUNTS, CHANGING],
        through=bait_taken,
    ),
]
