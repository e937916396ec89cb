"""`dispatchlake up`: everything on this machine, until Ctrl-C; nothing is forgotten between two of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Annotated

from cyclopts import Parameter, validators
from rich.markup import escape

from dispatchlake.cli.guardian import start_guardian
from dispatchlake.cli.occupancy import MARK, occupy
from dispatchlake.cli.prefect_api import is_answering, is_free, server_url, set_up_client
from dispatchlake.cli.stack import RUNS_AT_ONCE, STEPS, Stack
from dispatchlake.cli.terminal import console, errors, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings


def up(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=65535))] = 4200,
    webhooks_port: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=65535))] = 4211,
    no_sandbox: bool = False,
) -> None:
    """Run everything on this machine until Ctrl-C: Prefect with its UI, a worker, all schedules.

    Where no dispatch center is registered, the sandbox plays three. Nothing is forgotten between two runs.

    Args:
        port: Loopback port of the UI.
        webhooks_port: Loopback port where webhook deliveries are received.
        no_sandbox: Start no sandbox, even if no dispatch center is registered.
    """
    settings = load_settings()
    began = time.monotonic()
    with _signals_as_interrupts(), occupy(settings, api_url=server_url(port)) as occupant:
        _refuse_taken("--port", port)
        _refuse_taken("--webhooks-port", webhooks_port)
        os.environ |= {
            MARK: occupant.mark,
            "DISPATCHLAKE_DATA_DIR": str(settings.data_dir),  # runs have working folders of their own
            "PREFECT_HOME": str(settings.prefect_dir),
            "PREFECT_API_URL": occupant.api_url,  # never a server of yours
        }
        set_up_client(settings)
        stack = Stack(
            settings, port, occupant.mark, wants_sandbox=not no_sandbox, webhooks_port=webhooks_port
        )
        guardian = start_guardian(occupant.mark)
        stack.exits.callback(guardian.communicate)  # nothing is left when it has ended
        try:
            took = _run_steps(stack)
            _tell(stack, occupant.ui_url, took, time.monotonic() - began)
            stack.supervisor.run()
        except KeyboardInterrupt:
            _ignore_signals()
            errors.print("Stopping ...")
        finally:
            _ignore_signals()
            stack.exits.close()
    errors.print("Everything is stopped. Nothing is lost: dispatchlake up goes on from here.")


def _run_steps(stack: Stack) -> dict[str, float]:
    took: dict[str, float] = {}
    for name, step in STEPS:
        began = time.monotonic()
        with waiting(f"Starting: {name} ..."):
            step(stack)
        took[name] = time.monotonic() - began
    return took


def _tell(stack: Stack, ui_url: str, took: dict[str, float], seconds: float) -> None:
    parts = ", ".join(f"{name} {step_s:.0f}" for name, step_s in took.items() if step_s >= 1)
    console.print(f"\n[bold green]Ready[/] in {seconds:.0f} s ({parts}).\n")
    console.print(f"  [bold]{ui_url}[/]    the Prefect UI: runs, schedules, centers (Blocks), artifacts")
    receiver_url = f"http://127.0.0.1:{stack.webhooks_port}"
    console.print(
        f"  [bold]{receiver_url}[/]    webhooks: /webhooks/CENTER/incident-events and .../cad; for a token: "
        "dispatchlake webhooks issue CENTER",
        soft_wrap=True,
    )
    if stack.centers:
        console.print(f"  The sandbox plays {', '.join(stack.centers)}; its clock runs on by itself.")
        console.print("  With centers of your own, forget these: dispatchlake centers remove ...")
    console.print(f"  {escape(stack.alerts)}", soft_wrap=True)
    console.print(f"  Up to {RUNS_AT_ONCE} runs at once; data: {stack.settings.data_dir}", soft_wrap=True)
    for service in stack.services:
        console.print(f"  log of the {service.name}: {service.log_path}", soft_wrap=True)
    console.print("\n  Ctrl-C stops everything. For the prefect command in another shell:")
    console.print(f"  export PREFECT_API_URL={server_url(stack.port)}")


def _refuse_taken(option: str, port: int) -> None:
    if not is_free(port):
        what = "a Prefect server" if is_answering(server_url(port)) else "another program"
        raise ConfigError(
            f"Port {port} of this machine is taken by {what}. End that, or take another port: "
            f"dispatchlake up {option} {port + 1 if port < 65535 else port - 1}"
        )


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Let whatever asks us to end end us as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored, it was started with nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """Let nothing interrupt the stopping; it takes seconds."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
