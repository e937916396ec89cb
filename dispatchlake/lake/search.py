"""Whether texts are anywhere below a folder, in every byte: `python -m dispatchlake.lake.search`.

Every file is searched as it lies on the disk; Parquet also unpacked, as a reader sees it; a compressed file
unpacked; of an SQLite database also each value, which may lie in pieces. A program of its own, because a
process that closes a file loses the locks that DuckDB has on it. It is told the texts on standard input and
answers which of them, by number, is in which file, and never what they say.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import mmap
import os
import sqlite3
import subprocess
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dispatchlake.errors import LakeError

_SQLITE = b"SQLite format 3\0"
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Searched:
    """What was searched and what was found.

    Attributes:
        files: Files searched, of which `parquet` and `databases` were unpacked too; and their bytes.
        found: Path below the folder, and number of the text that is in it.
        unread: Paths of files that could not be read.
    """

    files: int
    bytes: int
    parquet: int
    databases: int
    found: tuple[tuple[str, int], ...]
    unread: tuple[str, ...]


def search(root: Path, texts: Sequence[str], *, leaving_out: Iterable[Path] = ()) -> Searched:
    """Search every file below a folder for texts, in a process of its own.

    Raises:
        LakeError: It could not be done.
    """
    question = {
        "root": str(root),
        "texts": [base64.b64encode(text.encode("utf-8", "surrogatepass")).decode() for text in texts],
        "leaving_out": [str(path) for path in leaving_out],
    }
    ended = subprocess.run(
        [sys.executable, "-m", "dispatchlake.lake.search"],
        input=orjson.dumps(question),
        capture_output=True,
        check=False,
    )
    if ended.returncode:
        kind = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2].partition(":")[0]
        raise LakeError(f"{root} could not be searched ({kind}).")
    answer: dict[str, Any] = orjson.loads(ended.stdout)
    return Searched(
        **answer | {"found": tuple(map(tuple, answer["found"])), "unread": tuple(answer["unread"])}
    )


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    root = Path(question["root"])
    texts = [base64.b64decode(text) for text in question["texts"]]
    left_out = {Path(path) for path in question["leaving_out"]}
    counts = {"files": 0, "bytes": 0, "parquet": 0, "databases": 0}
    found: set[tuple[str, int]] = set()
    unread: list[str] = []
    for path in _iter_files(root, left_out):
        name = str(path.relative_to(root))
        found |= {(name, number) for number, text in enumerate(texts) if text in os.fsencode(name)}
        try:
            hits, kind = _search_file(path, texts)
        except FileNotFoundError:  # gone meanwhile
            continue
        except (OSError, sqlite3.Error, pa.ArrowException, EOFError):
            unread.append(name)
            continue
        found |= {(name, number) for number in hits}
        counts["files"] += 1
        with contextlib.suppress(FileNotFoundError):
            counts["bytes"] += path.stat().st_size
        if kind:
            counts[kind] += 1
    return {**counts, "found": sorted(found), "unread": unread}


def _iter_files(root: Path, left_out: set[Path]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [one for one in folders if Path(folder, one) not in left_out]
        for name in names:
            path = Path(folder, name)
            if path not in left_out and path.is_file():
                yield path


def _search_file(path: Path, texts: Sequence[bytes]) -> tuple[set[int], str]:
    """Return the numbers of the texts in a file, and as what it was unpacked; "" if as nothing."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return set(), ""
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = {number for number, text in enumerate(texts) if content.find(text) >= 0}
            head = content[:16]
    if head[:4] == b"PAR1":
        return found | _search_parquet(path, texts), "parquet"
    if head == _SQLITE:
        return found | _search_database(path, texts), "databases"
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as unpacked:
            return found | _search_stream(iter(lambda: unpacked.read(1 << 20), b""), texts), ""
    if head[:4] == b"\x28\xb5\x2f\xfd":
        with pa.input_stream(str(path), compression="zstd") as unpacked:
            return found | _search_stream(iter(lambda: unpacked.read(1 << 20), b""), texts), ""
    return found, ""


def _search_stream(parts: Iterable[bytes], texts: Sequence[bytes]) -> set[int]:
    longest = max(map(len, texts), default=1)
    found: set[int] = set()
    rest = b""
    for part in parts:
        window = rest + part
        found |= {number for number, text in enumerate(texts) if text in window}
        rest = window[-longest:]
    return found


def _search_parquet(path: Path, texts: Sequence[bytes]) -> set[int]:
    found: set[int] = set()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS):
            for column in batch.columns:
                for content in _contents(column):
                    found |= {number for number, text in enumerate(texts) if text in content}
    return found


def _contents(array: pa.Array) -> Iterator[bytes]:
    """Yield the bytes of all texts in a column, one after the other."""
    if pa.types.is_dictionary(array.type):
        yield from _contents(array.dictionary)
    elif pa.types.is_nested(array.type):
        for child in array.flatten() if pa.types.is_struct(array.type) else [array.flatten()]:
            yield from _contents(child)
    elif pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        data = array.buffers()[2]
        yield b"" if data is None else data.to_pybytes()
    elif pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type):
        yield from _contents(array.cast(pa.binary()))


def _search_database(path: Path, texts: Sequence[bytes]) -> set[int]:
    name = urllib.parse.quote(str(path))
    found: set[int] = set()
    with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=30)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for column in database.execute(f'PRAGMA table_info("{table}")').fetchall():
                hits = ", ".join(f'max(instr(CAST("{column[1]}" AS BLOB), ?) > 0)' for _ in texts)
                (row,) = database.execute(f'SELECT {hits} FROM "{table}"', texts).fetchall()
                found |= {number for number, hit in enumerate(row) if hit}
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(_answer(orjson.loads(sys.stdin.buffer.read()))))
