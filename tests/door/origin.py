"""A server that speaks HTTP well, over TLS or not: what it is asked, and how much, it says."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.egress.origin import CERTIFICATES

PIECE = bytes(range(256)) * 256


class Origin:
    """The server. `asked` has the path of every request; `broken` is set when a client went away from `/wait`."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.waits = asyncio.Event()
        self.broken = asyncio.Event()

    def app(self) -> Starlette:
        """Return what answers."""
        every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        routes = {
            "/echo": self._echo,
            "/stream": self._stream,
            "/redirect": self._redirect,
            "/status/{status:int}": self._status,
            "/wait": self._wait,
            "/broken": self._is_broken,
            "/silent": self._be_silent,
            "/v1/customers": self._customer,
            "/v1/chat/completions": self._complete,
        }
        return Starlette(routes=[Route(path, endpoint, methods=every) for path, endpoint in routes.items()])

    async def _echo(self, request: Request) -> Response:
        size, digest = 0, hashlib.sha256()
        async for piece in request.stream():
            size += len(piece)
            digest.update(piece)
        headers = dict(request.headers)
        asked = {
            "method": request.method,
            "url": str(request.url),
            "headers": headers,
            "size": size,
            "sha256": digest.hexdigest(),
        }
        self.asked.append(request.url.path)
        return JSONResponse(asked)

    async def _stream(self, request: Request) -> Response:
        """Send so many pieces, in chunks."""
        self.asked.append(request.url.path)

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(int(request.query_params["pieces"])):
                yield PIECE

        return StreamingResponse(pieces(), media_type="application/octet-stream")

    async def _redirect(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return RedirectResponse(request.query_params["to"], status_code=302)

    async def _status(self, request: Request) -> Response:
        return Response(status_code=request.path_params["status"], headers={"etag": '"one"'})

    async def _wait(self, request: Request) -> Response:
        """Begin an answer, and never end it while the client is there."""
        self.asked.append(request.url.path)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"begun"
                self.waits.set()
                await asyncio.get_running_loop().create_future()
            finally:
                self.broken.set()

        return StreamingResponse(pieces())

    async def _be_silent(self, request: Request) -> Response:
        """Answer nothing while the client is there."""
        while not await request.is_disconnected():
            await asyncio.sleep(0.05)  # so often it looks
        return Response()

    async def _is_broken(self, request: Request) -> Response:
        return Response("yes" if self.broken.is_set() else "no")

    async def _customer(self, request: Request) -> Response:
        form = await request.body()
        return JSONResponse({"id": "cus_1", "object": "customer", "description": form.decode()})

    async def _complete(self, request: Request) -> Response:
        """Answer as a model would, word by word."""
        asked = await request.json()

        async def words() -> AsyncIterator[str]:
            for word in asked["messages"][0]["content"].split():
                chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                choice = {"index": 0, "delta": {"content": word}}
                yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(words(), media_type="text/event-stream")


class _Server(uvicorn.Server):
    """A server that leaves signals to the tests."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(*, tls: bool) -> AsyncGenerator[Origin, None]:
    """Serve on a port of its own; with `tls`, as 127.0.0.1, by the tests' authority."""
    origin = Origin()
    certificate = str(CERTIFICATES / "server.pem") if tls else None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(uvicorn.Config(origin.app(), lifespan="off", log_level="critical", ssl_certfile=certificate))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        origin.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield origin
        finally:
            server.should_exit = server.force_exit = True
            await running
