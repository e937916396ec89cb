"""Everything known of one incident, in the order of time."""

from __future__ import annotations

from dispatchlake.lake.declared import Column, View
from dispatchlake.lake.record_types import CAD_INCIDENTS, INCIDENT_EVENTS, RecordType
from dispatchlake.lake.views.common import CENTER, INCIDENT, ZONE

_CAD_TIMES = {
    "call_received_at": "call received",
    "entered_at": "entered",
    "dispatched_at": "dispatched",
    "responding_at": "responding",
    "on_scene_at": "on scene",
    "transport_at": "transport begun",
    "hospital_at": "hospital reached",
    "closed_at": "closed",
}
"""Times of a CAD incident that are rows of their own, and what each is called there."""

_NO_NEWS = {"updated_at", "created_at"}


def _changes(record_type: RecordType, **renamed: str) -> str:
    """Return what a version says that the one before did not, as SQL: `field: before -> after; ...`."""
    names = [field.name for field in record_type.fields if field.name not in {*_NO_NEWS, record_type.key}]
    versions = record_type.versions
    texts = ", ".join(
        f"CASE WHEN {column} IS DISTINCT FROM lag({column}) OVER {versions} THEN concat('{name}: ', "
        f"CASE WHEN row_number() OVER {versions} > 1 "
        f"THEN concat(coalesce((lag({column}) OVER {versions})::VARCHAR, 'none'), ' -> ') END, "
        f"coalesce({column}::VARCHAR, 'none')) END"
        for name in names
        for column in (renamed.get(name, name),)
    )
    return f"array_to_string(list_filter([{texts}], news -> news IS NOT NULL), '; ')"


def _window(record_type: RecordType, *keys: str) -> str:
    return (
        f"WINDOW {record_type.versions} AS (PARTITION BY {', '.join(keys)} "
        f"ORDER BY updated_at, {record_type.tie_break} IS NOT NULL, received_at, version_hash)"
    )


def _seen(record_type: RecordType) -> str:
    return f"CASE WHEN row_number() OVER {record_type.versions} = 1 THEN 'first version' ELSE 'changed' END"


_MOMENTS = ", ".join(f"{{'moment': {column}, 'what': '{what}'}}" for column, what in _CAD_TIMES.items())


_PLACE = "concat_ws(', ', lat, lng)"

_CAD_CHANGES = _changes(CAD_INCIDENTS, incident_id="linked_incident_id")

# Versions of linked CAD incidents are joined before they are compared with each other: asked for one
# incident, DuckDB then compares those of its CAD incidents alone. It finds the links of that one alone, too,
# unless they are kept for their second use.
_QUERY = f"""
WITH links AS NOT MATERIALIZED (
    SELECT DISTINCT center_id, incident_id, cad_incident_id FROM cad_links
    WHERE cad_incident_id IS NOT NULL),
told AS (
    SELECT center_id, incident_id, created_at AS moment, 'incident' AS kind, 'created' AS what,
        NULL AS detail, source, raw_id
    FROM incidents
    UNION ALL
    SELECT center_id, incident_id, updated_at, 'incident', {_seen(INCIDENT_EVENTS)},
        {_changes(INCIDENT_EVENTS)}, source, raw_id
    FROM incident_versions {_window(INCIDENT_EVENTS, "center_id", "incident_id")}
    UNION ALL
    SELECT center_id, incident_id, coalesce(created_at, received_at), 'location', location_source,
        concat_ws(' ', {_PLACE}, class_of_service), source, raw_id
    FROM caller_locations
    UNION ALL
    SELECT center_id, incident_id, coalesce(created_at, received_at), 'cad_location', 'location updated',
        concat_ws(' ', {_PLACE}, cad_partner_incident_id), source, raw_id
    FROM cad_locations
    UNION ALL
    SELECT center_id, incident_id, coalesce(created_at, received_at), 'note', subtype, note, source, raw_id
    FROM cad_notes
    UNION ALL
    SELECT center_id, incident_id, coalesce(created_at, received_at), 'media', kind, url, source, raw_id
    FROM media WHERE incident_id IS NOT NULL
    UNION ALL
    SELECT center_id, incident_id, updated_at, 'cad_incident', {_seen(CAD_INCIDENTS)}, {_CAD_CHANGES},
        source, raw_id
    FROM (
        SELECT cad.* EXCLUDE (incident_id), links.incident_id, cad.incident_id AS linked_incident_id
        FROM links JOIN cad_incident_versions AS cad
            ON cad.center_id = links.center_id AND cad.cad_incident_id = links.cad_incident_id)
    {_window(CAD_INCIDENTS, "center_id", "incident_id", "cad_incident_id")}
    UNION ALL
    SELECT center_id, incident_id, one.moment, 'cad_time', one.what, detail, source, raw_id
    FROM (
        SELECT links.center_id, links.incident_id, unnest([{_MOMENTS}]) AS one,
            concat_ws(' ', agency_type, cad_partner_incident_id) AS detail, source, raw_id
        FROM links JOIN cad_incidents AS cad
            ON cad.center_id = links.center_id AND cad.cad_incident_id = links.cad_incident_id)
    WHERE one.moment IS NOT NULL)
SELECT center_id, incident_id, moment AS occurred_at, moment AT TIME ZONE {ZONE} AS local_occurred_at,
    kind, what, detail, source, raw_id
FROM told LEFT JOIN centers USING (center_id)
ORDER BY center_id, incident_id, moment, kind, what
"""

INCIDENT_TIMELINE = View(
    "incident_timeline",
    "One row per thing known of an incident, in order of time: its creation, its versions as changes, "
    "locations, CAD locations, notes, media, and the versions and times of the CAD incidents linked to it. "
    "Ask for one incident at a time: of all of them it is the whole lake.",
    (
        CENTER,
        INCIDENT,
        Column(
            "occurred_at",
            "TIMESTAMPTZ",
            "When it happened, at the source; where it does not say, received_at.",
        ),
        Column("local_occurred_at", "TIMESTAMP", "The same by the center's clock."),
        Column(
            "kind",
            "VARCHAR",
            "incident, location, cad_location, note, media, cad_incident (a version) or cad_time.",
        ),
        Column(
            "what",
            "VARCHAR",
            "What happened: created, first version, changed; a location's source; a note's subtype; a "
            "medium's kind; the name of a CAD time.",
        ),
        Column(
            "detail",
            "VARCHAR",
            "What a version changed, as field: before -> after; coordinates; a note's text; a URL.",
            "everything",
        ),
        Column("source", "VARCHAR", "How it reached us first: rest or webhook."),
        Column("raw_id", "VARCHAR", "Page or delivery it was first read from: raw_pages.raw_id."),
    ),
    _QUERY,
    ("center_id", "incident_id", "occurred_at", "kind", "what", "raw_id"),
    "SELECT local_occurred_at, kind, what, detail FROM incident_timeline "
    "WHERE center_id = 'houston-tx' AND incident_id = '...'",
)
