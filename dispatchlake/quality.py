"""Whether what came last is worse than usual: judged by how many records fail each check. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dispatchlake.lake.quality import RECENT_DAYS, USUAL_DAYS, CheckFigures

LEAST_RECORDS = 20
"""Without so many records in the last days, and before them, a share says nothing."""

LEAST_FAILED = 5
LEAST_SHARE = 0.01
"""A check that has not failed before is told of from so many failures, and this share of the records, on."""

TIMES_USUAL = 2
POINTS_MORE = 0.05
"""One that fails at times is told of when it fails so many times as often, and for so much more of them."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A check that fails more often than it used to: names and numbers, and never anything of a record.

    Attributes:
        what: Table and check, as `cad_incidents.no_coordinates`.
        why: The figures, in a sentence.
    """

    center_id: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Quality:
    """What a run found of the records of the centers that it brought something new of.

    Attributes:
        checked: Those centers; of any other nothing is known, and nothing is over.
    """

    checked: frozenset[str] = frozenset()
    doubts: tuple[Doubt, ...] = ()


UNCHECKED = Quality()
"""Nothing was looked at."""


def judge_quality(checked: Iterable[str], figures: Iterable[CheckFigures]) -> Quality:
    """Return which checks fail more often than usual."""
    doubts = tuple(
        Doubt(one.center_id, f"{one.table_name}.{one.check_name}", _why(one))
        for one in figures
        if _is_worse(one)
    )
    return Quality(frozenset(checked), doubts)


def _is_worse(one: CheckFigures) -> bool:
    if min(one.records, one.usual_records) < LEAST_RECORDS or one.failed < LEAST_FAILED:
        return False
    share, usual = one.failed / one.records, one.usual_failed / one.usual_records
    if not one.usual_failed:
        return share >= LEAST_SHARE
    return share >= TIMES_USUAL * usual and share - usual >= POINTS_MORE


def _why(one: CheckFigures) -> str:
    share, usual = one.failed / one.records, one.usual_failed / one.usual_records
    return (
        f"{one.failed:,} of {one.records:,} records of the last {RECENT_DAYS} days ({share:.0%}); in the "
        f"{USUAL_DAYS} days before, {usual:.0%}."
    )
