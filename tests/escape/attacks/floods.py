"""Too much of what is kept: descriptors, log lines, results, errors."""

from __future__ import annotations

import resource

from tests.escape.attacks.frames import RAW
from tests.escape.guards import host, limit, lowered_limits, settings
from tests.escape.harness import Attack, Outcome

MANY = 1000
LOGS = 4096
KEPT = 6000
"""Bytes of log that are more than LOGS with every overhead."""

TERSE = f"limits: ClassVar[Limits] = Limits(cpu=10.0, wall=20.0, logs={LOGS})"


def hoarding(name: str, source: str) -> Attack:
    """Return an attack that keeps many more descriptors than it may."""
    loop = f"held = []\nwhile len(held) < {MANY}:\n    held.append({source})\nreturn THROUGH"
    return Attack(name=name, source=loop, held_by=[limit(resource.RLIMIT_NOFILE, 4096)])


def chatty(name: str, source: str) -> Attack:
    """Return an attack that logs more than it may."""
    return Attack(name=name, source=source, module=RAW, members=TERSE, held_by=[lowered_limits()], through=keeps_too_many_lines)


def keeps_too_many_lines(outcome: Outcome) -> bool:
    """More was kept of what it logged than it may log."""
    return sum(len(line.encode()) for line in outcome.logs) > KEPT


def result_is_too_large(outcome: Outcome) -> bool:
    """The result is over a mebibyte."""
    return outcome.execution is not None and len(outcome.execution.result or b"") > 1 << 20


def error_is_too_large(outcome: Outcome) -> bool:
    """Hundreds of kilobytes of the error were kept."""
    error = outcome.execution.error if outcome.execution else None
    return error is not None and len(error.type) + len(error.message) + len(error.traceback) > 300_000


ATTACKS = [
    hoarding("open a file again and again", 'open(HERE + "/twist.py")'),
    hoarding("copy a descriptor again and again", "os.dup(0)"),
    hoarding("make pipes", "os.pipe()"),
    hoarding("make pairs of sockets", "socket.socketpair()"),
    hoarding("make epoll sets", "__import__('select').epoll()"),
    chatty("log many lines", "for n in range(2000):\n    self.log.info('line %d', n)"),
    chatty("print one long line", "print('x' * 100_000)"),
    chatty("print without end of line", "for n in range(500):\n    print('x' * 20, end='')"),
    chatty("log large fields", "self.log.info('fields', extra={'large': 'x' * 100_000})\nself.log.info('x' * 100_000)"),
    chatty(
        "log by hand",
        "raw(*(messages.Log(time=0, level=20, message='line') for _ in range(2000)))\nawait self.get('answered')",
    ),
    chatty(
        "log wide characters by hand",
        "raw(*(messages.Log(time=0, level=20, message='\\U0001f600' * 100) for _ in range(30)))\nawait self.get('answered')",
    ),
    Attack(
        name="return too much by hand",
        module=RAW,
        source="""
            raw(messages.Finished(result=b'"' + b"x" * (2 << 20) + b'"'))
            time.sleep(60)  # neither returns nor speaks again: the host has to act on what was said
        """,
        held_by=[settings(limit_value=8 << 20)],
        through=result_is_too_large,
    ),
    Attack(
        name="raise too much by hand",
        module=RAW,
        source="""
            long = "x" * (1 << 20)
            raw(messages.Raised(kind="unretried", type="x", message=long, traceback=long))
            time.sleep(60)  # neither returns nor speaks again: the host has to act on what was said
        """,
        held_by=[host("ropewalk.dispatch.attempt._TEXT_LIMIT", 1 << 30)],
        through=error_is_too_large,
    ),
    Attack(
        name="leave answers unread",
        module=RAW,
        source="""
            await self.set("large", "x" * 900_000)
            raw(*(messages.StoreRead(id=number, ns="", keys=["large"]) for number in range(1000, 1100)))
            time.sleep(0.5)  # long enough for the answers to pile up, which is the attack
            replies(100)
            return THROUGH
        """,
        held_by=[host("ropewalk.sandbox.processes.MESSAGE_LIMIT_FROM_HOST", 1 << 40)],
    ),
]
