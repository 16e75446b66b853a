"""State carried from one execution to the next, of the same instance or of another: in memory, in descriptors, in what made the process."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Iterator

from tests.escape.attacks.processes import TAKE_NAME, end_all, stays
from tests.escape.guards import Guard, guest, host, seccomp, used_process
from tests.escape.harness import Attack, Bait, Outcome, bait_taken

USED = used_process()
HOLDS_ONLY = host("ropewalk.sandbox.inspection.holds_only", lambda *_: True)
"""The look at the descriptors of zygotes and of new processes."""

KEEP = "os.closerange = lambda *_: None\n"
"""Closes nothing of what an attempt is forked with."""

# What a zygote does right before its first fork, when the import has been looked at: its own code runs unchanged until then.
LATER = """
import gc
enable = gc.enable
def enable_later():
    enable()
    later()
gc.enable = enable_later
"""


def remembered(name: str, source: str, look: str, module: str = "", members: str = "") -> Attack:
    """Return an attack that changes its process, and looks for the change in later ones."""
    return Attack(
        name=name,
        source=source,
        look=f"{textwrap.dedent(look)}\nreturn THROUGH if found else None",
        module=module,
        members=members,
        held_by=[USED],
    )


HELPER = f"rw-{os.getpid()}"


@contextlib.contextmanager
def helper() -> Iterator[Bait]:
    """The name of a process that an import makes: taken when it stays."""
    yield Bait(taken=lambda: stays(HELPER))
    end_all(HELPER)


def same_sequence(outcome: Outcome) -> bool:
    """Two executions have drawn the same numbers."""
    return len(outcome.seen) == 2 and None not in outcome.seen and outcome.seen[0] == outcome.seen[1]


def drawing(name: str, look: str, held_by: Guard, module: str = "") -> Attack:
    """Return an attack that draws random numbers in two executions."""
    return Attack(name=name, source="return None", look=look, module=module, held_by=[held_by], through=same_sequence)


SEEDS = guest("a seed for each attempt", "guest/invocation.py", "def seed_all(seed):\n    pass\n")


ATTACKS = [
    # ── Memory ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    remembered("a module's global", "SEEN.append(1)", "found = SEEN", "SEEN = []"),
    remembered("an attribute of the class", "type(self).seen = True", "found = self.seen", members="seen = False"),
    remembered("an attribute of the object", "self.seen = True", "found = self.seen", members="seen = False"),
    remembered(
        "a name among the builtins",
        "import builtins\nbuiltins.smuggled = 1",
        "import builtins\nfound = hasattr(builtins, 'smuggled')",
    ),
    remembered(
        "a replaced builtin",
        "import builtins\nreal = open\nbuiltins.open = lambda *a, **k: real(*a, **k)",
        "import builtins, io\nfound = builtins.open is not io.open",
    ),
    remembered("a module of no file", "sys.modules['smuggled'] = sys", "found = 'smuggled' in sys.modules"),
    remembered(
        "a changed library",
        "import json\njson.smuggled = True",
        "import json\nfound = hasattr(json, 'smuggled')",
    ),
    remembered(
        "a changed SDK",
        """
        import ropewalk.sdk.unit as unit
        get = unit.Unit.get
        async def lying(self, *a, **k):
            return "a lie"
        unit.Unit.get = lying
        """,
        "found = await self.get('nothing') == 'a lie'",
    ),
    remembered("an environment variable", "os.environ['SMUGGLED'] = '1'", "found = 'SMUGGLED' in os.environ"),
    remembered(
        "a changed integer",
        "ctypes.c_uint32.from_address(id(200) + 24).value = 201",
        "found = str(int('200')) != '200'",
    ),
    remembered(
        "bytes of the C library",
        "ctypes.memset(ctypes.addressof(HELD), 65, 8)",
        "found = HELD.raw == b'A' * 8",
        "HELD = ctypes.create_string_buffer(8)",
    ),
    remembered(
        "a handler of a signal",
        "signal.signal(signal.SIGUSR1, print)",
        "found = signal.getsignal(signal.SIGUSR1) is print",
    ),
    remembered("a blocked signal", "signal.pthread_sigmask(signal.SIG_BLOCK, {10})", "found = signal.pthread_sigmask(0, ())"),
    remembered(
        "a trace function",
        "sys.settrace(lambda *a: None)\nsys.setprofile(None)\nsys.setrecursionlimit(4321)",
        "found = sys.getrecursionlimit() == 4321",
    ),
    remembered(
        "the name of the process",
        "be_named('smuggled')",
        """
        name = ctypes.create_string_buffer(16)
        call("prctl", 16, ctypes.addressof(name), 0, 0, 0)
        found = name.value == b"smuggled"
        """,
        TAKE_NAME,
    ),
    remembered(
        "a thread that waits",
        "threading.Thread(target=time.sleep, args=(20,), daemon=True, name='smuggled').start()",
        "found = any(thread.name == 'smuggled' for thread in threading.enumerate())",
    ),
    remembered(
        "a descriptor that is kept",
        "os.dup2(os.open(HERE + '/twist.py', os.O_RDONLY), 77)",
        """
        try:
            found = os.read(77, 1)
        except OSError:
            found = None
        """,
    ),
    remembered(
        "the interval at which threads take turns",
        "sys.setswitchinterval(0.123)",
        "found = abs(sys.getswitchinterval() - 0.123) < 1e-6",
    ),
    remembered(
        "a context variable",
        "import contextvars, decimal\ndecimal.getcontext().prec = 77\ndecimal.DefaultContext.prec = 77",
        "import decimal\nfound = decimal.DefaultContext.prec == 77",
    ),
    remembered(
        "a warning's and a logger's settings",
        "import logging\nlogging.getLogger('smuggled').setLevel(3)",
        "import logging\nfound = logging.getLogger('smuggled').level == 3",
    ),
    # ── Random generators ─────────────────────────────────────────────────────────────────────────────────────────────────────
    drawing("the sequence of random", "import random\nreturn [random.random() for _ in range(3)]", SEEDS),
    drawing(
        "the sequence of random's gauss",
        "import random\nreturn [random.gauss(0, 1) for _ in range(3)]",
        SEEDS,
        "import random\nrandom.gauss(0, 1)",
    ),
    drawing(
        "the sequence of a generator made at import",
        "return [GENERATOR.random() for _ in range(3)]",
        SEEDS,
        "import random\nGENERATOR = random.Random()",
    ),
    # ── Made at import, and shared by all that is forked ──────────────────────────────────────────────────────────────────────
    Attack(
        name="a process made at import",
        module=f"""
