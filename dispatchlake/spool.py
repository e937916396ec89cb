"""What was delivered to us and is not in the lake yet: one SQLite file, safe on the disk before we say so.

Here belongs how deliveries wait: in which order, how durably. Who may deliver is `webhooks`' business, and
what a delivery means is the lake's. The receiver keeps, the lake's loader takes and forgets, each in a
process of its own; SQLite stands between them, so neither can lose what the other has done.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self

from filelock import FileLock

from dispatchlake.clock import FIRST_PLAUSIBLE
from dispatchlake.errors import SpoolBusy, SpoolError
from dispatchlake.folders import private_folder

NAME = "spool.sqlite"

BUSY_TIMEOUT_S = 30.0
"""How long one of the two waits for the other; each holds the file for milliseconds."""

_LOG_BYTES = 16 << 20
"""What SQLite's log is cut back to after a burst."""

_SHRINK_PAGES = 4096
_SHRINK_PAUSE_S = 0.1
"""The file becomes smaller by so many pages at a time, and whoever waits to keep a delivery gets his turn in
between: SQLite has him look again every tenth of a second at least."""

_LAYOUT = 1
"""Counts up when the tables below change."""

_ANY_PLACE = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SET_BACK = timedelta(hours=1)
"""A clock that goes back by up to so much is made up for; one that goes back further was wrong before, unless
it is wrong now."""

_TABLES = """
CREATE TABLE deliveries (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    raw_id TEXT NOT NULL UNIQUE,
    center_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    headers TEXT NOT NULL,
    body_bytes INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX waiting ON deliveries (center_id, place, body_bytes);
CREATE TABLE newest (received_us INTEGER NOT NULL);
INSERT INTO newest VALUES (0);
"""
# AUTOINCREMENT: a place that was forgotten is never given again. `newest`, of the delivery that came last,
# outlives what it was the time of.


