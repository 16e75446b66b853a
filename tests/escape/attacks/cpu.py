"""CPU and wall time: loops that Python cannot interrupt, that nothing wakes, that go on when the method is over."""

from __future__ import annotations

from tests.escape.attacks.processes import TAKE_NAME, outliving
from tests.escape.guards import host, lowered_limits
from tests.escape.harness import Attack, bait_taken

BRIEF = "limits: ClassVar[Limits] = Limits(cpu=0.3, wall=20.0)"
HASTY = "limits: ClassVar[Limits] = Limits(cpu=10.0, wall=0.4)"

BURN = """
def burn(seconds=1.0):
    until = time.process_time() + seconds
    while time.process_time() < until:
        try:
            while time.process_time() < until:
                pass
        except BaseException:
            pass
"""

FINISHED = host("ropewalk.sandbox.processes.ForkedProcess._finish", lambda self: None)
"""The end of a process that has had its last word."""


def computing(name: str, source: str) -> Attack:
    """Return an attack that uses more CPU than its twist may: about a second, where it may use 0.3."""
    return Attack(name=name, source=source, module=BURN, members=BRIEF, held_by=[lowered_limits()])


def dawdling(name: str, source: str) -> Attack:
    """Return an attack that takes longer than its twist may: about a second, where it may take 0.4."""
    return Attack(name=name, source=source, members=HASTY, held_by=[lowered_limits()])


def staying(name: str, source: str) -> Attack:
    """Return an attack whose process has reasons to go on when its method has returned."""
    return Attack(
        name=name,
        source=f"be_named(given['name'])\n{source}",
        module=f"import atexit\n{TAKE_NAME}",
        bait=outliving,
        held_by=[FINISHED],
        through=bait_taken,
    )


ATTACKS = [
    computing("loop and catch everything", "burn()\nreturn THROUGH"),
    computing(
        "loop with every signal ignored",
        """
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, set(signal.Signals))
        burn()
        return THROUGH
        """,
    ),
    computing(
        "loop in a regular expression",
        """
        import re
        length, until = 12, time.process_time() + 1
        while time.process_time() < until:
            re.match("(a+)+$", "a" * length + "b")
            length += 1
        return THROUGH
        """,
    ),
    computing(
        "multiply ever larger numbers",
        """
        number, until = 3, time.process_time() + 1
        while time.process_time() < until:
            number *= number
        return THROUGH
        """,
    ),
    computing(
        "add up in C without end",
        """
        from itertools import repeat
        until = time.process_time() + 1
        while time.process_time() < until:
            sum(repeat(1, 5_000_000))
        return THROUGH
        """,
    ),
    computing(
        "compute in threads that hold no lock",
        """
        import hashlib
        threads = [
            threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 10**8), daemon=True) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        while time.process_time() < 1:
            time.sleep(0.01)  # the others compute, not this thread
        return THROUGH
        """,
    ),
    computing(
        "compute in a finaliser",
        """
        class Last:
            def __del__(self):
                burn()
        last = Last()
        return THROUGH
        """,
    ),
    computing(
        "compute in an error's text",
        """
        class Endless(Exception):
            def __str__(self):
                burn()
                raise SystemExit
        try:
            raise Endless
        except Endless as error:
            try:
                str(error)
            except SystemExit:
                return THROUGH
        """,
    ),
    # To be asleep when the time is over is what these try.
    dawdling("sleep", "time.sleep(1)\nreturn THROUGH"),
    dawdling(
        "sleep with every signal blocked",
        "signal.pthread_sigmask(signal.SIG_SETMASK, set(signal.Signals))\ntime.sleep(1)\nreturn THROUGH",
    ),
    dawdling(
        "swallow every cancellation",
        """
        import asyncio, contextlib
        until = time.monotonic() + 1
        while time.monotonic() < until:
            with contextlib.suppress(BaseException):
                asyncio.current_task().cancel()
                await asyncio.sleep(0.05)
                time.sleep(0.01)  # whether the loop has its turn or not
        return THROUGH
        """,
    ),
    dawdling(
        "wait for a lock that is never let go",
        """
        lock = threading.Lock()
        lock.acquire()
        lock.acquire(timeout=1)
        return THROUGH
        """,
    ),
    dawdling(
        "read from a pipe that nobody writes to",
        """
        reading, writing = os.pipe()
        threading.Timer(1, os.write, (writing, b"x")).start()
        os.read(reading, 1)
        return THROUGH
        """,
    ),
    # What sleeps here is what is left behind: it would go on for a minute.
    staying("leave a thread behind", "threading.Thread(target=time.sleep, args=(60,)).start()"),
    staying("leave a timer behind", "threading.Timer(60, print).start()"),
    staying("leave a handler for the end of the program behind", "atexit.register(time.sleep, 60)"),
]
