"""Trying one dispatch center as a Prefect task, and the page it leaves in the UI; nothing is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from dispatchlake import check, redaction
from dispatchlake.check import Finding, Report
from dispatchlake.errors import DispatchLakeError
from dispatchlake.settings import load_settings
from tasks.centers import load_center


@task(task_run_name="{center_id}")
def check_center(center_id: str) -> State[Any]:
    """Try one center.

    Not tried again minutes later, as a load is: what fails now is the finding, and the next hour tries again.

    Returns:
        Completed with its reports as its data, Failed with them where a listing cannot be read, or Failed
        with the error where nothing could be tried.
    """
    redaction.install()
    logger = get_run_logger()
    try:
        reports = check.check_center(load_center(center_id), load_settings())
    except DispatchLakeError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence is the message; a traceback adds nothing
        return Failed(message=str(error), data=error)
    for report in reports:
        for finding in report.findings:
            say = logger.info if finding.is_good else logger.error
            say("%s: %s", report.resource, _sentence(finding))
    good = sum(report.is_good for report in reports)
    state = Completed if good == len(reports) else Failed
    return state(message=f"{good} of {len(reports)} listings can be read", data=reports)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How the check of one center ended.

    Attributes:
        reports: What was found out, per listing; empty when nothing could be tried.
        failure: The sentence to show where nothing could be tried, or "".
    """

    center_id: str
    reports: tuple[Report, ...]
    failure: str = ""

    @classmethod
    def of(cls, center_id: str, state: State[Any]) -> CheckResult:
        """Return how the task run of a center ended, from its final state."""
        data = state.result(raise_on_failure=False)
        if isinstance(data, list):
            return cls(center_id, tuple(cast("list[Report]", data)))
        return cls(center_id, (), state.message or "It failed; its log says more.")

    @property
    def error(self) -> str:
        """Return what stands in the way of reading the center, or "" when nothing does."""
        bad = [
            f"{report.resource}: {_sentence(finding)}"
            for report in self.reports
            for finding in report.findings
            if not finding.is_good
        ]
        return self.failure or " ".join(bad)


def check_headline(results: Sequence[CheckResult]) -> str:
    """Return the run in one sentence: how many centers can be read, and which cannot."""
    bad = [result.center_id for result in results if result.error]
    sentence = f"{len(results) - len(bad)} of {len(results)} centers can be read"
    return f"{sentence}. Not: {', '.join(bad)}" if bad else sentence


def check_table(results: Sequence[CheckResult]) -> str:
    """Return the run as Markdown: one row per listing, below it what is wrong and what could be better."""
    lines = ["| center | listing | can be read |", "| --- | --- | --- |"]
    wrong: list[str] = []
    advice: list[str] = []
    for result in results:
        if result.failure:
            lines.append(f"| {result.center_id} |  | **no** |")
            wrong.append(f"- **{result.center_id}**: {result.failure}")
        for report in result.reports:
            lines.append(
                f"| {report.center_id} | {report.resource} | {'yes' if report.is_good else '**no**'} |"
            )
            for finding in report.findings:
                line = f"- **{report.center_id} {report.resource}**, {finding.subject}: {_sentence(finding)}"
                if not finding.is_good:
                    wrong.append(line)
                elif finding.advice:
                    advice.append(line)
    if wrong:
        lines += ["", "What is wrong, and what to do:", "", *wrong]
    if advice:
        lines += ["", "What could be better:", "", *advice]
    if any(report.proposal for result in results for report in result.reports):
        lines += ["", "Nothing was changed. To write what was seen to work: `dispatchlake check --save`"]
    return "\n".join(lines)


def _sentence(finding: Finding) -> str:
    text = finding.text if finding.text.endswith((".", "?", "!")) else f"{finding.text}."
    return f"{text[:1].upper()}{text[1:]} {finding.advice}".strip()


@task(task_run_name="summary")
def publish_checks(results: Sequence[CheckResult]) -> None:
    """Publish the run's table as the artifact `check-summary`."""
    create_markdown_artifact(check_table(results), key="check-summary", description=check_headline(results))
