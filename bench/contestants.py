"""Who takes part in the throughput race: what each does, where it runs and where its rows land."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.environments import Environment
from bench.verification import Landed

FLOOR = "floor"
TYPED = "dlt-typed"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to land the listings.

    Attributes:
        does: What it does, in a few words, for the command's help.
        options: For its runner.
    """

    name: str
    does: str
    module: str
    landed: Landed
    environment: Environment = "own"
    options: dict[str, Any] = field(default_factory=dict)


_FILES = Landed("parquet", "*.{resource}.parquet")
_DLT_FILES = Landed("parquet", "landed/bench/{resource}/*.parquet")
_DLT_DATABASE = Landed("duckdb", "landed.duckdb")

CONTESTANTS: tuple[Contestant, ...] = (
    Contestant(FLOOR, "httpx, orjson, Arrow, Parquet; nothing else", "floor", _FILES),
    Contestant("ours", "archive, types, versions, commit, cell by cell", "library", Landed("lake", "lake")),
    Contestant(
        "ours-threads",
        "the same, all centers at once, as the flow does",
        "library",
        Landed("lake", "lake"),
        options={"at_once": 8},
    ),
    Contestant("ours-flow", "the whole ingest flow, Prefect included", "flow", Landed("lake", "lake")),
    Contestant("plain-loop", "requests, pandas, times parsed, Parquet", "plain_loop", _FILES, "peers"),
    Contestant(
        "dlt-arrow", "dlt, Arrow tables made by hand, Parquet", "dlt_pipeline", _DLT_FILES, "peers",
        {"form": "arrow"},
    ),
    Contestant(
        "dlt-parquet", "dlt rest_api, types inferred, Parquet", "dlt_pipeline", _DLT_FILES, "peers",
        {"form": "parquet"},
    ),
    Contestant(
        TYPED, "dlt rest_api, columns declared, DuckDB, appended", "dlt_pipeline", _DLT_DATABASE, "peers",
        {"form": "typed"},
    ),
    Contestant(
        "dlt-merge", "the same, merged by key", "dlt_pipeline", _DLT_DATABASE, "peers", {"form": "merge"}
    ),
)  # fmt: skip
