"""Past Python: foreign functions, machine code of the author's own, code objects made by hand, signal frames made by hand.

What an author's code does to its own memory is its own business: it may crash, or run whatever instructions its files hold. What matters
is that nothing of that leads anywhere: the filter judges the system call, not who made it.
"""

from __future__ import annotations

from tests.escape.attacks.processes import BECOMING, FORKING, MADE
from tests.escape.attacks.sockets import CALLS, MACHINE_CODE
from tests.escape.guards import no_fork, seccomp
from tests.escape.harness import Attack

FORK_PROGRAM = [FORKING, no_fork()]

SIGRETURN = bytes.fromhex("4889fc b80f000000 0f05")
"""A function that takes its argument for the stack of a signal that has been handled, and returns from that signal."""

ATTACKS = [
    Attack(
        name="open a socket through a foreign function",
        source="made = ctypes.CDLL(None).socket(1, 1, 0)\nreturn THROUGH if made >= 0 else ''",
        held_by=[CALLS],
    ),
    Attack(
        name="open a socket with machine code of its own",
        source="return THROUGH if machine_code('code', *[ctypes.c_long] * 7)(NUMBERS['socket'], 1, 1, 0, 0, 0) >= 0 else ''",
        files={"code": MACHINE_CODE},
        held_by=[CALLS],
    ),
    Attack(
        name="open a socket with code found in a library",
        source="""
            import re
            found = re.search(rb"\\x0f\\x05\\xc3", ctypes.string_at(ctypes.cast(libc.getpid, ctypes.c_void_p).value, 1 << 19))
            instruction = ctypes.cast(libc.getpid, ctypes.c_void_p).value + found.start()
            syscall = machine_code("code", *[ctypes.c_long] * 5)
            return THROUGH if syscall(instruction, NUMBERS["socket"], 1, 1) >= 0 else ""
        """,
        # Puts its second argument into rax, its third and fourth into rdi and rsi, and jumps to its first.
        files={"code": bytes.fromhex("4889f0 4989fb 4889d7 4889ce 31d2 41ffe3")},
        held_by=[CALLS],
    ),
    Attack(
        name="open a socket by returning from a signal that never came",
        source="""
            import re
            library = ctypes.cast(libc.getpid, ctypes.c_void_p).value
            instruction = library + re.search(rb"\\x0f\\x05\\xc3", ctypes.string_at(library, 1 << 19)).start()
            after = map_memory(READ | EXECUTE, PRIVATE, os.open(f"{HERE}/after", os.O_RDONLY))
            stack = map_memory(READ | WRITE, PRIVATE | ANONYMOUS, size=65536) + 32768
            ctypes.memmove(stack, struct.pack("Q", after), 8)
            registers = dict(rdi=1, rsi=1, rax=NUMBERS["socket"], rsp=stack, rip=instruction)
            order = "r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip".split()
            frame = struct.pack("17Q", *(registers.get(name, 0) for name in order))
            frame = bytes(40) + frame + struct.pack("QHHHH", 0x202, 0x33, 0, 0, 0x2B) + bytes(72)
            ctypes.memmove(stack - 8192, frame, len(frame))
            machine_code("code", ctypes.c_long, ctypes.c_long)(stack - 8192)
        """,
        # Exits with the status 77 when the socket is there, else with 1.
        files={"code": SIGRETURN, "after": bytes.fromhex("bf4d000000 85c0 7905 bf01000000 b83c000000 0f05")},
        held_by=[CALLS],
        through=lambda outcome: "exit status 77" in outcome.text,
    ),
    Attack(
        name="fork through a foreign function",
        source="pid = ctypes.PyDLL(None).fork()\nif pid < 0:\n    return ''" + MADE,
        held_by=FORK_PROGRAM,
    ),
    Attack(
        name="start a program through the C library",
        source="""
            words = [(ctypes.c_char_p * 2)(b"x"), (ctypes.c_char_p * 1)()]
            pid = ctypes.c_int()
            failed = ctypes.CDLL(None).posix_spawn(ctypes.byref(pid), b"/none", None, None, *words)
            return THROUGH if failed == errno.ENOENT else ""  # its process was there to find out
        """,
        held_by=[seccomp("clone"), no_fork(), BECOMING],
    ),
    Attack(
        name="fork with machine code of its own",
        source="""
            syscall = machine_code("code", *[ctypes.c_long] * 7)
            pid = syscall(NUMBERS["clone"], 17, 0, 0, 0, 0)
            if pid < 0:
                return ""
            if pid == 0:
                os._exit(0)
            return THROUGH
        """,
        files={"code": MACHINE_CODE},
        held_by=FORK_PROGRAM,
    ),
    Attack(
        name="trace itself through a foreign function",
        source="return THROUGH if ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0 else ''",
        held_by=[seccomp("ptrace")],
    ),
]
