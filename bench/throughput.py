"""The race: the same listings landed by every contestant, round after round, compared with the floor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from bench.contestants import CONTESTANTS, Contestant
from bench.listings import Listing
from bench.measure import Job
from bench.processes import Measurement, run, scratch_folder
from bench.server_process import Ceiling, measure_ceiling, serving

CENTERS = 5
ROWS = 500_000
"""Records of a race that says nothing else: as many as where the goals were set."""


@dataclass(frozen=True, slots=True)
class Race:
    """All measurements of one race, by contestant, and what the server can do."""

    rows: int
    body_bytes: int
    ceiling: Ceiling
    measured: dict[str, list[Measurement]]

    def median(self, name: str, value: Callable[[Measurement], float]) -> float:
        """Return the median over the rounds of one contestant's value."""
        return statistics.median(map(value, self.measured[name]))

    def ratio(self, name: str, to: str, value: Callable[[Measurement], float]) -> float:
        """Return the median of the rounds' ratios: both sides of each were measured minutes apart at most."""
        pairs = zip(self.measured[name], self.measured[to], strict=True)
        return statistics.median(value(one) / value(other) for one, other in pairs)


def listings_of(rows: int, *, gzip: bool = False, page_size: int = 500) -> list[Listing]:
    """Return what the centers list, each the same number of CAD incidents."""
    return [
        Listing(f"center-{number:02}", "cad_incidents", rows // CENTERS, page_size, gzip=gzip)
        for number in range(CENTERS)
    ]


def race(
    rows: int,
    rounds: int,
    *,
    only: Sequence[str] = (),
    gzip: bool = False,
    say: Callable[[str], None] = print,
) -> Race:
    """Run every contestant in every round, each round in another order, and verify all that is landed.

    Args:
        rows: Records in all.
        rounds: How often.
        only: Names of contestants; empty means all.
        gzip: Whether the server compresses.
        say: Told of each measurement.
    """
    listings = listings_of(rows, gzip=gzip)
    contestants = [one for one in CONTESTANTS if not only or one.name in only]
    measured: dict[str, list[Measurement]] = {one.name: [] for one in contestants}
    with serving(listings) as url:
        measure_ceiling(url, listings)
        ceiling = measure_ceiling(url, listings)
        for number in range(rounds):
            turn = number % len(contestants)
            for contestant in contestants[turn:] + contestants[:turn]:
                found = measure(contestant, url, listings)
                measured[contestant.name].append(found)
                took = f"{found.seconds:6.2f} s, {found.cpu_s:6.2f} CPU s"
                say(f"round {number + 1}: {contestant.name:12} {took}")
    return Race(ceiling.rows, ceiling.body_bytes, ceiling, measured)


def measure(contestant: Contestant, url: str, listings: list[Listing]) -> Measurement:
    """Let one contestant land the listings once, and compare what it landed with what was served."""
    with scratch_folder() as folder:
        job = Job(
            url,
            [listing.center_id for listing in listings],
            ["cad_incidents"],
            listings[0].page_size,
            str(folder),
            contestant.options,
        )
        found = run(contestant.module, job, environment=contestant.environment)
        contestant.landed.assert_equal(folder, listings)
    return found


def as_json(found: Race) -> dict[str, object]:
    """Return a race as plain values, to keep."""
    return {
        "rows": found.rows,
        "body_bytes": found.body_bytes,
        "ceiling": asdict(found.ceiling),
        "measured": {name: [asdict(one) for one in all_] for name, all_ in found.measured.items()},
    }
