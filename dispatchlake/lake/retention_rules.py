"""What is due to go of a dispatch center: the rules of retention, and the cut-offs they come to.

Four classes: `records` (incidents and CAD incidents with all that hangs on them, each by its own
`created_at`), `caller-data` (the row stays, what tells who called and from where goes), `raw` (bodies of
archived pages, by `received_at`) and `media` (files). Without a rule a thing is kept. What is under a legal
hold is kept whatever the rules say.

Records that went by their age do not come back: the ledger has the center's cut-off, and a load cuts out of
its pages what was created before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import duckdb

from dispatchlake.lake import ledger
from dispatchlake.lake.calls import find_calls
from dispatchlake.lake.connection import Session
from dispatchlake.lake.forgetting import RETENTION
from dispatchlake.lake.holds import held_incidents
from dispatchlake.lake.ledger import Forgotten
from dispatchlake.lake.sql import first_row

RetentionClass = Literal["records", "caller-data", "raw", "media"]

CLASSES: tuple[RetentionClass, ...] = get_args(RetentionClass)


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One row of `retention_rules`; `center_id` is "" where it is for all that have none of their own."""

    center_id: str
    of: RetentionClass
    days: float
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """What of one center is due.

    Attributes:
        cutoffs: By class, before when things are due; a class without a rule is not there.
        held: Incidents that are kept all the same, and the CAD incidents that are part of them.
    """

    center_id: str
    cutoffs: Mapping[RetentionClass, datetime]
    held: frozenset[str] = field(repr=False, default=frozenset())
    held_cad: frozenset[str] = field(repr=False, default=frozenset())

    @property
    def records_cutoff(self) -> datetime | None:
        """Return before when a record's pages and later versions are not kept."""
        found = [self.cutoffs[one] for one in ("records", "caller-data") if one in self.cutoffs]
        return max(found, default=None)

    def forgotten(
        self, doomed: Collection[tuple[str, str]], is_known: Callable[[str, str], bool]
    ) -> Forgotten:
        """Return the judgement that a record is too old, or of a call that is.

        Args:
            doomed: Of which kinds and ids the calls are too old.
            is_known: Says of a kind and an id whether the tables have it.
        """
        held = {*(("incident", one) for one in self.held), *(("cad_incident", one) for one in self.held_cad)}
        return Forgotten(
            self.center_id,
            lambda kind, identity: RETENTION if (kind, identity) in doomed else None,
            self.records_cutoff,
            lambda kind, identity: (kind, identity) in held,
            knows_calls=True,
            is_young=lambda kind, identity: (kind, identity) not in doomed and is_known(kind, identity),
        )


def read_rules(connection: duckdb.DuckDBPyConnection) -> list[Rule]:
    """Return all rules, by center and class."""
    rows = connection.execute(
        'SELECT center_id, "class", days, set_by, set_at FROM retention_rules ORDER BY ALL'
    ).fetchall()
    return [Rule(*row) for row in rows]


def set_rule(connection: duckdb.DuckDBPyConnection, rule: Rule) -> None:
    """Set a rule in the place of the one there was. The caller holds a transaction."""
    unset_rule(connection, rule.center_id, rule.of)
    connection.execute(
        "INSERT INTO retention_rules VALUES (?, ?, ?, ?, ?)",
        [rule.center_id, rule.of, rule.days, rule.set_by, rule.set_at],
    )


def unset_rule(connection: duckdb.DuckDBPyConnection, center_id: str, of: RetentionClass) -> None:
    """Remove a rule: the thing is kept from now on. The caller holds a transaction."""
    connection.execute("""DELETE FROM retention_rules WHERE center_id = ? AND "class" = ?""", [center_id, of])


def find_due(connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule], now: datetime) -> list[Due]:
    """Return the cut-offs of each center that has any, by center."""
    centers = connection.execute("SELECT center_id FROM chain_heads ORDER BY 1").fetchall()
    days = {(rule.center_id, rule.of): rule.days for rule in rules}
    due = []
    for (center_id,) in centers:
        cutoffs = {
            of: now - timedelta(days=kept)
            for of in CLASSES
            if (kept := days.get((center_id, of), days.get(("", of)))) is not None
        }
        if cutoffs:
            due.append(with_holds(connection, Due(center_id, cutoffs)))
    return due


def with_holds(connection: duckdb.DuckDBPyConnection, due: Due) -> Due:
    """Return what is due without what is held now."""
    held = held_incidents(connection, due.center_id)
    return with_links(connection, replace(due, held=frozenset(held), held_cad=frozenset()))


def with_links(connection: duckdb.DuckDBPyConnection, due: Due) -> Due:
    """Return what is due without the CAD incidents that a lake links by now to what is held.

    A load that links one does not change the ledger's mark, as a hold does.
    """
    if not due.held:
        return due
    linked = find_calls(connection, due.center_id, due.held).cad_incident_ids
    return replace(due, held_cad=due.held_cad | linked)


def enter_cutoff(lake_dir: Path, due: Due) -> ledger.Mark:
    """Let no load bring back what is due; return the mark of the ledger that says so.

    CAD incidents that were linked since a hold was added are taken from now on, however old. The caller holds
    the commit lock.
    """
    if (cutoff := due.records_cutoff) is not None:
        known = ledger.read(lake_dir)
        linked = {known.subject_hash(due.center_id, "cad_incident", one) for one in due.held_cad}
        moved = replace(known.with_cutoff(due.center_id, cutoff), held=known.held | linked)
        if moved != known:  # what is written has all that is being read refused, and read again
            ledger.write(lake_dir, moved)
    return ledger.mark_of(lake_dir)


def known_calls(
    session: Session, center_id: str, *, since: datetime | None = None
) -> Callable[[str, str], bool]:
    """Return what says of a kind and an id whether the tables have it; asked of few, each once.

    Args:
        session: Of the lake.
        center_id: Whose calls.
        since: Only what was created then or later.
    """
    young = "" if since is None else "AND created_at >= $since"
    span = {} if since is None else {"since": since}

    @functools.cache
    def is_known(kind: str, identity: str) -> bool:
        query = f"SELECT 1 FROM {kind}s WHERE center_id = $center AND {kind}_id = $id {young} LIMIT 1"
        return first_row(session(), query, {"center": center_id, "id": identity, **span}) is not None

    return is_known


_CUTOFFS = """SELECT center_id, max(cutoff_at) FROM retention_runs AS run
WHERE "class" IN ('records', 'caller-data') AND cutoff_at IS NOT NULL"""


def noted_cutoffs(connection: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Return before when nothing created is taken any more, by center: as the ledger had it."""
    return dict(connection.execute(f"{_CUTOFFS} GROUP BY center_id").fetchall())


def last_cutoffs(connection: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Return until when all pages of a center received before were gone through, by center.

    They hold nothing older than that: a record is received after it was created. What was not due then all
    the same, as its call was not, is found by its rows (`doomed_from_before`). A run that had begun when a
    hold was let go of does not count: what was held is in the archive still.
    """
    return dict(
        connection.execute(
            f"""{_CUTOFFS} AND NOT EXISTS (
                SELECT 1 FROM retention_runs AS let_go WHERE let_go.center_id = run.center_id
                    AND let_go.cutoff_at IS NULL AND let_go.run_at >= run.run_at)
            GROUP BY center_id"""
        ).fetchall()
    )
