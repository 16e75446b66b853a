"""Small things around child processes: a free port, waiting until one answers, ending it, and the memory of its tree."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 20


class DidNotStart(Exception):
    """A server ended, or did not answer in time; the message has the end of its log."""


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_http(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return once `url` answers 200.

    Raises:
        DidNotStart: the server ended, or `START_SECONDS` passed.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 — our own loopback URL
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise DidNotStart(f"{url} did not answer (exit code {server.poll()}); its log ends:\n{tail}")


def stop(server: subprocess.Popen[bytes]) -> int:
    """End a server with SIGTERM, or with SIGKILL when that takes too long; returns its exit code."""
    server.terminate()
    try:
        return server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def tree(pid: int) -> list[int]:
    """Return `pid` and everything below it, as far as it has not ended meanwhile."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
    return found


def memory(pid: int) -> int:
    """Return the bytes that a process and everything below it hold, shared pages counted once (PSS)."""
    return sum(_proportional_set(process) for process in tree(pid))


def _proportional_set(pid: int) -> int:
    """Return a process's share of memory in bytes, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