from ropewalk.guest import kernel, zygote
{TAKE_NAME}
if kernel.clone(zygote._FORK_FLAGS) == 0:
    be_named({HELPER!r})
    os.close(3)
    time.sleep(60)
""",
        source="return None",
        bait=helper,
        held_by=[host("ropewalk.sandbox.zygotes.VersionZygote._forked", lambda zygote: [])],
        through=bait_taken,
        needs_namespaces=True,  # by its mounts it is known at once; without them it is ended in the next rounds
    ),
    Attack(
        name="a thread started at import",
        module=f"""
{TAKE_NAME}
def go_on():
    be_named({HELPER!r})
    time.sleep(60)
threading.Thread(target=go_on, daemon=True).start()
""",
        source="return None",
        bait=helper,
        held_by=[host("ropewalk.sandbox.zygotes.VersionZygote._problem", lambda zygote, threads: None)],
        through=bait_taken,
    ),
    Attack(
        name="memory shared at import",
        module="SHARED_MEMORY = mmap.mmap(-1, 4096)",
        source="SHARED_MEMORY[0] = 1",
        look="return THROUGH if SHARED_MEMORY[0] else None",
        held_by=[seccomp("mmap"), host("ropewalk.sandbox.inspection.writable_shared_mappings", lambda pid: [])],
    ),
    Attack(
        name="a pipe made at import",
        module=KEEP + "READING, WRITING = os.pipe2(os.O_NONBLOCK)",
        source="os.write(WRITING, b'x')",
        look="return THROUGH if os.read(READING, 1) else None",
        held_by=[HOLDS_ONLY],
    ),
    Attack(
        name="a pair of sockets made at import",
        module=KEEP + "ONE, OTHER = socket.socketpair()\nONE.setblocking(False)",
        source="OTHER.send(b'x')",
        look="return THROUGH if ONE.recv(1) else None",
        held_by=[HOLDS_ONLY],
    ),
    Attack(
        name="a file's place, opened at import",
        module=KEEP + "FILE = open(HERE + '/twist.py', 'rb', buffering=0)",
        source="FILE.seek(77)",
        look="return THROUGH if FILE.tell() == 77 else None",
        held_by=[HOLDS_ONLY],
    ),
    Attack(
        name="a descriptor in place of standard input",
        module="FILE = os.dup2(os.open(HERE + '/twist.py', os.O_RDONLY), 0)",
        source="os.lseek(0, 77, os.SEEK_SET)",
        look="return THROUGH if os.lseek(0, 0, os.SEEK_CUR) == 77 else None",
        held_by=[HOLDS_ONLY],
    ),
    Attack(
        name="a pipe made after the import",
        module=KEEP + "def later():\n    global PIPE\n    PIPE = os.pipe2(os.O_NONBLOCK)\n" + LATER,
        source="os.write(PIPE[1], b'x')",
        look="return THROUGH if os.read(PIPE[0], 1) else None",
        held_by=[HOLDS_ONLY],
    ),
]
