"""What is wrong with records that could be typed: nulls, times out of order, doubles, stand-ins for none.

A check says of each record whether it fails; a record that the check is not about does not. Nothing here
judges whether that is bad: half of some centers' records never have a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dispatchlake.lake.declared import Column, Macro, View
from dispatchlake.lake.record_types import CAD_INCIDENTS, RECORD_TYPES
from dispatchlake.lake.views.common import (
    CENTER,
    FIRST_PLAUSIBLE_US,
    HOUR_US,
    LOCAL_DATE,
    by_local_clock,
    quarter,
)

_LOCAL_DATE = "make_timestamp(local_us)::DATE"

_ALWAYS_DATED = {one.current for one in RECORD_TYPES.values()}
"""Tables all of whose records have a `created_at`."""

_CAD_TIMES = tuple(
    field.name for field in CAD_INCIDENTS.fields if field.kind == "instant" and not field.required
)


def _out_of_order(columns: Sequence[str]) -> str:
    """Return that one of some times comes before any that it should come after, as SQL; nulls aside."""
    return " OR ".join(
        f"coalesce({after} < greatest({', '.join(columns[:place])}), false)"
        for place, after in enumerate(columns[1:], 1)
    )


def _stands_for_none(columns: Iterable[str]) -> str:
    return f"epoch_us(least({', '.join(columns)})) < {FIRST_PLAUSIBLE_US}"


# An hour: clocks differ a little, and a stamp may be rounded up.
_IN_FUTURE = f"epoch_us(created_at) > epoch_us(received_at) + {HOUR_US}"
_ZERO = "lat = 0 AND lng = 0"
_NO_PLACE = "lat IS NULL OR lng IS NULL"
_UPDATED_FIRST = "updated_at < created_at"
_CREATED_NEVER = f"epoch_us(created_at) < {FIRST_PLAUSIBLE_US}"


@dataclass(frozen=True, slots=True)
class _Checked:
    """What of one table is checked.

    Attributes:
        doubles: Columns of which no two records of a quarter of an hour should have the same; "" for none.
    """

    table: str
    failing: Mapping[str, str]
    doubles: str = ""


_CHECKED = (
    _Checked(
        "incidents",
        {
            "no_phone_number": "coalesce(caller_phone_number, '') = ''",
            "call_ends_before_it_begins": "audio_call_ended_at < created_at",
            "updated_before_created": _UPDATED_FIRST,
            "created_in_the_future": _IN_FUTURE,
            "date_that_stands_for_none": _stands_for_none(("created_at", "audio_call_ended_at")),
        },
    ),
    _Checked(
        "cad_incidents",
        {
            "no_cad_number": "coalesce(cad_partner_incident_id, '') = ''",
            "no_incident_type": "coalesce(incident_type, '') = ''",
            "no_place": f"({_NO_PLACE}) AND coalesce(address, '') = ''",
            "no_coordinates": _NO_PLACE,
            "zero_coordinates": _ZERO,
            "no_call_received_at": "call_received_at IS NULL",
            "times_out_of_order": _out_of_order(
                ("call_received_at", "dispatched_at", "on_scene_at", "closed_at")
            ),
            "updated_before_created": _UPDATED_FIRST,
            "created_in_the_future": _IN_FUTURE,
            "date_that_stands_for_none": _stands_for_none(("created_at", *_CAD_TIMES)),
        },
        doubles="agency_type, cad_partner_incident_id",
    ),
    _Checked(
        "caller_locations",
        {
            "no_coordinates": _NO_PLACE,
            "zero_coordinates": _ZERO,
            "no_capture_time": "created_at IS NULL",
            "created_in_the_future": _IN_FUTURE,
            "date_that_stands_for_none": _CREATED_NEVER,
        },
    ),
    _Checked(
        "cad_locations",
        {
            "no_coordinates": _NO_PLACE,
            "zero_coordinates": _ZERO,
            "created_in_the_future": _IN_FUTURE,
            "date_that_stands_for_none": _CREATED_NEVER,
        },
    ),
    _Checked(
        "cad_notes",
        {
            "no_subtype": "coalesce(subtype, '') = ''",
            "created_in_the_future": _IN_FUTURE,
            "date_that_stands_for_none": _CREATED_NEVER,
        },
    ),
    _Checked(
        "media",
        {
            "no_incident": "incident_id IS NULL",
            "no_url": "coalesce(url, '') = ''",
            "created_in_the_future": _IN_FUTURE,
            "date_that_stands_for_none": _CREATED_NEVER,
        },
    ),
)

CHECKS: tuple[tuple[str, str], ...] = tuple(
    (one.table, name)
    for one in _CHECKED
    for name in (*one.failing, *(["number_used_twice"] if one.doubles else []))
)
"""Every check, by table."""


def _query(condition: Callable[[str], str]) -> str:
    """Return the checks of the records that a condition lets through; it is told the table."""
    return "\nUNION ALL\n".join(_counted(one, condition(one.table)) for one in _CHECKED)


def _since(table: str) -> str:
    """Return that a record was created from `t` on or, where it does not say when, came from then on."""
    created = "created_at >= t::TIMESTAMPTZ"
    if table in _ALWAYS_DATED:  # files of other months are left out by this alone
        return created
    return f"({created} OR created_at IS NULL AND received_at >= t::TIMESTAMPTZ)"


def _counted(one: _Checked, condition: str) -> str:
    # Which checks a record fails is one number, a bit for each: a count for every check and quarter of an
    # hour takes twice the time.
    bits = {name: 1 << place for place, name in enumerate(one.failing)}
    fails = " | ".join(f"CASE WHEN {test} THEN {bits[name]} ELSE 0 END" for name, test in one.failing.items())
    failed = {
        name: f"coalesce(sum(records) FILTER (fails & {bit} > 0), 0)::BIGINT" for name, bit in bits.items()
    }
    counted = f"""SELECT center_id, {quarter("coalesce(created_at, received_at)")} AS quarter,
            {fails} AS fails, count(*) AS records
        FROM {one.table} WHERE {condition} GROUP BY ALL"""
    by_day = f"""SELECT center_id, {_LOCAL_DATE} AS local_date, fails, sum(records) AS records
        FROM ({by_local_clock(counted)}) GROUP BY ALL"""
    if one.doubles:
        failed["number_used_twice"] = "coalesce(any_value(doubled), 0)::BIGINT"
        by_day = f"({by_day}) LEFT JOIN ({_doubled(one, condition)}) USING (center_id, local_date)"
    listed = ", ".join(f"{{'check_name': '{name}', 'failed': {count}}}" for name, count in failed.items())
    return f"""SELECT center_id, local_date, '{one.table}' AS table_name, one.check_name AS check_name,
    records, one.failed AS failed
