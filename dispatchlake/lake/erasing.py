"""One erasure within a lake: planned, entered into the ledger, removed from the tables and the archive.

From the moment the ledger has the call nothing brings it back; what is done after that may stop anywhere and
be done again, by the plan that was kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from dispatchlake.errors import ConfigError
from dispatchlake.lake import holds, ledger, purge
from dispatchlake.lake.calls import (
    Calls,
    doom,
    find_calls,
    remove_quarantined,
    remove_rows,
    tables_of_calls,
)
from dispatchlake.lake.erasure_plan import Plan, forget_plan, read_plans, write_plan
from dispatchlake.lake.forgetting import cut_body, listing_of
from dispatchlake.lake.lake import Lake
from dispatchlake.lake.ledger import Forgotten, Ledger, SubjectKind
from dispatchlake.lake.ledger_table import mirror
from dispatchlake.lake.redacting import MOST_NAMED, Redaction, redact_pages
from dispatchlake.lake.replay import Resources
from dispatchlake.lake.sql import first_row, transaction
from dispatchlake.lake.traces import find_traces
from dispatchlake.payload import PayloadError, decode_json

LEAST_LETTERS = 8
"""A shorter id stands in any page by chance: a body that is no JSON is not emptied for it."""


def begin(
    lake: Lake,
    center_id: str,
    incident_id: str,
    *,
    reason: str,
    requested_by: str,
    others: Sequence[Lake] = (),
) -> Plan:
    """Plan an erasure and enter it into the ledger: from here on nothing brings the call back.

    One that was begun before and is not done is gone on with.

    Args:
        lake: The lake that has the archive.
        center_id: Whose incident.
        incident_id: As `incidents.incident_id` has it.
        reason: Kept in `erasures`.
        requested_by: Kept as well.
        others: Lakes that were derived from it.

    Raises:
        ConfigError: The lake knows no such incident, or it is held.
    """
    with lake.held() as connection:
        for plan in read_plans(lake.lake_dir):
            if plan.calls.center_id == center_id and incident_id in plan.calls.incident_ids:
                _enter(lake.lake_dir, plan)
                return plan
        calls = find_calls(connection, center_id, [incident_id])
        holds.refuse_held(connection, calls)
        if not _is_known(connection, calls, incident_id):
            raise ConfigError(_unknown(lake.lake_dir, center_id, incident_id))
        traces = set(find_traces(connection, calls))
        for other in others:
            with other.held() as of_other:
                traces |= set(find_traces(of_other, calls))
        plan = Plan(str(uuid.uuid4()), reason, requested_by, datetime.now(UTC), calls, tuple(sorted(traces)))
        write_plan(lake.lake_dir, plan)  # first: what is in the ledger can be gone on with
        _enter(lake.lake_dir, plan)
        return plan


def _enter(lake_dir: Path, plan: Plan) -> None:
    known = ledger.read(lake_dir)
    has = {(one.erasure_id, one.subject_hash) for one in known.erasures}
    if rows := [one for one in plan.rows(known) if (one.erasure_id, one.subject_hash) not in has]:
        ledger.write(lake_dir, known.with_erasures(rows))


def _is_known(connection: duckdb.DuckDBPyConnection, calls: Calls, incident_id: str) -> bool:
    doom(connection, calls)
    center = {"center": calls.center_id}
    if any(
        first_row(connection, f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1", center)
        for table, condition in tables_of_calls(connection).items()
    ):
        return True
    return any(
        first_row(
            connection,
            f"SELECT 1 FROM {table} WHERE center_id = $center AND contains({text}, $id) LIMIT 1",
            {**center, "id": incident_id},
        )
        for table, text in (("quarantine", "record"), ("raw_pages", "CAST(body AS VARCHAR)"))
    )


def _unknown(lake_dir: Path, center_id: str, incident_id: str) -> str:
    forgotten = ledger.read(lake_dir).forgotten(center_id)
    because = forgotten.because_of("incident", incident_id) if forgotten else None
    if because is not None:
        return f"That incident of {center_id} was erased already (erasure {because})."
    return (
        f"The lake knows no such incident of {center_id}. Give the id as incidents.incident_id has it; "
        "nothing was erased."
    )


def remove(lake: Lake, plan: Plan, resources: Resources) -> dict[str, int]:
    """Cut the calls out of the archive, then delete their rows; return how many pages and rows.

    Args:
        lake: The lake that has the archive.
        plan: What is erased.
        resources: Listings that a center has configured; any other is as declared.
    """
    center_id = plan.calls.center_id
    forgotten = plan.calls.forgotten(plan.erasure_id)
    if plan.is_by_hash:
        forgotten = replace(ledger.read(lake.lake_dir).forgotten(center_id) or forgotten, cutoff=None)
    ids = plan.calls.incident_ids | plan.calls.cad_incident_ids
    run_id = f"erasure {plan.erasure_id}"
    redaction = Redaction(
        center_id,
        _cutter(forgotten, plan, resources),
        reason=plan.reason,
        run_id=run_id,
        naming=None if plan.is_by_hash or len(ids) > MOST_NAMED else tuple(ids),
    )
    with lake.session() as connection:
        counts = {"raw_pages": redact_pages(connection, lake.transact, redaction)}

        def delete() -> dict[str, int]:
            doom(connection, plan.calls)
            quarantined = remove_quarantined(connection, center_id, forgotten, resources, run_id=run_id)
            removed = remove_rows(connection, center_id)
            mirror(connection, lake.lake_dir)
            return {"quarantine": quarantined, **removed}

        counts |= lake.transact(delete)
    return {name: count for name, count in counts.items() if count}


def remove_derived(lake: Lake, plan: Plan) -> dict[str, int]:
    """Delete the calls' rows from a lake that was derived from another one, and has no archive."""
    with lake.session() as connection:

        def delete() -> dict[str, int]:
            doom(connection, plan.calls)
            return remove_rows(connection, plan.calls.center_id)

        return lake.transact(delete)


