"""The demo's Ropewalk: the command line as a user would call it, and one node that is started, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from examples.demo.process import free_port, memory, stop, wait_for_http

ROPEWALK = Path(sys.executable).with_name("ropewalk")


class CommandFailed(Exception):
    """A `ropewalk` command ended with another exit code than 0; the message has what it said."""


class Ropewalk:
    """A database in `folder`, the commands that act on it, and the node that serves it."""

    def __init__(self, folder: Path, *, allow_private: str) -> None:
        self.database = folder / "ropewalk.db"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.kills = 0
        self.peak_memory = 0
        self._log = folder / "node.log"
        self._settings = {"ROPEWALK_DATABASE": f"sqlite:///{self.database}", "ROPEWALK_ALLOW_PRIVATE": allow_private}
        self._node: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> Any:
        """Run one command with `--json` and return what it printed.

        Raises:
            CommandFailed: its exit code was not 0.
        """
        done = subprocess.run(
            [ROPEWALK, *arguments, "--json"], env=self._environment(), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise CommandFailed(f"ropewalk {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout or "null")

    def start(self) -> None:
        """Start the node and return when it is ready."""
        port = self.url.rpartition(":")[2]
        with self._log.open("ab") as log:
            self._node = subprocess.Popen(
                [ROPEWALK, "serve", "--port", port], env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        wait_for_http(f"{self.url}/readyz", self._node, self._log)

    def kill(self) -> None:
        """End the node with SIGKILL: it has no chance to finish, hand over or clean up anything."""
        node = self._running()
        node.send_signal(signal.SIGKILL)
        node.wait()
        self.kills += 1

    def stop(self) -> int:
        """Ask the node to finish what runs and end; returns its exit code."""
        return stop(self._running())

    def end(self) -> None:
        """End the node if there is one, whatever it does."""
        if self._node is not None and self._node.poll() is None:
            stop(self._node)

    def measure(self) -> None:
        """Note how much memory the node and its sandbox hold now, if it is the most so far."""
        self.peak_memory = max(self.peak_memory, memory(self._running().pid))

    def ended(self) -> bool:
        """Whether the node is gone by itself."""
        return self._running().poll() is not None

    def log_tail(self) -> str:
        """Return the end of what the node said."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:] if self._log.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._node is None:
            raise AssertionError("the node was not started")
        return self._node

    def _environment(self) -> dict[str, str]:
        return {**{name: value for name, value in os.environ.items() if not name.startswith("ROPEWALK_")}, **self._settings}
