"""What a backfill is to read, and in which order: pure planning of center x resource x slice of days."""

from dispatchlake.backfill.days import DaysAre, Slice, cut_days
from dispatchlake.backfill.lanes import Lanes
from dispatchlake.backfill.planning import GridCell, Mode, Plan, Reading, Request, Source, plan_backfill

__all__ = [
    "DaysAre",
    "GridCell",
    "Lanes",
    "Mode",
    "Plan",
    "Reading",
    "Request",
    "Slice",
    "Source",
    "cut_days",
    "plan_backfill",
]