class DeliveryKind(StrEnum):
    """Which of the vendor's two families of webhooks it is: the last part of our URL."""

    INCIDENT_EVENTS = "incident-events"
    CAD = "cad"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request of the vendor, as it came.

    Attributes:
        raw_id: Given on arrival (uuid4); the lake knows the delivery by it.
        center_id: From the URL: no payload names the dispatch center.
        received_at: Aware UTC, when its last byte had come.
        headers: Those of interest, by lower-case name; never `authorization` or a cookie.
        body: Exactly as received, with transfer and content coding undone; not looked into.
    """

    raw_id: str
    center_id: str
    kind: DeliveryKind
    received_at: datetime
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """How much waits of one center and kind, and since when."""

    count: int
    body_bytes: int
    oldest_received_at: datetime


def is_anything_waiting(folder: Path) -> bool:
    """Say whether deliveries wait in the spool of a folder, if there is one; takes a millisecond.

    Raises:
        SpoolError: It cannot be read.
    """
    if not (folder / NAME).exists():  # nobody receives here
        return False
    with Spool.open(folder) as spool:
        return bool(spool.centers())


class Spool:
    """The deliveries that wait. Any number of processes may have it open; threads of one take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = threading.Lock()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the spool of a folder, or make it: a file for its owner alone.

        Raises:
            ConfigError: The folder cannot be used.
            SpoolError: The file is damaged, is none of ours, or cannot be written.
        """
        path = private_folder(folder) / NAME
        with _explained(path):
            # Two who make it at once would each find the other's half.
            with FileLock(folder / "spool.lock", timeout=BUSY_TIMEOUT_S, mode=0o600):
                connection = _connect(path)
            return cls(path, connection)

    def close(self) -> None:
        """Let go of the file."""
        with self._turn:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Keep deliveries, all or none; when this returns they are on the disk.

        Each is given a time of receipt later than that of the one before it, even if the machine's clock goes
        back by up to an hour, or to before there was a receiver: the order of receipt is then that of time,
        here and in the lake. Of a clock that goes back otherwise, as once it is set right that was years
        ahead, the new time is taken; the order of receipt is still that in which deliveries wait, land and
        stand in the archive.

        Raises:
            SpoolBusy: The disk is full, or another process held the file for too long; none is kept.
            SpoolError: The file is damaged; none is kept.
        """
        with self._transaction() as connection:
            (newest_us,) = connection.execute("SELECT received_us FROM newest").fetchone()
            rows = []
            for delivery in deliveries:
                received_us = (delivery.received_at - _EPOCH) // _MICROSECOND
                is_far_back = newest_us - received_us > SET_BACK // _MICROSECOND
                is_set_back = is_far_back and delivery.received_at >= FIRST_PLAUSIBLE
                newest_us = received_us if is_set_back else max(newest_us + 1, received_us)
                rows.append(
                    (
                        delivery.raw_id,
                        delivery.center_id,
                        delivery.kind.value,
                        newest_us,
                        json.dumps(dict(delivery.headers)),
                        len(delivery.body),
                        delivery.body,
                    )
                )
            connection.executemany(
                "INSERT INTO deliveries (raw_id, center_id, kind, received_us, headers, body_bytes, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute("UPDATE newest SET received_us = ?", (newest_us,))

    def last_place(self) -> int:
        """Return the place of the newest that waits; whatever comes later has a greater one."""
        with self._reading() as connection:
            return int(connection.execute("SELECT coalesce(max(place), 0) FROM deliveries").fetchone()[0])

    def centers(self, *, last_place: int = _ANY_PLACE) -> list[str]:
        """Return the ids of the centers of which deliveries wait up to a place, in alphabetical order."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT DISTINCT center_id FROM deliveries WHERE place <= ? ORDER BY center_id", (last_place,)
            )
            return [center_id for (center_id,) in found]

    def waiting(
        self,
        center_id: str,
        *,
        max_count: int,
        max_bytes: int,
        oldest_bytes: int | None = None,
        last_place: int = _ANY_PLACE,
    ) -> list[Delivery]:
        """Return a center's deliveries that wait, in the order received, beginning with the oldest.

        Args:
            center_id: Whose.
            max_count: No more than so many.
            max_bytes: No more bytes of bodies than so many; but the oldest may be longer.
            oldest_bytes: Where the oldest is longer than this, if it is given, none is returned.
            last_place: None that has a place beyond this.
        """
        with self._reading() as connection:
            sizes = connection.execute(
                "SELECT place, body_bytes FROM deliveries WHERE center_id = ? AND place <= ? "
                "ORDER BY place LIMIT ?",
                (center_id, last_place, max_count),
            )
            last, total_bytes, most_bytes = -1, 0, oldest_bytes
            for place, body_bytes in sizes:
                total_bytes += body_bytes
                if most_bytes is not None and total_bytes > most_bytes:
                    break
                last, most_bytes = place, max_bytes
            found = connection.execute(
                "SELECT raw_id, center_id, kind, received_us, headers, body FROM deliveries "
                "WHERE center_id = ? AND place <= ? ORDER BY place",
                (center_id, last),
            )
            return [
                Delivery(
                    raw_id=raw_id,
                    center_id=owner,
                    kind=DeliveryKind(kind),
                    received_at=_EPOCH + received_us * _MICROSECOND,
                    headers=json.loads(headers),
                    body=body,
                )
                for raw_id, owner, kind, received_us, headers, body in found
            ]

    def forget(self, raw_ids: Sequence[str]) -> None:
        """Forget deliveries that are in the lake for good; those that are forgotten already are no mistake.

        Raises:
            SpoolBusy: The disk is full, or another process held the file for too long; none is forgotten.
            SpoolError: The file is damaged; none is forgotten.
        """
        with self._transaction() as connection:
            connection.executemany("DELETE FROM deliveries WHERE raw_id = ?", [(raw,) for raw in raw_ids])
            is_empty = connection.execute("SELECT 1 FROM deliveries LIMIT 1").fetchone() is None
        if is_empty:
            self._shrink()

    def _shrink(self) -> None:
        """Give back to the disk what an outage made the file grow by."""
        with self._reading() as connection:
            (free_pages,) = connection.execute("PRAGMA freelist_count").fetchone()
        for done in range(0, free_pages, _SHRINK_PAGES):
            if done:
                time.sleep(_SHRINK_PAUSE_S)
            with self._reading() as connection:  # `execute` would give back one page
                connection.executescript(f"PRAGMA incremental_vacuum({_SHRINK_PAGES})")

    def count(self) -> int:
        """Return how many wait."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM deliveries").fetchone()[0])

    def scrub(self) -> None:
        """Write the file anew and empty its log, so that nothing is left there of what was forgotten.

        Raises:
            SpoolBusy: Another process is in the way; deliveries are kept and landed all the same.
            SpoolError: The file is damaged.
        """
        with self._reading() as connection:
            connection.execute("VACUUM")
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise SpoolBusy(
                f"The log of {self.path} cannot be emptied now: another process reads it. Try again."
            )

    def standings(self) -> dict[tuple[str, DeliveryKind], Standing]:
        """Return how much waits, and since when, by center and kind; nothing of what nothing waits of."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT center_id, kind, count(*), sum(body_bytes), min(received_us) FROM deliveries "
                "GROUP BY center_id, kind"
            ).fetchall()
        return {
            (center_id, DeliveryKind(kind)): Standing(count, body_bytes, _EPOCH + oldest_us * _MICROSECOND)
            for center_id, kind, count, body_bytes, oldest_us in found
        }

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._turn, _explained(self.path):
            yield self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn, _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it
                    self._connection.execute("ROLLBACK")
                raise


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file, made where there is none. The caller keeps others from doing the same."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # its log inherits the rights
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a file whose name is lost with the power keeps nothing
        finally:
            os.close(folder)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _set_up(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before anything was read
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    if layout > _LAYOUT:
        raise SpoolError(f"The spool {path} was made by a newer version of this software. Use that version.")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")  # each commit is on the disk
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    if layout == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_LAYOUT}; COMMIT;")
    connection.execute("SELECT received_us FROM newest").fetchone()


_PASSING = {
    sqlite3.SQLITE_BUSY: "another process held it for too long",
    sqlite3.SQLITE_LOCKED: "another process held it for too long",
    sqlite3.SQLITE_FULL: "the disk is full",
}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says into a sentence."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # its family
        if code in _PASSING:
            raise SpoolBusy(
                f"The spool of deliveries cannot be used now: {path} ({_PASSING[code]}). Nothing is lost; "
                "whoever delivers tries again."
            ) from error
        raise SpoolError(
            f"The spool of deliveries cannot be read or written: {path} ({error}). If it is damaged, stop "
            "the receiver, move the file aside with those beside it, and start again: a new one is made. "
            "What waited in the old one can often be read with: sqlite3 FILE .recover"
        ) from error
