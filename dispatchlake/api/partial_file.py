"""A file while it is downloaded: gone on from later, and seen by others only when it is whole."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file that is whole and on the disk."""

    path: Path
    size_bytes: int
    sha256: str


class PartialFile:
    """What there is of a file until it is whole, and the tag by which the host knows that content."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f"{target.name}.part")
        self._tag_path = target.with_name(f"{target.name}.tag")

    @property
    def size_bytes(self) -> int:
        """Return how much there is."""
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def tag(self) -> str:
        """Return the host's tag of it; empty if there is none, so that it cannot be gone on from."""
        return self._tag_path.read_text() if self._tag_path.exists() else ""

    def writing(self, start: int, tag: str) -> _Writing:
        """Return a context in which the rest is written; a weak tag tells nothing about bytes."""
        if not start:
            self.discard()
            if tag and not tag.startswith("W/"):
                _write_private(self._tag_path, tag.encode())
        return _Writing(self._path)

    def finish(self) -> MediaFile:
        """Make it the file; whoever sees the file sees it whole."""
        with self._path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = self.size_bytes
        self._path.replace(self._target)
        self._tag_path.unlink(missing_ok=True)
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return MediaFile(self._target, size_bytes, sha256)

    def discard(self) -> None:
        """Begin anew."""
        self._path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)


class _Writing:
    """Appends to a file of its owner's alone, on the disk when the context ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    def write(self, chunk: bytes) -> None:
        """Append."""
        self._file.write(chunk)


def _write_private(path: Path, content: bytes) -> None:
    with _Writing(path) as file:
        file.write(content)
