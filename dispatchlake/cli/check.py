"""`dispatchlake check`: log in, read one page, probe paging and filters, say what to fix."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.markup import escape

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.terminal import console, waiting
from dispatchlake.settings import load_settings

if TYPE_CHECKING:  # the lake's packages take a while to import: not for --help
    from dispatchlake.check import Report


def check(*centers: str, save: bool = False) -> None:
    """Try dispatch centers: log in, read a page, find out how listings page and which filter works.

    A few requests each; nothing is landed. Exit status 1 if any of them cannot be read.

    Args:
        centers: Ids of the centers to try; every registered one if none is given.
        save: Write what was seen to work into the centers' configuration.
    """
    settings = load_settings()
    with prefect_api(settings):
        from dispatchlake.check import check_center
        from tasks.centers import choose_centers, load_blocks, load_center, save_center

        reports: list[Report] = []
        unsaved = False
        for center_id in choose_centers(centers, load_blocks()):
            center = load_center(center_id)
            with waiting(f"Trying {center_id} ..."):
                found = check_center(center, settings)
            for report in found:
                _show(report)
            reports += found
            proposals = {r.resource: r.proposal for r in found if r.proposal is not None}
            if proposals and save:
                save_center(center.model_copy(update={"resources": center.resources | proposals}))
                console.print(f"Saved what was found: {', '.join(proposals)} of {center_id}.")
            unsaved = unsaved or bool(proposals and not save)
    good = sum(report.is_good for report in reports)
    console.print(f"\n[bold]{good} of {len(reports)} listings can be read.[/]")
    if unsaved:
        console.print("Write what was seen to work into the configuration: dispatchlake check --save")
    if good < len(reports):
        sys.exit(1)


def _show(report: Report) -> None:
    console.print(f"\n[bold]{report.center_id} {report.resource}[/]")
    for finding in report.findings:
        mark = "[green]ok  [/]" if finding.is_good else "[red]bad [/]"
        console.print(f"  {mark} {finding.subject:<8} {escape(finding.text)}", soft_wrap=True)
        if finding.advice:
            console.print(f"{'':<16}[yellow]{escape(finding.advice)}[/]", soft_wrap=True)
