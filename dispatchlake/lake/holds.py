"""Legal holds: incidents that may be neither erased nor removed by retention, until somebody lets go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from dispatchlake.errors import ConfigError
from dispatchlake.lake import ledger
from dispatchlake.lake.calls import Calls, find_calls
from dispatchlake.lake.erasure_plan import read_plans
from dispatchlake.lake.ledger import Hold, Ledger
from dispatchlake.lake.sql import first_row


def read_holds(connection: duckdb.DuckDBPyConnection) -> list[Hold]:
    """Return all holds, by center and incident."""
    rows = connection.execute(
        "SELECT center_id, incident_id, reason, held_by, held_at FROM legal_holds ORDER BY ALL"
    ).fetchall()
    return [Hold(*row) for row in rows]


def add_hold(connection: duckdb.DuckDBPyConnection, lake_dir: Path, hold: Hold) -> bool:
    """Hold an incident; return False if it is held already. The caller holds a transaction.

    An incident that the lake does not know may be held: its records may still come.

    Raises:
        ConfigError: It was erased, or is being erased, or a CAD incident of it is being erased with another.
    """
    if hold.incident_id in held_incidents(connection, hold.center_id):
        return False
    known = ledger.read(lake_dir)
    calls = find_calls(connection, hold.center_id, [hold.incident_id])
    _refuse_erased(lake_dir, known, calls)
    holds, hashes = (*known.holds, hold), _hashes_of(known, calls)
    ledger.write(lake_dir, replace(known, holds=holds, held=known.held | hashes))
    _insert(connection, hold)
    return True


def _insert(connection: duckdb.DuckDBPyConnection, hold: Hold) -> None:
    connection.execute("INSERT INTO legal_holds VALUES (?, ?, ?, ?, ?)", list(astuple(hold)))


def _refuse_erased(lake_dir: Path, known: Ledger, calls: Calls) -> None:
    # Who wrote a plan may have been killed before the ledger had it: it is gone on with all the same.
    planned = [row for plan in read_plans(lake_dir) for row in plan.rows(known)]
    forgotten = known.with_erasures(planned).forgotten(calls.center_id)
    if forgotten is None:
        return
    for one in calls.incident_ids:
        if because := forgotten.because_of("incident", one):
            raise ConfigError(
                f"That incident of {calls.center_id} was erased, or is being erased (erasure {because}): "
                "there is nothing of it to hold."
            )
    for one in calls.cad_incident_ids:
        if because := forgotten.because_of("cad_incident", one):
            raise ConfigError(
                f"A CAD incident of that incident of {calls.center_id} is being erased with another call "
                f"(erasure {because}). Once that is done, what is left can be held: "
                "dispatchlake erase --unfinished"
            )


def _hashes(connection: duckdb.DuckDBPyConnection, known: Ledger, hold: Hold) -> set[str]:
    return _hashes_of(known, find_calls(connection, hold.center_id, [hold.incident_id]))


def _hashes_of(known: Ledger, calls: Calls) -> set[str]:
    incidents = {known.subject_hash(calls.center_id, "incident", one) for one in calls.incident_ids}
    return incidents | {
        known.subject_hash(calls.center_id, "cad_incident", one) for one in calls.cad_incident_ids
    }


def with_those_of(connection: duckdb.DuckDBPyConnection, known: Ledger) -> Ledger:
    """Return a ledger with what the catalog holds and it does not: its file is lost, or the catalog older."""
    unknown = _lacking(read_holds(connection), known.holds)
    hashes = known.held.union(*(_hashes(connection, known, one) for one in unknown))
    return replace(known, holds=(*known.holds, *unknown), held=hashes)


def unknown_to(connection: duckdb.DuckDBPyConnection, known: Ledger) -> list[Hold]:
    """Return what a ledger holds and the catalog does not: it is older, or who added one was killed."""
    return _lacking(known.holds, read_holds(connection)) if known.holds else []


def bring_back(connection: duckdb.DuckDBPyConnection, known: Ledger) -> None:
    """Let the catalog hold what a ledger does. The caller holds the commit lock and a transaction."""
    for hold in unknown_to(connection, known):
        _insert(connection, hold)


def _lacking(holds: Iterable[Hold], among: Iterable[Hold]) -> list[Hold]:
    has = {(one.center_id, one.incident_id) for one in among}
    return [one for one in holds if (one.center_id, one.incident_id) not in has]


def remove_hold(
    connection: duckdb.DuckDBPyConnection, lake_dir: Path, center_id: str, incident_id: str
) -> None:
    """Let go of an incident. The caller holds a transaction.

    Raises:
        ConfigError: It is not held.
    """
    if incident_id not in held_incidents(connection, center_id):
        raise ConfigError(f"That incident of {center_id} is not held. See: dispatchlake hold list")
    connection.execute(
        "DELETE FROM legal_holds WHERE center_id = ? AND incident_id = ?", [center_id, incident_id]
    )
    _let_go_through_again(connection, center_id)
    known, left = ledger.read(lake_dir), read_holds(connection)
    hashes = frozenset[str]().union(*(_hashes(connection, known, one) for one in left))
    ledger.write(lake_dir, replace(known, holds=tuple(left), held=hashes))


def _let_go_through_again(connection: duckdb.DuckDBPyConnection, center_id: str) -> None:
    """Say that what a hold kept in the archive is to be gone through, by the next run of retention.

    A row beside those of the runs: their cut-offs stay, which a lost ledger is made again from. It is never
    older than they are, whatever a clock was set to.
    """
    connection.execute(
        """INSERT INTO retention_runs
        SELECT $center, '', NULL, greatest(max(run_at), $now), '{}' FROM retention_runs
        WHERE center_id = $center""",
        {"center": center_id, "now": datetime.now(UTC)},
    )


def held_incidents(connection: duckdb.DuckDBPyConnection, center_id: str) -> set[str]:
    """Return the incidents of a center that are held."""
    rows = connection.execute(
        "SELECT incident_id FROM legal_holds WHERE center_id = ?", [center_id]
    ).fetchall()
    return {row[0] for row in rows}


def refuse_held(connection: duckdb.DuckDBPyConnection, calls: Calls) -> None:
    """Raise ConfigError if a call is held, or shares a CAD incident with one that is."""
    held = held_incidents(connection, calls.center_id)
    if held & calls.incident_ids:
        raise ConfigError(
            f"That incident of {calls.center_id} is under a legal hold, and nothing was erased. "
            "Who set it and why: dispatchlake hold list. Once it may go: dispatchlake hold remove"
        )
    if not held or not calls.cad_incident_ids:
        return
    shared = first_row(
        connection,
        """SELECT 1 FROM cad_incident_versions WHERE center_id = $center
            AND cad_incident_id IN (SELECT unnest($cad)) AND incident_id IN (SELECT unnest($held)) LIMIT 1""",
        {"center": calls.center_id, "cad": sorted(calls.cad_incident_ids), "held": sorted(held)},
    )
    if shared:
        raise ConfigError(
            f"A CAD incident of that call is linked to another incident of {calls.center_id} that is under a "
            "legal hold, and nothing was erased. See: dispatchlake hold list"
        )
