"""What a run shows in the Prefect UI: one table, numbers and sentences, never a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State

from dispatchlake.lake import LoadSummary, ReplaySummary
from dispatchlake.pauses import Failing
from tasks.cells import CellName
from tasks.replays import replay_outcome


@dataclass(frozen=True, slots=True)
class CellResult:
    """How one cell ended.

    Attributes:
        summary: What was landed, or None when the cell failed.
        error: The sentence to show, or "" when it landed.
        is_resting: Whether it was not even tried.
    """

    cell: CellName
    summary: LoadSummary | None
    error: str = ""
    is_resting: bool = False

    @classmethod
    def of(cls, cell: CellName, state: State[Any]) -> CellResult:
        """Return how the task run of a cell ended, from its final state."""
        if state.is_completed():
            return cls(cell, cast("LoadSummary", state.result()))
        return cls(cell, None, state.message or "It failed; its log says more.")

    @classmethod
    def resting(cls, cell: CellName, failing: Failing) -> CellResult:
        """Return the result of a cell that was not tried, since it failed too often lately."""
        return cls(cell, None, failing.sentence(), is_resting=True)


def headline(results: Sequence[CellResult]) -> str:
    """Return the run in one sentence: how many cells landed, what came, and which failed."""
    landed = [result.summary for result in results if result.summary is not None]
    failed = [f"{result.cell.center_id} {result.cell.resource}" for result in results if result.error]
    sentence = (
        f"{len(landed)} of {len(results)} cells landed: {sum(s.records for s in landed):,} records, "
        f"{sum(s.new for s in landed):,} new, {sum(s.changed for s in landed):,} changed"
    )
    return f"{sentence}. Failed: {', '.join(failed)}" if failed else sentence


def summary_table(results: Sequence[CellResult]) -> str:
    """Return the run as a Markdown table, one row per cell, and each failure's sentence below it."""
    lines = [
        "| center | resource | state | rows | new | changed | quarantined | unchanged | pages | seconds |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        name = f"| {result.cell.center_id} | {result.cell.resource} "
        if (s := result.summary) is None:
            state = "**resting**" if result.is_resting else "**failed**"
            lines.append(f"{name}| {state} |  |  |  |  |  |  |  |")
        else:
            lines.append(
                f"{name}| landed | {s.records:,} | {s.new:,} | {s.changed:,} | {s.quarantined:,} "
                f"| {s.unchanged:,} | {s.pages:,} | {s.seconds:.1f} |"
            )
    failures = [
        f"- **{result.cell.center_id} {result.cell.resource}**: {result.error}"
        for result in results
        if result.error
    ]
    return "\n".join([*lines, *(["", "What failed, and what to do:", "", *failures] if failures else [])])


@task(task_run_name="summary")
def publish_summary(table: str, sentence: str) -> None:
    """Publish the run's table and headline as the artifact `ingest-summary`.

    Texts: of results, Prefect would look through each before it begins.
    """
    create_markdown_artifact(table, key="ingest-summary", description=sentence)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """How the replay of one center ended.

    Attributes:
        summaries: What it did, per listing; empty when it failed.
        error: The sentence to show, or "" when it was replayed.
    """

    center_id: str
    summaries: tuple[ReplaySummary, ...]
    error: str = ""

    @classmethod
    def of(cls, center_id: str, state: State[Any]) -> ReplayResult:
        """Return how the task run of a center ended, from its final state."""
        if state.is_completed():
            return cls(center_id, tuple(cast("list[ReplaySummary]", state.result())))
        return cls(center_id, (), state.message or "It failed; its log says more.")


def replay_headline(results: Sequence[ReplayResult]) -> str:
    """Return the run in one sentence: how many centers were replayed, what changed, and which failed."""
    failed = [result.center_id for result in results if result.error]
    summaries = [summary for result in results for summary in result.summaries]
    sentence = f"{len(results) - len(failed)} of {len(results)} centers replayed: {replay_outcome(summaries)}"
    return f"{sentence}. Failed: {', '.join(failed)}" if failed else sentence


def replay_table(results: Sequence[ReplayResult]) -> str:
    """Return the run as a Markdown table, one row per center and listing, and below it what is left to do."""
    lines = [
        "| center | listing | pages | records | added | removed | left quarantine | set aside | unreadable |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    notes: list[str] = []
    for result in results:
        if result.error:
            lines.append(f"| {result.center_id} | **failed** |  |  |  |  |  |  |  |")
            notes.append(f"- **{result.center_id}**: {result.error}")
        for s in result.summaries:
            lines.append(
                f"| {s.center_id} | {s.resource} | {s.pages:,} | {s.records:,} | {s.added:,} | {s.removed:,} "
                f"| {s.released:,} | {s.set_aside:,} | {s.unreadable:,} |"
            )
            notes += [
                f"- **{s.center_id} {s.resource}**: {pages:,} pages left alone: {reason}."
                for reason, pages in s.reasons
            ]
    return "\n".join(
        [*lines, *(["", "What failed or was left alone, and why:", "", *notes] if notes else [])]
    )


@task(task_run_name="summary")
def publish_replay(results: Sequence[ReplayResult]) -> None:
    """Publish the run's table as the artifact `replay-summary`."""
    create_markdown_artifact(
        replay_table(results), key="replay-summary", description=replay_headline(results)
    )
