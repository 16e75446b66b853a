"""What each system call of the sandbox's processes gets: the policy, as a table that can be read, asked and compiled.

The table is an allow list. What it doesn't name is refused with an errno, so that libraries that probe for a feature find it missing; a
foreign architecture and the x32 numbers, which no honest program uses, end the process. Some calls are decided by their arguments: the
first rule whose checks all hold rules.

`compile_table` makes the BPF program that the kernel runs and `Table.decide` answers the same question in Python; the tests hold one
against the other. Before: `profile`, which puts the table into the whole. After: `guest.zygote`, which installs it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from ropewalk.sandbox.syscalls import NUMBERS

# ── The shape of a policy ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Verdict(Struct, frozen=True):
    """What the kernel does: let the call through, answer it with the errno of that name, or kill the process."""

    action: Literal["allow", "errno", "kill"]
    errno: str | None = None


class Check(Struct, frozen=True):
    """Holds when the bits `mask` of argument `argument` (from 0) are `value`."""

    argument: int
    mask: int
    value: int

    def holds(self, arguments: Sequence[int]) -> bool:
        """Answer for these arguments."""
        return arguments[self.argument] & self.mask == self.value


class Rule(Struct, frozen=True):
    """`verdict` when every check holds."""

    checks: tuple[Check, ...]
    verdict: Verdict


class Ruling(Struct, frozen=True):
    """The verdict on one system call: that of the first rule that applies, or else `otherwise`."""

    otherwise: Verdict
    rules: tuple[Rule, ...] = ()

    def decide(self, arguments: Sequence[int]) -> Verdict:
        """Answer for these arguments."""
        for rule in self.rules:
            if all(check.holds(arguments) for check in rule.checks):
                return rule.verdict
        return self.otherwise


class Table(Struct, frozen=True):
    """A ruling for each system call by name. Numbers that no name stands for get `unknown`."""

    rulings: dict[str, Ruling]
    unknown: Verdict

    def decide(self, number: int, arguments: Sequence[int]) -> Verdict:
        """Answer for a system call of x86_64 by number."""
        if number & _X32_BIT:
            return KILL
        ruling = _by_number(self).get(number)
        return self.unknown if ruling is None else ruling.decide(arguments)


ALLOW: Final = Verdict("allow")
KILL: Final = Verdict("kill")


def refuse(name: str) -> Verdict:
    """Answer with the errno of this name."""
    return Verdict("errno", name)


def _by_number(table: Table) -> dict[int, Ruling]:
    return {NUMBERS[name]: ruling for name, ruling in table.rulings.items()}


# ── The policy ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_INT: Final = 0xFFFF_FFFF
_LONG: Final = 0xFFFF_FFFF_FFFF_FFFF

_ALLOWED: Final = """
read readv pread64 preadv write writev close close_range lseek fstat stat lstat newfstatat statx statfs fstatfs access faccessat faccessat2
readlink readlinkat getdents64 getcwd fadvise64 dup dup2 dup3 pipe
shutdown getsockname getpeername
poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2
brk munmap mremap
set_robust_list set_tid_address rseq sched_yield sched_get_priority_max sched_get_priority_min getcpu
nanosleep gettimeofday time times getrusage getrlimit sysinfo uname getrandom
getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause restart_syscall
exit exit_group
"""

_REFUSED_WITH: Final = {
    "ENOSYS": "clone3 openat2 futex_waitv membarrier mseal io_uring_setup io_uring_enter io_uring_register memfd_create statmount listmount",
    "ECHILD": "wait4 waitid",
    "EROFS": "open creat",
}
"""Refusals that tell more than EPERM: "there is no such call" makes the C library use the older one, the others are simply true."""

_CLONE_THREAD: Final = 0x0001_0000
_THREAD_FLAGS: Final = 0x007D_0F00
_FORK_FLAGS: Final = 0x0120_8000

_THREADS: Final = Rule((Check(0, _LONG & ~_THREAD_FLAGS, 0), Check(0, _CLONE_THREAD, _CLONE_THREAD)), ALLOW)
"""Threads, by whatever flags a C library makes them with, no namespace among them."""

_FORK: Final = Rule((Check(0, _LONG, _FORK_FLAGS), Check(1, _LONG, 0)), ALLOW)
"""What the zygote forks an attempt with, in exactly this shape."""

_PROT_WRITE, _PROT_EXEC = 0x2, 0x4
_MAP_TYPE, _MAP_SHARED, _MAP_PRIVATE, _MAP_SHARED_VALIDATE = 0xF, 0x1, 0x2, 0x3
_MAP_ANONYMOUS, _MAP_HUGETLB = 0x20, 0x4_0000
_OPEN_WRITING: Final = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_ACCMODE, O_CREAT, O_TRUNC, O_TMPFILE


def _one_of(argument: int, values: Sequence[int]) -> tuple[Rule, ...]:
    return tuple(Rule((Check(argument, _INT, value),), ALLOW) for value in values)


def _by_arguments() -> dict[str, Ruling]:
    writable_or_executable = _PROT_WRITE | _PROT_EXEC
    file_backed = Check(3, _MAP_ANONYMOUS, 0)
    not_executable, only_executable = Check(2, _PROT_EXEC, 0), Check(2, writable_or_executable, _PROT_EXEC)
    return {
        # Every attempt has a second filter that refuses the fork.
        "clone": Ruling(refuse("EPERM"), (_THREADS, _FORK)),
        # Memory that runs is a file's, private and never writable. Memory that is shared is a file's too, and read-only: nothing that one
        # process writes can be seen by another.
        "mmap": Ruling(
            refuse("EPERM"),
            (
                Rule((Check(3, _MAP_HUGETLB, _MAP_HUGETLB),), refuse("EPERM")),
                Rule((Check(3, _MAP_TYPE, _MAP_PRIVATE), not_executable), ALLOW),
                Rule((Check(3, _MAP_TYPE, _MAP_PRIVATE), file_backed, only_executable), ALLOW),
                *(
                    Rule((Check(3, _MAP_TYPE, kind), file_backed, Check(2, writable_or_executable, 0)), ALLOW)
                    for kind in (_MAP_SHARED, _MAP_SHARED_VALIDATE)
                ),
            ),
        ),
        "mprotect": Ruling(refuse("EPERM"), (Rule((not_executable,), ALLOW),)),
        # What may be read is decided by the mounts and by landlock.
        "openat": Ruling(refuse("EROFS"), (Rule((Check(2, _OPEN_WRITING, 0),), ALLOW),)),
        # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. No locks: they would be seen by other processes.
        "fcntl": Ruling(refuse("EPERM"), _one_of(1, (0, 1, 2, 3, 4, 1030))),
        # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
        "ioctl": Ruling(refuse("ENOTTY"), _one_of(1, (0x541B, 0x5421, 0x5450, 0x5451))),
        # PR_SET_NAME, PR_GET_NAME.
        "prctl": Ruling(refuse("EPERM"), _one_of(0, (15, 16))),
        # Asking for one's own limits.
        "prlimit64": Ruling(refuse("EPERM"), (Rule((Check(0, _INT, 0), Check(2, _LONG, 0)), ALLOW),)),
        # The pair that an asyncio loop wakes itself with: AF_UNIX, SOCK_STREAM.
        "socketpair": Ruling(refuse("EPERM"), (Rule((Check(0, _INT, 1), Check(1, 0xF, 1)), ALLOW),)),
        # Nobody asks about other processes, not even whether there are any; clocks are the kernel's own, of which none is a process's.
        **dict.fromkeys(("sched_getparam", "sched_getscheduler", "getpgid", "getsid"), Ruling(refuse("ESRCH"), _one_of(0, (0,)))),
        "getpriority": Ruling(refuse("ESRCH"), _one_of(1, (0,))),
        # What asks for a thread of its own makes do without it.
        "sched_getaffinity": Ruling(refuse("ENOSYS"), _one_of(0, (0,))),
        **dict.fromkeys(
            ("clock_gettime", "clock_getres", "clock_nanosleep"),
            Ruling(refuse("EINVAL"), (Rule((Check(0, _INT & ~0xF, 0),), ALLOW),)),
        ),
        # Only a process's own threads are woken, and what waits for one to end is woken by the kernel: FUTEX_PRIVATE_FLAG, FUTEX_WAIT,
        # FUTEX_WAIT_BITSET. On a file that both map, the others would reach across processes.
        "futex": Ruling(
            refuse("EINVAL"),
            (Rule((Check(1, 0x80, 0x80),), ALLOW), Rule((Check(1, 0x7F, 0),), ALLOW), Rule((Check(1, 0x7F, 9),), ALLOW)),
        ),
        # SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN. Nothing of who is at the other end: that is the node,
        # and SO_PEERPIDFD a handle on it.
        "getsockopt": Ruling(
            refuse("ENOPROTOOPT"),
            tuple(Rule((Check(1, _INT, 1), Check(2, _INT, option)), ALLOW) for option in (3, 4, 7, 8, 30, 38, 39)),
        ),
        # Urgent data, MSG_OOB, is something that nobody uses, with a record of holes in the kernel.
        **{
            name: Ruling(ALLOW, (Rule((Check(flags, 1, 1),), refuse("ENOTSUP")),))
            for name, flags in (("sendto", 3), ("recvfrom", 3), ("recvmsg", 2))
        },
        # O_CLOEXEC, O_NONBLOCK, O_DIRECT. The others make a pipe for the kernel's notifications.
        "pipe2": Ruling(refuse("EINVAL"), (Rule((Check(1, _INT & ~0o2044000, 0),), ALLOW),)),
        # MADV_MERGEABLE: equal pages of different processes become one, and the time that writing takes tells.
        "madvise": Ruling(ALLOW, (Rule((Check(2, _INT, 12),), refuse("EINVAL")),)),
        # Adding filters can only take away. No listener: it would be a descriptor that decides for others.
        "seccomp": Ruling(refuse("EPERM"), (Rule((Check(0, _INT, 1), Check(1, _INT, 0)), ALLOW),)),
    }


_ONLY_CONNECTED: Final = 0x2000_0000 | 0x0400_0000 | 0x1
"""MSG_FASTOPEN, which connects past everything that rules on connecting; MSG_ZEROCOPY, which pins memory; MSG_OOB."""

_SOCK_FLAGS: Final = 0o2000000 | 0o4000  # SOCK_CLOEXEC, SOCK_NONBLOCK


def _for_clients() -> dict[str, Ruling]:
    """Return what an HTTP client needs beside everything else: to connect by TCP, where landlock lets it. Nothing that could be connected to."""
    stream = (Check(0, _INT, 2), Check(1, _INT & ~_SOCK_FLAGS, 1))
    # TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT; SO_KEEPALIVE, and SO_REUSEADDR, which asks for nothing.
    settable = [(6, option) for option in (1, 4, 5, 6, 18)] + [(1, option) for option in (2, 9)]
    set_options = tuple(Rule((Check(1, _INT, level), Check(2, _INT, option)), ALLOW) for level, option in settable)
    by_arguments = _by_arguments()
    return {
        # AF_INET, SOCK_STREAM, by no protocol but TCP.
        "socket": Ruling(refuse("EPERM"), tuple(Rule((*stream, Check(2, _INT, protocol)), ALLOW) for protocol in (0, 6))),
        "connect": Ruling(ALLOW),
        "setsockopt": Ruling(refuse("ENOPROTOOPT"), set_options),
        "getsockopt": Ruling(refuse("ENOPROTOOPT"), (*by_arguments["getsockopt"].rules, *set_options)),
        "sendto": Ruling(refuse("ENOTSUP"), (Rule((Check(3, _ONLY_CONNECTED, 0),), ALLOW),)),
    }


def zygotes_table(*, network: bool = False) -> Table:
    """Return the table that a version zygote runs under; with `network`, of a version that declares Network."""
    rulings = dict.fromkeys(NUMBERS, Ruling(refuse("EPERM")))
    for name, calls in _REFUSED_WITH.items():
        rulings |= dict.fromkeys(calls.split(), Ruling(refuse(name)))
    rulings |= dict.fromkeys(_ALLOWED.split(), Ruling(ALLOW))
    rulings |= _by_arguments() | (_for_clients() if network else {})
    return Table(rulings, unknown=refuse("ENOSYS"))


def without_fork(table: Table) -> Table:
    """Return what is left of a table under the program of `compile_no_fork` as well: an attempt's."""
    fewer = {"seccomp": Ruling(refuse("EPERM")), "clone": Ruling(refuse("EPERM"), (_THREADS,))}
    return Table(table.rulings | fewer, table.unknown)


