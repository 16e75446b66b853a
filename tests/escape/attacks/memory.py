"""Memory beyond the limit, in every kind that a process can have."""

from __future__ import annotations

import resource

from tests.escape.guards import Guard, limit, lowered_limits, seccomp, settings
from tests.escape.harness import Attack

MIB = 1024 * 1024

LITTLE = "limits: ClassVar[Limits] = Limits(cpu=10.0, wall=20.0, memory=32 << 20)"
"""What the twist asks to be held to; without that guard it may have the operator's 128 MiB, and takes 80."""

FILES = {"filling": bytes(MIB)}

BARE = "limits: ClassVar[Limits] = Limits(cpu=10.0, wall=20.0, memory=3 << 20)"


def over_its_limit(name: str, source: str, members: str = LITTLE) -> Attack:
    """Return an attack that takes more memory than its twist may."""
    return Attack(name=name, source=source, members=members, files=FILES, held_by=[lowered_limits()])


def without(name: str, guard: Guard, source: str, module: str = "") -> Attack:
    """Return an attack that one guard holds back."""
    return Attack(name=name, source=source, module=module, held_by=[guard])


ATTACKS = [
    over_its_limit("take it from the heap", "held = b'x' * (80 << 20)\nreturn THROUGH"),
    over_its_limit("take it in small objects", "held = [[n] for n in range(600_000)]\nreturn THROUGH"),
    over_its_limit("give it back at once", "held = b'x' * (80 << 20)\ndel held\nreturn THROUGH"),
    over_its_limit(
        "take it in C",
        """
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        for _ in range(80):
            ctypes.memset(libc.malloc(1 << 20), 1, 1 << 20)
        return THROUGH
        """,
    ),
    over_its_limit(
        "map it privately",
        "ctypes.memset(map_memory(READ | WRITE, PRIVATE | ANONYMOUS, size=80 << 20), 1, 80 << 20)\nreturn THROUGH",
    ),
    over_its_limit(
        "map it piece by piece",
        """
        held = [map_memory(READ | WRITE, PRIVATE | ANONYMOUS, size=65536) for _ in range(1280)]
        for address in held:
            ctypes.memset(address, 1, 65536)
        return THROUGH
        """,
    ),
    over_its_limit(
        "map it from a file and write to the copy",
        """
        code = os.open(HERE + "/filling", os.O_RDONLY)
        for _ in range(80):
            ctypes.memset(map_memory(READ | WRITE, PRIVATE, code, 1 << 20), 1, 1 << 20)
        return THROUGH
        """,
    ),
    over_its_limit(
        "take it as the stacks of threads",
        """
        threading.stack_size(20 << 20)
        for _ in range(4):
            threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
        time.sleep(0.2)
        return THROUGH
        """,
    ),
    over_its_limit(
        "take it as page tables",
        """
        size = 3 << 30
        address = map_memory(READ, PRIVATE | ANONYMOUS, size=size)
        for place in range(0, size, 1 << 21):
            ctypes.string_at(address + place, 1)
        time.sleep(0.1)
        return THROUGH
        """,
        BARE,
    ),
    over_its_limit(
        "catch that there is none",
        """
        held = []
        while len(held) < 80:
            try:
                held.append(b"x" * (1 << 20))
            except MemoryError:
                pass
        return THROUGH
        """,
    ),
    without(
        "share it",
        seccomp("mmap"),
        "ctypes.memset(map_memory(READ | WRITE, SHARED | ANONYMOUS, size=160 << 20), 1, 160 << 20)\nreturn THROUGH",
    ),
    without(
        "grow the stack",
        limit(resource.RLIMIT_STACK, 256 * MIB),
        """
        top = ctypes.c_size_t.in_dll(libc, "__libc_stack_end").value
        for depth in range(0, 32 << 20, 4096):
            ctypes.string_at(top - depth, 1)
        return THROUGH
        """,
    ),
    without(
        "map more than there is, and touch a little of it everywhere",
        limit(resource.RLIMIT_AS),
        """
        size = 16 << 30
        address = map_memory(READ, PRIVATE | ANONYMOUS, size=size)
        for place in range(0, size, 1 << 21):
            ctypes.string_at(address + place, 1)
        return THROUGH
        """,
    ),
    without(
        "take it while importing",
        settings(limit_import=512 * MIB),
        "return THROUGH",
        "HELD = bytes(300 << 20)",
    ),
]
