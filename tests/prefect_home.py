"""A Prefect home to begin with: its database migrated once for a whole test run, and copied from then on.

Prefect's migrations take longer than all else of a server's first start, and nothing of ours is in them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from dispatchlake.cli.prefect_api import QUIET


def environment_without_prefect() -> dict[str, str]:
    """Return this process's environment without what tells Prefect where its server or database is."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


def make_migrated_home(folder: Path) -> Path:
    """Make a home in the folder that no server has used, unless another worker of this run has."""
    home = folder / "migrated-prefect"
    with FileLock(folder / "migrated-prefect.lock"):
        if not home.exists():
            begun = folder / "begun-prefect"
            begun.mkdir(mode=0o700)
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            environment = environment_without_prefect() | QUIET | {"PREFECT_HOME": str(begun)}
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            begun.rename(home)
    return home


def copy_home(migrated: Path, home: Path) -> None:
    """Give a server its home, which no server has had."""
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(migrated, home)
