"""The ledger's other half: tables, which people ask, and which the ledger is made again from.

The file wins: a catalog that is older than the file was put back, and what was erased since is in it again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb

from dispatchlake.lake import holds, ledger, migrations, reading
from dispatchlake.lake.ledger import Erasure, Ledger
from dispatchlake.lake.retention_rules import noted_cutoffs
from dispatchlake.lake.sql import first_row


def read_table(connection: duckdb.DuckDBPyConnection) -> list[Erasure]:
    """Return what the table says, the oldest first."""
    rows = connection.execute(
        """SELECT erasure_id, center_id, kind, subject_hash, reason, requested_by, begun_at, erased_at, counts
        FROM erasures ORDER BY begun_at, erasure_id, kind DESC, subject_hash"""
    ).fetchall()
    return [ledger.from_row(row) for row in rows]


def read_erasures(lake_dir: Path) -> list[Erasure]:
    """Return what was erased from a lake, the oldest first; nothing where it has no such table yet.

    Raises:
        ConfigError: There is no lake yet.
    """
    with reading.connect_unnoted(lake_dir) as connection:
        return read_table(connection) if migrations.ERASURE in migrations.applied(connection) else []


def mirror(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> None:
    """Let the table say what the ledger says. The caller holds the commit lock and a transaction."""
    known = ledger.read(lake_dir)
    rows = {(one.erasure_id, one.subject_hash): one for one in read_table(connection)}
    for one in known.erasures:
        key = (one.erasure_id, one.subject_hash)
        if rows.get(key) == one:
            continue
        if key in rows:
            connection.execute("DELETE FROM erasures WHERE erasure_id = ? AND subject_hash = ?", list(key))
        connection.execute("INSERT INTO erasures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", ledger.as_row(one))
    if connection.execute("SELECT key FROM erasure_keys").fetchall() != [(known.key.hex(),)]:
        connection.execute("DELETE FROM erasure_keys")
        connection.execute("INSERT INTO erasure_keys VALUES (?)", [known.key.hex()])


def reconciled(connection: duckdb.DuckDBPyConnection, lake_dir: Path) -> Ledger | None:
    """Return what the ledger should say, where that is something else than it says.

    Where the file is lost, what the tables say. Where the table lacks what the file says is done, the catalog
    is older than that: it is to be done again. What the catalog holds is held, whichever is older; what only
    the ledger holds, `holds.bring_back` has the catalog hold too.
    """
    known = in_file = ledger.read(lake_dir)
    is_lost = in_file.mark == ledger.NO_FILE
    # Nearly always none has any, and every column of a table costs a millisecond to look into.
    tables = ("erasures", "legal_holds", "retention_runs") if is_lost else ("erasures", "legal_holds")
    if not known.erasures and not any(
        first_row(connection, f"SELECT 1 FROM {one} LIMIT 1") for one in tables
    ):
        return None
    table = {(one.erasure_id, one.subject_hash): one for one in read_table(connection)}
    if is_lost:
        if key := first_row(connection, "SELECT key FROM erasure_keys"):
            known = replace(known, key=bytes.fromhex(key[0]))
        for center_id, cutoff in noted_cutoffs(connection).items():
            known = known.with_cutoff(center_id, cutoff)
    erasures = [
        one
        if one.erased_at is None or table.get((one.erasure_id, one.subject_hash)) == one
        else replace(one, erased_at=None)
        for one in known.erasures
    ]
    has = {(one.erasure_id, one.subject_hash) for one in known.erasures}
    erasures += [one for key_of, one in table.items() if key_of not in has]
    found = replace(holds.with_those_of(connection, known), erasures=tuple(erasures))
    return None if found == in_file else found
