"""Which version of this program is running: the package's, and the commit where it runs from a clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dispatchlake

_LONGEST_S = 10.0


def find_version(clone: Path = Path(__file__).parents[1]) -> str:
    """Return the version, such as 0.1.0+42d5291, and with `.dirty` where files differ from the commit.

    Outside a clone, and where git is missing or refuses, the package's version stands alone.
    """
    if not (clone / ".git").exists():  # never the commit of a repository that we merely lie in
        return dispatchlake.__version__
    try:
        commit = _git(clone, "rev-parse", "--short", "HEAD")
        is_dirty = bool(_git(clone, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return dispatchlake.__version__
    return f"{dispatchlake.__version__}+{commit}{'.dirty' if is_dirty else ''}"


def build_step() -> dict[str, str]:
    """Return the version as a build step of `prefect.yaml` gives it to the deployments."""
    return {"version": find_version()}


def _git(clone: Path, *arguments: str) -> str:
    command = ["git", "-C", str(clone), *arguments]
    return subprocess.run(  # noqa: S603 - fixed arguments
        command, capture_output=True, text=True, check=True, timeout=_LONGEST_S
    ).stdout.strip()
