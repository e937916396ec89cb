"""The records themselves: the three samples, made-up calls, and versions given one by one."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest

from sandbox.datasets import (
    SAMPLES,
    Dataset,
    Version,
    inline_dataset,
    load_dataset,
    synthetic_dataset,
)

NAMES = ("houston-tx", "san-francisco-ca", "san-diego-ca")
CALLS = {"houston-tx": 10_325, "san-francisco-ca": 7_157, "san-diego-ca": 26_595}
START = datetime(2024, 3, 1, tzinfo=UTC)

samples = pytest.mark.xdist_group("samples")  # loaded once, in one worker
each_sample = pytest.mark.parametrize("name", NAMES)


def by_record(dataset: Dataset, resource: str) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = defaultdict(list)
    for version in dataset.versions[resource]:
        found[version.record_id].append(version)
    return found


@lru_cache
def sample(name: str, resource: str) -> dict[str, list[Version]]:
    return by_record(load_dataset(name), resource)


def calls(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(SAMPLES / f"{name}.jsonl.gz", "rb") as file:
        yield from map(json.loads, file)


def synthetic(name: str = "x", *, count: int = 200, seed: int = 0) -> Dataset:
    return synthetic_dataset(name, count=count, starts_at=START, span=timedelta(days=1), seed=seed)


@samples
@each_sample
def test_a_call_is_one_incident_and_one_cad_incident(name: str) -> None:
    incidents, cad = (sample(name, resource) for resource in ("incident_events", "cad_incidents"))

    assert len(incidents) == len(cad) == CALLS[name] == sum(1 for _ in calls(name))
    assert incidents.keys().isdisjoint(cad)
    assert {versions[-1].record["incident_id"] for versions in cad.values()} == incidents.keys()


@samples
def test_no_id_is_in_two_samples() -> None:
    seen = [set(sample(name, "incident_events")) for name in NAMES]
    assert len(set.union(*seen)) == sum(map(len, seen))


@samples
@each_sample
def test_every_phone_number_is_one_that_nobody_has(name: str) -> None:
    numbers = {
        version.record["caller_phone_number"] for version in load_dataset(name).versions["incident_events"]
    }
    assert all(re.fullmatch(r"\+1(713|415|619)55501\d\d", number) for number in numbers)
    assert len(numbers) == 100


@samples
@each_sample
@pytest.mark.parametrize("resource", ["incident_events", "cad_incidents"])
def test_every_version_of_a_record_is_newer_than_the_one_before(name: str, resource: str) -> None:
    for versions in sample(name, resource).values():
        for before, after in pairwise(versions):
            assert before.visible_at < after.visible_at
            assert dict(before.record) | {"updated_at": 0} != dict(after.record) | {"updated_at": 0}
        for version in versions:
            assert version.record["id"] == version.record_id
            assert version.record["updated_at"] == version.visible_at
            assert version.record["created_at"] <= version.visible_at
    appearing = [version.visible_at for version in load_dataset(name).versions[resource]]
    assert appearing == sorted(appearing)


@samples
@each_sample
def test_every_time_is_an_instant_in_utc(name: str) -> None:
    dataset = load_dataset(name)
    for resource in dataset.versions:
        for version in dataset.versions[resource][::10]:
            times = [value for field, value in version.record.items() if field.endswith("_at")]
            assert all(value is None or value.tzinfo is UTC for value in times)


@samples
@each_sample
def test_audio_ends_after_40_seconds_to_8_minutes(name: str) -> None:
    for live, ended in sample(name, "incident_events").values():
        assert (live.record["is_audio_live"], ended.record["is_audio_live"]) == (True, False)
        assert live.record["audio_call_ended_at"] is None
        lasted = ended.record["audio_call_ended_at"] - live.visible_at
        assert timedelta(seconds=40) <= lasted <= timedelta(minutes=8)


@samples
@each_sample
def test_one_cad_incident_in_twenty_is_linked_late(name: str) -> None:
    cad = sample(name, "cad_incidents")
    shells = [versions for versions in cad.values() if versions[0].record["incident_id"] is None]

    assert 0.04 < len(shells) / len(cad) < 0.06
    for versions in shells:
        linked = next(version for version in versions if version.record["incident_id"])
        assert linked.visible_at - versions[0].visible_at <= timedelta(minutes=2)


def cad_versions(name: str, call: dict[str, Any]) -> list[Version]:
    """Return the versions of a call, found by when it began and where."""
    first = call["first"]["fields"]
    began_at = datetime.fromisoformat(call["first"]["at"])
    (found,) = (
        versions
        for versions in sample(name, "cad_incidents").values()
        if versions[0].visible_at == began_at
        and all(versions[0].record.get(field) == first[field] for field in ("address", "lat", "units"))
    )
    return found


@samples
@pytest.mark.parametrize("field", ["units", "incident_type", "closed_at"])
def test_what_changed_in_houston_is_a_version(field: str) -> None:
    call = next(c for c in calls("houston-tx") if any(set(one["fields"]) == {field} for one in c["changes"]))
    change = next(one for one in call["changes"] if set(one["fields"]) == {field})
    at = datetime.fromisoformat(change["at"])

    versions = cad_versions("houston-tx", call)

    before = [one for one in versions if one.visible_at < at][-1]
    after = next(one for one in versions if one.visible_at == at)
    changed = change["fields"][field]
    assert after.record[field] == (datetime.fromisoformat(changed) if field == "closed_at" else changed)
    assert before.record.get(field) != after.record[field]


@samples
def test_a_corrected_hospital_time_of_san_francisco_is_a_version() -> None:
    corrected = [
        versions
        for versions in sample("san-francisco-ca", "cad_incidents").values()
        if versions[-1].visible_at == datetime(2020, 4, 21, 7, 0, 32, tzinfo=UTC)
    ]

    assert len(corrected) == 106
    for versions in corrected:
        before, after = versions[-2].record, versions[-1].record
        assert before["hospital_at"] != after["hospital_at"]
        assert before["closed_at"] == after["closed_at"] is not None


@samples
def test_a_disposition_of_san_diego_comes_5_to_90_minutes_later() -> None:
    for versions in sample("san-diego-ca", "cad_incidents").values():
        first = versions[0]
        assert "disposition_code" not in first.record
        told = [one for one in versions if one.record.get("disposition_code")]
        if told:
            assert timedelta(minutes=5) <= told[0].visible_at - first.visible_at <= timedelta(minutes=90)


@samples
def test_winter_and_summer_are_told_apart() -> None:
    winter = next(calls("san-diego-ca"))["created_at"]  # 00:00:05 at the center, UTC-8
    summer = next(calls("san-francisco-ca"))["created_at"]  # 00:02:58 at the center, UTC-7
    assert (winter, summer) == ("2023-01-01T08:00:05Z", "2020-04-02T07:02:58Z")


def test_an_unknown_sample_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no dataset 'boston-ma'; known are houston-tx, san-fr"):
        load_dataset("boston-ma")


def test_one_seed_makes_one_dataset() -> None:
    assert synthetic().versions == synthetic().versions
    assert set(by_record(synthetic(), "cad_incidents")).isdisjoint(
        by_record(synthetic(seed=1), "cad_incidents")
    )
    assert set(by_record(synthetic(), "cad_incidents")).isdisjoint(by_record(synthetic("y"), "cad_incidents"))


def test_made_up_calls_are_spread_over_their_span() -> None:
    first = [
        versions[0].visible_at for versions in by_record(synthetic(count=96), "incident_events").values()
    ]
    assert sorted(first) == [START + index * timedelta(minutes=15) for index in range(96)]


def test_a_made_up_call_changes() -> None:
    for resource in ("incident_events", "cad_incidents"):
        for versions in by_record(synthetic(), resource).values():
            assert len(versions) >= 2
            assert all(one.visible_at < other.visible_at for one, other in pairwise(versions))
    numbers = {one.record["caller_phone_number"] for one in synthetic().versions["incident_events"]}
    assert all(re.fullmatch(r"\+130355501\d\d", number) for number in numbers)


def test_there_may_be_no_made_up_call_at_all() -> None:
    assert synthetic(count=0).ends_at is None


def test_given_versions_are_taken_as_they_are() -> None:
    record = {"id": "a", "created_at": "2024-03-01T02:00:00+02:00", "closed_at": None, "anything": [1]}
    dataset = inline_dataset(
        "x",
        {"cad_incidents": [
            {"visible_at": "2024-03-01T05:00:00Z", "record": record | {"anything": [2]}},
            {"visible_at": "2024-03-01T04:00:00Z", "record": record},
        ]},
    )  # fmt: skip

    versions = dataset.versions["cad_incidents"]

    assert [one.record["anything"] for one in versions] == [[1], [2]]
    assert versions[0].record["created_at"] == START
    assert versions[0].record["closed_at"] is None
    assert dataset.versions["incident_events"] == []
    assert dataset.ends_at == START + timedelta(hours=5)
