"""What webhooks are held against: a bare Starlette application that reads a request's body and answers 202, and keeps nothing."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def accept(request: Request) -> JSONResponse:
    """Answer as a node does."""
    await request.body()
    return JSONResponse({"queued": True, "execution": request.path_params["token"]}, status_code=202)


app = Starlette(routes=[Route("/webhooks/{token}", accept, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
