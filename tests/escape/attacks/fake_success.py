"""Success that is none: the end of a process, taken for the end of its method."""

from __future__ import annotations

from typing import Any

from ropewalk.dispatch.outcome import Succeeded
from tests.escape.guards import host
from tests.escape.harness import Attack, Outcome


def succeeded(outcome: Outcome) -> bool:
    """The execution counts as a success."""
    return outcome.execution is not None and outcome.execution.status == "succeeded"


def any_end_is_good(attempt: Any, ended: Any) -> None:
    """Stand in for `Attempt._on_end` on a host that takes the end of a process for the end of its method."""
    attempt._end_with(Succeeded(b"null"))


WORD = host("ropewalk.dispatch.attempt.Attempt._on_end", any_end_is_good)
"""That only the last word ends an execution well, and no end of its process."""


def ending(name: str, source: str) -> Attack:
    """Return an attack that ends its process as if it had done its work."""
    return Attack(name=name, source=source, held_by=[WORD], through=succeeded)


ATTACKS = [
    # Those that sleep do nothing more themselves: it is for the host to find that they are over, long before the minute.
    ending("exit with 0", "os._exit(0)"),
    ending("exit with 0 from a thread", "threading.Thread(target=os._exit, args=(0,)).start()\ntime.sleep(60)"),
    ending("exit with 0 in C", "libc.exit(0)"),
    ending("close the connection and return", "os.close(3)"),
    ending("close the connection and go on", "os.close(3)\ntime.sleep(60)"),
    ending("shut the connection down", "call('shutdown', 3, 2, 0)"),
    ending("shut the connection down for writing and wait", "call('shutdown', 3, 1, 0)\ntime.sleep(60)"),
    ending("put another descriptor in the connection's place", "os.dup2(0, 3)"),
    ending("end the thread that runs the method", "call('exit', 0, 0)"),
]
