"""`dispatchlake demo`: real dispatch records, from login to SQL, on this machine alone.

Starts the sandbox and a Prefect server on loopback, registers three dispatch centers, runs the `ingest`
flow, answers questions in SQL, and stops everything. Its lake is kept: a second run is an incremental one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from dispatchlake.cli.local_sandbox import CENTERS, Sandbox, register_centers, sandbox_running
from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.progress import ingest_with_progress
from dispatchlake.cli.terminal import console, table, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings, load_settings

STEP_HOURS = 6
"""How far the sandbox's clock moves on between two demos."""

QUESTIONS = {
    "What is in the lake?": """
        SELECT center_id, count(*) AS cad_incidents, min(created_at) AS first, max(created_at) AS last
        FROM cad_incidents GROUP BY ALL ORDER BY ALL""",
    "What do people call for?": """
        SELECT center_id, incident_type, calls
        FROM (SELECT center_id, incident_type, count(*) AS calls FROM cad_incidents GROUP BY ALL)
        QUALIFY row_number() OVER (PARTITION BY center_id ORDER BY calls DESC) <= 3
        ORDER BY center_id, calls DESC""",
    "How many minutes until the first unit is on scene, in San Francisco?": """
        SELECT priority, count(*) AS calls,
               quantile_cont(epoch(on_scene_at - call_received_at), 0.5) / 60 AS median,
               quantile_cont(epoch(on_scene_at - call_received_at), 0.9) / 60 AS "90 of 100"
        FROM cad_incidents WHERE center_id = 'san-francisco-ca' AND on_scene_at IS NOT NULL
        GROUP BY ALL HAVING calls >= 10 ORDER BY ALL""",
}

QUESTIONS_AT_FIRST = QUESTIONS | {
    "How many calls have a CAD incident by now, and how long do they last?": """
        SELECT center_id, count(*) AS calls, count(cad.incident_id) AS with_cad_incident,
               avg(epoch(audio_call_ended_at - call.created_at)) AS seconds_on_the_phone
        FROM incidents AS call LEFT JOIN cad_incidents AS cad USING (center_id, incident_id)
        GROUP BY ALL ORDER BY ALL""",
}

QUESTIONS_LATER = QUESTIONS | {
    "What was known when, of the Houston incident that changed most?": """
        SELECT updated_at, incident_type, len(units) AS units, array_to_string(units[:5], ' ') AS first_units
        FROM cad_incident_versions WHERE cad_incident_id = (
            SELECT cad_incident_id FROM cad_incident_versions WHERE center_id = 'houston-tx'
            GROUP BY ALL ORDER BY count(*) DESC, count(DISTINCT units) DESC, cad_incident_id LIMIT 1)
        ORDER BY updated_at LIMIT 8""",
}
"""A first reading sees each incident once; what became of it is there to ask from the second one on."""


def demo() -> None:
    """Show the whole way, from login to SQL, with real records and nothing outside this machine."""
    started_s = time.monotonic()
    settings = _demo_settings()
    with sandbox_running(settings.data_dir / "sandbox") as sandbox, prefect_api(settings):
        is_first = sandbox.call("GET", "clock")["elapsed_s"] == 0
        _show_centers(sandbox)
        _title("Ingesting" if is_first else f"Ingesting what changed in the {STEP_HOURS} hours since")
        results = ingest_with_progress([], [])
        if any(result.error for result in results):
            raise ConfigError("The demo's ingest did not land every cell; the sentences above say why.")
        total = _compare_with_truth(sandbox, settings)
        if not is_first:
            read = sum(result.summary.records for result in results if result.summary)
            console.print(f"To bring it up to date, {read:,} records were read and not all {total:,}.")
        is_over = any(c["is_exhausted"] for c in sandbox.call("GET", "clock")["centers"].values())
        sandbox.call("POST", "clock", {"advance_s": STEP_HOURS * 3600})  # for the next demo
    _answer(settings, QUESTIONS_AT_FIRST if is_first else QUESTIONS_LATER)
    _farewell(settings, seconds=time.monotonic() - started_s)
    if is_over:
        console.print("A sample ends here: nothing more will change in it. Start over: make demo-reset")


