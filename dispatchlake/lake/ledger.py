"""What was erased and must not come back, and what is held, in a file beside the catalog: `erasures.json`.

Beside the catalog and not only in it, so that an older catalog that is put back finds it there. The file is
replaced whole, under the commit lock: whoever commits looks there whether it is still the one that was read.
It names nothing that was erased: a call is known by a hash of its id under a key of this lake's own. An id is
a uuid, which nobody can try out, but a CAD incident's may be a short number; and without the key nobody who
has an old list of ids can find out from a copy of the table which of them were erased. What is under a legal
hold is here to be named, and it is, until somebody lets go of it.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson

from dispatchlake.errors import LakeError
from dispatchlake.lake import catalog_file

NAME = "erasures.json"

SubjectKind = Literal["incident", "cad_incident"]

Mark = tuple[int, int, int]
"""Tells one state of the file from any other."""

NO_FILE: Mark = (0, 0, 0)
"""Of a lake that has no such file."""

_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class Erasure:
    """One row of `erasures`.

    Attributes:
        subject_hash: Of what was erased.
        erased_at: None while it is unfinished.
        counts: Rows removed by table, pages redacted, media files removed.
    """

    erasure_id: str
    center_id: str
    kind: SubjectKind
    subject_hash: str
    reason: str
    requested_by: str
    begun_at: datetime
    erased_at: datetime | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """One row of `legal_holds`."""

    center_id: str
    incident_id: str
    reason: str
    held_by: str
    held_at: datetime


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What of one center is not taken any more.

    Attributes:
        because_of: Returns the id of the erasure that a kind and an id fall under, or None.
        cutoff: Records created before it are not taken; None where all are.
        is_held: Says of a kind and an id whether it is taken however old.
        knows_calls: Whether `because_of` knows each call that is too old: then a delivery that names its
            incident is judged by that, and not by its own age; nor is a CAD incident by its incident's.
        is_young: Says of a kind and an id whether the call is known not to be too old: then all its records
            are taken, whatever they say themselves.
        takes_undated: Whether what says no age is taken; in a page that came before the cut-off it is too
            old.
    """

    center_id: str
    because_of: Callable[[SubjectKind, str], str | None]
    cutoff: datetime | None = None
    is_held: Callable[[SubjectKind, str], bool] = lambda _kind, _identity: False
    knows_calls: bool = False
    is_young: Callable[[SubjectKind, str], bool] = lambda _kind, _identity: False
    takes_undated: bool = True


@dataclass(frozen=True, slots=True)
class Ledger:
    """The file's content.

    Attributes:
        mark: Of the file it was read from.
        cutoffs: By center, before when nothing created is taken any more.
        holds: What is under a legal hold.
        held: Hashes of what is taken all the same: those incidents, and what is linked to them.
    """

    key: bytes = field(repr=False)
    mark: Mark
    erasures: tuple[Erasure, ...] = ()
    cutoffs: Mapping[str, datetime] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    held: frozenset[str] = frozenset()

    @property
    def unfinished(self) -> tuple[Erasure, ...]:
        """Return the erasures that were begun and are not done."""
        return tuple(one for one in self.erasures if one.erased_at is None)

    def subject_hash(self, center_id: str, kind: SubjectKind, identity: str) -> str:
        """Return the hash by which a call is known here."""
        return _hash(self.key, center_id, kind, identity)

    def forgotten(self, center_id: str) -> Forgotten | None:
        """Return what of a center is not taken any more; None where everything is."""
        hashes = {one.subject_hash: one.erasure_id for one in self.erasures if one.center_id == center_id}
        cutoff = self.cutoffs.get(center_id)
        if not hashes and cutoff is None:
            return None

        def because_of(kind: SubjectKind, identity: str) -> str | None:
            return hashes.get(_hash(self.key, center_id, kind, identity)) if hashes else None

        def is_held(kind: SubjectKind, identity: str) -> bool:
            return bool(self.held) and _hash(self.key, center_id, kind, identity) in self.held

        return Forgotten(center_id, because_of, cutoff, is_held)

    def with_erasures(self, erasures: Sequence[Erasure]) -> Ledger:
        """Return it with erasures added; one of the same id and subject is replaced."""
        by_key = {(one.erasure_id, one.subject_hash): one for one in (*self.erasures, *erasures)}
        return replace(self, erasures=tuple(by_key.values()))

    def with_cutoff(self, center_id: str, cutoff: datetime) -> Ledger:
        """Return it with a center's cut-off moved on; it never moves back."""
        known = self.cutoffs.get(center_id)
        moved = cutoff if known is None else max(known, cutoff)
        return replace(self, cutoffs={**self.cutoffs, center_id: moved})


