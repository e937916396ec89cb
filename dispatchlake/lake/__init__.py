"""Records in, DuckLake out: everything that touches DuckDB, Arrow and Parquet."""

from dispatchlake.lake.archive import ArchivedPage
from dispatchlake.lake.bookkeeping import Cell, Failure, LoadSummary
from dispatchlake.lake.centers import CenterFacts
from dispatchlake.lake.column_records import ColumnDecoder
from dispatchlake.lake.lake import Lake, open_existing_lake, open_lake
from dispatchlake.lake.media_files import ExpiredMedia, MediaAnswer, MediaLink, MediaOutcome, MediaState
from dispatchlake.lake.preview import RecordsPreview, preview_records
from dispatchlake.lake.quality import CheckFigures
from dispatchlake.lake.replay import ReplaySummary
from dispatchlake.lake.selected_pages import Selection

__all__ = [
    "ArchivedPage",
    "Cell",
    "CenterFacts",
    "CheckFigures",
    "ColumnDecoder",
    "ExpiredMedia",
    "Failure",
    "Lake",
    "LoadSummary",
    "MediaAnswer",
    "MediaLink",
    "MediaOutcome",
    "MediaState",
    "RecordsPreview",
    "ReplaySummary",
    "Selection",
    "open_existing_lake",
    "open_lake",
    "preview_records",
]
