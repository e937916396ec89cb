"""`dispatchlake replay`: archived pages through today's parser, without calling a center."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.markup import escape

from dispatchlake.cli.instants import parse_instant
from dispatchlake.cli.prefect_api import has_server, prefect_api
from dispatchlake.cli.terminal import console, table, waiting
from dispatchlake.model import ArchivedName
from dispatchlake.settings import Settings, load_settings

if TYPE_CHECKING:  # the lake's packages take a while to import: not for --help
    from dispatchlake.lake.replay import ReplaySummary, Resources


def replay(
    *centers: str,
    resource: list[ArchivedName] | None = None,
    received_since: str | None = None,
    received_until: str | None = None,
    quarantined: bool = False,
    declared_fields: Annotated[bool, Parameter(name="--declared-fields")] = False,
) -> None:
    """Read archived pages again with today's parser; no center is called, and repeating it changes nothing.

    Where a center is registered, its own names of fields count: they are asked from the Prefect server, the
    configured one or the local one if this installation has one.

    Args:
        centers: Ids of the centers whose pages to read; all if none is given.
        resource: Listing or webhook to read; give it again for another; all if not given.
        received_since: Only pages received since then: a day (YYYY-MM-DD, UTC) or a time with its zone.
        received_until: Only pages received before then, written alike.
        quarantined: Only pages that a quarantined record is from.
        declared_fields: Ask no server; take every center's fields to be named as declared.
    """
    from dispatchlake.lake import Selection, open_existing_lake
    from dispatchlake.lake.publishing import publish

    selection = Selection(
        center_ids=tuple(centers),
        resources=tuple(resource or ()),
        received_since=parse_instant(received_since),
        received_until=parse_instant(received_until),
        only_quarantined=quarantined,
    )
    settings = load_settings()
    with open_existing_lake(settings) as lake:
        selected = lake.selected_centers(selection)
        resources = {} if declared_fields else registered(settings, selected)
        with waiting("Reading archived pages again ..."):
            summaries = lake.replay(selection, resources)
            publish(settings)
    _show(summaries)


def registered(settings: Settings, center_ids: list[str]) -> Resources:
    """Return the listings of those of the centers that are registered; where there is no register, none."""
    if not has_server(settings):
        return {}
    with prefect_api(settings):
        from tasks.centers import load_resources

        return load_resources(center_ids)


def _show(summaries: list[ReplaySummary]) -> None:
    if not summaries:
        console.print("No archived page is selected: nothing was read.")
        return
    columns = ["", "pages", "records", "added", "removed", "left quarantine", "set aside", "unreadable"]
    rows = [
        [
            f"{one.center_id} {one.resource}",
            *(one.pages, one.records, one.added, one.removed, one.released, one.set_aside, one.unreadable),
        ]
        for one in summaries
    ]
    console.print(table(columns, rows))
    if all(one.is_without_effect and not one.unreadable for one in summaries):
        console.print(
            "[bold]The lake is as it was: it holds just what today's parser makes of these pages.[/]"
        )
    for one in summaries:
        for reason, pages in one.reasons:
            console.print(
                f"{one.center_id} {one.resource}: pages left alone, with all that came of them: {pages:,}. "
                f"Why: {escape(reason)}.",
                soft_wrap=True,
            )
    if left := sum(one.quarantined for one in summaries):
        console.print(f"{left:,} of these records cannot be typed: dispatchlake quarantine", soft_wrap=True)
