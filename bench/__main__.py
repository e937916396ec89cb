"""`python -m bench`: everything; `python -m bench COMMAND`: one of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from bench import deliveries as webhooks
from bench import scenarios
from bench.contestants import CONTESTANTS
from bench.profile import profile_table, profiled
from bench.report import publish
from bench.ruler import beside_ruler
from bench.throughput import ROWS, Race, race

app = App(name="bench", help="How fast, how small and how steady the product is.", version_flags=[])

Rows = Annotated[int, Parameter(help="Records in all, over five centers.")]
Rounds = Annotated[int, Parameter(help="How often each is measured; medians count.")]
Only = Annotated[
    list[str] | None,
    Parameter(
        help="Only these; give it more than once. "
        + ". ".join(f"{one.name}: {one.does}" for one in CONTESTANTS)
    ),
]


@app.default
def everything(*, rows: Rows = ROWS, rounds: Rounds = 3, only: Only = None) -> None:
    """Run the race and every scenario, and print them beside the goals."""
    found = _race(rows, rounds, only)
    publish(found, *beside_ruler(lambda: list(_all(rounds))))


def _all(rounds: int) -> Iterator[scenarios.Finding]:
    for name, measure in scenarios.SCENARIOS.items():
        print(f"{name} ...")
        yield from measure(rounds)
    print("deliveries ...")
    yield from webhooks.deliveries(rounds)


@app.command
def throughput(*, rows: Rows = ROWS, rounds: Rounds = 3, only: Only = None, gzip: bool = False) -> None:
    """Land the same listings with every contestant, and compare them with the floor.

    Args:
        rows: Records in all, over five centers.
        rounds: How often each is measured.
        only: Names of contestants; all if none is given.
        gzip: Whether the server compresses what it sends.
    """
    publish(_race(rows, rounds, only, gzip=gzip), [])


@app.command
def profile(*, rows: Rows = ROWS) -> None:
    """Where the processor time of `ours` goes, function by function."""
    Console().print(profile_table(profiled(rows)), highlight=False)


@app.command
def waiting(*, rounds: Rounds = 3) -> None:
    """20 centers that take 50 ms to answer."""
    publish(None, *beside_ruler(lambda: scenarios.waiting(rounds)))


@app.command
def memory() -> None:
    """A cell of 2 million records beside one of 200,000."""
    publish(None, scenarios.memory())


@app.command
def changes(*, rounds: Rounds = 3) -> None:
    """1,000 changes into a lake of 10 million records, and into one of 100,000."""
    publish(None, scenarios.changes(rounds))


@app.command
def nothing_new(*, rounds: Rounds = 3) -> None:
    """The flow over 40 cells that have nothing new."""
    publish(None, *beside_ruler(lambda: scenarios.nothing_new(rounds)))


@app.command
def deliveries(*, rounds: Rounds = 3, seconds: float = 5.0) -> None:
    """Webhook deliveries that are answered once they are on the disk, 1, 8 and 64 at once.

    Args:
        rounds: How often each is measured.
        seconds: How long each load lasts.
    """
    publish(None, webhooks.deliveries(rounds, seconds=seconds))


@app.command
def queries() -> None:
    """What analysts ask, of a lake of 10 million records."""
    publish(None, *beside_ruler(scenarios.queries))


def _race(rows: int, rounds: int, only: list[str] | None, *, gzip: bool = False) -> Race:
    known = {one.name for one in CONTESTANTS}
    if unknown := set(only or []) - known:
        raise SystemExit(f"Unknown: {', '.join(sorted(unknown))}. Known are: {', '.join(sorted(known))}.")
    return race(rows, rounds, only=only or [], gzip=gzip)


if __name__ == "__main__":
    app()
