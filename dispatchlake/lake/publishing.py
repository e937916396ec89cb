"""The open zone brought up to the restricted one: in one transaction, at the cost of what changed.

The rows that changed since the last publication are read from DuckLake's own account of changes, treated
where they are (`treatments`, `tokens`), and only then handed to the open zone, whose DuckDB sees nothing
else. A table is made anew where that account does not reach back, where its columns or their treatment
changed, or where the two zones turn out not to agree.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import duckdb
import orjson
import pyarrow as pa

from dispatchlake.lake import changes, migrations, purge
from dispatchlake.lake.changes import State
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.declared import Table
from dispatchlake.lake.lake import open_lake
from dispatchlake.lake.publication import Published, read_published
from dispatchlake.lake.reading import no_lake
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.sql import fetch_row, registered, transaction
from dispatchlake.lake.starting_over import remove_if_damaged
from dispatchlake.lake.tokens import TokenKey, load_key, replace_key, tokenised
from dispatchlake.lake.treatments import OpenColumn, open_columns, plan, published_tables, version_columns
from dispatchlake.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Publication:
    """What one publication did: numbers and names of tables only.

    Attributes:
        snapshot: The restricted zone's, which the open zone shows now.
        at: When that was published.
        changed: Tables that were brought up to it row by row.
        remade: Tables that were made anew.
        is_history_forgotten: Whether all older snapshots of the open zone were removed.
    """

    snapshot: int
    at: datetime
    changed: tuple[str, ...] = ()
    remade: tuple[str, ...] = ()
    rows_removed: int = 0
    rows_added: int = 0
    is_history_forgotten: bool = False
    seconds: float = 0.0

    def sentence(self) -> str:
        """Return it in one line."""
        if not self.changed and not self.remade:
            return "The open zone is up to date" + (
                "; its older snapshots were removed" if self.is_history_forgotten else ""
            )
        parts = [
            f"{self.rows_added:,} rows came and {self.rows_removed:,} went in {len(self.changed)} tables"
        ] * bool(self.changed)
        parts += [f"{len(self.remade)} tables were made anew"] * bool(self.remade)
        parts += ["older snapshots were removed"] * self.is_history_forgotten
        return f"The open zone was published in {self.seconds:.1f} s: {', '.join(parts)}"


def publish(settings: Settings, *, rebuild: bool = False) -> Publication:
    """Bring the open zone up to what the restricted zone holds now.

    Readers of the open zone see all of it or nothing; stopped anywhere, the next publication does the rest.

    Args:
        settings: Where the zones are, and how coordinates are treated.
        rebuild: Make all tables anew, whatever the open zone says of itself, or all of it if it is damaged.

    Raises:
        ConfigError: There is no lake yet, or the key cannot be used.
        LakeError: A zone cannot be read or written; the open zone is as it was.
    """
    if not catalog_path(settings.lake_dir).exists():
        raise no_lake(settings.lake_dir)
    started_s = time.monotonic()
    load_key(settings)  # where it cannot be used, nothing is made
    if rebuild:
        with open_lake(settings):  # what it is made of can be read
            remove_if_damaged(settings)
    with (
        open_lake(settings, "open") as target_lake,
        open_lake(settings) as source_lake,
        target_lake.held() as target,
    ):
        key = load_key(settings)  # the one of now: it may have been changed while we waited for the lock
        with source_lake.reading() as source, transaction(target):
            publication, must_forget = _Publisher(source, target, key, settings).run(rebuild=rebuild)
        if must_forget:
            purge.purge(target, settings.open_dir)
            purge.scrub(settings.open_dir)
            target.execute("UPDATE publication SET must_forget = false")
    publication = replace(publication, is_history_forgotten=must_forget, seconds=time.monotonic() - started_s)
    logger.info("%s.", publication.sentence())
    return publication


def rotate_key(settings: Settings) -> Publication:
    """Make a new key, and the open zone with it: all tokens are others, and none of the old ones is left.

    Raises:
        ConfigError: The key is not ours to change.
        LakeError: The new key counts, and the open zone still has the old tokens: publish again.
    """
    replace_key(settings)
    return publish(settings)


class _Publisher:
    """One publication under way: the caller holds a transaction in each zone, and the open zone's lock."""

    def __init__(
        self,
        source: duckdb.DuckDBPyConnection,
        target: duckdb.DuckDBPyConnection,
        key: TokenKey,
        settings: Settings,
    ) -> None:
        self._source = source
        self._target = target
        self._key = key
        self._tables = published_tables()
        self._columns = {
            table.name: open_columns(table, decimals=settings.coordinate_decimals) for table in self._tables
        }
        self._plans = {name: plan(columns, key.fingerprint) for name, columns in self._columns.items()}
        self._matches = version_columns()
        self._added = self._removed = 0

    def run(self, *, rebuild: bool) -> tuple[Publication, bool]:
        """Bring the tables up to date; return what was done, and whether older snapshots must go."""
        now = changes.current_state(self._source)
        before = read_published(self._target)
        must_forget = bool(before and before.must_forget)
        if before and before.state == now and before.plans == self._plans and not rebuild:
            return Publication(now.snapshot, before.at), must_forget
        touched, remade = self._choose(before, now, rebuild=rebuild)
        changed: list[Table] = []
        if before:
            must_forget |= any(before.plans.get(table.name, one) != one for table, one in self._named_plans())
            for table in touched:
                rows = self._bring_up(table, before.state, now)
                if rows is None:
                    remade.append(table)
                elif rows:
                    changed.append(table)
        for table in remade:
            self._remake(table)
        if before and (
            hidden := [table for table in TABLES if table.name in before.plans.keys() - self._plans]
        ):
            must_forget = True
            for table in hidden:  # nothing of it is shown any more
                migrations.make_anew(self._target, table)
        published_at = datetime.now(UTC)
        self._target.execute("DELETE FROM publication")
        self._target.execute(
            "INSERT INTO publication VALUES (?, ?, ?, ?, ?)",
            [now.snapshot, now.at, published_at, orjson.dumps(self._plans).decode(), must_forget],
        )
        publication = Publication(
            snapshot=now.snapshot,
            at=published_at,
            changed=tuple(table.name for table in changed),
            remade=tuple(table.name for table in remade),
            rows_removed=self._removed,
            rows_added=self._added,
        )
        return publication, must_forget

    def _named_plans(self) -> Iterator[tuple[Table, str]]:
        return ((table, self._plans[table.name]) for table in self._tables)

    def _choose(
        self, before: Published | None, now: State, *, rebuild: bool
    ) -> tuple[list[Table], list[Table]]:
        """Return the tables that may have changed, and those to be made anew."""
        if rebuild or before is None or not changes.is_kept(self._source, before.state):
            return [], list(self._tables)
        others = [table for table, one in self._named_plans() if before.plans.get(table.name) != one]
        same = [table for table in self._tables if table not in others]
        if before.state == now:
            return [], others
        span = changes.span_between(self._source, before.state.snapshot, now.snapshot)
        changed, altered = changes.changed_tables(self._source, span, same)
        return changed, others + altered

    def _bring_up(self, table: Table, before: State, now: State) -> int | None:
        """Apply what changed in a table; return how many rows, or None if one to be removed was missing."""
        columns = self._columns[table.name]
        span = changes.span_between(self._source, before.snapshot, now.snapshot)
        changes.collect(self._source, table, columns, span)
        gone, come = (fetch_row(self._source, f"SELECT count(*) FROM {name}")[0] for name in ("gone", "come"))
        if gone and self._remove(table, columns) != gone:
            logger.error(
                "The open zone did not have all rows of %s that the restricted zone lost: it is made anew.",
                table.name,
            )
            return None
        if come:
            self._insert(table, columns, "come", is_treated=True)
        self._removed += gone
        self._added += come
        return int(gone + come)

    def _remake(self, table: Table) -> None:
        migrations.make_anew(self._target, table)
        self._insert(table, self._columns[table.name], table.name, is_treated=False)

    def _insert(self, table: Table, columns: Sequence[OpenColumn], source: str, *, is_treated: bool) -> None:
        rows = self._rows(source, columns, is_treated=is_treated)
        with registered(self._target, "coming", rows):
            self._target.execute(f"INSERT INTO {table.name} BY NAME FROM coming")

    def _rows(self, source: str, columns: Sequence[OpenColumn], *, is_treated: bool) -> pa.RecordBatchReader:
        raw = changes.read(self._source, source, columns, is_treated=is_treated)
        return pa.RecordBatchReader.from_batches(
            raw.schema, (tokenised(batch, columns, self._key) for batch in raw)
        )

    def _remove(self, table: Table, columns: Sequence[OpenColumn]) -> int:
        """Remove from the open zone, once each, the rows that are in `gone`; return how many those were."""
        with registered(self._target, "going", self._rows("gone", columns, is_treated=True)):
            self._target.execute("CREATE OR REPLACE TEMP TABLE going_away AS FROM going")
        names = self._matches.get(table.name) or tuple(column.name for column in columns)
        listed = ", ".join(f'"{name}"' for name in names)
        equal = " AND ".join(f'kept."{name}" IS NOT DISTINCT FROM lost."{name}"' for name in names)
        of_one_row = ", ".join(f'kept."{name}"' for name in names)
        within, bounds = self._bounds({column.name for column in columns})
        (removed,) = fetch_row(
            self._target,
            f"""DELETE FROM {table.name} WHERE {within} AND rowid IN (
                SELECT row_number_ FROM (
                    SELECT kept.row_number_, copies,
                        row_number() OVER (PARTITION BY {of_one_row}) AS place
                    FROM (SELECT rowid AS row_number_, {listed} FROM {table.name} WHERE {within}) AS kept
                    JOIN (SELECT {listed}, count(*) AS copies FROM going_away GROUP BY ALL) AS lost
                        ON {equal})
                WHERE place <= copies)""",
            bounds,
        )
        self._target.execute("DROP TABLE going_away")
        return int(removed)

    def _bounds(self, names: set[str]) -> tuple[str, dict[str, object]]:
        """Return a condition that files can be told apart by, which all rows to be removed fulfil."""
        within, bounds = "true", dict[str, object]()
        if "center_id" in names:
            (centers,) = fetch_row(self._target, "SELECT list(DISTINCT center_id) FROM going_away")
            bounds = {f"center_{number}": center_id for number, center_id in enumerate(centers)}
            within = f"center_id IN ({', '.join(f'${name}' for name in bounds)})"
        if "created_at" in names:
            oldest, newest, lacks = fetch_row(
                self._target,
                "SELECT min(created_at), max(created_at), count(*) > count(created_at) FROM going_away",
            )
            if oldest is not None and not lacks:
                within += " AND created_at BETWEEN $oldest AND $newest"
                bounds |= {"oldest": oldest, "newest": newest}
        return within, bounds
