"""How records are typed: the fields of each kind, what identifies one, and the tables they land in.

Tables and merging are derived from here (`schemas`, `commit`); what a value is made of is `parsing`'s
business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dispatchlake.model import Resource

Kind = Literal["text", "boolean", "integer", "number", "instant", "texts", "json"]
"""What a value is; `json` is anything, as JSON text: who normalises a record has written it so."""

Pii = Literal[
    "none",
    "phone",
    "address",
    "postal code",
    "coordinates",
    "wording",
    "free text",
    "link",
    "fingerprint",
    "id or fingerprint",
    "everything",
]
"""What a column may reveal of a person; what the open zone shows of each is `treatments`' business.

A `wording` is a center's own word for something, normally from a list, into which nothing keeps a person from
typing more. A `fingerprint` is a hash of content: whoever knows the rest of it finds what is hidden by
trying.
"""

DUCKDB_TYPES: Mapping[Kind, str] = {
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "instant": "TIMESTAMPTZ",
    "texts": "VARCHAR[]",
    "json": "JSON",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record at the source, and the column it becomes.

    Attributes:
        is_id: Whether it identifies something: it may come as a number, and never as an empty text.
        has_urls: Whether it may hold URLs: these lose their query, which may grant access.
    """

    source: str
    kind: Kind
    comment: str
    column: str = ""
    required: bool = False
    pii: Pii = "none"
    is_id: bool = False
    has_urls: bool = False

    @property
    def name(self) -> str:
        """Return the column's name."""
        return self.column or self.source


@dataclass(frozen=True, slots=True)
class RecordType:
    """How records are typed, and the tables they land in.

    Attributes:
        resource: The listing, or the webhook event, whose records they are.
        current: Table of the newest version of each; "" where nothing takes the place of anything.
        versions: Table of every distinct version.
        key: Column of the record's own id; where a record may lack one, its hash stands there instead.
        tie_break: Column that, when set, makes one of two versions with the same `updated_at` the newer.
        sightings: Table of the versions that a second source brought too; "" where there is one source.
    """

    resource: str
    current: str
    versions: str
    noun: str
    key: str
    tie_break: str
    fields: tuple[Field, ...]
    sightings: str = ""

    @property
    def identity(self) -> str:
        """Return the columns that tell a version from any other, as SQL lists them."""
        return f"center_id, {self.key}, version_hash"

    @property
    def may_lack_id(self) -> bool:
        """Say whether a record without an id of its own is one all the same."""
        return not next(field for field in self.fields if field.name == self.key).required


INCIDENT_EVENTS = RecordType(
    resource="incident_events",
    current="incidents",
    versions="incident_versions",
    noun="incident",
    key="incident_id",
    tie_break="audio_call_ended_at",
    fields=(
        Field(
            "id", "text", "Incident id (uuid) as the vendor has it.", "incident_id", required=True, is_id=True
        ),
        Field("caller_phone_number", "text", "Caller's number, normally E.164; as sent.", pii="phone"),
        Field("is_audio_live", "boolean", "Whether the call's audio was live."),
        Field("audio_call_ended_at", "instant", "When the call's audio ended; null while it is live."),
        Field(
            "chatroom_url",
            "text",
            "Page of the incident in the vendor's portal, for people.",
            pii="link",
            has_urls=True,
        ),
        Field("created_at", "instant", "When the incident was created, at the source.", required=True),
        Field("updated_at", "instant", "When this version came to be, at the source.", required=True),
    ),
    sightings="incident_sightings",
)

CAD_INCIDENTS = RecordType(
    resource="cad_incidents",
    current="cad_incidents",
    versions="cad_incident_versions",
    noun="CAD incident",
    key="cad_incident_id",
    tie_break="closed_at",
    fields=(
        Field(
            "id",
            "text",
            "CAD incident id as the vendor has it.",
            "cad_incident_id",
            required=True,
            is_id=True,
        ),
        Field("cad_partner_incident_id", "text", "The center's own CAD number; unique only with center_id."),
        Field("incident_id", "text", "Linked incident; null while the record is an unlinked shell."),
        Field("agency_type", "text", "Kind of agency: fire, police, ems.", pii="wording"),
        Field("incident_type", "text", "What the call is for, in the center's words.", pii="wording"),
        Field("incident_type_code", "text", "The center's code for incident_type.", pii="wording"),
        Field(
            "priority", "text", "The center's priority code; scales differ between centers.", pii="wording"
        ),
        Field("alarm_level", "integer", "Number of alarms; 0 or 1 for an ordinary response."),
        Field("disposition", "text", "How the call ended, in the center's words.", pii="wording"),
        Field("disposition_code", "text", "The center's code for disposition.", pii="wording"),
        Field("address", "text", "Address, block or intersection.", pii="address"),
        Field("cross_street", "text", "Cross street.", pii="address"),
        Field("city", "text", "City.", pii="wording"),
        Field("postal_code", "text", "Postal code; text, leading zeros count.", pii="postal code"),
        Field("beat", "text", "Beat, battalion or map key of the center.", pii="wording"),
        Field(
            "lat", "number", "Latitude in degrees, WGS 84 assumed; null if out of range.", pii="coordinates"
        ),
        Field(
            "lng", "number", "Longitude in degrees, WGS 84 assumed; null if out of range.", pii="coordinates"
        ),
        Field("units", "texts", "Units assigned, in the source's order."),
        Field("received_at", "instant", "When the center received the call.", "call_received_at"),
        Field("entered_at", "instant", "When the call was entered into CAD."),
        Field("dispatched_at", "instant", "When the first unit was dispatched."),
        Field("responding_at", "instant", "When the first unit was under way."),
        Field("on_scene_at", "instant", "When the first unit was on scene."),
        Field("transport_at", "instant", "When transport began."),
        Field("hospital_at", "instant", "When the hospital was reached."),
        Field("closed_at", "instant", "When the CAD incident was closed."),
        Field("created_at", "instant", "When the CAD incident was created, at the source.", required=True),
        Field("updated_at", "instant", "When this version came to be, at the source.", required=True),
    ),
)

