"""Sends webhooks over connections that are kept, from a process of its own, and says what came of them.

Either each connection sends as soon as it has its answer, or deliveries leave at a steady rate: then each counts from the moment at which it
was to leave, so that a server that stalls is charged for all who had to wait for it.
"""

from __future__ import annotations

import asyncio
import collections
import sys
import time
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

_BODY = msgspec.json.encode({"action": "opened", "number": 1347, "text": "lorem ipsum " * 80, "labels": ["bug", "help wanted"]})
_LOST_FOR = 30.0


class Load(Struct, frozen=True, kw_only=True):
    """What is to be sent: over how many connections, for how many seconds, and how many a second (None: as fast as they are answered)."""

    urls: list[str]
    seconds: float
    connections: int = 32
    rate: float | None = None


class Sent(Struct, frozen=True, kw_only=True):
    """What came of it: how many answers had which status, over how many seconds, and how long each took in milliseconds."""

    seconds: float
    statuses: dict[str, int]
    milliseconds: list[float]

    @property
    def accepted(self) -> int:
        """How many deliveries were accepted."""
        return self.statuses.get("202", 0)


async def send(load: Load) -> Sent:
    """Send webhooks from another process, so that sending takes nothing from the loop that asks for it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.sender", stdin=pipe, stdout=pipe)
    output, _ = await process.communicate(msgspec.json.encode(load))
    return msgspec.json.decode(output, type=Sent)


class _Sender:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = [_request(url) for url in load.urls]
        self._statuses: collections.Counter[str] = collections.Counter()
        self._took: list[float] = []
        self._sent = 0

    async def run(self) -> Sent:
        """Send everything."""
        began = time.monotonic()
        await asyncio.gather(*(self._keep_sending(began) for _ in range(self._load.connections)))
        return Sent(seconds=time.monotonic() - began, statuses=dict(self._statuses), milliseconds=self._took)

    async def _keep_sending(self, began: float) -> None:
        """Send over one connection, the next whenever the last was answered and it is time."""
        address = urlsplit(self._load.urls[0])
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        while (due := self._next_due(began)) is not None:
            await asyncio.sleep(due - time.monotonic())
            writer.write(self._requests[self._sent % len(self._requests)])
            status = await asyncio.wait_for(_answer(reader), _LOST_FOR)
            self._took.append((time.monotonic() - due) * 1e3)
            self._statuses[status] += 1
        writer.close()

    def _next_due(self, began: float) -> float | None:
        """Return when the next delivery is to leave, None when there is none."""
        now = time.monotonic()
        due = now if self._load.rate is None else began + self._sent / self._load.rate
        if due > began + self._load.seconds:
            return None
        self._sent += 1
        return due


def _request(url: str) -> bytes:
    address = urlsplit(url)
    head = f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\ncontent-length: {len(_BODY)}\r\n\r\n"
    return head.encode() + _BODY


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read one answer; returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return head[9:12].decode()


if __name__ == "__main__":
    sent = asyncio.run(_Sender(msgspec.json.decode(sys.stdin.buffer.read(), type=Load)).run())
    sys.stdout.buffer.write(msgspec.json.encode(sent))
