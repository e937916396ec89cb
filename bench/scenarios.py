"""What a race does not show: waiting, memory, and how cost grows with the lake and with cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import large_lake
from bench.listings import Listing
from bench.measure import Job
from bench.processes import Measurement, run, scratch_folder
from bench.runners.queries import COMMON
from bench.server_process import serving
from bench.verification import Landed, NotTheSame
from dispatchlake.lake import Lake
from dispatchlake.reading_slots import CELLS_AT_ONCE, READINGS_AT_ONCE

RESOURCES = ("incident_events", "cad_incidents")
_LAKE = Landed("lake", "lake")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table.

    Attributes:
        value: What was found.
        goal: What it may be at most, in the same unit.
        detail: How it came about.
        waits: For a time, how much of it would pass on any machine alike; None for what is no time.
    """

    name: str
    value: float
    unit: str
    goal: float
    detail: str
    waits: float | None = None


def _land(
    url: str, listings: list[Listing], folder: Path, *, module: str = "library", **options: object
) -> Measurement:
    centers = sorted({listing.center_id for listing in listings})
    resources = sorted({listing.resource for listing in listings})
    job = Job(url, centers, resources, listings[0].page_size, str(folder), options)
    return run(module, job)


def waiting(rounds: int, *, centers: int = 20, pages: int = 20, latency_s: float = 0.05) -> list[Finding]:
    """Read many centers that answer slowly: what is left beside the waiting that nobody can avoid.

    As many cells at once as the flow runs, each reading one page after the other, into a lake that is there.
    """
    listings = [
        Listing(f"center-{number:02}", resource, pages * 100, page_size=100)
        for number in range(centers)
        for resource in RESOURCES
    ]
    unavoidable_s = len(listings) * pages * latency_s / READINGS_AT_ONCE
    found = []
    with serving(listings, latency_s=latency_s) as url:
        for _ in range(rounds):
            with scratch_folder() as folder:
                Lake.open(folder / "lake").close()
                found.append(_land(url, listings, folder, at_once=CELLS_AT_ONCE))
                _LAKE.assert_equal(folder, listings)
    seconds = statistics.median(one.seconds for one in found)
    cpu_s = statistics.median(one.cpu_s for one in found)
    return [
        Finding(
            f"{centers} centers x {len(RESOURCES)} resources, {latency_s * 1000:.0f} ms a request",
            seconds / unavoidable_s,
            f"x pages x latency / {READINGS_AT_ONCE}",
            1.3,
            f"{seconds:.2f} s for {len(listings) * pages} pages; waiting alone {unavoidable_s:.2f} s; "
            f"{cpu_s:.1f} CPU s",
            waits=1.0,
        )
    ]


def memory(_rounds: int = 1, *, small: int = 200_000, large: int = 2_000_000) -> list[Finding]:
    """Read a long listing and one ten times as long in one cell; once, since peaks hardly vary."""
    peak_bytes: dict[int, int] = {}
    for rows in (small, large):
        listing = Listing("center-00", "cad_incidents", rows)
        with serving([listing]) as url, scratch_folder() as folder:
            peak_bytes[rows] = _land(url, [listing], folder).peak_bytes
            _LAKE.assert_equal(folder, [listing])
    detail = ", ".join(f"{rows:,} rows: {found / 2**20:,.0f} MB" for rows, found in peak_bytes.items())
    return [
        Finding(
            "memory of a long read", peak_bytes[large] / peak_bytes[small], "x the short one", 1.2, detail
        ),
        Finding("memory of a long read, in all", peak_bytes[large] / 2**20, "MB", 600, detail),
    ]


def changes(
    rounds: int, *, small: int = 100_000, large: int = 10_000_000, count: int = 1_000
) -> list[Finding]:
    """Land so many changes in a young lake and in one a hundred times as large, and verify both.

    `recent`: of the last incidents, as in every scheduled run. `scattered`: over all the center has.
    """
    findings = []
    for name in ("recent", "scattered"):
        found: dict[int, list[Measurement]] = {small: [], large: []}
        for _ in range(rounds):
            for rows, measured in found.items():
                per_center = rows // large_lake.CENTERS
                step = 1 if name == "recent" else per_center // count
                listing = Listing(
                    "center-00",
                    "cad_incidents",
                    count,
                    first=per_center - count * step,
                    step=step,
                    revision=1,
                )
                with serving([listing], [listing]) as url, large_lake.copy(rows) as folder:
                    landed = _land(url, [listing], folder, since_param="updated_since")
                    _LAKE.assert_changed(folder, listing, rows)
                if landed.more["changed"] != count:
                    raise NotTheSame(f"Of {count} changes {landed.more['changed']} were landed as such.")
                measured.append(landed)
        seconds = {rows: statistics.median(m.more["load_s"] for m in all_) for rows, all_ in found.items()}
        cpu_s = {rows: statistics.median(m.cpu_s for m in all_) for rows, all_ in found.items()}
        detail = ", ".join(
            f"{rows:,} rows: {seconds[rows] * 1000:,.0f} ms ({cpu_s[rows]:.2f} CPU s with opening)"
            for rows in found
        )
        goal = 2.0 if name == "recent" else math.inf
        findings.append(
            Finding(
                f"{count:,} {name} changes, large lake",
                seconds[large] / seconds[small],
                "x young lake",
                goal,
                detail,
            )
        )
    return findings


def nothing_new(repeats: int, *, centers: int = 20) -> list[Finding]:
    """Run the flow over many cells that have nothing new, beside a flow of as many empty tasks."""
    listings = [
        Listing(f"center-{number:02}", resource, 50, page_size=100)
        for number in range(centers)
        for resource in RESOURCES
    ]
    unchanged = [Listing(one.center_id, one.resource, 0, page_size=100) for one in listings]
    with serving(listings, unchanged) as url, scratch_folder() as folder:
        found = _land(
            url,
            listings,
            folder,
            module="flow",
            since_param="updated_since",
            is_first_run_apart=True,
            repeats=repeats,
        )
        _LAKE.assert_equal(folder, listings)
    return [
        Finding(
            f"nothing new in {len(listings)} cells",
            found.more["beyond_prefect_s"],
            "s beyond Prefect",
            2.0,
            f"{found.more['until_done_s']:.2f} s until its final state; as many empty tasks "
            f"{found.more['prefect_s']:.2f} s; beyond it {found.more['beyond_prefect_cpu_s']:.2f} CPU s "
            "(Prefect's server not counted)",
            waits=0.0,
        )
    ]


def queries(_rounds: int = 1, *, rows: int = 10_000_000) -> list[Finding]:
    """Ask a large lake what analysts ask."""
    with large_lake.copy(rows) as folder:
        found = run("queries", Job("", [], [], 0, str(folder)))
    answers: dict[str, dict[str, float]] = found.more["queries"]
    return [
        Finding(
            f"{rows:,} rows: {name}",
            one["first_s"],
            "s",
            1.0 if name in COMMON else math.inf,
            f"first {one['first_s'] * 1000:,.0f} ms, again {one['again_s'] * 1000:,.0f} ms, "
            f"{one['answered']:,.0f} rows",
            waits=0.0,
        )
        for name, one in answers.items()
    ]


SCENARIOS: dict[str, Callable[[int], list[Finding]]] = {
    "waiting": waiting,
    "memory": memory,
    "changes": changes,
    "nothing-new": nothing_new,
    "queries": queries,
}
