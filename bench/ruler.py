"""How fast this machine is, beside the one on which the goals in seconds were set."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.contestants import CONTESTANTS, FLOOR
from bench.processes import Measurement
from bench.scenarios import Finding
from bench.server_process import serving
from bench.throughput import listings_of, measure

REFERENCE_FLOOR_S = 2.4
REFERENCE_ROWS = 500_000
"""The floor lands so many records in that time where the goals were set."""

ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Ruler:
    """What the floor took here, before and after what was measured.

    Attributes:
        slowness: How many times as long as on the machine of the goals.
    """

    slowness: float

    def at_reference(self, finding: Finding) -> float | None:
        """Return what a finding comes to at the speed of the machine of the goals: reckoned, not measured.

        What passes on any machine alike stays; the rest shrinks as the floor does. None: it is no time.
        """
        if finding.waits is None:
            return None
        return finding.waits + (finding.value - finding.waits) / self.slowness


def ruler_of(floors: list[Measurement], rows: int) -> Ruler:
    """Return the ruler that runs of the floor make, each of so many records."""
    seconds = statistics.median(one.seconds for one in floors)
    return Ruler(seconds / rows / (REFERENCE_FLOOR_S / REFERENCE_ROWS))


def beside_ruler(find: Callable[[], list[Finding]]) -> tuple[list[Finding], Ruler]:
    """Measure, and time the floor before and after: a machine wanders within the hour."""
    before = _floors()
    found = find()
    return found, ruler_of(before + _floors(), ROWS)


def _floors(times: int = 2) -> list[Measurement]:
    (floor,) = (one for one in CONTESTANTS if one.name == FLOOR)
    listings = listings_of(ROWS)
    with serving(listings) as url:
        return [measure(floor, url, listings) for _ in range(times)]
