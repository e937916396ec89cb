"""What was measured, as tables for a terminal and as JSON to keep."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from bench.contestants import CONTESTANTS, FLOOR, TYPED
from bench.listings import DATA_DIR
from bench.processes import Measurement
from bench.ruler import Ruler
from bench.scenarios import Finding
from bench.throughput import Race, as_json

_MB = 2**20
MOST_OF_FLOOR = 2.0
LEAST_OF_TYPED = 4.0


def _seconds(one: Measurement) -> float:
    return one.seconds


def _cpu_s(one: Measurement) -> float:
    return one.cpu_s


def race_table(race: Race) -> Table:
    """Return the race as a table: medians, and ratios of the rounds to the floor of the same round."""
    table = Table(title=f"{race.rows:,} records, {race.body_bytes / _MB:,.0f} MB of JSON, from HTTP to disk")
    table.add_column("")
    for name in ("s", "rows/s", "x floor", "CPU s", "CPU x floor", "peak MB", "with children"):
        table.add_column(name, justify="right")
    has_floor = FLOOR in race.measured
    for contestant in CONTESTANTS:
        if contestant.name not in race.measured:
            continue
        seconds = race.median(contestant.name, _seconds)
        table.add_row(
            contestant.name,
            f"{seconds:.2f}",
            f"{race.rows / seconds:,.0f}",
            f"{race.ratio(contestant.name, FLOOR, _seconds):.2f}" if has_floor else "",
            f"{race.median(contestant.name, _cpu_s):.2f}",
            f"{race.ratio(contestant.name, FLOOR, _cpu_s):.2f}" if has_floor else "",
            f"{race.median(contestant.name, lambda one: one.peak_bytes) / _MB:,.0f}",
            f"{race.median(contestant.name, lambda one: one.tree_peak_bytes) / _MB:,.0f}",
        )
    ceiling = race.ceiling
    table.caption = (
        f"server ceiling: {ceiling.rows_per_s:,.0f} rows/s, "
        f"{ceiling.body_bytes / ceiling.seconds / _MB:,.0f} MB/s, to a client that throws all away; "
        "after every run all rows are compared with what was served"
    )
    return table


def race_findings(race: Race) -> list[Finding]:
    """Return what the race says of the goals, by time and by processor time."""
    found = []
    for name in ("ours", "ours-threads"):
        if name not in race.measured:
            continue
        if FLOOR in race.measured:
            ratio = race.ratio(name, FLOOR, _seconds)
            cpu_ratio = race.ratio(name, FLOOR, _cpu_s)
            found.append(
                Finding(
                    f"{name}: time",
                    ratio,
                    "x floor",
                    MOST_OF_FLOOR,
                    f"processor time {cpu_ratio:.2f} x floor",
                )
            )
        if TYPED in race.measured:
            ratio = race.ratio(name, TYPED, _seconds)
            cpu_ratio = race.ratio(TYPED, name, _cpu_s)
            found.append(
                Finding(
                    f"{name}: time",
                    ratio,
                    f"x {TYPED}",
                    1 / LEAST_OF_TYPED,
                    f"{1 / ratio:.1f} times faster; {cpu_ratio:.1f} times less processor time",
                )
            )
    return found


def findings_table(findings: Sequence[Finding], ruler: Ruler | None = None) -> Table:
    """Return findings beside their goals; times also at the speed of the goals' machine."""
    table = Table(title="Goals")
    for name in ("what", "found", "goal", "", *(["at its speed"] if ruler else []), "how"):
        table.add_column(name, overflow="fold")
    for one in findings:
        goal = f"at most {one.goal:g} {one.unit}" if not math.isinf(one.goal) else ""
        reckoned = ruler.at_reference(one) if ruler else None
        told = "" if reckoned is None else f"{reckoned:.2f} {_verdict(reckoned, one.goal)}".rstrip()
        cells = [one.name, f"{one.value:.2f} {one.unit}", goal, _verdict(one.value, one.goal)]
        table.add_row(*cells, *([told] if ruler else []), one.detail)
    if ruler:
        table.caption = (
            f"the floor takes {ruler.slowness:.1f} times as long here as where the goals were set; "
            "at its speed: reckoned, all but waiting shrinks as the floor does"
        )
    return table


def _verdict(value: float, goal: float) -> str:
    return "" if math.isinf(goal) else "[green]met[/]" if value <= goal else "[red]missed[/]"


def machine() -> dict[str, str | int]:
    """Return what was measured on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": _load(),
    }


def _load() -> str:
    return Path("/proc/loadavg").read_text().split()[0]


def versions(race: Race | None) -> dict[str, str]:
    """Return the versions of ourselves, and of all that took part in a race."""
    ours = ("dispatchlake", "prefect", "httpx", "orjson", "pyarrow", "duckdb")
    found = {name: importlib.metadata.version(name) for name in ours}
    for measurements in race.measured.values() if race else ():
        for one in measurements:
            found |= one.versions
    return dict(sorted(found.items()))


def publish(race: Race | None, findings: list[Finding], ruler: Ruler | None = None) -> None:
    """Print all tables, and keep them in `bench/.data`: `results.md` to read, `results.json` to compare."""
    about = machine()
    tables = []
    if race:
        tables.append(race_table(race))
        findings = race_findings(race) + findings
    if findings:
        tables.append(findings_table(findings, ruler))
    circumstances = (
        f"{about['cores']} cores, {about['cpu']}, Python {about['python']}, load {about['load']}; "
        + ", ".join(f"{name} {version}" for name, version in versions(race).items())
    )
    Console().print(*tables, circumstances, sep="\n", highlight=False)
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    with (DATA_DIR / "results.md").open("w") as file:
        for table in tables:
            table.box = MARKDOWN
        Console(file=file, width=400).print(*tables, circumstances, sep="\n", highlight=False)
    kept = {
        "machine": about,
        "slowness": ruler.slowness if ruler else None,
        "versions": versions(race),
        "race": as_json(race) if race else None,
        "findings": [
            {
                "name": one.name,
                "value": one.value,
                "unit": one.unit,
                "goal": None if math.isinf(one.goal) else one.goal,
                "detail": one.detail,
            }
            for one in findings
        ],
    }
    (DATA_DIR / "results.json").write_text(json.dumps(kept, indent=1, default=str))