FROM (
    SELECT center_id, local_date, sum(records)::BIGINT AS records, unnest([{listed}]) AS one
    FROM ({by_day})
    GROUP BY center_id, local_date)"""


def _doubled(one: _Checked, condition: str) -> str:
    """Return how many records of each local day share their number with another of their quarter of an hour.

    Days without any are not there: so only those quarters are told by the center's clock.
    """
    # Numbers are compared by their hash of 64 bits: where no two are alike there are as many as numbers.
    shared = f"""SELECT center_id, quarter,
            list_sum(list_filter(map_values(list_histogram(numbers)), lambda alike: alike > 1)) AS shared
        FROM (
            SELECT center_id, {quarter("created_at")} AS quarter, list(hash({one.doubles})) AS numbers
            FROM {one.table} WHERE {condition} AND cad_partner_incident_id <> '' GROUP BY ALL)
        WHERE list_unique(numbers) < len(numbers)"""
    return f"""SELECT center_id, {_LOCAL_DATE} AS local_date, sum(shared) AS doubled
        FROM ({by_local_clock(shared)}) GROUP BY ALL"""


_COLUMNS = (
    CENTER,
    LOCAL_DATE,
    Column("table_name", "VARCHAR", "Table whose records were checked."),
    Column("check_name", "VARCHAR", "What was checked; each is explained in docs/analysts.md."),
    Column("records", "BIGINT", "Records of that day; the same for every check of a table."),
    Column("failed", "BIGINT", "Those that fail the check.", is_additive=True),
)
_KEY = ("center_id", "local_date", "table_name", "check_name")

DATA_QUALITY = View(
    "data_quality",
    "One row per center, local day, table and check: how many records there are and how many fail it. The "
    "day is that of created_at; of records without one, of received_at.",
    _COLUMNS,
    _query(lambda _table: "true"),
    _KEY,
    "SELECT center_id, table_name, check_name, sum(failed) / sum(records) AS share "
    "FROM data_quality GROUP BY ALL HAVING sum(failed) > 0 ORDER BY share DESC",
)

DATA_QUALITY_SINCE = Macro(
    "data_quality_since",
    "The same of records created since t alone, and of those without created_at that were received since: "
    "where the lake is large, a thousandth of the work.",
    (Column("t", "TIMESTAMPTZ", "First created_at, included; of records without one, received_at."),),
    _COLUMNS,
    _query(_since),
    "FROM data_quality_since(now() - INTERVAL 7 DAY) WHERE failed > 0",
    key=_KEY,
)