RECORD_TYPES: Mapping[str, RecordType] = {
    record_type.resource: record_type for record_type in (INCIDENT_EVENTS, CAD_INCIDENTS)
}

_INCIDENT = Field("incident_id", "text", "The incident it belongs to.", required=True, is_id=True)
_PARTNER = Field(
    "cad_partner_incident_id", "text", "The center's own CAD number; unique only with center_id."
)
_LAT = Field("lat", "number", "Latitude in degrees, WGS 84 assumed; null if out of range.", pii="coordinates")
_LNG = Field(
    "lng", "number", "Longitude in degrees, WGS 84 assumed; null if out of range.", pii="coordinates"
)

CALLER_LOCATIONS = RecordType(
    resource="caller_location",
    current="",
    versions="caller_locations",
    noun="location report of a caller",
    key="location_id",
    tie_break="",
    fields=(
        Field(
            "id", "text", "Id of the report as the vendor has it.", "location_id", required=True, is_id=True
        ),
        _INCIDENT,
        _LAT,
        _LNG,
        Field(
            "class_of_service",
            "text",
            "Kind of telephone service behind an ANI/ALI location; free text.",
            pii="wording",
        ),
        Field(
            "source",
            "text",
            "Where the location is from; the vendor's word.",
            "location_source",
            pii="wording",
        ),
        Field("created_at", "instant", "When the location was captured; may precede its incident."),
    ),
)

MEDIA = RecordType(
    resource="media",
    current="",
    versions="media",
    noun="reference to a photo, video or recording",
    key="media_id",
    tie_break="",
    fields=(
        # No field of `media` is documented: these are what the rest of the documentation suggests.
        Field(
            "id",
            "text",
            "Id as the vendor has it; without one, version_hash.",
            "media_id",
            pii="id or fingerprint",
            is_id=True,
        ),
        Field("incident_id", "text", "The incident it belongs to; null if not said."),
        Field("media_type", "text", "What it is, in the vendor's words.", "kind", pii="wording"),
        Field(
            "url",
            "text",
            "Where it lies, without the query: that may grant access, and only raw_pages.body has it.",
            pii="link",
            has_urls=True,
        ),
        Field("created_at", "instant", "When it came to be, at the source."),
    ),
)

CAD_NOTES = RecordType(
    resource="note_created",
    current="",
    versions="cad_notes",
    noun="note",
    key="note_id",
    tie_break="",
    fields=(
        Field("id", "text", "Id of the note as the vendor has it.", "note_id", required=True, is_id=True),
        _INCIDENT,
        _PARTNER,
        Field("subtype", "text", "What the note holds, such as insight_summary; open set.", pii="wording"),
        Field(
            "note",
            "text",
            "A text, or a URL without its query, by subtype; summaries are written by software.",
            pii="free text",
            has_urls=True,
        ),
        Field("metadata", "json", "Free form, by subtype.", pii="free text", has_urls=True),
        Field("created_at", "instant", "When the note was made, at the source."),
    ),
)

CAD_LOCATIONS = RecordType(
    resource="location_updated",
    current="",
    versions="cad_locations",
    noun="location that a CAD was told of",
    key="location_id",
    tie_break="",
    fields=(
        Field(
            "id",
            "text",
            "Id if one is sent; none is documented. Else version_hash.",
            "location_id",
            pii="id or fingerprint",
            is_id=True,
        ),
        _INCIDENT,
        _PARTNER,
        _LAT,
        _LNG,
        Field("created_at", "instant", "When the location changed, at the source."),
    ),
)

EVENT_TYPES: Mapping[str, RecordType] = {
    "incident_metadata": INCIDENT_EVENTS,
    **{one.resource: one for one in (CALLER_LOCATIONS, MEDIA, CAD_NOTES, CAD_LOCATIONS)},
}
"""What a webhook's event is, by the name that the vendor gives it."""


def record_type_of(resource: Resource) -> RecordType:
    """Return how records of a resource are typed, under the field names that a center gives them."""
    record_type = RECORD_TYPES[resource.name]
    sources = {
        record_type.key: resource.id_field,
        "created_at": resource.created_field,
        "updated_at": resource.changed_field,
    }
    fields = tuple(
        replace(field, source=sources.get(field.name, field.source), column=field.name)
        for field in record_type.fields
    )
    return replace(record_type, fields=fields)