# ── For people and programs ────────────────────────────────────────────────────────────────────────────────────────────────────


class PrintedCheck(Struct, frozen=True, kw_only=True):
    """Holds when the bits `mask` of argument `argument` (from 0) are `value`; both in hex."""

    argument: int
    mask: str
    value: str


class PrintedRule(Struct, frozen=True, kw_only=True):
    """`verdict` when every one of `when` holds: always, when there is none."""

    when: list[PrintedCheck]
    verdict: str


class PrintedTable(Struct, frozen=True, kw_only=True):
    """A table as it is printed.

    A verdict is `allow`, `kill`, or the name of the errno that the call fails with. `verdicts` has one for each number from 0 to the highest
    known; `arguments` there means that the rules under `rules` decide, the first that holds. `names` has the numbers' names. `beyond` is
    for higher numbers, `x32` and `foreign` for calls by the x32 numbers and by another architecture's entry.
    """

    verdicts: dict[str, str]
    rules: dict[str, list[PrintedRule]]
    names: dict[str, str]
    beyond: str
    x32: str
    foreign: str


def printed(table: Table) -> PrintedTable:
    """Return a table with a verdict for every number."""
    rulings, unknown = _by_number(table), Ruling(table.unknown)
    every = {str(number): rulings.get(number, unknown) for number in range(max(rulings) + 1)}
    return PrintedTable(
        verdicts={number: "arguments" if ruling.rules else _word(ruling.otherwise) for number, ruling in every.items()},
        rules={number: _printed_rules(ruling) for number, ruling in every.items() if ruling.rules},
        names={str(number): name for name, number in NUMBERS.items()},
        beyond=_word(table.unknown),
        x32=_word(KILL),
        foreign=_word(KILL),
    )


