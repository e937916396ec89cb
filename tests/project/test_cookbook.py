"""The cookbook's very blocks are run: SQL and pandas must agree, and say what the page prints.

After a change of the sample or of a question: DISPATCHLAKE_KEEP_ANSWERS=1, and the page is written anew from
the SQL. Look at what has changed before it is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import dispatchlake
from dispatchlake.settings import Settings

pytestmark = pytest.mark.xdist_group("demo")

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"
TEXT = PAGE.read_text()

QUESTIONS = {
    title: (sql, python, answer)
    for title, sql, python, answer in re.findall(
        r"^## (\d+\. .*?)\n.*?^```sql\n(.*?)^```\n\n```python\n(.*?)^```\n\n```text\n(.*?)^```",
        TEXT,
        re.MULTILINE | re.DOTALL,
    )
}
(PREPARATION,) = re.findall(r"^```python\n(import.*?)^```", TEXT, re.MULTILINE | re.DOTALL)

KEEP_ANSWERS = os.environ.get("DISPATCHLAKE_KEEP_ANSWERS", "") not in {"", "0"}


@pytest.fixture(scope="module")
def _at_home(demo_settings: Settings) -> Iterator[None]:
    """Both answers ask the lake that a person asks who names none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPATCHLAKE_DATA_DIR", str(demo_settings.data_dir))
        yield


@pytest.fixture(scope="module")
def names(_at_home: None) -> dict[str, Any]:
    """What the page's first Python block leaves behind."""
    names: dict[str, Any] = {}
    exec(PREPARATION, names)
    return names


@pytest.fixture(scope="module")
def lake(_at_home: None) -> Iterator[duckdb.DuckDBPyConnection]:
    with dispatchlake.connect() as lake:
        yield lake


def printed(frame: pd.DataFrame) -> str:
    """Return an answer as the page has it."""
    lines = frame.to_string(index=False).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def plain(frame: pd.DataFrame) -> list[list[Any]]:
    """Return an answer's rows in values that do not tell which library they are from."""
    return [[_plain(value) for value in row] for row in frame.itertuples(index=False)]


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return pd.Timestamp(value)
    return value.item() if hasattr(value, "item") else value


def test_there_are_fifteen_questions() -> None:
    assert [int(title.split(".")[0]) for title in QUESTIONS] == list(range(1, 16))
    assert TEXT.count("```sql") == TEXT.count("```text") == len(QUESTIONS)


@pytest.mark.parametrize("title", QUESTIONS)
def test_sql_pandas_and_the_page_agree(
    title: str, names: dict[str, Any], lake: duckdb.DuckDBPyConnection
) -> None:
    sql, python, answer = QUESTIONS[title]

    by_sql = lake.sql(sql).to_arrow_table().to_pandas()
    own = dict(names)
    exec(python, own)
    by_pandas = own["answer"]

    assert list(by_sql.columns) == list(by_pandas.columns)
    assert len(by_sql) > 0
    assert plain(by_sql) == plain(by_pandas)
    if KEEP_ANSWERS:
        before = PAGE.read_text()
        PAGE.write_text(
            before.replace(f"{python}```\n\n```text\n{answer}", f"{python}```\n\n```text\n{printed(by_sql)}")
        )
    else:
        assert printed(by_sql) == answer
