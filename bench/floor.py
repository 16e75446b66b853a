"""The yardstick: bare `os.fork` + `_exit` + wait of the root zygote's own image, in a process of its own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

import ropewalk

_SCRIPT = Path(__file__).with_name("floor_process.py")
_FLAGS = ["-I", "-S", "-B", "-X", "utf8"]
_ENVIRONMENT = {"LANG": "C.UTF-8", "TZ": "UTC", "MALLOC_ARENA_MAX": "1", "LD_BIND_NOW": "1", "HOME": "/", "PATH": ""}
"""The root zygote's, as `sandbox.profile` has them."""


class Floor:
    """A process to be forked, ready. Only its own thread runs there, so that `os.fork` has nothing to wait for."""

    def __enter__(self) -> Self:
        libraries = [str(Path(module.__path__[0]).parent) for module in (ropewalk, msgspec)]
        command = [os.path.realpath(sys.executable), *_FLAGS, str(_SCRIPT), *libraries]
        self._process = subprocess.Popen(
            command, env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._ask(20, 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def milliseconds(self, count: int) -> float:
        """Return the median of `count` forks, one after another."""
        return statistics.median(self._ask(count, 1)) / 1e6

    def per_second(self, count: int, in_flight: int) -> float:
        """Return how many forks a second there are with that many alive at once."""
        return count / self._ask(count, in_flight)[0] * 1e9

    def resident_kb(self) -> int:
        """Return the size of the image."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def _ask(self, count: int, in_flight: int) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count} {in_flight}\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the process to be forked has ended")
        return [int(word) for word in answer.split()]
