"""What one `up` runs, and the list of what is started in which order: `STEPS`."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.markup import escape

from dispatchlake.cli.deployments import deploy_all
from dispatchlake.cli.local_sandbox import CENTERS, Sandbox, played_centers, register_centers
from dispatchlake.cli.occupancy import end_marked
from dispatchlake.cli.prefect_api import (
    START_LIMIT_S,
    free_port,
    is_answering,
    is_free,
    prefect_server,
    server_url,
)
from dispatchlake.cli.service import Service
from dispatchlake.cli.supervision import Supervisor
from dispatchlake.cli.terminal import errors
from dispatchlake.settings import Settings

RUNS_AT_ONCE = 4
"""Flow runs that the worker has under way at once; each is a process of some 250 MB."""

RECOVER_EVERY_S = 60.0

LAND_EVERY_S = 15.0


@dataclass
class Stack:
    """What one `up` has started so far.

    Attributes:
        mark: What its processes carry.
        webhooks_port: Where deliveries are received.
        services: Its processes, in the order in which they were started.
        exits: What is to be done at the end; what was started last is stopped first.
        centers: Ids of the centers that the sandbox plays; empty where it does not run.
        is_new: Whether they were registered just now.
        alerts: Who is told of troubles, in a sentence.
    """

    settings: Settings
    port: int
    mark: str
    wants_sandbox: bool
    webhooks_port: int
    services: list[Service] = field(default_factory=list)
    supervisor: Supervisor = field(default_factory=Supervisor)
    exits: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    centers: list[str] = field(default_factory=list)
    is_new: bool = False
    alerts: str = ""

    @property
    def home(self) -> Path:
        """Return the home of Prefect's database and logs."""
        return self.settings.prefect_dir

    def add(self, service: Service, start: Callable[[], None]) -> None:
        """Start a service; from now on it is watched, started again if it ends, and stopped at the end."""
        self.services.append(service)
        self.exits.callback(service.stop)
        start()
        self.supervisor.watch(service, start)

    def end_runs(self) -> None:
        """End the runs that were under way: their processes, and then what the server thinks of them."""
        end_marked(self.mark, sparing=[service.pid for service in self.services if service.pid])
        self.recover()

    def recover(self) -> None:
        """While no worker runs, tell the server which runs nobody is working on any more."""
        from tasks.recovery import recover

        if is_answering(server_url(self.port)):
            done = recover(workers_are_gone=True)
            if done.has_done_anything:
                errors.print(done.headline(), markup=False, soft_wrap=True)


def start_server(stack: Stack) -> None:
    """Start the Prefect server, and import Prefect while it starts."""
    server = prefect_server(stack.home, port=stack.port)
    stack.add(server, server.start)
    import tasks.centers
    import tasks.pool  # noqa: F401 - it is slow, and the server is too

    url = server_url(stack.port)
    server.wait_until(lambda: is_answering(url), limit_s=START_LIMIT_S)


def start_receiver(stack: Stack) -> None:
    """Take deliveries from now on, whatever else takes its time, and until the end."""
    from dispatchlake.cli.receive import is_receiving, receiver_service

    receiver = receiver_service(stack.home / "receiver.log", port=stack.webhooks_port)
    stack.add(receiver, receiver.start)
    receiver.wait_until(lambda: is_receiving(stack.webhooks_port), limit_s=START_LIMIT_S)


def prepare_server(_stack: Stack) -> None:
    """Make the form of a dispatch center and the work pool known to the server."""
    from tasks.blocks import DispatchCenterBlock
    from tasks.pool import ensure_work_pool

    DispatchCenterBlock.register_type_and_schema()
    ensure_work_pool()


def start_sandbox(stack: Stack) -> None:
    """Start the sandbox where no center is registered, or centers are that it plays."""
    from tasks.centers import load_blocks

    registered = load_blocks()
    played = played_centers(registered)
    if not stack.wants_sandbox or (registered and not played):
        return
    port = next((port for port in played.values() if is_free(port)), free_port())
    sandbox = Sandbox(stack.settings.data_dir / "sandbox", port=port, speed=1)
    stack.centers, stack.is_new = list(played or CENTERS), not played

    def play() -> None:
        sandbox.start()
        for problem in register_centers(sandbox, stack.centers):
            errors.print(f"[yellow]{escape(problem)}[/]", soft_wrap=True)

    stack.add(sandbox.service, play)


def deploy(stack: Stack) -> None:
    """Apply every deployment of prefect.yaml, and then offer the registered centers in its forms."""
    from tasks.choices import offer_centers

    deploy_all(stack.home / "deploy.log")
    offer_centers()  # deploying has made the field text again


def apply_automations(stack: Stack) -> None:
    """Bring the automations that tell of troubles to what this version ships."""
    from tasks.automations import apply

    stack.alerts = apply().sentence


def start_worker(stack: Stack) -> None:
    """Start the worker and wait until the server knows it."""
    from tasks.pool import NAME, is_served_by

    name = f"up on {socket.gethostname()}"
    worker = Service(
        "worker",
        ["-m", "prefect", "worker", "start", "--pool", NAME, "--name", name, "--limit", str(RUNS_AT_ONCE)],
        log_path=stack.home / "worker.log",
        environment={"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"},
    )
    began_at = datetime.now(UTC)
    stack.recover()  # of one that was killed: by their limits they keep others out
    stack.exits.callback(stack.end_runs)  # when the worker has been stopped
    stack.add(worker, worker.start)
    worker.wait_until(lambda: is_served_by(name, since=began_at), limit_s=START_LIMIT_S)


def start_recovery(stack: Stack) -> None:
    """Look every minute for runs that have died, as `dispatchlake recover --every 60` does."""
    from tasks.recovery import keep_recovering

    stop = threading.Event()

    def tell(text: str) -> None:
        errors.print(text, markup=False, soft_wrap=True)

    thread = threading.Thread(target=keep_recovering, args=(RECOVER_EVERY_S, stop, tell), daemon=True)
    thread.start()
    stack.exits.callback(thread.join)
    stack.exits.callback(stop.set)


def start_landing(stack: Stack) -> None:
    """Land webhook deliveries soon after they came, in one process: a run each time would cost its start."""
    lander = Service(
        "landing",
        ["-m", "dispatchlake", "land", "--every", f"{LAND_EVERY_S:g}"],
        log_path=stack.home / "landing.log",
    )
    stack.add(lander, lander.start)
    if stack.settings.fetch_media:  # in a process of its own: a long file must keep no delivery waiting
        fetcher = Service(
            "media",
            ["-m", "dispatchlake", "fetch-media", "--every", f"{LAND_EVERY_S:g}"],
            log_path=stack.home / "media.log",
        )
        stack.add(fetcher, fetcher.start)


def run_first(stack: Stack) -> None:
    """Let the sandbox's centers be read at once when they are new, and not only in five minutes."""
    if stack.is_new:
        from prefect.deployments import run_deployment

        run_deployment("ingest/ingest", timeout=0)


STEPS: list[tuple[str, Callable[[Stack], None]]] = [
    ("receiver", start_receiver),
    ("Prefect server", start_server),
    ("work pool and blocks", prepare_server),
    ("sandbox", start_sandbox),
    ("deployments", deploy),
    ("automations", apply_automations),
    ("worker", start_worker),
    ("recovery", start_recovery),
    ("landing", start_landing),
    ("first run", run_first),
]
"""What `up` does, in this order: each has a name for the person who waits."""
