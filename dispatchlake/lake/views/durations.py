"""How long things take: calls, and the response to them."""

from __future__ import annotations

from dispatchlake.lake.declared import Column, Macro, View
from dispatchlake.lake.views.common import (
    AGENCY_TYPE,
    CAD_INCIDENT,
    CENTER,
    CREATED,
    INCIDENT,
    INCIDENT_TYPE,
    LATITUDE,
    LOCAL_CREATED,
    LOCAL_CREATED_AT,
    LONGITUDE,
    PRIORITY,
    ahead_by_day,
    on_day,
    seconds_between,
)

_OUT_OF_ORDER = "null where a time is missing or out of order"

RESPONSE_TIMES = View(
    "response_times",
    "One row per CAD incident: how long its response took. A duration is null where one of its times is "
    "missing, out of order or a date that stands for none: leave those out, they are no zeros.",
    (
        CENTER,
        CAD_INCIDENT,
        AGENCY_TYPE,
        INCIDENT_TYPE,
        PRIORITY,
        CREATED,
        LOCAL_CREATED,
        Column("call_to_dispatch_s", "DOUBLE", f"From call_received_at to dispatched_at; {_OUT_OF_ORDER}."),
        Column("dispatch_to_on_scene_s", "DOUBLE", f"From dispatched_at to on_scene_at; {_OUT_OF_ORDER}."),
        Column("call_to_on_scene_s", "DOUBLE", f"From call_received_at to on_scene_at; {_OUT_OF_ORDER}."),
        Column("call_to_close_s", "DOUBLE", f"From call_received_at to closed_at; {_OUT_OF_ORDER}."),
        LATITUDE,
        LONGITUDE,
    ),
    f"""WITH days AS ({ahead_by_day("cad_incidents")})
    SELECT cad_incidents.center_id, cad_incident_id, agency_type, incident_type, priority, created_at,
        {LOCAL_CREATED_AT} AS local_created_at,
        {seconds_between("call_received_at", "dispatched_at")} AS call_to_dispatch_s,
        {seconds_between("dispatched_at", "on_scene_at")} AS dispatch_to_on_scene_s,
        {seconds_between("call_received_at", "on_scene_at")} AS call_to_on_scene_s,
        {seconds_between("call_received_at", "closed_at")} AS call_to_close_s,
        lat, lng
    FROM cad_incidents JOIN days ON {on_day("cad_incidents")}""",
    ("center_id", "cad_incident_id"),
    "SELECT center_id, median(call_to_dispatch_s), quantile_cont(call_to_dispatch_s, 0.9) "
    "FROM response_times GROUP BY ALL",
)

CALL_DURATIONS = View(
    "call_durations",
    "One row per incident: how long its call lasted.",
    (
        CENTER,
        INCIDENT,
        CREATED,
        LOCAL_CREATED,
        Column(
            "duration_s",
            "DOUBLE",
            "From created_at to audio_call_ended_at; null while the call lives, and where it ends before it "
            "began.",
        ),
    ),
    f"""WITH days AS ({ahead_by_day("incidents")})
    SELECT incidents.center_id, incident_id, created_at, {LOCAL_CREATED_AT} AS local_created_at,
        {seconds_between("created_at", "audio_call_ended_at")} AS duration_s
    FROM incidents JOIN days ON {on_day("incidents")}""",
    ("center_id", "incident_id"),
    "SELECT center_id, median(duration_s) FROM call_durations GROUP BY ALL",
)

_MEASURES = ("call_to_dispatch_s", "dispatch_to_on_scene_s", "call_to_on_scene_s", "call_to_close_s")
_SHARES = (0.5, 0.75, 0.9, 0.99)
_LISTED = ", ".join(f"{{'measure': '{name}', 'n': count_{name}, 'p': {name}}}" for name in _MEASURES)
_AGGREGATED = ", ".join(
    f"count({name}) AS count_{name}, quantile_cont({name}, {list(_SHARES)}) AS {name}" for name in _MEASURES
)

RESPONSE_PERCENTILES = Macro(
    "response_percentiles",
    "One row per center, kind of agency, priority and measure of response_times: percentiles over the CAD "
    "incidents created from since until until. Measures without a value have no row.",
    (
        Column("since", "TIMESTAMPTZ", "First created_at, included."),
        Column("until", "TIMESTAMPTZ", "Last created_at, excluded."),
    ),
    (
        CENTER,
        AGENCY_TYPE,
        PRIORITY,
        Column("measure", "VARCHAR", "Which duration, by its column in response_times."),
        Column("cad_incidents", "BIGINT", "CAD incidents that have it.", is_additive=False),
        *(
            Column(f"p{share * 100:.0f}_s", "DOUBLE", f"What {share:.0%} of them took at most.")
            for share in _SHARES
        ),
    ),
    f"""SELECT center_id, agency_type, priority, one.measure AS measure, one.n AS cad_incidents,
        round(one.p[1], 3) AS p50_s, round(one.p[2], 3) AS p75_s, round(one.p[3], 3) AS p90_s,
        round(one.p[4], 3) AS p99_s
    FROM (
        SELECT center_id, agency_type, priority, unnest([{_LISTED}]) AS one
        FROM (
            SELECT center_id, agency_type, priority, {_AGGREGATED}
            FROM response_times
            WHERE created_at >= since::TIMESTAMPTZ AND created_at < until::TIMESTAMPTZ
            GROUP BY center_id, agency_type, priority))
    WHERE one.n > 0""",
    "FROM response_percentiles('2024-03-01 00:00:00 UTC', '2024-04-01 00:00:00 UTC') "
    "WHERE measure = 'call_to_dispatch_s'",
    key=("center_id", "agency_type", "priority", "measure"),
)
