"""Questions in SQL, as people ask them: answered, or refused before anything is run.

Whatever else a statement is, DuckDB runs it at once, and read-only means the lake alone: it would write files
and open other databases. So would some functions of a SELECT.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import duckdb

from dispatchlake.errors import LakeError
from dispatchlake.lake.sql import named_data_file, quoted

_REFUSED = (
    "The query has no answer, and nothing was run: it is not a SELECT, FROM, VALUES, WITH, SHOW, DESCRIBE, "
    "SUMMARIZE, PIVOT, or an EXPLAIN of one, and the lake is read-only here. Answers go to files by "
    "dispatchlake export."
)
_SEVERAL = "One question is to be asked here, and these are several: nothing was run. Ask them one by one."

_NO_QUESTIONS = re.compile(
    r"query|json_execute_serialized_sql"  # whose text is looked at by nobody
    r"|sqlite_(scan|attach|query)"
    r"|(force_)?checkpoint|(enable|disable)_logging|truncate_duckdb_logs"
    r"|(ducklake_)?(add_data_files|cleanup_old_files|commit|delete_orphaned_files|expire_snapshots"
    r"|flush_inlined_data|merge_adjacent_files|rewrite_data_files|set_commit_message|set_option)",
    re.IGNORECASE,
)
"""Functions that do more than answer. `ducklake_cleanup_old_files` removes files of a lake that is attached
read-only, and a checkpoint writes some (DuckLake 1.5.5)."""

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

_OF_THE_QUERY = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.NotImplementedException,
    duckdb.PermissionException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.TransactionException,
)
"""Errors that know names, files and the query, and nothing of a row."""

_WITHOUT_A_VALUE = re.compile(
    r"Invalid Input Error: (More than one row returned by a subquery"
    r"|The listing [a-z_]+ of center [a-z0-9-]+ has not been read whole until [0-9 :+.-]+\. See ).*",
    re.DOTALL,
)
"""Others that are of use and show nothing of a row; the second is our own `require_complete`'s."""

_PLACE = re.compile(r"(?: when casting from source column (\w+))?\n\n(LINE \d+: .*\n *\^)$")
"""What DuckDB says last of all, after whatever it quotes: the column, and the query as it reads it."""


def close_files(connection: duckdb.DuckDBPyConnection, *folders: Path) -> None:
    """Let questions see the files of these folders, and no others, nor what this program holds; for good."""
    listed = ", ".join(quoted(f"{folder}/") for folder in folders)
    connection.execute("SET GLOBAL python_enable_replacements = false")
    connection.execute(f"SET GLOBAL allowed_directories = [{listed}]")
    connection.execute("SET GLOBAL enable_external_access = false")


def answer(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """Return a question's answer, not yet computed.

    Raises:
        LakeError: It is none, or several.
    """
    statements = _questions(connection, sql)
    if sum(map(_is_question, statements)) > 1:
        raise LakeError(_SEVERAL)
    (relation,) = _answers(connection, statements)
    return relation


def answers(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[duckdb.DuckDBPyRelation]:
    """Yield the answer of each question, once the one before has been shown.

    Raises:
        LakeError: One of them is none: then no other is asked either.
    """
    return _answers(connection, _questions(connection, sql))


def _answers(
    connection: duckdb.DuckDBPyConnection, statements: Sequence[duckdb.Statement]
) -> Iterator[duckdb.DuckDBPyRelation]:
    for statement in statements:
        relation = connection.sql(statement)
        if relation is not None:
            yield relation


def _questions(connection: duckdb.DuckDBPyConnection, sql: str) -> list[duckdb.Statement]:
    """Return what is to be run for questions, and nothing else."""
    statements = connection.extract_statements(sql)
    if not statements or not _is_question(statements[-1]):
        raise LakeError(_REFUSED)
    for statement in statements:
        # A PIVOT makes a type of the values it finds first: a statement of DuckDB's own, which has no text.
        is_of_pivot = statement.type == duckdb.StatementType.CREATE and not statement.query
        if not is_of_pivot and not _is_question(statement):
            raise LakeError(_REFUSED)
        if statement.type == duckdb.StatementType.EXPLAIN and not _explains(connection, statement.query):
            raise LakeError(_REFUSED)
    for name, after in pairwise(_words(sql)):
        if after.startswith("(") and _NO_QUESTIONS.fullmatch(name.strip('"')):
            raise LakeError(f"The query has no answer, and nothing was run: {name} does more than answer.")
    return statements


def _is_question(statement: duckdb.Statement) -> bool:
    return statement.type in {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}


def _explains(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Say whether an EXPLAIN is of a question: with ANALYZE it runs what it explains."""
    content = text.encode()
    for start, _ in duckdb.tokenize(text)[1:]:  # the first from which on it is a statement
        with contextlib.suppress(duckdb.ParserException):
            explained = connection.extract_statements(content[start:].decode())
            return [one.type for one in explained] == [duckdb.StatementType.SELECT]
    return False


def _words(sql: str) -> list[str]:
    """Return a query's words, without its comments."""
    content = sql.encode()  # DuckDB counts bytes
    starts = [start for start, _ in duckdb.tokenize(sql)]
    parts = (content[start:end].decode() for start, end in pairwise([*starts, len(content)]))
    return [_COMMENT.sub(" ", part).strip() for part in parts]


@contextlib.contextmanager
def own_words() -> Iterator[None]:
    """Pass DuckDB's own words on where they are about the query, which the person reading them wrote.

    Of an error about a row only its kind and its place in the query are passed on: a log may be read by
    others than who may see the rows.
    """
    try:
        yield
    except _OF_THE_QUERY as error:
        raise LakeError(f"The query cannot be answered. {error}") from None
    except duckdb.Error as error:
        if _WITHOUT_A_VALUE.fullmatch(str(error)):
            raise LakeError(f"The query cannot be answered. {error}") from None
        raise LakeError(f"The query cannot be answered. {_without_value(error)}") from None


def _without_value(error: duckdb.Error) -> str:
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__.removesuffix("Exception"))
    place = _PLACE.search(str(error))
    of_column = f" of the column {place[1]}" if place and place[1] else ""
    file = named_data_file(error)
    about = f"the file {file}" if file else f"a value{of_column}, which is not shown"
    hint = " TRY_CAST makes null of what cannot be converted." * isinstance(error, duckdb.ConversionException)
    return f"{kind} error: it is about {about}.{hint}" + (f"\n\n{place[2]}" if place else "")
