"""Which CAD incident belongs to which incident, and under which numbers it has been known."""

from __future__ import annotations

from dispatchlake.lake.declared import Column, View
from dispatchlake.lake.views.common import CENTER, INCIDENT

# Of the numbers that notes and locations name only: millions of others need not be looked at. Of groups with
# a condition DuckDB expects fewer: it finds the CAD incidents of some links, not links among all of them.
_QUERY = """
WITH told AS (
    SELECT center_id, cad_partner_incident_id, incident_id, 'cad_notes' AS link_source,
        coalesce(created_at, received_at) AS linked_at
    FROM cad_notes WHERE cad_partner_incident_id IS NOT NULL
    UNION ALL
    SELECT center_id, cad_partner_incident_id, incident_id, 'cad_locations',
        coalesce(created_at, received_at)
    FROM cad_locations WHERE cad_partner_incident_id IS NOT NULL),
numbers AS (
    SELECT DISTINCT center_id, cad_partner_incident_id, cad_incident_id FROM cad_incident_versions
    WHERE (center_id, cad_partner_incident_id) IN (SELECT (center_id, cad_partner_incident_id) FROM told)
    UNION
    SELECT center_id, cad_incident_id, cad_incident_id FROM cad_incidents
    WHERE (center_id, cad_incident_id) IN (SELECT (center_id, cad_partner_incident_id) FROM told)),
linked AS (
    SELECT center_id, cad_incident_id, cad_partner_incident_id, incident_id,
        'cad_incidents' AS link_source, updated_at AS linked_at
    FROM cad_incident_versions WHERE incident_id IS NOT NULL
    UNION ALL
    SELECT center_id, cad_incident_id, cad_partner_incident_id, incident_id, link_source, linked_at
    FROM told LEFT JOIN numbers USING (center_id, cad_partner_incident_id)),
links AS (
    SELECT center_id, cad_incident_id, cad_partner_incident_id, incident_id,
        arg_min(link_source, (linked_at, link_source)) AS link_source, min(linked_at) AS first_linked_at
    FROM linked GROUP BY center_id, cad_incident_id, cad_partner_incident_id, incident_id
    HAVING count(*) > 0)
SELECT links.center_id, links.cad_incident_id, links.cad_partner_incident_id, links.incident_id,
    link_source, first_linked_at,
    cad_incidents.cad_partner_incident_id AS canonical_cad_partner_incident_id,
    links.cad_partner_incident_id IS NOT DISTINCT FROM cad_incidents.cad_partner_incident_id
        AND links.incident_id IS NOT DISTINCT FROM cad_incidents.incident_id AS is_current
FROM links LEFT JOIN cad_incidents
    ON cad_incidents.center_id = links.center_id AND cad_incidents.cad_incident_id = links.cad_incident_id
"""

CAD_LINKS = View(
    "cad_links",
    "One row per link of an incident with a CAD incident under one of its numbers, as versions of CAD "
    "incidents, notes and CAD locations tell of it; a temporary number and the one that took its place are "
    "two rows with one cad_incident_id. Count incidents in incidents, not here.",
    (
        CENTER,
        Column(
            "cad_incident_id",
            "VARCHAR",
            "cad_incidents.cad_incident_id; null where a note or location names a number that no CAD "
            "incident has had.",
        ),
        Column(
            "cad_partner_incident_id",
            "VARCHAR",
            "The center's own CAD number in this link, be it temporary; null where a version had none.",
        ),
        INCIDENT,
        Column("link_source", "VARCHAR", "Who told first: cad_incidents, cad_notes or cad_locations."),
        Column("first_linked_at", "TIMESTAMPTZ", "When the link was first told, at the source."),
        Column(
            "canonical_cad_partner_incident_id",
            "VARCHAR",
            "The number the CAD incident has now; null where it has none or is not known.",
        ),
        Column("is_current", "BOOLEAN", "Whether the CAD incident has this number and this incident now."),
    ),
    _QUERY,
    ("center_id", "cad_incident_id", "cad_partner_incident_id", "incident_id"),
    "SELECT cad_partner_incident_id AS alias, canonical_cad_partner_incident_id AS number "
    "FROM cad_links WHERE NOT is_current",
)
