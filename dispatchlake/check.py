"""Whether a dispatch center can be read, what was found out about it, and what to change, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from dispatchlake.api import CenterClient, Fetched, probe
from dispatchlake.errors import ConfigError, DispatchLakeError
from dispatchlake.ingest import open_client
from dispatchlake.lake import RecordsPreview, preview_records
from dispatchlake.model import DispatchCenter, Paging, Resource, ResourceOverride
from dispatchlake.settings import Settings

_READS_ALL = "every run reads the whole listing and compares it here, which is safe but slow"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: what was seen, whether records can be read with it, and what to do."""

    subject: str
    text: str
    is_good: bool = True
    advice: str = ""


@dataclass(slots=True)
class Report:
    """What was found out about one resource of a center.

    Attributes:
        proposal: The center's configuration of this resource with what was seen to work, where that
            differs from what it says now.
    """

    center_id: str
    resource: str
    findings: list[Finding] = field(default_factory=list)
    proposal: ResourceOverride | None = None

    @property
    def is_good(self) -> bool:
        """Say whether nothing stands in the way of reading it."""
        return all(finding.is_good for finding in self.findings)


def check_center(center: DispatchCenter, settings: Settings) -> list[Report]:
    """Try every resource the center's credentials open, with a few requests each and nothing written.

    Raises:
        ConfigError: There are no credentials to try.
    """
    if not center.credentials:
        raise ConfigError(
            f"Dispatch center {center.center_id} has no credentials. Register some: "
            f"dispatchlake centers add {center.center_id} --scope ..."
        )
    with open_client(center, settings) as client:
        return [_check(client, resource) for resource in center.allowed_resources()]


def _check(client: CenterClient, resource: Resource) -> Report:
    """Try one resource; what fails is a finding and ends the trying."""
    report = Report(client.center.center_id, resource.name)
    changes: dict[str, Any] = {}
    try:
        for finding in _findings(client, resource, changes):
            report.findings.append(finding)
    except DispatchLakeError as error:
        report.findings.append(Finding("failed", str(error), is_good=False))
    if changes:
        known = client.center.resources.get(resource.name) or ResourceOverride()
        report.proposal = known.model_copy(update=changes)
    return report


def _findings(client: CenterClient, resource: Resource, changes: dict[str, Any]) -> Iterator[Finding]:
    first = probe.fetch_first(client, resource)
    count = len(first.payload.records)
    yield Finding("login", f"logged in, and {resource.path} answers")
    preview = preview_records(first.payload.records, resource)
    yield _records(preview, count)
    yield _paging(client, resource, first, changes)
    if not count:
        yield Finding("filter", "the listing is empty, so a filter cannot be told from none")
        return
    yield _filter(client, resource.model_copy(update=changes), preview, changes)
    as_found = resource.model_copy(update=changes)
    if as_found.since_param is not None and preview.changed is not None:
        yield _bound(client, as_found, preview.changed, changes)


def _records(preview: RecordsPreview, count: int) -> Finding:
    text = f"{preview.typed:,} of {count:,} records on the first page can be typed"
    if preview.newest_updated_at:
        text += f", the newest of {preview.newest_updated_at:%F %T} UTC"
    if not preview.reasons:
        return Finding("records", text)
    reasons = "; ".join(f"{reason} ({number:,})" for reason, number in preview.reasons[:3])
    is_good = preview.typed > 0
    advice = "" if is_good else "Its records have another shape: is this the right path?"
    return Finding("records", f"{text}; the others would go to quarantine: {reasons}", is_good, advice)


def _paging(client: CenterClient, resource: Resource, first: Fetched, changes: dict[str, Any]) -> Finding:
    count, paging = len(first.payload.records), resource.paging
    if paging.style != "follow":
        return _pinned(client, resource, first, changes)
    if count < probe.FEW:
        return Finding("paging", "too few records to tell")
    found = probe.probe_paging(client, resource, first)
    if found.named_by:
        text = f"each page names the next by {found.named_by}, which is followed"
        return _first_page(paging, found.first_page, text, changes)
    if found.silent_style:
        pinned = {"style": found.silent_style, "first_page": found.first_page}
        changes["paging"] = paging.model_copy(update=pinned)
        new = [
            f"paging.{name} to {value!r}" for name, value in pinned.items() if getattr(paging, name) != value
        ]
        return Finding(
            "paging",
            f"no page names the next, but counting on by {found.silent_style} brings others",
            advice=f"Pin {' and '.join(new)}; as it is, the listing would be cut short.",
        )
    if found.is_full:
        return Finding(
            "paging",
            f"the first page is full ({count:,} records), and no way to a next one could be found",
            is_good=False,
            advice="Ask the vendor how this listing pages.",
        )
    return Finding("paging", f"the whole listing comes in one answer ({count:,} records)")


def _pinned(client: CenterClient, resource: Resource, first: Fetched, changes: dict[str, Any]) -> Finding:
    paging = resource.paging
    text = f"pinned to {paging.style!r} by the center's configuration"
    if paging.style != "page" or len(first.payload.records) < probe.FEW:
        return Finding("paging", text)
    return _first_page(paging, probe.probe_first_page(client, resource, first), text, changes)


def _first_page(paging: Paging, first_page: Literal[0, 1], text: str, changes: dict[str, Any]) -> Finding:
    """Say how a listing of numbered pages is read, and whether it is counted as the center counts."""
    if first_page == paging.first_page:
        return Finding("paging", text)
    changes["paging"] = paging.model_copy(update={"first_page": first_page})
    return Finding(
        "paging",
        f"{text}, but its first page is called {first_page}, and not {paging.first_page}",
        is_good=False,
        advice=f"Set paging.first_page to {first_page}; as it is, a page is left out, or read twice.",
    )


def _bound(
    client: CenterClient, resource: Resource, changed: tuple[str, datetime], changes: dict[str, Any]
) -> Finding:
    found, configured = probe.probe_until(client, resource, changed), resource.until_param
    if found is not None:
        text = f"{found}= ends what is read, so a backfill reads day by day"
        if found == configured:
            return Finding("days", text)
        changes["until_param"] = found
        return Finding("days", text, advice=f"Set until_param to {found!r}.")
    text = "no known upper bound works; a backfill reads all since its first day at once"
    if configured is None:
        return Finding("days", text)
    changes["until_param"] = None
    return Finding("days", text, is_good=False, advice=f"Remove until_param {configured!r}.")


def _filter(
    client: CenterClient, resource: Resource, preview: RecordsPreview, changes: dict[str, Any]
) -> Finding:
    found = probe.probe_filter(client, resource, preview.changed)
    configured = resource.since_param
    is_configured = configured is not None and found.param == configured
    if found.param and found.is_on_change:
        text = f"{found.param}= works on the time of change, so only changes are read"
        if is_configured:
            return Finding("filter", text)
        changes["since_param"] = found.param
        return Finding("filter", text, advice=f"Set since_param to {found.param!r}.")
    if found.param and found.is_on_change is None:
        text = f"{found.param}= filters, but no record here could show on which time"
        return Finding("filter", f"{text}; {_READS_ALL}", advice="Check again when some have changed.")
    advice = ""
    if configured:
        changes["since_param"] = None
        advice = f"Remove since_param {configured!r}."
    if found.param:
        text = f"{found.param}= filters, but on another time than that of change"
        return Finding("filter", f"{text}; without it {_READS_ALL}", is_good=not is_configured, advice=advice)
    return Finding("filter", f"no known filter does anything; {_READS_ALL}", advice=advice)
