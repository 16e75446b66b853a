"""Runs a command on a host that lacks something: the system calls that make it are refused to the command and all that it starts.

python tests/harness/forbidding.py namespaces landlock -- ropewalk doctor
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

from ropewalk.guest.kernel import Program
from ropewalk.sandbox.seccomp import ALLOW, Check, Rule, Ruling, Table, compile_table, refuse
from ropewalk.sandbox.syscalls import NUMBERS

_NEW_USER: Final = 0x1000_0000
_NO_NEW_PRIVS: Final = 38

LACKING: Final = {
    "namespaces": {
        "unshare": Ruling(refuse("EPERM")),
        "clone": Ruling(ALLOW, (Rule((Check(0, _NEW_USER, _NEW_USER),), refuse("EPERM")),)),
    },
    "landlock": {"landlock_create_ruleset": Ruling(refuse("ENOSYS"))},
}
"""What is refused where a feature is missing: as a container's own filter does, or an old kernel."""


def forbid(*lacking: str) -> None:
    """Refuse to this process and its children what makes these features."""
    rulings = dict.fromkeys(NUMBERS, Ruling(ALLOW))
    for name in lacking:
        rulings |= LACKING[name]
    assert ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    Program(compile_table(Table(rulings, unknown=ALLOW))).install()


def without(lacking: tuple[str, ...], command: list[str]) -> list[str]:
    """Return the command line that runs `command` on a host that lacks these."""
    return [sys.executable, "-P", __file__, *lacking, "--", *command]


if __name__ == "__main__":
    split = sys.argv.index("--")
    forbid(*sys.argv[1:split])
    os.execv(sys.argv[split + 1], sys.argv[split + 1 :])  # noqa: S606 — in place of this process