def _hash(key: bytes, center_id: str, kind: SubjectKind, identity: str) -> str:
    values = [value.encode("utf-8", "surrogatepass") for value in (center_id, kind, identity)]
    return hmac.digest(key, b"".join(b"%d:%b," % (len(value), value) for value in values), "sha256").hex()


def path_of(lake_dir: Path) -> Path:
    """Return where a lake's ledger lies."""
    return lake_dir / NAME


def mark_of(lake_dir: Path) -> Mark:
    """Return what tells the file's state from any other; it costs one look at the folder."""
    try:
        status = path_of(lake_dir).stat()
    except FileNotFoundError:
        return NO_FILE
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def read(lake_dir: Path) -> Ledger:
    """Return what the file says; it is read again only after it was replaced.

    Raises:
        LakeError: It cannot be read.
    """
    return _read(lake_dir, mark_of(lake_dir))


@lru_cache(maxsize=8)
def _read(lake_dir: Path, mark: Mark) -> Ledger:
    if mark == NO_FILE:
        return Ledger(secrets.token_bytes(32), mark)
    try:
        content = orjson.loads(path_of(lake_dir).read_bytes())
        if content["layout"] != _LAYOUT:
            raise LakeError(
                f"{path_of(lake_dir)} was written by a newer version of dispatchlake. Upgrade dispatchlake."
            )
        return Ledger(
            bytes.fromhex(content["key"]),
            mark,
            tuple(_from_json(one) for one in content["erasures"]),
            {center_id: datetime.fromisoformat(at) for center_id, at in content["cutoffs"].items()},
            # A file of an older version has none: `reconciled` finds them in the catalog.
            tuple(_hold_from_json(one) for one in content.get("holds", ())),
            frozenset(content["held"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"The list of what was erased cannot be read: {path_of(lake_dir)} ({type(error).__name__}). "
            "Without it erased calls would come back, so nothing is loaded. Put it back from a backup, or "
            "move it away: the next load writes it again from the catalog."
        ) from error


def _from_json(content: dict[str, Any]) -> Erasure:
    erased_at = content["erased_at"]
    instants = {
        "begun_at": datetime.fromisoformat(content["begun_at"]),
        "erased_at": None if erased_at is None else datetime.fromisoformat(erased_at),
    }
    return Erasure(**{**content, **instants})


def _hold_from_json(content: dict[str, Any]) -> Hold:
    return Hold(**{**content, "held_at": datetime.fromisoformat(content["held_at"])})


def write(lake_dir: Path, ledger: Ledger) -> Ledger:
    """Replace the file, whole or not at all, and return the ledger as read from it.

    The caller holds the commit lock, and read the ledger after taking it.
    """
    path = path_of(lake_dir)
    content = {
        "layout": _LAYOUT,
        "key": ledger.key.hex(),
        "erasures": [asdict(one) for one in ledger.erasures],
        "cutoffs": {center_id: at.isoformat() for center_id, at in ledger.cutoffs.items()},
        "holds": [asdict(one) for one in ledger.holds],
        "held": sorted(ledger.held),
    }
    write_private(path, orjson.dumps(content))
    return read(lake_dir)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file of its owner's alone by another content, on the disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # of one that was killed
    catalog_file.create_private(partial)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    catalog_file.sync(path.parent)


def as_row(erasure: Erasure) -> list[object]:
    """Return the erasure as a row of the table."""
    return [
        *(erasure.erasure_id, erasure.center_id, erasure.kind, erasure.subject_hash, erasure.reason),
        *(erasure.requested_by, erasure.begun_at, erasure.erased_at),
        orjson.dumps(dict(erasure.counts)).decode(),
    ]


def from_row(row: Sequence[Any]) -> Erasure:
    """Return the erasure that a row of the table is."""
    names = [one.name for one in fields(Erasure)]
    return Erasure(**{**dict(zip(names, row, strict=True)), "counts": orjson.loads(row[-1])})
