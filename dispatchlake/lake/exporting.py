"""Taking data out: tables, views and answers as plain files, all of one snapshot, while loads go on.

An export is as personal as what the lake holds, and nothing protects it once it has been handed on.
"""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake.export_items import Item
from dispatchlake.lake.export_target import Target, check_free, whole_or_nothing
from dispatchlake.lake.export_writer import INFO, Writer
from dispatchlake.lake.questions import close_files, own_words
from dispatchlake.lake.reading import connect_unnoted, reading_session
from dispatchlake.lake.snapshots import Snapshot, check_still_kept, find_snapshot
from dispatchlake.settings import Zone

MEMORY_LIMIT_MB = 1024
THREADS = 4
"""For DuckDB: the rest is for loads. A query that sorts or counts more than fits in it spills to the disk."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which lake is read, and by what.

    Attributes:
        lake_dir: Folder of a lake; None means that of a zone.
        zone: None means the open one, or whichever lies in `lake_dir`.
        tool: What the access log is to say of who reads.
    """

    lake_dir: Path | None = None
    zone: Zone | None = None
    tool: str = "Python"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: of which snapshot, and how many rows of each item."""

    target: Target
    snapshot: Snapshot
    rows: Mapping[str, int]


def export(
    items: Sequence[Item],
    target: Target,
    *,
    at: datetime | int | None = None,
    source: Source = Source(),
) -> Exported:
    """Write tables, views and answers to files, streaming; the target appears whole or not at all.

    Args:
        items: What to export; all of it is of one snapshot, whatever is loaded meanwhile.
        target: A file, or a folder for a file each. Several fit into a folder or a DuckDB file.
        at: A snapshot's number, or a time (aware) whose state is wanted; without it, now.
        source: Which lake, and what reads it: of a restricted one each item is noted before it is read.

    Raises:
        ConfigError: There is no such snapshot or table, or the target may not be written.
        LakeError: A query cannot be answered, the target not be written, or the snapshot expired meanwhile.
    """
    _check_items(items, target)
    check_free(target)
    with reading_session(source.lake_dir, zone=source.zone, tool=source.tool) as session:
        newest = session.connection
        snapshot = find_snapshot(newest, at)
        for item in items:
            session.note(item.query or f"FROM {item.name}")
        with (
            connect_unnoted(session.lake_dir, snapshot=snapshot.number) as pinned,
            own_words(),
            whole_or_nothing(target) as place,
        ):
            pinned.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'; SET threads = {THREADS}")
            close_files(pinned, session.lake_dir / "data", place.parent)
            _check_names(pinned, items, snapshot)
            try:
                with _writing(target.path):
                    rows = Writer(pinned, target, place).write(items, snapshot)
            finally:  # an error may have no other reason
                check_still_kept(newest, snapshot)
    return Exported(target, snapshot, rows)


def _check_items(items: Sequence[Item], target: Target) -> None:
    if not items:
        raise ConfigError("Nothing is named to be exported: name a table, a view, or a query.")
    if len(items) > 1 and not (target.is_folder or target.form == "duckdb"):
        raise ConfigError(
            f"{target.path} takes one table. For several, name a folder or a file that ends in .duckdb."
        )
    if target.form == "duckdb" and any(item.name.lower() == INFO for item in items):
        raise ConfigError(f"{INFO} is the name of what an export says of itself. Give yours another.")
    twice = [name for name, times in Counter(item.name.lower() for item in items).items() if times > 1]
    if twice:
        raise ConfigError(f"Two things would be called {twice[0]}. Name queries: NAME=QUERY.")


def _check_names(connection: duckdb.DuckDBPyConnection, items: Sequence[Item], snapshot: Snapshot) -> None:
    rows = connection.execute("SELECT name FROM (SHOW TABLES)").fetchall()
    names = [name for (name,) in rows]
    for item in items:
        if item.query is None and item.name.lower() not in names:
            near = difflib.get_close_matches(item.name.lower(), names, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"The lake has no table or view {item.name} in {snapshot}.{hint} "
                'dispatchlake sql "SHOW TABLES" lists them.'
            )


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say of which file a failure to write is; the lake's own are read from elsewhere."""
    try:
        yield
    except duckdb.IOException as error:
        if f".{path.name}.partial" in str(error):
            raise LakeError(f"{path} could not be written. {error}") from None
        raise LakeError(f"The lake could not be read, or {path} not be written. {error}") from None
