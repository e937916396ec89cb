"""Records in, DuckLake out: everything that touches DuckDB, Arrow and Parquet."""

from dispatchlake.lake.bookkeeping import Cell, Failure, LoadSummary
from dispatchlake.lake.lake import Lake, open_lake
from dispatchlake.lake.preview import RecordsPreview, preview_records
from dispatchlake.lake.replay import ReplaySummary, Selection
from dispatchlake.lake.typed_pages import TypedBatch, type_batches

__all__ = [
    "Cell",
    "Failure",
    "Lake",
    "LoadSummary",
    "RecordsPreview",
    "ReplaySummary",
    "Selection",
    "TypedBatch",
    "open_lake",
    "preview_records",
    "type_batches",
]
