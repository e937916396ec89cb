"""Pictures of what `dispatchlake.lake.exploring` answers; each has its rows inside and needs nothing else.

Times by a center's clock are given to the browser as if they were UTC, and shown in UTC: so it shifts nothing
by a zone of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import altair as alt

Row = Mapping[str, Any]

WIDTH = 980
MAP_WIDTH = 760
MAP_HEIGHT = 560

_BLUE = "#2563a8"
_STATES = {
    "complete": "#2f7552",
    "complete, none": "#e4ece8",
    "not read whole": "#e0b64c",
    "gap": "#d1242f",
}

_WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]

# A menu on each picture would offer to send it, with its data, to an editor on the web.
_WITHOUT_MENU = {"embedOptions": {"actions": False}}

_SHOWN = {"hour": "%a %d %b %Y, %H:%M", "day": "%a %d %b %Y", "week": "week of %d %b %Y", "month": "%b %Y"}


def volume_chart(grain: str, rows: Sequence[Row]) -> Any:
    """Return bars of incidents over time, by center."""
    values = [
        {
            "center": row["center_id"],
            "start": _as_utc(row["local_start"]),
            "when": f"{row['local_start']:{_SHOWN[grain]}}",
            "incidents": row["incidents"],
        }
        for row in rows
    ]
    return _finished(
        alt.Chart(_inline(values))
        .mark_bar()
        .encode(
            x=alt.X(f"utc{_TIME_UNITS[grain]}(start):T", title=None, axis=alt.Axis(labelOverlap="greedy")),
            y=alt.Y("sum(incidents):Q", title=f"CAD incidents per {grain}"),
            color=alt.Color("center:N", title=None, scale=alt.Scale(scheme="tableau10")),
            tooltip=[
                alt.Tooltip("center:N"),
                alt.Tooltip("when:N", title="local time"),
                alt.Tooltip("incidents:Q", format=","),
            ],
        )
        .properties(width=WIDTH, height=260)
    )


_TIME_UNITS = {"hour": "yearmonthdatehours", "day": "yearmonthdate", "week": "yearweek", "month": "yearmonth"}


def rhythm_chart(rows: Sequence[Row]) -> Any:
    """Return the average of each hour of the week, one panel a center."""
    values = [
        {
            "center": row["center_id"],
            "weekday": _WEEKDAYS[row["weekday"] - 1],
            "hour": row["hour"],
            "average": row["incidents"] / row["days"],
        }
        for row in rows
    ]
    panel = (
        alt.Chart()
        .mark_rect()
        .encode(
            x=alt.X("hour:O", title="hour, local", scale=alt.Scale(domain=list(range(24)))),
            y=alt.Y("weekday:O", title=None, sort=_WEEKDAYS, scale=alt.Scale(domain=_WEEKDAYS)),
            color=alt.Color("average:Q", title="an hour", scale=alt.Scale(scheme="blues")),
            tooltip=[
                alt.Tooltip("center:N"),
                alt.Tooltip("weekday:N"),
                alt.Tooltip("hour:O"),
                alt.Tooltip("average:Q", format=",.1f", title="CAD incidents, on average"),
            ],
        )
        .properties(width=430, height=150)
    )
    return _finished(_panels(panel, values, columns=2).resolve_scale(color="independent"))


def map_chart(cells: Sequence[Row], *, stretch: float) -> Any:
    """Return a map in which a kilometre is as long one way as the other; colour is by order of magnitude."""
    west, east = min(row["lng"] for row in cells), max(row["lng_end"] for row in cells)
    south, north = min(row["lat"] for row in cells), max(row["lat_end"] for row in cells)
    ratio = (east - west) * stretch / (north - south)
    width = min(MAP_WIDTH, MAP_HEIGHT * ratio)
    return _finished(
        alt.Chart(_inline([dict(row) for row in cells]))
        .mark_rect()
        .encode(
            x=alt.X("lng:Q", title="longitude", scale=alt.Scale(domain=[west, east], nice=False)),
            x2="lng_end",
            y=alt.Y("lat:Q", title="latitude", scale=alt.Scale(domain=[south, north], nice=False)),
            y2="lat_end",
            color=alt.Color(
                "incidents:Q", title="CAD incidents", scale=alt.Scale(scheme="yelloworangered", type="log")
            ),
            tooltip=[
                alt.Tooltip("incidents:Q", format=","),
                alt.Tooltip("lat:Q", format=".3f", title="from latitude"),
                alt.Tooltip("lng:Q", format=".3f", title="from longitude"),
            ],
        )
        .properties(width=width, height=width / ratio)
    )


def response_chart(rows: Sequence[Row]) -> Any:
    """Return a bar from the median to the 90th percentile for each group; groups without are left out."""
    values = [
        {
            "group": row["grouped"],
            "median": row["p50_s"] / 60,
            "ninety": row["p90_s"] / 60,
            "timed": row["timed"],
            "incidents": row["incidents"],
        }
        for row in rows
        if row["timed"]
    ]
    order = [value["group"] for value in values]
    base = alt.Chart(_inline(values)).encode(
        y=alt.Y("group:N", title=None, sort=order, axis=alt.Axis(labelLimit=340)),
        tooltip=[
            alt.Tooltip("group:N"),
            alt.Tooltip("median:Q", format=".1f", title="median, min"),
            alt.Tooltip("ninety:Q", format=".1f", title="90 of 100 within, min"),
            alt.Tooltip("timed:Q", format=",", title="with both times"),
            alt.Tooltip("incidents:Q", format=",", title="of"),
        ],
    )
    minutes = alt.X("median:Q", title="minutes: median (dot) to 90th percentile (bar's end)")
    line = base.mark_bar(height=6, color="#a9c3de").encode(x=minutes, x2="ninety")
    dot = base.mark_point(filled=True, size=80, color=_BLUE, opacity=1).encode(x=minutes)
    end = base.mark_text(align="left", dx=6, color="#444").encode(
        x="ninety:Q", text=alt.Text("ninety:Q", format=".0f")
    )
    return _finished((line + dot + end).properties(width=560, height=alt.Step(24)))


def completeness_chart(rows: Sequence[Row]) -> Any:
    """Return days against hours of the day, one panel a center: read whole, not yet, or a gap."""
    values = [
        {
            "center": row["center_id"],
            "day": f"{row['local_hour']:%Y-%m-%d}",
            "hour": row["local_hour"].hour,
            "records": row["records"],
            "expected": row["expected"],
            "state": row["state"],
        }
        for row in rows
    ]
    panel = (
        alt.Chart()
        .mark_rect(stroke="white", strokeWidth=0.5)
        .encode(
            x=alt.X("day:O", title=None, axis=alt.Axis(labelAngle=-60, labelOverlap="greedy")),
            y=alt.Y("hour:O", title="hour, local", scale=alt.Scale(domain=list(range(24)))),
            color=alt.Color(
                "state:N",
                title=None,
                scale=alt.Scale(domain=list(_STATES), range=list(_STATES.values())),
            ),
            opacity=alt.condition(
                "datum.state == 'complete'",
                alt.Opacity("records:Q", scale=alt.Scale(range=[0.45, 1]), legend=None),
                alt.value(1),
            ),
            tooltip=[
                alt.Tooltip("center:N"),
                alt.Tooltip("day:N"),
                alt.Tooltip("hour:O"),
                alt.Tooltip("state:N"),
                alt.Tooltip("records:Q", format=","),
                alt.Tooltip("expected:Q", title="usual", format=".0f"),
            ],
        )
        .properties(width=430, height=260)
    )
    return _finished(_panels(panel, values, columns=2).resolve_scale(x="independent", opacity="independent"))


def _panels(panel: Any, values: Sequence[Row], *, columns: int) -> Any:
    return panel.facet(
        facet=alt.Facet("center:N", title=None, header=alt.Header(labelFontSize=13, labelFontWeight="bold")),
        columns=columns,
        data=_inline(values),
    )


def _inline(values: Sequence[Row]) -> alt.InlineData:
    return alt.InlineData(values=list(values))


def _as_utc(local: datetime) -> str:
    return f"{local.isoformat()}Z"


def _finished(chart: Any) -> Any:
    return chart.properties(usermeta=_WITHOUT_MENU).configure_view(stroke=None).configure_axis(grid=False)
