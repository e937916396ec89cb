"""URLs lose their queries, in any text, in the same way by itself and in a column, and however long it is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.lake.url_queries import column_without_queries, without_queries
from tests.lake.scripts import Script


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://a.example/x?sig=1", "https://a.example/x"),
        (
            "see HTTPS://a.example/x?sig=1#there, or wss://b.example?t",
            "see HTTPS://a.example/x or wss://b.example",
        ),
        ('{"url":"https://a.example/x?sig=1\\"&b","n":1}', '{"url":"https://a.example/x\\"&b","n":1}'),
        ("https://a.example/x#part?no-query", "https://a.example/x#part?no-query"),
        ("https://a.example/https://b.example/x?sig=1", "https://a.example/https://b.example/x"),
        ("why? https://a.example/x", "why? https://a.example/x"),
        ("http://?sig=1", "http://?sig=1"),
        ("a?b", "a?b"),
    ],
)
def test_what_is_a_query_goes_and_the_rest_stays(text: str, kept: str) -> None:
    assert without_queries(text) == kept


PIECES = ["http://", "https://", "WS://", "a", "?", "#", '"', "\\", " ", "<", "/", "&", "é", "\n", "=x"]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_a_column_says_the_same_as_each_text(text: str) -> None:
    assert column_without_queries(pa.array([text, None, text])).to_pylist() == [
        without_queries(text),
        None,
        without_queries(text),
    ]


ENDLESS = """
from dispatchlake.lake.url_queries import without_queries

for piece in ("http://", "https://a ", "wss://a#", "?", "http://a?", "https"):
    text = "? " + piece * 500_000
    without_queries(text)
    print(len(text), flush=True)
"""


def test_no_text_keeps_us_busy() -> None:
    """Whoever can deliver to us, or is a center's API, sends what it likes; looked through anew from each
    of its URLs, a text takes hours."""
    with Script(ENDLESS) as script:
        script.finish()
