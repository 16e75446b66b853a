"""What is another instance's or another process's: callbacks, tasks, values, and whether there is anybody else at all."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ropewalk.clock import Micros
from ropewalk.wire.messages import Json, Target
from tests.escape.attacks.frames import RAW
from tests.escape.attacks.processes import ends
from tests.escape.guards import Guard, host, seccomp
from tests.escape.harness import Attack, Bait, Outcome, bait_taken, says_so

# ── A database that asks for no instance ──────────────────────────────────────────────────────────────────────────────────────


async def anyones_callback(storage: Any, _: str, token: str) -> Target | None:
    """Stand in for `SqliteStorage.callback`."""
    rows = storage._read._rows("SELECT target_ns, method, arguments FROM callbacks WHERE token = ?", (token,))
    return Target(ns=rows[0][0], method=rows[0][1], arguments=rows[0][2]) if rows else None


async def anyones_values(storage: Any, _: str, ns: str, keys: Sequence[str], at: Micros) -> dict[str, Json]:
    """Stand in for `SqliteStorage.read_values`."""
    marks = ", ".join("?" * len(keys))
    query = f"SELECT key, value FROM store WHERE ns = ? AND key IN ({marks})"  # noqa: S608 — the marks are question marks
    return dict(storage._read._rows(query, (ns, *keys)))


STORAGE = "ropewalk.storage.sqlite.storage.SqliteStorage"
EFFECTS = "ropewalk.storage.sqlite.effects"
ANY_TASK = "SELECT n, size FROM executions WHERE id = ? AND ? != '' AND trigger = 'task'"
ANY_CALLBACK = "DELETE FROM callbacks WHERE ? != '' AND token = ?"

# ── Attacks ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRET = "of the other instance"

VICTIM = f"""
async def tell(self, secret):
    return secret

async def prepare(self, given):
    await self.set("secret", "{SECRET}")
    callback = await self.callback(self.tell, "{SECRET}")
    task = await self.run_task("benign", delay=3600, key="kept", coalesce=True)
    await self.set_many({{"callback": callback, "task": task}})
    return {{"callback": callback, "task": task, "instance": self.execution.instance_id}}
"""


def stolen(outcome: Outcome) -> bool:
    """What only the other instance knows came out."""
    return SECRET in repr((outcome.result, outcome.logs))


def on_another(name: str, source: str, guard: Guard, look: str = "return None", module: str = "") -> Attack:
    """Return an attack on another instance of the same twist, which has told its own ids."""
    return Attack(
        name=name,
        module=module,
        members=VICTIM,
        prepare=True,
        source=source,
        look=look,
        held_by=[guard],
        through=stolen if look == Attack.look else says_so,
    )


# On the other instance (the attacker's has no such value): whether what it had made is still there.
TASK_IS_GONE = """
    task = await self.get("task")
    if task is None:
        return None
    held = await self.run_task("benign", delay=3600, key="kept", coalesce=True)
    await self.cancel_task(held)
    return THROUGH if held != task else None
"""

CALLBACK_IS_GONE = """
    callback = await self.get("callback")
    if callback is None:
        return None
    try:
        await self.run(Callback(callback))
    except CallbackNotFound:
        return THROUGH
"""


def probing(name: str, source: str, *calls: str) -> Attack:
    """Return an attack that finds out whether there are other processes."""
    return Attack(
        name=name, source=f"return any_works(lambda pid=pid: {source} for pid in neighbours())", held_by=[seccomp(*calls)]
    )


WAITER = """
import ctypes, mmap, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
with open(sys.argv[1], "rb") as file:
    address = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, file.fileno(), ctypes.c_long(0))
value = ctypes.c_uint32.from_address(address).value
print(flush=True)
libc.syscall(202, ctypes.c_void_p(address), 0, ctypes.c_uint32(value), None, None, 0)
sys.exit(3)
"""


@contextlib.contextmanager
def waiting() -> Iterator[Bait]:
    """A process of the host's that waits for a word about a file of the library, as another instance's could; taken when it is woken."""
    with subprocess.Popen([sys.executable, "-c", WAITER, os.__file__], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield Bait(path=os.__file__, taken=lambda: ends(process))
        finally:
            process.kill()


ATTACKS = [
    Attack(
        name="wake what waits in another process",
        source="""
            file = os.open(given["path"], os.O_RDONLY)
            address = map_memory(READ, SHARED, file)
            until = time.monotonic() + 1
            while time.monotonic() < until and not call("futex", address, 1, 1, 0, 0, 0):
                time.sleep(0.02)
        """,
        bait=waiting,
        held_by=[seccomp("futex")],
        through=bait_taken,
    ),
    on_another(
        "run a callback of another instance",
        "return await self.run(Callback(given['callback']))",
        host(f"{STORAGE}.callback", anyones_callback),
    ),
    on_another(
        "run a callback of another instance in a task, and find it in the log",
        """
        await self.run_task(Callback(given["callback"]))
        self.log.info(str(await self.run(Callback(given["callback"]))))
        """,
        host(f"{STORAGE}.callback", anyones_callback),
    ),
    on_another(
        "read a value of another instance",
        "raw(messages.StoreRead(id=900, ns='', keys=['secret']))\nreturn str(replies(1))",
        host(f"{STORAGE}.read_values", anyones_values),
        module=RAW,
    ),
    on_another(
        "delete a callback of another instance",
        "await self.delete_callback(Callback(given['callback']))",
        host(f"{EFFECTS}._DROP_CALLBACK", ANY_CALLBACK),
        CALLBACK_IS_GONE,
    ),
    on_another(
        "cancel a task of another instance",
        "await self.cancel_task(given['task'])",
        host(f"{EFFECTS}._TASK_BY_ID", ANY_TASK),
        TASK_IS_GONE,
    ),
    probing("ask for another process's CPU time", "time.clock_gettime((~pid << 3) | 2)", "clock_gettime"),
    probing("ask for another process's scheduling", "call('sched_getscheduler', pid)", "sched_getscheduler"),
    probing("ask for another process's processors", "os.sched_getaffinity(pid)", "sched_getaffinity"),
    probing("ask for another process's priority", "os.getpriority(os.PRIO_PROCESS, pid)", "getpriority"),
    probing("ask for another process's session", "os.getsid(pid)", "getsid"),
    probing("ask for another process's group", "os.getpgid(pid)", "getpgid"),
]
