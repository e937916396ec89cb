"""Pages, cells and loads built by hand: what a center sends, without a center."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import duckdb

from dispatchlake.lake import Cell, Lake, LoadSummary
from dispatchlake.lake.schemas import TABLES
from dispatchlake.lake.views import VIEWS
from dispatchlake.model import RESOURCES, Page
from dispatchlake.payload import decode_payload
from dispatchlake.windows import Window

CENTER = "center-a"
START = datetime(2024, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)
"""End of the window of a cell that says nothing else."""


def instant(seconds: float) -> datetime:
    """Return the instant so many seconds after START."""
    return START + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    """Return the same in the form of the vendor's samples."""
    return f"{instant(seconds):%F %T} UTC"


def incident(identity: Any = "i1", updated: float = 0, created: float = 0, **fields: Any) -> dict[str, Any]:
    """Return a record of `incident_events`."""
    return {"id": identity, "created_at": stamp(created), "updated_at": stamp(updated), **fields}


def incidents(count: int, prefix: str = "i", **fields: Any) -> list[dict[str, Any]]:
    """Return so many records with ids of their own, in order of change, created one an hour."""
    return [
        incident(f"{prefix}{number}", updated=number, created=number * 3600, **fields)
        for number in range(count)
    ]


def page(
    *records: Any,
    center_id: str = CENTER,
    resource: str = "incident_events",
    sequence: int = 1,
    received_at: datetime = END,
    body: bytes | None = None,
    answered_at: datetime | None = None,
) -> Page:
    """Return a page of these records, or of a body as a center might send it."""
    content = json.dumps(records).encode() if body is None else body
    return Page(
        center_id=center_id,
        resource=resource,
        sequence=sequence,
        url_path=f"/v1/{resource}",
        query={"page": str(sequence)},
        status=200,
        headers={"x-request-id": f"request-{sequence}"},
        requested_at=received_at - timedelta(seconds=1),
        received_at=received_at,
        body=content,
        records=decode_payload(content, None).records,
        answered_at=answered_at,
    )


def too_deep_to_cut(gone: dict[str, Any], stays: dict[str, Any]) -> bytes:
    """Return a body of two records that can be read and not be cut: the second is nested too deeply."""
    deep = "[" * 1000 + "]" * 1000
    return f'[{json.dumps(gone)},{json.dumps(stays)[:-1]},"deep":{deep}}}]'.encode()


def cell(
    center_id: str = CENTER,
    resource: str = "incident_events",
    *,
    start: datetime | None = None,
    end: datetime = END,
    kind: Literal["ingest", "backfill"] = "ingest",
) -> Cell:
    """Return a cell that reads everything until END, unless told otherwise."""
    return Cell(center_id, RESOURCES[resource], Window(start, end), kind)


def load(
    lake: Lake, *records: Any, center_id: str = CENTER, resource: str = "incident_events"
) -> LoadSummary:
    """Land one page of these records."""
    pages = [page(*records, center_id=center_id, resource=resource)]
    return lake.load(pages, cell=cell(center_id, resource), run_id="run")


class Center:
    """One dispatch center in a lake that other tests use too: it loads and sees its own rows only."""

    def __init__(self, lake: Lake, reader: duckdb.DuckDBPyConnection, center_id: str) -> None:
        self.lake, self.center_id, self._reader = lake, center_id, reader

    def load(self, *records: Any, resource: str = "incident_events") -> LoadSummary:
        """Land one page of these records."""
        return load(self.lake, *records, center_id=self.center_id, resource=resource)

    def load_pages(self, pages: Iterable[Page], *, run_id: str = "run", **of: Any) -> LoadSummary:
        """Land these pages as one cell; `of` tells what differs in it."""
        return self.lake.load(pages, cell=cell(self.center_id, **of), run_id=run_id)

    def page(self, *records: Any, **fields: Any) -> Page:
        """Return a page of these records."""
        return page(*records, center_id=self.center_id, **fields)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask an analyst's question of the center's own rows."""
        self._reader.execute("SET VARIABLE center = $center", {"center": self.center_id})
        return self._reader.sql(sql).fetchall()


def see_one_center(reader: duckdb.DuckDBPyConnection) -> None:
    """Lay a view of the same name over each table, of the rows of the center asked about."""
    for name in (one.name for one in (*TABLES, *VIEWS) if "center_id" in {c.name for c in one.columns}):
        reader.execute(
            f"""CREATE TEMP VIEW {name} AS
            SELECT * FROM lake.{name} WHERE center_id = getvariable('center')"""
        )
