"""The floor of a receiver: a Starlette app that writes each body to a file, syncs it, and answers 200.

Nobody has to log in, nothing is bounded, and what is written cannot be told apart afterwards.
`python -m bench.delivery_floor FILE` prints its port.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def app(descriptor: int) -> Starlette:
    """Return the application, writing to an open file."""

    async def keep(request: Request) -> Response:
        os.write(descriptor, await request.body())
        os.fsync(descriptor)
        return JSONResponse({})

    return Starlette(routes=[Route("/{path:path}", keep, methods=["POST"])])


def main() -> None:
    """Serve until told to stop."""
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY).
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        app(descriptor), loop="asyncio", http="h11", log_level="warning", access_log=False
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()