def _printed_rules(ruling: Ruling) -> list[PrintedRule]:
    return [
        PrintedRule(
            when=[PrintedCheck(argument=check.argument, mask=hex(check.mask), value=hex(check.value)) for check in rule.checks],
            verdict=_word(rule.verdict),
        )
        for rule in (*ruling.rules, Rule((), ruling.otherwise))
    ]


def _word(verdict: Verdict) -> str:
    return verdict.errno or verdict.action


# ── BPF ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X86_64: Final = 0xC000_003E
_X32_BIT: Final = 0x4000_0000
_RETURN_ALLOW, _RETURN_ERRNO, _RETURN_KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand: what `struct sock_filter` holds. Jumps count the instructions skipped."""


def compile_table(table: Table) -> bytes:
    """Return the BPF program that decides as `table.decide` does."""
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _X86_64),
        (_RETURN, 0, 0, _RETURN_KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_ANY_BIT, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _RETURN_KILL),
        *_search(_ranges(table)),
    ]
    return _assemble(code)


def compile_no_fork() -> bytes:
    """Return the program that an attempt adds: threads, but no process; and no further filter."""
    refused = _RETURN_ERRNO | errno.EPERM
    return _assemble(
        [
            (_LOAD, 0, 0, _NUMBER_AT),
            (_JUMP_EQUAL, 4, 0, NUMBERS["seccomp"]),
            (_JUMP_EQUAL, 0, 2, NUMBERS["clone"]),
            (_LOAD, 0, 0, _ARGUMENTS_AT),
            (_JUMP_ANY_BIT, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _RETURN_ALLOW),
            (_RETURN, 0, 0, refused),
        ]
    )


def _assemble(code: list[_Instruction]) -> bytes:
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _ranges(table: Table) -> list[tuple[int, Ruling]]:
    """Return where each run of equal rulings begins, from number 0 up."""
    rulings, unknown = _by_number(table), Ruling(table.unknown)
    ranges: list[tuple[int, Ruling]] = []
    for number in range(max(rulings) + 2):
        ruling = rulings.get(number, unknown)
        if not ranges or ranges[-1][1] != ruling:
            ranges.append((number, ruling))
    return ranges


def _search(ranges: list[tuple[int, Ruling]]) -> list[_Instruction]:
    """Return a binary search for the number in the accumulator. Its jumps are long ones: either half may pass 255 instructions."""
    if len(ranges) == 1:
        return _ruling(ranges[0][1])
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_JUMP_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _ruling(ruling: Ruling) -> list[_Instruction]:
    code: list[_Instruction] = []
    for rule in ruling.rules:
        code += _rule(rule)
    return [*code, (_RETURN, 0, 0, _operand(ruling.otherwise))]


def _rule(rule: Rule) -> list[_Instruction]:
    """Return code that returns the rule's verdict, or falls out of its end when a check fails."""
    code: list[_Instruction] = [(_RETURN, 0, 0, _operand(rule.verdict))]
    for check in reversed(rule.checks):
        for half in reversed(_halves(check)):
            offset, mask, value = half
            code = [(_LOAD, 0, 0, offset), (_AND, 0, 0, mask), (_JUMP_EQUAL, 0, len(code), value), *code]
    return code


def _halves(check: Check) -> list[tuple[int, int, int]]:
    """Return where, under which mask and for what the 32-bit halves of an argument are looked at, those with an empty mask left out."""
    base = _ARGUMENTS_AT + 8 * check.argument
    halves = [(base, check.mask & _INT, check.value & _INT), (base + 4, check.mask >> 32, check.value >> 32)]
    return [half for half in halves if half[1]]


def _operand(verdict: Verdict) -> int:
    match verdict.action:
        case "allow":
            return _RETURN_ALLOW
        case "kill":
            return _RETURN_KILL
        case "errno":
            return _RETURN_ERRNO | int(getattr(errno, verdict.errno or "EPERM"))
