"""The lake against the sandbox's truth: rows and values, current records and versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from dispatchlake.lake.reading import query_arrow

TABLES = {
    "incident_events": ("incidents", "incident_versions", "incident_id"),
    "cad_incidents": ("cad_incidents", "cad_incident_versions", "cad_incident_id"),
}

RENAMED = {"received_at": "call_received_at"}
"""Fields of the source whose name means something else in the lake (`received_at` is when we received it)."""

NUMBERS_WITH_TOLERANCE = 1e-9

Readable = Path | duckdb.DuckDBPyConnection
"""A lake: where it is, or a connection that reads it already."""


def rows_of(lake: Readable, sql: str) -> list[dict[str, Any]]:
    """Return a query's answer, row by row."""
    answer = query_arrow(sql, lake_dir=lake) if isinstance(lake, Path) else lake.sql(sql).to_arrow_table()
    rows: list[dict[str, Any]] = answer.to_pylist()
    return rows


def landed(lake: Readable, center_id: str, resource: str) -> dict[str, dict[str, Any]]:
    """Return the current rows of the lake by id, in the lake's columns."""
    current, _versions, key = TABLES[resource]
    rows = rows_of(lake, f"SELECT * FROM {current} WHERE center_id = '{center_id}'")
    by_id = {row[key]: row for row in rows}
    assert len(by_id) == len(rows), "an incident is in the current table twice"
    return by_id


def expected(truth: list[dict[str, Any]], resource: str) -> dict[str, dict[str, Any]]:
    """Return the truth by id, in the lake's column names and types."""
    _current, _versions, key = TABLES[resource]
    rows = {}
    for record in truth:
        row = {RENAMED.get(name, name): _value(name, value) for name, value in record.items() if name != "id"}
        rows[record["id"]] = row | {key: record["id"]}
    return rows


def _value(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name.endswith("_at") and value is not None else value


def assert_equal(lake: Readable, center_id: str, resource: str, truth: list[dict[str, Any]]) -> None:
    """Fail, naming ids and fields only, unless the lake's current rows are exactly the truth."""
    ours, theirs = landed(lake, center_id, resource), expected(truth, resource)
    assert theirs, "a truth without records proves nothing"
    assert not set(theirs) - set(ours), f"{len(set(theirs) - set(ours))} of {len(theirs)} records are missing"
    assert not set(ours) - set(theirs), f"{len(set(ours) - set(theirs))} records were invented"
    _assert_values_equal(ours, theirs)


def assert_versions_equal(lake: Readable, center_id: str, resource: str, truth: list[dict[str, Any]]) -> None:
    """Fail unless the lake's versions are exactly the ones given, by id and time of change."""
    _current, versions, key = TABLES[resource]
    rows = rows_of(lake, f"SELECT * FROM {versions} WHERE center_id = '{center_id}'")
    ours = {(row[key], row["updated_at"]): row for row in rows}
    assert len(ours) == len(rows), "a version is there twice"
    theirs = {
        (record["id"], datetime.fromisoformat(record["updated_at"])): next(
            iter(expected([record], resource).values())
        )
        for record in truth
    }
    assert set(ours) == set(theirs), f"{len(set(ours) ^ set(theirs))} versions are missing or invented"
    _assert_values_equal(ours, theirs)


def _assert_values_equal(ours: Mapping[Any, dict[str, Any]], theirs: Mapping[Any, dict[str, Any]]) -> None:
    wrong = [
        (identity, field)
        for identity, record in theirs.items()
        for field, value in record.items()
        if not _same(ours[identity][field], value)
    ]
    assert not wrong, f"{len(wrong)} values differ, the first: {wrong[:5]}"


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float):
        return abs(ours - theirs) < NUMBERS_WITH_TOLERANCE
    return bool(ours == theirs)
