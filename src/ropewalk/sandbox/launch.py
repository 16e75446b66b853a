"""Starts the first process of the sandbox.

A plain interpreter is started with the plan on its standard input; it makes the namespaces, and in them a process that is this node's own
child, and ends. What goes wrong on the way is what it wrote to standard error.
Before: `profile`, which makes the plan. After: `zygotes`, which speaks to the process over the control socket.
"""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Final

from ropewalk.sandbox.interface import SandboxError
from ropewalk.wire.plan import Plan, encode_plan

# A package of ours that is but a name, so that importing the guest's first module does not import the SDK, which the launcher has no use for.
_BOOTSTRAP: Final = """
import sys, types
package = types.ModuleType("ropewalk")
package.__path__ = [sys.argv[1]]
sys.modules["ropewalk"] = package
sys.path.append(sys.argv[2])
from ropewalk.guest.enter import main
main()
"""


class Launched:
    """The host's ends of what leads to a root zygote: its control socket, and what it writes to standard error."""

    def __init__(self, control: socket.socket, errors: int, launcher: subprocess.Popen[bytes]) -> None:
        self.control = control
        self.errors = errors
        self._launcher = launcher

    def read_errors(self) -> str:
        """Return what has been written to standard error and not been read, without waiting."""
        try:
            return os.read(self.errors, 65536).decode(errors="replace")
        except BlockingIOError:
            return ""

    def forget_launcher(self) -> None:
        """Reap the launcher, whose work is done or has failed."""
        self._launcher.kill()
        self._launcher.wait()

    def close(self) -> None:
        """Let go of everything; the root zygote ends."""
        self.forget_launcher()
        self.control.close()
        os.close(self.errors)


def launch(plan: Plan, package: str, msgspec: str) -> Launched:
    """Start a root zygote as `plan` says, with our `package` and `msgspec` from these folders.

    Must be called from a thread that lives as long as the sandbox shall: the kernel ends it with that thread.

    Raises:
        SandboxError: the interpreter could not be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    errors, errors_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    text = os.memfd_create("ropewalk-plan", os.MFD_CLOEXEC)
    try:
        os.write(text, encode_plan(plan))
        os.lseek(text, 0, os.SEEK_SET)
        command = [plan.program[0], "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP, package, os.path.dirname(msgspec)]
        launcher = _start(command, plan, text, theirs.fileno(), errors_end)
    except OSError as error:
        ours.close()
        os.close(errors)
        raise SandboxError(f"{plan.program[0]} cannot be started: {error.strerror}") from error
    finally:
        os.close(text)
        theirs.close()
        os.close(errors_end)
    return Launched(ours, errors, launcher)


def _start(command: list[str], plan: Plan, text: int, control: int, errors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, str(control)], stdin=text, stdout=errors, stderr=errors, pass_fds=[control], env=plan.environment, cwd="/"
    )
