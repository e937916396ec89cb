"""Rebuild `samples/` from the published source files: python -m sandbox.build_samples FOLDER.

A sample line is one call as its source tells it: `key`, `created_at`, `first` (the fields at first sight, and
when that was) and `changes` (fields that differed later, and when). Nothing is added here that a source does
not say; what the sources lack is made up in `datasets`, and said so in `samples/README.md`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

SAMPLES = Path(__file__).parent / "samples"
PACIFIC = ZoneInfo("America/Los_Angeles")
HOUSTON_FIRST_CALL = datetime(2024, 7, 7, tzinfo=UTC)
HOUSTON_LAST_POLL = "2024-07-11"

Call = dict[str, Any]


def houston(folder: Path) -> Iterator[Call]:
    """Yield the calls of every poll of four days round Hurricane Beryl, a change for each poll that differs.

    The source has no id: UID is the latitude. The place and minute of a call and its agency are the key; the
    rare second call with the same key in one poll is told apart by its order. A call that a poll no longer
    lists is closed then; 689 of the whole history come back, and are open again.
    """
    calls: dict[str, Call] = {}
    shown: dict[str, dict[str, Any]] = {}
    for poll in _json_lines(folder / "houston-tx-polls.jsonl.gz"):
        observed_at = poll["observed_at"]
        if observed_at >= HOUSTON_LAST_POLL:
            break
        listed: dict[str, dict[str, Any]] = {}
        for row in (feature["attributes"] for feature in poll["response"]["features"]):
            created_at = datetime.fromtimestamp(row["CALL_TIME"] / 1000, UTC)
            if created_at < HOUSTON_FIRST_CALL:
                continue
            key = f"{row['UID']}|{row['LONGITUDE']}|{row['CALL_TIME']}|{row['Agency']}"
            while key in listed:
                key += "|again"
            listed[key] = _houston_fields(row)
            calls.setdefault(key, {"key": key, "created_at": _z(created_at), "changes": []})
        _close_what_is_gone(listed, shown, observed_at)
        for key, fields in listed.items():
            if key not in shown:
                calls[key]["first"] = {"at": observed_at, "fields": fields}
            elif changed := _difference(shown[key], fields):
                calls[key]["changes"].append({"at": observed_at, "fields": changed})
            shown[key] = fields
    yield from calls.values()


def _close_what_is_gone(
    listed: dict[str, dict[str, Any]], shown: dict[str, dict[str, Any]], observed_at: str
) -> None:
    for key in shown.keys() - listed.keys():
        if shown[key].get("closed_at") is None:
            listed[key] = shown[key] | {"closed_at": observed_at}


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {name: after.get(name) for name in after | before if after.get(name) != before.get(name)}


def _houston_fields(row: dict[str, Any]) -> dict[str, Any]:
    units = [unit.strip() for unit in (row["Units"] or "").split(",") if unit.strip()]
    return {
        "agency_type": {"F": "fire", "P": "police"}[row["Agency"]],
        "incident_type": row["IncidentType"],
        "alarm_level": row["ALARM_LEVEL"],
        "address": row["Address"] or None,
        "cross_street": row["CrossStreet"] or None,
        "beat": row["KeyMap"] or None,
        "lat": row["LATITUDE"],
        "lng": row["LONGITUDE"],
        "units": units,
    }


def san_francisco(folder: Path) -> Iterator[Call]:
    """Yield the calls of two exports of April 2020: one row a unit there, one call with its units here.

    A call changes when its stages are reached. Where the second export has another hospital time than the
    first, that is a correction of the source, dated by the newest stamp of the second export.
    """
    first, second = (
        list(_rows(folder / f"san-francisco-ca-2020-04-{name}-export.csv.gz")) for name in ("first", "second")
    )
    corrected_at = max(stamp for row in second if (stamp := _local(row["Entry DtTm"])))
    by_call: dict[str, list[dict[str, str]]] = {}
    # Each unit's row once, as the first export that has it tells it.
    for row in ({row["RowID"]: row for row in second} | {row["RowID"]: row for row in first}).values():
        by_call.setdefault(row["Call Number"], []).append(row)
    latest = {row["RowID"]: row for row in second}
    for number, rows in sorted(by_call.items()):
        rows.sort(key=lambda row: (int(row["Unit sequence in call dispatch"] or 0), row["Unit ID"]))
        call = _san_francisco_call(number, rows)
        truth = _earliest(latest.get(row["RowID"], row)["Hospital DtTm"] for row in rows)
        if truth != _earliest(row["Hospital DtTm"] for row in rows):
            call["changes"].append({"at": _z(corrected_at), "fields": {"hospital_at": truth and _z(truth)}})
        yield call


def _san_francisco_call(number: str, rows: list[dict[str, str]]) -> Call:
    row = rows[0]
    entered_at = _earliest(row["Entry DtTm"] for row in rows)
    received_at = _earliest(row["Received DtTm"] for row in rows)
    if entered_at is None or received_at is None:
        raise ValueError(f"call {number} has no time of entry")
    lat, lng = (
        json.loads(row["Location"].replace("(", "[").replace(")", "]")) if row["Location"] else (None, None)
    )
    first: dict[str, Any] = {
        "agency_type": "fire",
        "cad_partner_incident_id": row["Incident Number"],
        "incident_type": row["Call Type"],
        "priority": row["Original Priority"] or None,
        "alarm_level": int(row["Number of Alarms"]),
        "address": row["Address"] or None,
        "city": row["City"] or None,
        "postal_code": row["Zipcode of Incident"] or None,
        "beat": row["Battalion"] or None,
        "lat": lat,
        "lng": lng,
        "units": [],
        "received_at": _z(received_at),
        "entered_at": _z(entered_at),
    }
    stages = {
        "dispatched_at": _earliest(row["Dispatch DtTm"] for row in rows),
        "responding_at": _earliest(row["Response DtTm"] for row in rows),
        "on_scene_at": _earliest(row["On Scene DtTm"] for row in rows),
        "transport_at": _earliest(row["Transport DtTm"] for row in rows),
        "hospital_at": _earliest(row["Hospital DtTm"] for row in rows),
        "closed_at": max((t for row in rows if (t := _local(row["Available DtTm"]))), default=None),
    }
    dispatched = sorted((t, row["Unit ID"]) for row in rows if (t := _local(row["Dispatch DtTm"])))
    changes: list[dict[str, Any]] = []
    told: set[str] = set()
    checkpoints = {stages["dispatched_at"], stages["on_scene_at"], stages["closed_at"]} - {None}
    for at in sorted(t for t in checkpoints if t is not None):
        reached = {
            name: _z(t) for name, t in stages.items() if t is not None and t <= at and name not in told
        }
        told |= reached.keys()
        fields: dict[str, Any] = dict(reached)
        fields["units"] = [unit for t, unit in dispatched if t <= at]
        if at == stages["closed_at"]:
            fields |= {
                "priority": row["Final Priority"] or None,
                "disposition": row["Call Final Disposition"] or None,
            }
        changes.append({"at": _z(max(at, entered_at)), "fields": fields})
    return {
        "key": number,
        "created_at": _z(entered_at),
        "first": {"at": _z(entered_at), "fields": first},
        "changes": changes,
    }


def san_diego(folder: Path) -> Iterator[Call]:
    """Yield the calls of January 2023; the source has one time a call, so the disposition's is not known."""
    types = {row["call_type"]: row["description"] for row in _rows(folder / "san-diego-ca-call-types.csv")}
    dispositions = {
        row["dispo_code"]: row["description"] for row in _rows(folder / "san-diego-ca-disposition-codes.csv")
    }
    for row in _rows(folder / "san-diego-ca.csv.gz"):
        at = _z(datetime.fromisoformat(row["date_time"]).replace(tzinfo=PACIFIC).astimezone(UTC))
        number = row["address_number_primary"].removeprefix("0").strip()
        parts = (number, row["address_dir_primary"], row["address_road_primary"], row["address_sfx_primary"])
        crossing = (
            row["address_dir_intersecting"],
            row["address_road_intersecting"],
            row["address_sfx_intersecting"],
        )
        fields = {
            "agency_type": "police",
            "cad_partner_incident_id": row["incident_num"],
            "incident_type": types.get(row["call_type"]),
            "incident_type_code": row["call_type"] or None,
            "priority": row["priority"] or None,
            "address": " ".join(part for part in parts if part) or None,
            "cross_street": " ".join(part for part in crossing if part) or None,
            "beat": row["beat"] if row["beat"] not in {"", "-1"} else None,
        }
        changes = []
        if code := row["disposition"].strip():
            found = {"disposition_code": code, "disposition": dispositions.get(code)}
            changes.append({"at": None, "fields": found})
        yield {
            "key": row["incident_num"],
            "created_at": at,
            "first": {"at": at, "fields": fields},
            "changes": changes,
        }


def _local(text: str) -> datetime | None:
    if not text:
        return None
    return datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=PACIFIC).astimezone(UTC)


def _earliest(texts: Iterable[str]) -> datetime | None:
    return min((t for text in texts if (t := _local(text))), default=None)


def _z(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))


def _json_lines(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def main(folder: Path) -> None:
    """Write every sample; the same sources give the same bytes."""
    for name, calls in {
        "houston-tx": houston(folder),
        "san-francisco-ca": san_francisco(folder),
        "san-diego-ca": san_diego(folder),
    }.items():
        buffer, count = io.BytesIO(), 0
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            for call in calls:
                file.write(json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
                count += 1
        (SAMPLES / f"{name}.jsonl.gz").write_bytes(buffer.getvalue())
        print(f"{name}: {count:,} calls, {len(buffer.getvalue()):,} bytes")  # noqa: T201 - a tool for people


if __name__ == "__main__":
    main(Path(sys.argv[1]))
