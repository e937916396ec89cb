"""What an open zone says of itself: which state of the restricted zone it shows, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import orjson

from dispatchlake.errors import LakeError
from dispatchlake.lake import migrations
from dispatchlake.lake.changes import State
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.inventory import CATALOG
from dispatchlake.lake.reading import connect_unnoted
from dispatchlake.lake.sql import fetch_row, first_row
from dispatchlake.settings import Settings


@dataclass(frozen=True, slots=True)
class Published:
    """What the open zone says of itself.

    Attributes:
        state: The restricted zone's snapshot that it shows.
        at: When that was published.
        plans: By table, how it is treated.
        must_forget: Whether snapshots from before a change of key or treatment are still to be removed.
    """

    state: State
    at: datetime
    plans: Mapping[str, str]
    must_forget: bool


@dataclass(frozen=True, slots=True)
class OpenStanding:
    """How the open zone stands.

    Attributes:
        published_at: When it was last published; None if it never was.
        behind_since: When the restricted zone first had what it does not show; None if it shows everything.
    """

    published_at: datetime | None = None
    behind_since: datetime | None = None


def read_published(connection: duckdb.DuckDBPyConnection) -> Published | None:
    """Return what an open zone says of itself; None before its first publication."""
    row = first_row(
        connection, "SELECT source_snapshot, source_at, published_at, plans, must_forget FROM publication"
    )
    return Published(State(row[0], row[1]), row[2], orjson.loads(row[3]), bool(row[4])) if row else None


def find_published(settings: Settings) -> Published | None:
    """Return what the open zone says of itself; None where there is none yet.

    Raises:
        LakeError: It cannot be read.
    """
    if not catalog_path(settings.open_dir).exists():
        return None
    with connect_unnoted(settings.open_dir) as connection:
        try:
            return read_published(connection)
        except duckdb.Error as error:
            raise LakeError(
                f"The open zone in {settings.open_dir} cannot be read ({type(error).__name__}). Have it made "
                "anew: dispatchlake publish --rebuild"
            ) from error


def read_standing(settings: Settings) -> OpenStanding:
    """Return how the open zone stands; where there is no lake, or an older one, nothing is behind.

    Raises:
        LakeError: A zone cannot be read.
    """
    if not catalog_path(settings.lake_dir).exists():
        return OpenStanding()
    published = find_published(settings)
    with connect_unnoted(settings.lake_dir) as connection:
        try:
            if published is None:
                (since,) = fetch_row(
                    connection,
                    "SELECT min(applied_at) FROM migrations WHERE name = $name",
                    {"name": migrations.ZONES},
                )
                return OpenStanding(None, since)
            (since,) = fetch_row(
                connection,
                # An older catalog that was put back came less far, or has another snapshot of that number.
                f"""SELECT CASE WHEN max(snapshot_id) < $snapshot THEN max(taken_at)
                    ELSE min(taken_at) FILTER (snapshot_id >= $snapshot AND taken_at <> $at) END
                FROM (SELECT snapshot_id, snapshot_time::TIMESTAMPTZ AS taken_at
                    FROM {CATALOG}.ducklake_snapshot)""",
                {"snapshot": published.state.snapshot, "at": published.state.at},
            )
        except duckdb.Error as error:
            raise LakeError(f"The lake's catalog cannot be read ({type(error).__name__}).") from error
    return OpenStanding(published.at, since)
