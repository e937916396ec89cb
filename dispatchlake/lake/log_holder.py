"""The catalog's write-ahead log, held in place for as long as a process writes to the lake.

SQLite removes the log when its last connection closes. DuckDB has one for each transaction, so between two
of them the log is often gone, and whoever comes while it is removed or made anew has to wait: DuckDB's
SQLite is built to wait for whole seconds. Of 40 quiet cells, eight at once, three or four did so, with the
lake's lock in hand. A process of its own, because of the two copies of SQLite (see `sqlite_script`), has the
file open and reads nothing: then no log is removed, and none is kept from being written back.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

from dispatchlake.lake.catalog_file import script_command
from dispatchlake.lake.in_common import InCommon

logger = logging.getLogger(__name__)


def hold(catalog: Path) -> Callable[[], None]:
    """Hold the log of a catalog until what is returned is called; several holds share one process."""
    _, let_go = _HOLDERS.enter(catalog)
    return let_go


def _begin(catalog: Path) -> subprocess.Popen[bytes]:
    # It ends when its standard input does, however this process ends.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and script
        script_command("hold", catalog),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _end(catalog: Path, holder: subprocess.Popen[bytes]) -> None:
    _, complaint = holder.communicate()
    if holder.returncode:
        reason = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        logger.warning("The log of %s was not held, so commits may have waited: %s", catalog, reason)


_HOLDERS = InCommon(_begin, _end)
