"""Where `ours` spends its processor time: one run of the race's listings, looked at while it lands them."""

from __future__ import annotations

from dataclasses import replace

from rich.table import Table

from bench.contestants import CONTESTANTS
from bench.processes import Measurement
from bench.server_process import serving
from bench.throughput import listings_of, measure

_SHOWN = 30
_ELSEWHERE = "in none of ours: threads of libraries, starting and ending"


def profiled(rows: int) -> Measurement:
    """Land so many records as `ours` does in the race, sampled, and verify them."""
    (ours,) = (one for one in CONTESTANTS if one.name == "ours")
    listings = listings_of(rows)
    with serving(listings) as url:
        return measure(replace(ours, options={"is_sampled": True}), url, listings)


def profile_table(found: Measurement) -> Table:
    """Return the functions that took most, each with all that it called of others, and with all it called."""
    own: dict[str, float] = found.more["spent"]["own"]
    within: dict[str, float] = found.more["spent"]["within"]
    looking_s: float = found.more["spent"]["looking_s"]
    work_s = found.cpu_s - looking_s
    table = Table(
        title=f"{found.more['rows']:,} records landed in {found.seconds:.2f} s and {found.cpu_s:.2f} CPU s, "
        f"{looking_s:.2f} of these to look on",
        title_justify="left",
    )
    for name in ("CPU s", "share", "with ours it calls"):
        table.add_column(name, justify="right")
    table.add_column("function", overflow="fold")
    most = sorted(own, key=lambda one: own[one], reverse=True)
    for name in most[:_SHOWN]:
        table.add_row(f"{own[name]:.2f}", f"{own[name] / work_s:.1%}", f"{within[name]:.2f}", name)
    for what, seconds in (
        (f"{len(most[_SHOWN:])} others of ours", sum(own[name] for name in most[_SHOWN:])),
        (_ELSEWHERE, max(0.0, work_s - sum(own.values()))),
    ):
        table.add_row(f"{seconds:.2f}", f"{seconds / work_s:.1%}", "", what)
    table.caption = "CPU s: with the libraries, SQL and system calls that a function of ours calls"
    return table