def _demo_settings() -> Settings:
    """Return settings with a data folder of the demo's own, for this process and all that it starts."""
    settings = load_settings()
    if "DISPATCHLAKE_DATA_DIR" not in os.environ:
        settings = settings.model_copy(update={"data_dir": settings.data_dir / "demo"})
        os.environ["DISPATCHLAKE_DATA_DIR"] = str(settings.data_dir)
    os.environ.pop("PREFECT_API_URL", None)  # the demo never touches a server of yours
    return settings


def _show_centers(sandbox: Sandbox) -> None:
    _title("Three dispatch centers")
    with waiting("Registering the centers ..."):
        problems = register_centers(sandbox, CENTERS)
    if problems:
        raise ConfigError(" ".join(problems))
    clock = sandbox.call("GET", "clock")["centers"]
    rows = [[i, name, zone, clock[i]["now"]] for i, (name, zone, _epoch) in CENTERS.items()]
    console.print(table(["center", "name", "time zone", "its clock (UTC)"], rows))


def _compare_with_truth(sandbox: Sandbox, settings: Settings) -> int:
    """Count both sides, what the centers have and what the lake has; return how many records that is."""
    from dispatchlake.lake.reading import query_arrow

    tables = {"incident_events": "incidents", "cad_incidents": "cad_incidents"}
    wrong = []
    total = 0
    for center_id in CENTERS:
        for resource, name in tables.items():
            truth = sandbox.call("GET", f"truth/{center_id}/{resource}?counts_only=1")["current_count"]
            query = f"SELECT count(*) AS n FROM {name} WHERE center_id = '{center_id}'"
            landed = query_arrow(query, lake_dir=settings.open_dir)["n"][0].as_py()
            total += landed
            if landed != truth:
                wrong.append(f"{center_id} {name}: {landed:,} of {truth:,}")
    if wrong:
        raise ConfigError(f"The lake does not equal the sandbox's truth: {'; '.join(wrong)}.")
    console.print(f"[green]The lake holds what the centers have: {total:,} of {total:,} records.[/]")
    return total


def _answer(settings: Settings, questions: Mapping[str, str]) -> None:
    from dispatchlake.lake.reading import query_arrow

    for title, query in questions.items():
        _title(title)
        answer = query_arrow(query, lake_dir=settings.open_dir)
        console.print(table(answer.column_names, [list(row.values()) for row in answer.to_pylist()]))


def _farewell(settings: Settings, *, seconds: float) -> None:
    here = Path.cwd()
    data = settings.data_dir
    data = data.relative_to(here) if data.is_relative_to(here) else data
    megabytes = sum(f.stat().st_size for f in settings.lake_dir.rglob("*") if f.is_file()) / 1e6
    _title("Done")
    console.print(
        f"In {seconds:.0f} s, and everything is stopped. The lake ({megabytes:.1f} MB): {data}/lake; "
        f"what reveals no caller of it: {data}/open"
    )
    console.print("\nTry next:")
    command = _command(Path(sys.argv[0]), here)
    for line in (
        f"make demo    # again: {STEP_HOURS} hours later, only what changed is read",
        f"export DISPATCHLAKE_DATA_DIR={data}",
        f'{command} sql "SHOW TABLES"',
        f'{command} sql "FROM cad_incidents LIMIT 5"',
        f"{command} sql    # a prompt",
        "make explore    # the lake in pictures, in a browser",
    ):
        console.print(f"  {line}", soft_wrap=True)


def _command(called: Path, here: Path) -> str:
    """Return how this command is called, to be typed in the folder a person stands in."""
    is_module = called.name == "__main__.py"  # python -m dispatchlake
    program = Path(sys.executable) if is_module else called
    shown = program.relative_to(here) if program.is_relative_to(here) else program
    return f"{shown} -m dispatchlake" if is_module else str(shown)


def _title(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/]")
