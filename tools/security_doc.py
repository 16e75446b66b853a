"""Write the tables of docs/security.md from the sandbox's profile: `make docs`. A test fails while the page differs from the code.

The source is what `ropewalk doctor --json` prints: the filter of an attempt, a verdict for every number, and what a version's zygote may do
besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ropewalk.sandbox.seccomp import PrintedCheck, PrintedRule, PrintedTable, printed, without_fork, zygotes_table
from tools.wire_doc import rewritten

PAGE = Path(__file__).parent.parent / "docs" / "security.md"

IN_WORDS = {
    "mmap": "memory of one's own, never executable; files, read-only or as private copies, executable only when not writable; nothing shared that can be written",
    "mprotect": "anything but making memory executable",
    "ioctl": "how much can be read, blocking or not, close on exec",
    "socketpair": "the stream pair that an event loop wakes itself with",
    "clone": "threads, in no namespace of their own; a process never",
    "fcntl": "duplicating a descriptor, and reading and setting its flags; no locks",
    "prctl": "the name of a thread",
    "sched_getparam": "about itself",
    "sched_getscheduler": "about itself",
    "getpgid": "about itself",
    "getsid": "about itself",
    "getpriority": "about itself",
    "sched_getaffinity": "about itself",
    "clock_gettime": "the kernel's clocks; no other process's",
    "clock_getres": "the kernel's clocks; no other process's",
    "clock_nanosleep": "the kernel's clocks; no other process's",
    "futex": "among a process's own threads",
    "socket": "TCP, over IPv4",
    "setsockopt": "keeping a connection alive, and not delaying what is sent",
    "getsockopt": "what kind of socket it is, its errors and buffers; nothing of who is at the other end",
    "sendto": "anything but urgent data; where there is a door, also nothing that connects, nor pins memory",
    "recvfrom": "anything but urgent data",
    "recvmsg": "anything but urgent data",
    "pipe2": "pipes for data, none for the kernel's notifications",
    "madvise": "anything but merging pages with those of other processes",
    "openat": "for reading; what there is to read is decided by mounts and landlock",
    "prlimit64": "reading one's own limits",
}
"""What the rules by arguments amount to. Every call that has such rules has a line."""

_REFUSALS = {
    "EPERM": "forbidden",
    "ENOSYS": "said not to exist, so that libraries do without",
    "ECHILD": "there is no child",
    "EROFS": "nothing can be written",
}

_END = {"kill": "it ends the process"}
_WHOLE = {hex(2**32 - 1), hex(2**64 - 1)}


def page(text: str) -> str:
    """Return the page with its tables written anew."""
    return rewritten(text, tables())


def tables() -> str:
    """Return the filter of an attempt, in Markdown."""
    attempt, zygote = printed(without_fork(zygotes_table())), printed(zygotes_table())
    networked = printed(without_fork(zygotes_table(network=True)))
    refused = sorted({verdict for verdict in attempt.verdicts.values() if verdict not in {"allow", "arguments"}})
    return "".join(
        [
            "### Allowed\n\n",
            _names(attempt, "allow"),
            "\n### Decided by arguments\n\n",
            "A call is allowed when one line of its conditions holds; arguments count from 0. Otherwise it gets what is last.\n\n",
            "| call | is allowed | when | otherwise |\n|---|---|---|---|\n",
            *(_decided(attempt, number, f" {number}") for number in attempt.rules),
            "\nA version's zygote may besides: ",
            ", ".join(
                f"`{zygote.names[number]}`" for number in zygote.rules if zygote.rules[number] != attempt.rules.get(number)
            ),
            " as it forks attempts and confines them.\n",
            "\nWhere a version declares Network, and the host has [a door](#the-door), these are decided otherwise:\n\n",
            "| call | is allowed | when | otherwise |\n|---|---|---|---|\n",
            *(_decided(networked, number) for number in networked.rules if networked.rules[number] != attempt.rules.get(number)),
            "\nAnd allowed: ",
            ", ".join(_newly_allowed(networked, attempt)),
            ".\n",
            *(f"\n### Refused with {verdict}: {_REFUSALS[verdict]}\n\n{_names(attempt, verdict)}" for verdict in refused),
            f"\n### Everything else\n\nNumbers that no name stands for fail with {attempt.beyond}. ",
            f"By an x32 number: {_END[attempt.x32]}. By another architecture's entry: {_END[attempt.foreign]}.\n\n",
        ]
    )


def _newly_allowed(table: PrintedTable, other: PrintedTable) -> Iterator[str]:
    """Yield the calls that are allowed, and are not in the other table."""
    for number, verdict in table.verdicts.items():
        if verdict == "allow" != other.verdicts[number]:
            yield f"`{table.names[number]}`"


def _names(table: PrintedTable, verdict: str) -> str:
    """Return the calls of one verdict with their numbers."""
    found = (
        f"`{table.names[number]}` {number}" for number, one in table.verdicts.items() if one == verdict and number in table.names
    )
    return f"{', '.join(found)}\n"


def _decided(table: PrintedTable, number: str, shown: str = "") -> str:
    name, rules = table.names[number], table.rules[number]
    return f"| `{name}`{shown} | {IN_WORDS[name]} | {'<br>'.join(_lines(rules))} | {_otherwise(rules)} |\n"


def _lines(rules: Iterable[PrintedRule]) -> Iterator[str]:
    for rule in rules:
        if rule.when:
            prefix = "" if rule.verdict == "allow" else f"{rule.verdict}: "
            yield prefix + ", ".join(map(_condition, rule.when))


def _condition(check: PrintedCheck) -> str:
    bits = "" if check.mask in _WHOLE else f" & {check.mask}"
    return f"{check.argument}{bits} = {check.value}"


def _otherwise(rules: Iterable[PrintedRule]) -> str:
    return ", ".join(rule.verdict for rule in rules if not rule.when)


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
