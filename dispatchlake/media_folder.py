"""The folder of media files: each below its center, named by a hash; what is fetched half lies beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def remove_media(media_dir: Path, names: Iterable[str]) -> int:
    """Remove media files by their names below the folder of them; return how many files that were."""
    files = find_media(media_dir, names)
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def find_media(media_dir: Path, names: Iterable[str]) -> list[Path]:
    """Return the media files of these names that are there, and what is fetched half of them beside."""
    wanted = {media_dir / name for name in names}
    return [
        path
        for folder in sorted({one.parent for one in wanted})
        if folder.is_dir()
        for path in sorted(folder.iterdir())  # once: a center has many files
        if folder / path.name.partition(".")[0] in wanted  # no hash has a dot
    ]
