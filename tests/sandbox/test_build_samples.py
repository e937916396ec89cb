"""From a city's published files to sample lines, on files made here in the cities' form."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import build_samples


def poll(observed_at: str, *rows: dict[str, Any]) -> str:
    call = {
        "UID": 29_700_000, "LONGITUDE": -95.4, "LATITUDE": 29.7, "Agency": "F", "ALARM_LEVEL": 0,
        "CALL_TIME": 1_720_440_000_000, "IncidentType": "EMS EVENT", "Units": "A1",
        "Address": "EXAMPLE ST", "CrossStreet": "", "KeyMap": "1A",
    }  # fmt: skip
    features = [{"attributes": call | row} for row in rows]
    return json.dumps({"observed_at": observed_at, "response": {"features": features}})


def houston(folder: Path, *polls: str) -> list[dict[str, Any]]:
    with gzip.open(folder / "houston-tx-polls.jsonl.gz", "wt") as file:
        file.write("\n".join(polls))
    return list(build_samples.houston(folder))


def test_each_poll_of_houston_that_differs_is_a_change(tmp_path: Path) -> None:
    (call,) = houston(
        tmp_path,
        poll("2024-07-08T12:15:00Z", {}),
        poll("2024-07-08T12:30:00Z", {}),
        poll("2024-07-08T12:45:00Z", {"Units": "A1, E2", "IncidentType": "FIRE"}),
        poll("2024-07-08T13:00:00Z"),
        poll("2024-07-08T13:15:00Z"),
        poll("2024-07-08T13:30:00Z", {"Units": "A1, E2", "IncidentType": "FIRE"}),
    )

    assert call["created_at"] == "2024-07-08T12:00:00Z"
    assert call["first"]["at"] == "2024-07-08T12:15:00Z"
    assert call["first"]["fields"]["units"] == ["A1"]
    assert call["first"]["fields"]["cross_street"] is None
    assert call["changes"] == [
        {"at": "2024-07-08T12:45:00Z", "fields": {"incident_type": "FIRE", "units": ["A1", "E2"]}},
        {"at": "2024-07-08T13:00:00Z", "fields": {"closed_at": "2024-07-08T13:00:00Z"}},
        {"at": "2024-07-08T13:30:00Z", "fields": {"closed_at": None}},
    ]


def test_a_second_call_of_houston_with_the_same_key_is_told_apart(tmp_path: Path) -> None:
    found = houston(tmp_path, poll("2024-07-08T12:15:00Z", {}, {"Units": "A2"}))
    assert [call["first"]["fields"]["units"] for call in found] == [["A1"], ["A2"]]
    assert found[1]["key"] == f"{found[0]['key']}|again"


def rows(path: Path, *found: dict[str, str]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, found[0])
    writer.writeheader()
    writer.writerows(found)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


UNIT = {
    "RowID": "1-E01", "Call Number": "1", "Unit ID": "E01", "Unit sequence in call dispatch": "1",
    "Incident Number": "20000001", "Call Type": "Alarms", "Original Priority": "3", "Final Priority": "2",
    "Number of Alarms": "1", "Address": "100 Block of EXAMPLE ST", "City": "San Francisco",
    "Zipcode of Incident": "94107", "Battalion": "B02", "Location": "(37.7, -122.4)",
    "Call Final Disposition": "Fire",
    "Received DtTm": "04/14/2020 09:59:00 AM", "Entry DtTm": "04/14/2020 10:00:00 AM",
    "Dispatch DtTm": "04/14/2020 10:01:00 AM", "Response DtTm": "04/14/2020 10:02:00 AM",
    "On Scene DtTm": "04/14/2020 10:05:00 AM", "Transport DtTm": "04/14/2020 10:20:00 AM",
    "Hospital DtTm": "04/14/2020 10:40:00 AM", "Available DtTm": "04/14/2020 11:00:00 AM",
}  # fmt: skip
OTHER_UNIT = UNIT | {
    "RowID": "1-T02", "Unit ID": "T02", "Unit sequence in call dispatch": "2",
    "Dispatch DtTm": "04/14/2020 10:03:00 AM", "Hospital DtTm": "",
}  # fmt: skip


def san_francisco(folder: Path, first: list[dict[str, str]], second: list[dict[str, str]]) -> Any:
    rows(folder / "san-francisco-ca-2020-04-first-export.csv.gz", *first)
    rows(folder / "san-francisco-ca-2020-04-second-export.csv.gz", *second)
    return list(build_samples.san_francisco(folder))


def test_the_rows_of_one_call_of_san_francisco_are_one_call_with_its_stages(tmp_path: Path) -> None:
    (call,) = san_francisco(tmp_path, [OTHER_UNIT, UNIT], [OTHER_UNIT, UNIT])

    assert call["created_at"] == "2020-04-14T17:00:00Z"
    assert call["first"]["fields"]["received_at"] == "2020-04-14T16:59:00Z"
    assert (call["first"]["fields"]["lat"], call["first"]["fields"]["lng"]) == (37.7, -122.4)
    assert [(change["at"], change["fields"]["units"]) for change in call["changes"]] == [
        ("2020-04-14T17:01:00Z", ["E01"]),
        ("2020-04-14T17:05:00Z", ["E01", "T02"]),
        ("2020-04-14T18:00:00Z", ["E01", "T02"]),
    ]
    assert set(call["changes"][1]["fields"]) == {"responding_at", "on_scene_at", "units"}
    assert call["changes"][2]["fields"]["hospital_at"] == "2020-04-14T17:40:00Z"
    assert call["changes"][2]["fields"]["priority"] == "2"


def test_another_hospital_time_in_the_second_export_is_a_correction(tmp_path: Path) -> None:
    later = UNIT | {"RowID": "2-E01", "Call Number": "2", "Entry DtTm": "04/20/2020 08:00:00 PM",
                    "Hospital DtTm": "", "Available DtTm": ""}  # fmt: skip

    corrected, _later = san_francisco(
        tmp_path, [UNIT], [UNIT | {"Hospital DtTm": "04/14/2020 10:39:00 AM"}, later]
    )

    assert corrected["changes"][-2]["fields"]["hospital_at"] == "2020-04-14T17:40:00Z"
    assert corrected["changes"][-1] == {
        "at": "2020-04-21T03:00:00Z",
        "fields": {"hospital_at": "2020-04-14T17:39:00Z"},
    }


def test_a_call_of_san_diego_has_its_codes_explained(tmp_path: Path) -> None:
    call = {
        "incident_num": "E1", "date_time": "2023-01-01 00:00:05", "call_type": "FD", "disposition": "K ",
        "priority": "2", "beat": "-1", "address_number_primary": "0", "address_dir_primary": "",
        "address_road_primary": "EXAMPLE", "address_sfx_primary": "ST", "address_dir_intersecting": "",
        "address_road_intersecting": "", "address_sfx_intersecting": "",
    }  # fmt: skip
    summer = {"incident_num": "E2", "date_time": "2023-07-01 00:00:05", "disposition": "", "call_type": "??"}
    rows(tmp_path / "san-diego-ca.csv.gz", call, call | summer)
    rows(tmp_path / "san-diego-ca-call-types.csv", {"call_type": "FD", "description": "FLAG DOWN"})
    rows(tmp_path / "san-diego-ca-disposition-codes.csv", {"dispo_code": "K", "description": "NO REPORT"})

    first, second = build_samples.san_diego(tmp_path)

    assert first["created_at"] == "2023-01-01T08:00:05Z"
    assert second["created_at"] == "2023-07-01T07:00:05Z", "summer time"
    fields = first["first"]["fields"]
    assert (fields["incident_type"], fields["address"], fields["beat"]) == ("FLAG DOWN", "EXAMPLE ST", None)
    assert first["changes"] == [{"at": None, "fields": {"disposition_code": "K", "disposition": "NO REPORT"}}]
    assert (second["first"]["fields"]["incident_type"], second["changes"]) == (None, [])


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("01/14/2020 10:00:00 AM", datetime(2020, 1, 14, 18, tzinfo=UTC)),
        ("07/14/2020 10:00:00 AM", datetime(2020, 7, 14, 17, tzinfo=UTC)),
        ("03/08/2020 01:59:59 AM", datetime(2020, 3, 8, 9, 59, 59, tzinfo=UTC)),
        ("03/08/2020 03:00:00 AM", datetime(2020, 3, 8, 10, tzinfo=UTC)),
        ("07/14/2020 12:00:00 AM", datetime(2020, 7, 14, 7, tzinfo=UTC)),
        ("", None),
    ],
)
def test_local_time_is_read_with_its_summer_time(local: str, utc: datetime | None) -> None:
    assert build_samples._local(local) == utc
