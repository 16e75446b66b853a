"""A server on loopback that writes, byte for byte, what a test tells it to: well-formed answers and every other kind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

CERTIFICATES = Path(__file__).parent / "certificates"

Script = Callable[["Connection"], Awaitable[None]]
"""Plays the server's part of one request."""


class Connection:
    """One connection, at the moment when a request has been read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self._writer = writer
        self.number = number
        self.request = b""
        self.body = b""

    async def read_request(self) -> bool:
        """Read the next request; False when the client is gone."""
        try:
            self.request = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        length = self.header("content-length")
        self.body = await self._reader.readexactly(int(length)) if length else b""
        if self.header("transfer-encoding"):
            self.body = await self._read_chunks()
        return True

    async def _read_chunks(self) -> bytes:
        pieces: list[bytes] = []
        while size := int(await self._reader.readline(), 16):
            pieces.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(pieces)

    @property
    def line(self) -> str:
        """The request line."""
        return self.request.split(b"\r\n")[0].decode()

    @property
    def path(self) -> str:
        """The request's path, without query."""
        return self.line.split()[1].partition("?")[0]

    def header(self, name: str) -> str | None:
        """Return the value of a header of the request."""
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name:
                return value
        return None

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """Send a well-formed answer."""
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.write(f"HTTP/1.1 {status} x\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)

    async def wait_until_gone(self) -> None:
        """Wait until the client closes."""
        try:
            while await self._reader.read(4096):
                pass
        except ConnectionError:
            return

    def close(self) -> None:
        """End the connection."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()


class Origin:
    """The server. `scripts` maps paths to what they do; everything read is in `requests`, and `open` connections are left."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.requests: list[Connection] = []
        self.accepted = 0
        self.open = 0
        self.url = ""
        self.port = 0

    def on(self, path: str, script: Script) -> str:
        """Play `script` for `path`, and return the whole URL."""
        self.scripts[path] = script
        return self.url + path

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        """Redirect from `path`, and return the whole URL."""
        return self.on(path, lambda connection: connection.answer(status, location=location))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.accepted += 1
        self.open += 1
        number = self.accepted
        try:
            while await (connection := Connection(reader, writer, number)).read_request():
                self.requests.append(connection)
                await self.scripts.get(connection.path, echo)(connection)
        except ConnectionError:
            pass  # the client broke off, as some tests have it do
        finally:
            self.open -= 1
            writer.close()


async def echo(connection: Connection) -> None:
    """Answer with the request itself."""
    await connection.answer(body=connection.request + connection.body)


@asynccontextmanager
async def serving(*, tls: bool = False) -> AsyncGenerator[Origin, None]:
    """Run a server on a port of its own; with `tls`, as `*.secure.test` and 127.0.0.1."""
    origin = Origin()
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / "server.pem")
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context)
    origin.port = server.sockets[0].getsockname()[1]
    origin.url = f"{'https' if tls else 'http'}://127.0.0.1:{origin.port}"
    try:
        yield origin
    finally:
        server.close()


def trusting() -> ssl.SSLContext:
    """Return a context that trusts the tests' own authority and nobody else."""
    return ssl.create_default_context(cafile=CERTIFICATES / "authority.pem")