def _cutter(
    forgotten: Forgotten, plan: Plan, resources: Resources
) -> Callable[[str, bytes, datetime], tuple[bytes, Collection[str]]]:
    long_ids = [one.encode() for one in plan.calls.incident_ids if len(one) >= LEAST_LETTERS]

    def cut(resource: str, body: bytes, _received_at: datetime) -> tuple[bytes, Collection[str]]:
        kept, because = cut_body(body, listing_of(resource, forgotten.center_id, resources), forgotten)
        if not because and any(one in body for one in long_ids) and not _is_json(body):
            return b"", {plan.erasure_id}  # nobody can say what else is in it
        return kept, because

    return cut


def _is_json(body: bytes) -> bool:
    try:
        decode_json(body)
    except PayloadError:
        return False
    return True


def clear(lake: Lake) -> None:
    """Take off the disk what was deleted from a lake, and the catalogs that restores replaced."""
    with lake.held() as connection:
        purge.purge(connection, lake.lake_dir)
    for path in purge.replaced_catalogs(lake.lake_dir):
        path.unlink(missing_ok=True)


def finish(lake: Lake, plan: Plan, counts: dict[str, int]) -> None:
    """Say that an erasure is done, and forget what it was about."""
    with lake.held() as connection:
        known = ledger.read(lake.lake_dir)
        done = [
            replace(one, erased_at=datetime.now(UTC), counts=counts if one.kind == "incident" else {})
            for one in known.erasures
            if one.erasure_id == plan.erasure_id
        ]
        ledger.write(lake.lake_dir, known.with_erasures(done))
        with transaction(connection):
            mirror(connection, lake.lake_dir)
    forget_plan(lake.lake_dir, plan)


def plan_again(lake: Lake) -> list[Plan]:
    """Plan the erasures that the ledger has as unfinished and that have no plan; return all plans.

    So they are after an older catalog was put back: the calls are in it again, and are found by their hashes.
    """
    planned = {plan.erasure_id for plan in read_plans(lake.lake_dir)}
    with lake.held() as connection:
        for plan in read_plans(lake.lake_dir):
            _enter(lake.lake_dir, plan)  # who wrote it may have been killed before
        known = ledger.read(lake.lake_dir)
        left = [one for one in known.unfinished if one.erasure_id not in planned]
        for center_id in sorted({one.center_id for one in left}):
            named = _named_by_hash(connection, known, center_id)
            for erasure_id in sorted({one.erasure_id for one in left if one.center_id == center_id}):
                rows = [one for one in left if one.erasure_id == erasure_id]
                found = [named[row.subject_hash] for row in rows if row.subject_hash in named]
                incidents = frozenset(identity for kind, identity in found if kind == "incident")
                cad = frozenset(identity for kind, identity in found if kind == "cad_incident")
                calls = replace(find_calls(connection, center_id, incidents), cad_incident_ids=cad)
                traces = tuple(find_traces(connection, calls))
                first = rows[0]
                write_plan(
                    lake.lake_dir,
                    Plan(
                        erasure_id,
                        first.reason,
                        first.requested_by,
                        first.begun_at,
                        calls,
                        traces,
                        is_by_hash=True,
                    ),
                )
    return read_plans(lake.lake_dir)


def _named_by_hash(
    connection: duckdb.DuckDBPyConnection, known: Ledger, center_id: str
) -> dict[str, tuple[SubjectKind, str]]:
    """Return kind and id of all incidents and CAD incidents that a center's tables name, by their hash."""
    found: dict[str, tuple[SubjectKind, str]] = {}
    kinds: tuple[SubjectKind, ...] = ("incident", "cad_incident")
    for kind in kinds:
        tables = connection.execute(
            """SELECT DISTINCT table_name FROM duckdb_columns()
            WHERE database_name = 'lake' AND column_name = ? AND table_name <> 'legal_holds'
                AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake')""",
            [f"{kind}_id"],
        ).fetchall()
        union = " UNION ".join(
            f"SELECT {kind}_id FROM {table} WHERE center_id = $center" for (table,) in tables
        )
        for (identity,) in connection.execute(union, {"center": center_id}).fetchall():
            if identity is not None:
                found[known.subject_hash(center_id, kind, identity)] = (kind, identity)
    return found
