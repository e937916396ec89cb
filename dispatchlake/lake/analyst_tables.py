"""Tables that explain the others: the centers' time zones, classes of service, the dictionary.

Filled by us, never by a source: `centers` by runs, the rest whenever this version's views are made.
"""

from __future__ import annotations

from dispatchlake.lake.declared import Column, Table

CENTERS = Table(
    "centers",
    "One row per dispatch center that was registered when a run began: its name and time zone. A center "
    "without a row counts as UTC in the views. Key: center_id.",
    (
        Column("center_id", "VARCHAR", "Dispatch center, as everywhere."),
        Column("name", "VARCHAR", "The center's name, for people."),
        Column("time_zone", "VARCHAR", "IANA name of its local time, such as America/Chicago."),
        Column("updated_at", "TIMESTAMPTZ", "When this row was written (UTC)."),
    ),
    key=("center_id",),
)

SERVICE_CLASSES = Table(
    "service_classes",
    "One row per known class of service and the small family it belongs to; a class that is not here is of "
    "the family unknown. Key: class_of_service.",
    (
        Column("class_of_service", "VARCHAR", "Class as ANI/ALI screens and records have it, in capitals."),
        Column(
            "service_family",
            "VARCHAR",
            "wireline, voip, wireless_p0 (no place), wireless_p1 (the tower's), wireless_p2 (the caller's), "
            "text or other.",
        ),
        Column("meaning", "VARCHAR", "What the class stands for."),
        Column("edition", "BIGINT", "Edition of this list in which the row was last changed."),
    ),
    key=("class_of_service",),
)

DICTIONARY = Table(
    "dictionary",
    "One row per table, view and macro of the lake, and one per column or parameter of each: what it means. "
    "Key: object, position.",
    (
        Column("object", "VARCHAR", "Name of the table, view or macro."),
        Column("kind", "VARCHAR", "table, view or macro."),
        Column("position", "BIGINT", "0 for the object itself; its parameters and columns from 1."),
        Column("role", "VARCHAR", "object, column, parameter or result: what a scalar macro answers."),
        Column("column_name", "VARCHAR", "Name of the column or parameter; null for the object itself."),
        Column("type", "VARCHAR", "Its DuckDB type; null for the object itself."),
        Column("meaning", "VARCHAR", "What it means; of an object, what one row is."),
        Column("unit", "VARCHAR", "Unit, or the clock that a time is by; null if it has none."),
        Column("source_field", "VARCHAR", "What the source calls it; null where it is ours or derived."),
        Column("pii", "VARCHAR", "Personal information it may carry: none, or what kind."),
        Column("is_key", "BOOLEAN", "Whether it is part of the key; null for the object itself."),
        Column(
            "must_not_be_summed",
            "BOOLEAN",
            "Whether adding its values up means nothing; null for what is no number.",
        ),
        Column("example", "VARCHAR", "A question to ask of a view or macro; null otherwise."),
    ),
    key=("object", "position"),
)

VIEW_EDITIONS = Table(
    "view_editions",
    "One row per lake: which version of dispatchlake its views, macros and dictionary are of. Key: release.",
    (
        Column("release", "VARCHAR", "Version of dispatchlake that made them."),
        Column("digest", "VARCHAR", "SHA-256 of all that they say, hexadecimal."),
        Column("made_at", "TIMESTAMPTZ", "When they were made (UTC)."),
    ),
    key=("release",),
)
