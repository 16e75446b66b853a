"""The `ropewalk` command as people run it: a subprocess each time, and nodes that can be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.harness import processes
from tests.harness.waiting import until

ROPEWALK = Path(sys.executable).with_name("ropewalk")


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The JSON document that it printed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Refused:
    """A command that failed, as `--json` says it."""

    code: int
    type: str
    message: str


class Cli:
    """Commands on one database."""

    def __init__(self, folder: Path, database: Path | None = None, **environment: str) -> None:
        self.folder = folder
        self.database = database or folder / "ropewalk.db"
        self._log = folder / "node.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROPEWALK_")}
        self.environment = {**inherited, "ROPEWALK_DATABASE": f"sqlite:///{self.database}", **environment}

    def copied(self, folder: Path) -> Cli:
        """Return commands on a copy of all that is in this folder; no command must be running."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        copy = Cli(folder, folder / self.database.name)
        copy.environment = {**self.environment, "ROPEWALK_DATABASE": copy.environment["ROPEWALK_DATABASE"]}
        return copy

    def run(self, *arguments: str, stdin: str = "", timeout: float = 120) -> Done:
        """Run a command and return how it ended."""
        done = subprocess.run(
            [ROPEWALK, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str, timeout: float = 120) -> Any:
        """Run a command that has to succeed and return the JSON that it prints."""
        done = self.run(*arguments, "--json", timeout=timeout)
        assert done.code == 0, f"ropewalk {' '.join(arguments)} ended with {done.code}:\n{done.out}{done.err}"
        return done.value

    def refused(self, *arguments: str) -> Refused:
        """Run a command that has to fail and return the error that it prints."""
        done = self.run(*arguments, "--json")
        assert done.code != 0, f"ropewalk {' '.join(arguments)} did not fail:\n{done.out}"
        assert "Traceback (most recent call last)" not in done.err, done.err
        error = done.value["error"]
        return Refused(done.code, error["type"], error["message"])

    def begin(self, *arguments: str) -> Begun:
        """Start a command and go on beside it."""
        process = subprocess.Popen(
            [ROPEWALK, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Begun(process)

    def write(self, source: str, name: str = "twist.py") -> str:
        """Write a module beside the database and return its path."""
        path = self.folder / name
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        return str(path)

    def start(self, *arguments: str) -> Serving:
        """Start a node and return when it is ready."""
        node = self.launch(*arguments)
        try:
            until(node.answers_or_ended, "a node to be ready")
        except AssertionError:
            node.end()
            raise
        assert node.lives, f"the node ended:\n{self.log_tail()}"
        return node

    def launch(self, *arguments: str) -> Serving:
        """Start a node, ready or not."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [ROPEWALK, "serve", "--port", str(port), *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Serving(process, f"http://127.0.0.1:{port}")

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[Serving]:
        """Have a node for as long as the block runs."""
        node = self.start(*arguments)
        try:
            yield node
        finally:
            node.end()

    def log_tail(self) -> str:
        """Return the end of what the nodes said."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:] if self._log.exists() else ""


class Begun:
    """A command that runs beside the test, and not beyond it: what a failed test leaves is ended after it."""

    all: ClassVar[set[Begun]] = set()
    """Those that nobody has seen end yet."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.all.add(self)

    def result(self, code: int = 0) -> Any:
        """Wait for its end and return the JSON document that it printed."""
        out, err = self._process.communicate(timeout=60)
        self.all.discard(self)
        assert self._process.returncode == code, f"ended with {self._process.returncode}:\n{out}{err}"
        return json.loads(out)

    def kill(self) -> None:
        """End it with SIGKILL, and return when it and what it started are gone."""
        guests = processes.below(self._process.pid)
        self._process.kill()
        self._process.communicate(timeout=30)
        self.all.discard(self)
        until(lambda: not any(processes.living(guests)), "a killed command's sandbox to be gone")


class Serving:
    """A node in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.pid = process.pid
        self.url = url

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def answers_or_ended(self) -> bool:
        """Whether it is ready, or will never be."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return not self.lives

    def below(self) -> list[int]:
        """Return the processes of its sandbox."""
        return processes.below(self.pid)

    def kill(self) -> None:
        """End it with SIGKILL, and return when it and its sandbox are gone."""
        guests = self.below()
        self._process.kill()
        self._process.wait(30)
        until(lambda: not any(processes.living(guests)), "a killed node's sandbox to be gone")

    def terminate(self, timeout: float = 60) -> int:
        """Ask it to finish what runs and end; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait(timeout)

    def end(self) -> None:
        """End it if it still runs, whatever it does."""
        if self.lives:
            self.kill()
