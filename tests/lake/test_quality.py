"""When records are worse than usual: judged by the share that fails a check, against the days before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dispatchlake.lake import CenterFacts, CheckFigures, Lake
from dispatchlake.quality import judge_quality
from tests.lake.pages import Center


def figures(failed: int, records: int, usual_failed: int, usual_records: int) -> CheckFigures:
    return CheckFigures(
        "houston-tx", "cad_incidents", "no_place", records, failed, usual_records, usual_failed
    )


@pytest.mark.parametrize(
    ("one", "is_worse"),
    [
        (figures(5, 500, 0, 5000), True),
        (figures(5, 501, 0, 5000), False),
        (figures(4, 40, 0, 5000), False),
        (figures(10, 19, 0, 5000), False),
        (figures(10, 20, 0, 19), False),
        (figures(50, 100, 1000, 4000), True),
        (figures(49, 100, 1000, 4000), False),
        (figures(7, 100, 50, 5000), True),
        (figures(5, 100, 50, 5000), False),
        (figures(5, 100, 250, 5000), False),
        (figures(0, 0, 0, 0), False),
    ],
    ids=[
        "new, a hundredth", "new, less", "new, too few", "too few records", "too little history",
        "twice as often", "not twice", "by 5 points", "by 4 points", "as usual", "nothing",
    ],
)  # fmt: skip
def test_a_check_is_doubted_when_it_fails_clearly_more_often(one: CheckFigures, is_worse: bool) -> None:
    quality = judge_quality(["houston-tx"], [one])

    assert quality.checked == {"houston-tx"}
    assert [doubt.what for doubt in quality.doubts] == (["cad_incidents.no_place"] if is_worse else [])


def test_the_sentence_has_the_figures() -> None:
    (doubt,) = judge_quality(["houston-tx"], [figures(30, 60, 50, 5000)]).doubts

    assert doubt.why == "30 of 60 records of the last 2 days (50%); in the 14 days before, 1%."


def put(center: Center, at: datetime, count: int, **fields: object) -> None:
    stamp = f"{at:%F %T} UTC"
    records = [
        {"id": f"{stamp}{number}", "created_at": stamp, "updated_at": stamp, **fields}
        for number in range(count)
    ]
    center.load(*records, resource="cad_incidents")


def test_the_last_days_of_a_center_are_counted_by_its_own_clock_and_calendar(center: Center) -> None:
    """At 03:00 UTC it is still the day before in Denver."""
    now = datetime(2024, 5, 20, 3, tzinfo=UTC)
    center.lake.remember_centers([CenterFacts(center.center_id, "A center", "America/Denver")])
    for days_ago, count in ((0, 1), (1, 2), (2, 4), (15, 8), (16, 16)):
        put(center, now - timedelta(days=days_ago), count, lat=39.7)
    put(center, now + timedelta(days=1), 32)

    found = {
        one.check_name: (one.records, one.failed, one.usual_records, one.usual_failed)
        for one in checks(center.lake, center, now)
    }

    assert found["no_coordinates"] == (3, 3, 12, 12)
    assert found["zero_coordinates"] == (3, 0, 12, 0)


def checks(lake: Lake, center: Center, now: datetime) -> list[CheckFigures]:
    found = lake.checks({center.center_id: now})
    assert {one.center_id for one in found} == {center.center_id}
    return [one for one in found if one.table_name == "cad_incidents"]
