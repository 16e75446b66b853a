"""The HTTP API, for operators and their programs: below `/api/v1`, under the command line's nouns, for whoever has the token.

    GET  /api/v1/webhooks?instance=I&limit=N     what webhooks received, newest first
    GET  /api/v1/webhooks/ID                     one request, whole
    POST /api/v1/webhooks/ID/redeliver           the method runs for it once more

It answers with what `--json` prints, errors included. Without a token in the settings there is no API. Before: `app`, which has nothing to do
with tokens. After: what the service does.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from ropewalk.errors import InvalidValue, NotFound, RopewalkError
from ropewalk.storage.interface import DoesNotApply, QueueIsFull, StorageError, UnknownInstance

Document = dict[str, Any]


class Received(Protocol):
    """The requests that webhooks received."""

    async def received(self, instance: str | None = None, limit: int | None = None) -> list[Document]:
        """Return what was received, newest first."""
        ...

    async def one(self, delivery: str) -> Document:
        """Return one request, whole."""
        ...

    async def redeliver(self, delivery: str) -> Document:
        """Have the method run for a request once more."""
        ...


def api(token: str, received: Received, most: int) -> BaseRoute:
    """Return the routes of the API.

    Args:
        token: what requests bring as `Authorization: Bearer …`.
        received: the inbox.
        most: rows that one answer lists, unless fewer are asked for.
    """

    async def list_(request: Request) -> object:
        asked = request.query_params
        return await received.received(asked.get("instance"), _limit(asked.get("limit"), most))

    async def show(request: Request) -> object:
        return await received.one(request.path_params["id"])

    async def redeliver(request: Request) -> object:
        return await received.redeliver(request.path_params["id"])

    routes = [
        Route("/webhooks", _endpoint(list_, token), methods=["GET"]),
        Route("/webhooks/{id}", _endpoint(show, token), methods=["GET"]),
        Route("/webhooks/{id}/redeliver", _endpoint(redeliver, token, done=202), methods=["POST"]),
    ]
    return Mount("/api/v1", routes=routes)


def _endpoint(
    answer: Callable[[Request], Awaitable[object]], token: str, done: int = 200
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers a request that brings the token, and refuses every other."""
    expected = f"Bearer {token}".encode()

    async def endpoint(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, expected):
            text = "say who you are: Authorization: Bearer TOKEN, with the token of the setting api_token"
            return _refusal(401, "Unauthorized", text, {"www-authenticate": "Bearer"})
        try:
            return _json(done, await answer(request))
        except (RopewalkError, StorageError) as error:
            status, kind, headers = _told(error)
            return _refusal(status, kind, str(error), headers)

    return endpoint


def _told(error: RopewalkError | StorageError) -> tuple[int, str, dict[str, str]]:
    """Return the status, type and headers that a refusal has."""
    match error:
        case NotFound() | UnknownInstance():
            return 404, "NotFound", {}
        case DoesNotApply():
            return 409, "DoesNotApply", {}
        case QueueIsFull():
            return 429, "QueueFull", {"retry-after": "5"}
        case StorageError():
            return 503, "Unavailable", {"retry-after": "5"}
        case _:
            return 400, type(error).__name__, {}


def _limit(text: str | None, most: int) -> int:
    if text is None:
        return most
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        raise InvalidValue(f"the limit {text[:20]!r} is no number from 1 to {most}: `ropewalk webhooks` lists more")
    return int(text)


def _json(status: int, document: object, headers: dict[str, str] | None = None) -> Response:
    kept = {"cache-control": "no-store", "x-content-type-options": "nosniff", **(headers or {})}
    return Response(msgspec.json.encode(document), status, kept, media_type="application/json")


def _refusal(status: int, kind: str, message: str, headers: dict[str, str]) -> Response:
    return _json(status, {"error": {"type": kind, "message": message}}, headers)
