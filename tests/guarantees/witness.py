"""One center of the sandbox, and whether the lake has exactly what it had: rows, versions, bookkeeping."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import duckdb

from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import LoadSummary
from dispatchlake.lake.reading import connect
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings
from tests.guarantees.ledger import Ledger
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import TABLES, assert_equal, assert_versions_equal, rows_of

CAD, EVENTS = "cad_incidents", "incident_events"


class Witness:
    """Remembers what the center showed each time it was read."""

    def __init__(
        self, sandbox: SandboxProcess, center: DispatchCenter, settings: Settings, resource: str = CAD
    ) -> None:
        self._sandbox, self._settings = sandbox, settings
        self.center, self.resource = center, resource
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}

    def truth(self) -> list[dict[str, Any]]:
        """Return what the center has now."""
        current: list[dict[str, Any]] = self._sandbox.truth(self.center.center_id, self.resource)["current"]
        return current

    def ingest(self, settings: Settings | None = None, since: date | None = None) -> LoadSummary:
        """Land what the center has now, and remember it once it has landed."""
        summary = ingest_cell(
            self.center, self.resource, settings=settings or self._settings, run_id="run", since=since
        )
        self.see()
        return summary

    def see(self) -> None:
        """Remember what the center has now: somebody has landed it."""
        self._seen |= {(record["id"], record["updated_at"]): record for record in self.truth()}

    def books(self) -> tuple[int, datetime | None]:
        """Return how many incidents of the center the lake has, and its watermark."""
        (row,) = self.ask(
            f"""SELECT (SELECT count(*) FROM {TABLES[self.resource][0]} WHERE {self._of_center}) AS found,
                (SELECT watermark_at FROM watermarks WHERE {self._own}) AS watermark"""
        )
        return row["found"], row["watermark"]

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask an analyst's question of the lake."""
        return rows_of(self._settings.lake_dir, sql)

    def assert_whole(self, ledger: Ledger, *, versions: bool = True) -> None:
        """Fail unless the lake has what the center has, each version it showed, and says so.

        Args:
            ledger: Told what was lost and doubled.
            versions: Whether every version that was shown must have been read.
        """
        truth, seen = self.truth(), list(self._seen.values())
        with connect(self._settings.lake_dir) as lake:
            ledger.compare_rows(self._landed(lake, TABLES[self.resource][0]), map(_version, truth))
            if versions:
                ledger.compare_rows(self._landed(lake, TABLES[self.resource][1]), map(_version, seen))
            assert_equal(lake, self.center.center_id, self.resource, truth)
            if versions:
                assert_versions_equal(lake, self.center.center_id, self.resource, seen)
            self._assert_books(lake, max(datetime.fromisoformat(record["updated_at"]) for record in truth))

    def _landed(self, lake: duckdb.DuckDBPyConnection, table: str) -> list[tuple[Any, ...]]:
        key = TABLES[self.resource][2]
        return lake.sql(f"SELECT {key}, epoch(updated_at) FROM {table} WHERE {self._of_center}").fetchall()

    def _assert_books(self, lake: duckdb.DuckDBPyConnection, newest: datetime) -> None:
        """The watermark stands at the newest change at most, and nothing is said to have failed."""
        live = "kind = 'ingest' AND state = 'complete'"
        (books,) = rows_of(
            lake,
            f"""SELECT
                (SELECT watermark_at FROM watermarks WHERE {self._own}) AS watermark,
                (SELECT complete_through FROM complete_through WHERE {self._own}) AS complete_through,
                (SELECT count(*) FROM coverage WHERE {self._own} AND {live}) AS live,
                (SELECT count(*) FROM coverage WHERE {self._own} AND kind = 'ingest' AND state = 'failed')
                    AS failed""",
        )
        assert books["watermark"] is not None
        assert books["watermark"] <= newest
        assert books["complete_through"] >= books["watermark"]
        assert (books["live"], books["failed"]) == (1, 0)

    @property
    def _of_center(self) -> str:
        return f"center_id = '{self.center.center_id}'"

    @property
    def _own(self) -> str:
        return f"{self._of_center} AND resource = '{self.resource}'"


def _version(record: dict[str, Any]) -> tuple[str, float]:
    """Return what tells a version of a record from any other: its id and when it changed."""
    return record["id"], datetime.fromisoformat(record["updated_at"]).timestamp()
