"""What views have in common: columns that mean the same everywhere, local time, spans of time in seconds.

DuckDB converts to local time, and subtracts instants, through ICU: a microsecond a row, ten times what the
rest of a question takes. So durations are differences of microseconds, and what is converted is the two ends
of each UTC day: on most days the clock is as far ahead at both. Counts by the clock begin with quarters of an
hour: every time zone is a whole number of them from UTC, and so is every change of a clock.
"""

from __future__ import annotations

from dispatchlake.lake.declared import Column

CENTER = Column("center_id", "VARCHAR", "Dispatch center; part of every key.")
INCIDENT = Column("incident_id", "VARCHAR", "incidents.incident_id.")
CAD_INCIDENT = Column("cad_incident_id", "VARCHAR", "cad_incidents.cad_incident_id.")
CREATED = Column("created_at", "TIMESTAMPTZ", "When it was created, at the source.")
LOCAL_CREATED = Column("local_created_at", "TIMESTAMP", "created_at by the center's clock.")
LOCAL_DATE = Column("local_date", "DATE", "Day of created_at by the center's clock: of 23, 24 or 25 hours.")
AGENCY_TYPE = Column("agency_type", "VARCHAR", "Kind of agency: fire, police, ems.", "wording")
INCIDENT_TYPE = Column("incident_type", "VARCHAR", "What the call is for, in the center's words.", "wording")
PRIORITY = Column(
    "priority", "VARCHAR", "The center's priority code; scales differ between centers.", "wording"
)
LATITUDE = Column("lat", "DOUBLE", "Latitude, WGS 84 assumed.", "coordinates")
LONGITUDE = Column("lng", "DOUBLE", "Longitude, WGS 84 assumed.", "coordinates")

ZONE = "coalesce(centers.time_zone, 'UTC')"
"""A center's time zone, where `centers` has been joined to the left."""

QUARTER_US = 900_000_000
HOUR_US = 3_600_000_000

FIRST_PLAUSIBLE_US = 31_536_000_000_000
"""The year 1971. Before it lie the dates that stand for none: 0001-01-01, 1900-01-01, 1970-01-01."""


_DAY_US = 86_400_000_000
_YEAR_ZERO_US = 719_528 * _DAY_US
"""From a year before every time, by any clock, to 1970. What is divided is counted from there: a division of
integers is quicker than one of fractions, rounded down, but rounds towards zero."""


def whole(instant_us: str, length_us: int) -> str:
    """Return how many of such a length, a part of a day, have passed since 1970, rounded down, as SQL."""
    return f"(({instant_us} + {_YEAR_ZERO_US}) // {length_us} - {_YEAR_ZERO_US // length_us})"


def quarter(instant: str) -> str:
    """Return the number of the quarter of an hour that an instant lies in, from 1970 on, as SQL."""
    return whole(f"epoch_us({instant})", QUARTER_US)


def local(instant: str) -> str:
    """Return an instant by the center's clock, as SQL; for one row an incident, or few."""
    return f"({instant}) AT TIME ZONE {ZONE}"


_DAY = whole("epoch_us(created_at)", _DAY_US)
_QUARTER_DAY = whole(f"quarter * {QUARTER_US}", _DAY_US)


def ahead_by_day(table: str, day: str = _DAY) -> str:
    """Return how far each center's clock is ahead of UTC on each UTC day that a table has rows of, as SQL.

    To be joined by `on_day`: `ahead_us` in microseconds, null where the clock is changed on that day; `zone`
    says how to convert then.
    """
    # Without a condition DuckDB expects as many days as rows, and looks up days in a hash table of rows.
    start, end = (f"make_timestamptz({day} * {_DAY_US})" for day in ("day", "(day + 1)"))
    ahead = "epoch_us({0} AT TIME ZONE zone) - epoch_us({0})".format
    return f"""SELECT center_id, day, zone,
        CASE WHEN {ahead(start)} = {ahead(end)} THEN {ahead(start)} END AS ahead_us
    FROM (
        SELECT center_id, day, {ZONE} AS zone
        FROM (SELECT center_id, {day} AS day FROM {table} GROUP BY ALL HAVING count(*) > 0)
            LEFT JOIN centers USING (center_id))"""


def on_day(table: str, day: str = _DAY) -> str:
    """Return the condition that joins `days`, made by `ahead_by_day`, to its table, as SQL."""
    return f"days.center_id = {table}.center_id AND days.day = {day}"


def _local_us(instant_us: str) -> str:
    """Return microseconds since 1970 by the center's clock, where `days` has been joined, as SQL."""
    return f"""CASE WHEN ahead_us IS NOT NULL THEN {instant_us} + ahead_us
            ELSE epoch_us(make_timestamptz({instant_us}) AT TIME ZONE zone) END"""


def by_local_clock(counted: str) -> str:
    """Return what is counted by `center_id` and `quarter` of an hour, with when the quarter begins, as SQL.

    `start_us` is microseconds since 1970, `local_us` the same by the center's clock.
    """
    start_us = f"quarter * {QUARTER_US}"
    return f"""WITH counted AS ({counted}), days AS ({ahead_by_day("counted", _QUARTER_DAY)})
    SELECT counted.*, {start_us} AS start_us, {_local_us(start_us)} AS local_us
    FROM counted JOIN days ON {on_day("counted", _QUARTER_DAY)}"""


LOCAL_CREATED_AT = f"make_timestamp({_local_us('epoch_us(created_at)')})"
"""created_at by the center's clock, where `days` has been joined."""


def seconds_between(start: str, end: str) -> str:
    """Return the seconds from one instant to another, as SQL.

    Null where one is missing, where the second comes before the first, and where the first is a date that
    stands for none.
    """
    return (
        f"CASE WHEN epoch_us({end}) >= epoch_us({start}) AND epoch_us({start}) >= {FIRST_PLAUSIBLE_US} "
        f"THEN (epoch_us({end}) - epoch_us({start})) / 1e6 END"
    )
