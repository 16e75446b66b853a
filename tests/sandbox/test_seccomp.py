"""The table of system calls: what it says, and that the compiled program says the same."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from ropewalk.sandbox.seccomp import ALLOW, KILL, Verdict, compile_no_fork, compile_table, refuse, without_fork, zygotes_table
from ropewalk.sandbox.syscalls import NAMES, NUMBERS

TABLE = zygotes_table()
PROGRAM = compile_table(TABLE)
X86_64, I386 = 0xC000003E, 0x40000003
NOTHING = (0,) * 6

FLAGS = st.sampled_from(
    [0, 1, 2, 3, 4, 5, 6, 7, 0x22, 0x21, 0x11, 0x12, 0x32, 0x40022, 0o100, 0o101, 0x3D0F00, 0x7D0F00, 0x01208000, 17]
)
WORDS = st.one_of(FLAGS, st.sampled_from([1030, 0x541B, 0x5421, 15, 16, 1 << 32, (1 << 32) | 2]), st.integers(0, 2**64 - 1))
ARGUMENTS = st.tuples(*[WORDS] * 6)


def run_bpf(program: bytes, architecture: int, number: int, arguments: Sequence[int]) -> int:
    """Do what the kernel does with a filter."""
    data = struct.pack("IIQ6Q", number, architecture, 0, *arguments)
    code = list(struct.iter_unpack("HBBI", program))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x45:
                at += if_true if accumulator & operand else if_false
            case _:
                return int(operand)


def verdict_of(returned: int) -> Verdict:
    """Return what the kernel makes of a filter's answer."""
    if returned == 0x7FFF0000:
        return ALLOW
    if returned == 0x80000000:
        return KILL
    assert returned >> 16 == 5
    return refuse(errno.errorcode[returned & 0xFFFF])


@pytest.mark.parametrize("number", range(520))
def test_every_number_has_the_same_verdict_compiled(number: int) -> None:
    assert verdict_of(run_bpf(PROGRAM, X86_64, number, NOTHING)) == TABLE.decide(number, NOTHING)


@given(number=st.sampled_from([NUMBERS[name] for name, ruling in TABLE.rulings.items() if ruling.rules]), arguments=ARGUMENTS)
def test_arguments_are_judged_the_same_compiled(number: int, arguments: tuple[int, ...]) -> None:
    assert verdict_of(run_bpf(PROGRAM, X86_64, number, arguments)) == TABLE.decide(number, arguments)


@given(number=st.integers(0, 2**32 - 1))
def test_foreign_entry_points_kill(number: int) -> None:
    assert verdict_of(run_bpf(PROGRAM, I386, number, NOTHING)) == KILL
    assert verdict_of(run_bpf(PROGRAM, X86_64, number | 0x40000000, NOTHING)) == KILL


def test_unknown_numbers_are_said_not_to_exist() -> None:
    assert 700 not in NAMES
    assert TABLE.decide(700, NOTHING) == refuse("ENOSYS")


REFUSED = """
fork vfork execve execveat kill tkill tgkill ptrace process_vm_readv process_vm_writev socket connect bind listen accept accept4 sendmsg
setsockopt mount umount2 pivot_root unshare setns bpf perf_event_open userfaultfd keyctl add_key shmget shmat memfd_create memfd_secret
io_uring_setup pidfd_open pidfd_getfd setuid setgid capset personality chroot flock setrlimit setpriority sched_setaffinity inotify_init1
timer_create setitimer alarm timerfd_create signalfd4 fanotify_init landlock_create_ruleset pkey_mprotect remap_file_pages process_madvise
open_by_handle_at name_to_handle_at mincore wait4 waitid clone3 iopl ioperm init_module kexec_load reboot swapon msgget semget mq_open
"""


@pytest.mark.parametrize("name", REFUSED.split())
def test_dangerous_calls_are_refused_whatever_their_arguments(name: str) -> None:
    ruling = TABLE.rulings[name]
    assert ruling.rules == ()
    assert ruling.otherwise.action == "errno"


def test_an_attempt_may_make_threads_and_no_process() -> None:
    program = compile_no_fork()
    thread, fork, clone = 0x3D0F00, 0x01208000, NUMBERS["clone"]
    assert verdict_of(run_bpf(program, X86_64, clone, (thread, 0, 0, 0, 0, 0))) == ALLOW
    assert verdict_of(run_bpf(program, X86_64, clone, (fork, 0, 0, 0, 0, 0))) == refuse("EPERM")
    assert verdict_of(run_bpf(program, X86_64, NUMBERS["seccomp"], NOTHING)) == refuse("EPERM")
    assert verdict_of(run_bpf(program, X86_64, NUMBERS["read"], NOTHING)) == ALLOW


@given(number=st.sampled_from([NUMBERS["clone"], NUMBERS["seccomp"], NUMBERS["read"]]), arguments=ARGUMENTS)
def test_what_is_said_of_an_attempt_is_what_both_its_filters_say(number: int, arguments: tuple[int, ...]) -> None:
    answers = [verdict_of(run_bpf(program, X86_64, number, arguments)) for program in (compile_no_fork(), PROGRAM)]
    strictest = next((answer for answer in answers if answer != ALLOW), ALLOW)
    assert without_fork(TABLE).decide(number, arguments) == strictest


@pytest.mark.parametrize("flag", [0x20000, 0x10000000, 0x20000000, 0x40000000, 0x02000000, 0x2000, 0x4000])
def test_threads_get_no_namespace_and_no_tracer(flag: int) -> None:
    assert TABLE.decide(NUMBERS["clone"], (0x3D0F00 | flag, 0, 0, 0, 0, 0)) == refuse("EPERM")
