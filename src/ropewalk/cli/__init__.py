"""The command line: one module per command, loaded when it is asked for.

A command reads what was written, asks the service, and shows what came back; it holds no rules of its own. The service comes after,
a person or a script before.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the process's arguments name, and end the process with its exit code."""
    from ropewalk.cli.common.app import run

    sys.exit(run(sys.argv[1:]))
