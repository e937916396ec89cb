"""`dispatchlake hold`: incidents that may not be removed, for as long as a court or an inquiry needs them."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from cyclopts import App

from dispatchlake.cli.known_centers import refuse_unknown
from dispatchlake.cli.terminal import console, table
from dispatchlake.settings import load_settings

app = App(name="hold", help="Keep incidents from being erased or removed by retention: add, remove, list.")


@app.command
def add(center: str, incident: str, /, *, reason: str) -> None:
    """Hold an incident: it is neither erased nor removed by retention until somebody lets go of it.

    Args:
        center: Id of the dispatch center.
        incident: The incident's id (incidents.incident_id).
        reason: Why, such as the number of the case.
    """
    from dispatchlake.lake import open_existing_lake
    from dispatchlake.lake.ledger import Hold

    settings = load_settings()
    with open_existing_lake(settings) as lake:
        refuse_unknown(settings, center, otherwise="Register it first: dispatchlake centers add --help")
        is_new = lake.hold(Hold(center, incident, reason, getpass.getuser(), datetime.now(UTC)))
    console.print("Held." if is_new else "It is held already.")


@app.command
def remove(center: str, incident: str, /) -> None:
    """Let go of an incident.

    Args:
        center: Id of the dispatch center.
        incident: The incident's id.
    """
    from dispatchlake.lake import open_existing_lake

    with open_existing_lake(load_settings()) as lake:
        lake.release(center, incident)
    console.print("Let go of. Retention may remove it from its next run on.")


@app.command(name="list")
def list_() -> None:
    """List the incidents that are held, why, by whom and since when."""
    from dispatchlake.lake import open_existing_lake

    with open_existing_lake(load_settings()) as lake:
        held = lake.holds()
    if not held:
        console.print("No incident is held.")
        return
    rows = [[one.center_id, one.incident_id, one.reason, one.held_by, one.held_at] for one in held]
    console.print(table(["center", "incident", "reason", "by", "since"], rows))
