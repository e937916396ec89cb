"""The log of who has read the restricted zone with our tools: written before the read, or there is no read.

One line of JSON for each read, appended to a file that is its owner's alone. It says who, when, with what,
which tables, and a hash of the statement without the values in it: not even by trying can a value be found
from it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import orjson

from dispatchlake.errors import ConfigError
from dispatchlake.folders import private_folder

FILE = "restricted.jsonl"

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_VALUES = frozenset({duckdb.token_type.string_const, duckdb.token_type.numeric_const})


@dataclass(frozen=True, slots=True)
class AccessLog:
    """The log of one restricted lake, for one tool.

    Attributes:
        folder: Where it lies, beside the lake's folder.
        lake: The folder that is read.
        tool: What reads, such as `dispatchlake sql`.
        names: All tables and views of the lake.
    """

    folder: Path
    lake: Path
    tool: str
    names: Collection[str]

    def note_session(self) -> None:
        """Note that somebody has the whole lake open: what is asked of it then, we do not see."""
        self._append(None, ["*"])

    def note(self, statement: str) -> None:
        """Note a statement that is about to be asked.

        Raises:
            ConfigError: It cannot be written down, so it must not be asked.
        """
        words = {word.lower() for word in re.findall(r"\w+", statement)}
        self._append(shape_hash(statement), sorted(name for name in self.names if name.lower() in words))

    def _append(self, statement_hash: str | None, tables: list[str]) -> None:
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": _user(),
            "uid": os.getuid(),
            "tool": self.tool,
            "lake": str(self.lake),
            "statement": statement_hash,
            "tables": tables,
        }
        path = self.folder / FILE
        try:
            private_folder(self.folder)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                line = orjson.dumps(entry) + b"\n"
                if os.write(descriptor, line) != len(line):
                    raise OSError("the disk is full")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, ConfigError) as error:
            raise ConfigError(
                f"The restricted zone is not read, because that cannot be noted in {path}: "
                f"{getattr(error, 'strerror', None) or error}. Mend that, or read the open zone."
            ) from error


def shape_hash(statement: str) -> str:
    """Return the SHA-256 of a statement without its values, comments and spacing, hexadecimal."""
    content = statement.encode()  # DuckDB counts bytes
    tokens = duckdb.tokenize(statement)
    ends = [*(start for start, _ in tokens), len(content)][1:]
    parts = [
        "?" if kind in _VALUES else " ".join(_COMMENT.sub(" ", content[start:end].decode()).split())
        for (start, kind), end in zip(tokens, ends, strict=True)
    ]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _user() -> str:
    """Return the user of this process as the system knows it; the environment may say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user of a container that has no name
        return str(os.getuid())
