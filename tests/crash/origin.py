"""The server that the clerks' requests go to, in a process of its own: no kill of a node touches it, and what it has served is in a file.

/EXECUTION/ATTEMPT     a line for each request, written before it is answered
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Origin:
    """The server, to a campaign. What it has served is asked for episode by episode."""

    def __init__(self, url: str, served: Path) -> None:
        self.url = url
        self._served = served
        self._read = 0

    def since(self) -> list[dict[str, Any]]:
        """Return what was served since this was last asked."""
        with self._served.open("rb") as file:
            file.seek(self._read)
            lines = file.read().split(b"\n")[:-1]
        self._read += sum(len(line) + 1 for line in lines)
        return [json.loads(line) for line in lines]


@contextmanager
def serving(folder: Path) -> Iterator[Origin]:
    """Have an origin for as long as the block runs."""
    served = folder / "served"
    served.touch()
    process = subprocess.Popen([sys.executable, "-m", "tests.crash.origin", str(served)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Origin(process.stdout.readline().strip(), served)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: int

    def do_POST(self) -> None:
        execution, attempt = self.path.strip("/").split("/")
        line = {
            "execution": execution,
            "attempt": int(attempt),
            "key": self.headers["idempotency-key"],
            "code": int(self.headers["x-code"]),
            "token": self.headers["x-token"],
            "at": time.monotonic(),
        }
        os.write(self.served, json.dumps(line).encode() + b"\n")
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever is killed leaves its connections as they are."""


def main() -> None:
    """Serve until killed; the first line on stdout is the URL."""
    _Handler.served = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
    server = _Server(("127.0.0.1", 0), _Handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
