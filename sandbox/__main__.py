"""Run the sandbox: python -m sandbox [--port 0] [--config FILE] [--state FILE] ..."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import socket
import sys
from pathlib import Path
from time import monotonic

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp

from sandbox.app import foreign_app, vendor_app
from sandbox.config import FASTEST, CenterConfig, Client, ResourceName, SandboxConfig, explain
from sandbox.media import media_app
from sandbox.state import KEEP_CLOCK_S, State

SAMPLE_EPOCHS = {
    "houston-tx": "2024-07-08T15:00:00Z",
    "san-francisco-ca": "2020-04-14T18:00:00Z",
    "san-diego-ca": "2023-01-10T18:00:00Z",
}
"""An instant of each sample with much before it and much to come."""

RESOURCES: tuple[ResourceName, ...] = ("incident_events", "cad_incidents")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        prog="sandbox", description="A stand-in for the vendor's API, on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one")
    parser.add_argument("--config", type=Path, help="centers as JSON; without it, the three samples")
    parser.add_argument("--state", type=Path, help="where the clock is kept between runs")
    parser.add_argument(
        "--speed", type=_speed, default=0, help="how fast the clock runs by itself; 0 lets it stand still"
    )
    parser.add_argument("--ready-file", type=Path, help="written with the URL once the sandbox answers")
    parser.add_argument(
        "--media-certificate", type=Path, help="PEM file with certificate and key: media files over TLS"
    )
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when the starting process does")
    return parser.parse_args(arguments)


def load_config(path: Path | None) -> SandboxConfig:
    """Return the configuration of a file, or the three samples with fresh credentials."""
    if path is None:
        return SandboxConfig(centers={name: _sample(name, epoch) for name, epoch in SAMPLE_EPOCHS.items()})
    try:
        return SandboxConfig.model_validate(json.loads(path.read_text()))
    except OSError as error:
        sys.exit(f"sandbox: {path} cannot be read ({error.strerror}).")
    except ValidationError as error:
        sys.exit(f"sandbox: {path} cannot be used. {explain(error)}")
    except ValueError:
        sys.exit(f"sandbox: {path} is not JSON.")


def _sample(name: str, epoch: str) -> CenterConfig:
    credentials = {
        scope: Client(client_id=f"{name}-{scope}", client_secret=secrets.token_urlsafe(24))
        for scope in RESOURCES
    }
    return CenterConfig.model_validate(
        {"dataset": name, "epoch": epoch, "credentials": {s: c.model_dump() for s, c in credentials.items()}}
    )


async def serve(options: argparse.Namespace) -> None:
    """Serve all origins until told to stop."""
    state = _state(options)
    sockets = [_listen(options.host, port) for port in (options.port, 0, 0)]
    origins = [f"{options.host}:{s.getsockname()[1]}" for s in sockets]
    state.url, state.foreign_url = (f"http://{origin}" for origin in origins[:2])
    state.media_url = f"{'https' if options.media_certificate else 'http'}://{origins[2]}"
    servers = [
        _server(vendor_app(state)),
        _server(foreign_app(state)),
        _server(media_app(state.media), certificate=options.media_certificate),
    ]
    running = [
        asyncio.create_task(server.serve(sockets=[listening]))
        for server, listening in zip(servers, sockets, strict=True)
    ]
    while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn sets a flag, no event
        await asyncio.sleep(0.01)
    state.set_speed(options.speed)
    _announce(options, state)
    parent = os.getppid()
    kept_at = monotonic()
    while not any(task.done() for task in running):
        if state.speed and monotonic() - kept_at >= KEEP_CLOCK_S:
            kept_at = monotonic()
            state.keep_clock()
        await asyncio.sleep(0.2)
        if options.exit_with_parent and os.getppid() != parent:
            break
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)


def _server(app: ASGIApp, *, certificate: Path | None = None) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
        )
    )


def _state(options: argparse.Namespace) -> State:
    config = load_config(options.config)
    try:
        state = State(options.state)
        for center_id, center in config.centers.items():
            state.put(center_id, center)
    except (OSError, ValueError) as error:
        sys.exit(f"sandbox: {error}.")
    return state


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1
    if not 0 <= speed <= FASTEST:
        raise argparse.ArgumentTypeError(f"a speed is a number from 0 to {FASTEST:,.0f}")
    return speed


def _listen(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY): 1 ms each instead of 42.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        sys.exit(f"sandbox: {host}:{port} cannot be used ({error.strerror}). Give another --port, or 0.")
    return listening


def _announce(options: argparse.Namespace, state: State) -> None:
    if options.ready_file:
        temporary = options.ready_file.with_suffix(".tmp")
        temporary.write_text(state.url)
        temporary.replace(options.ready_file)
    if options.quiet:
        return
    print(f"The sandbox answers at {state.url}  (Ctrl-C ends it)")  # noqa: T201 - what a person at a terminal needs
    for center_id, center in state.centers.items():
        print(f"\n{center_id}: {center.config.paging} paging, now {center.now(state.elapsed_s):%F %T} UTC")  # noqa: T201
        for scope, client in center.config.credentials.items():
            print(f"  {scope:<16} client_id {client.client_id:<34} client_secret {client.client_secret}")  # noqa: T201
    sys.stdout.flush()


def main() -> None:
    """Run until interrupted."""
    try:
        asyncio.run(serve(parse_arguments()))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
