"""`dispatchlake check`: what works at a center is found out, and kept if asked."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from dispatchlake.check import Report, check_center
from dispatchlake.ingest import ingest_cell
from dispatchlake.model import DispatchCenter, Paging, ResourceOverride
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.command_line import run
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import assert_equal

CAD = "cad_incidents"


def cad_report(center: DispatchCenter, settings: Settings) -> Report:
    return next(report for report in check_center(center, settings) if report.resource == CAD)


def texts(report: Report) -> str:
    return " | ".join(f"{f.subject}: {f.text} {f.advice}" for f in report.findings)


def test_a_center_in_order_has_only_good_findings(sandbox: SandboxProcess, settings: Settings) -> None:
    filters = {"since_param": "updated_since", "until_param": "updated_before"}
    center = put_center(sandbox, override=filters)

    report = cad_report(center, settings)

    assert [finding.subject for finding in report.findings] == [
        "login",
        "records",
        "paging",
        "filter",
        "days",
    ]
    assert report.is_good
    assert report.proposal is None, "nothing is to be changed"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("link", "a Link header"),
        ("next_url", "a page number or link in its body"),
        ("meta_page", "a page number or link in its body"),
        ("cursor", "a cursor or link in its body"),
        ("pagy", "page numbers in its headers"),
        ("kaminari", "page numbers in its headers"),
        ("array", "the whole listing comes in one answer"),
        ("page_ignored", "the whole listing comes in one answer"),
    ],
)
def test_how_the_listing_pages_is_told(
    sandbox: SandboxProcess, settings: Settings, form: str, words: str
) -> None:
    center = put_center(sandbox, sandbox_side={"paging": form})

    report = cad_report(center, settings)

    assert words in texts(report)
    assert report.is_good


@pytest.mark.parametrize(("form", "style"), [("page_unnamed", "page"), ("offset", "offset")])
def test_a_listing_that_would_be_cut_short_gets_its_style_proposed(
    sandbox: SandboxProcess, settings: Settings, form: str, style: str
) -> None:
    center = put_center(sandbox, sandbox_side={"paging": form, "page_size_cap": 100})

    report = cad_report(center, settings)

    assert report.proposal is not None
    assert report.proposal.paging is not None
    assert report.proposal.paging.style == style
    assert "would be cut short" in texts(report)


@pytest.mark.parametrize("count", [3, 4, 300])
def test_a_listing_whose_pages_count_from_0_is_read_whole_with_what_is_proposed(
    sandbox: SandboxProcess, settings: Settings, count: int
) -> None:
    """Without a number its first page comes, so page 2 is the third: the second was in no lake."""
    dataset = {"synthetic": {"count": count, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400}}
    center = put_center(
        sandbox,
        sandbox_side={"paging": "page_unnamed", "first_page": 0, "dataset": dataset, "page_size_cap": 100},
    )

    report = cad_report(center, settings)

    assert report.proposal is not None
    assert report.proposal.paging == Paging(style="page", first_page=0)
    assert "Pin paging.style to 'page' and paging.first_page to 0" in texts(report)
    found = center.model_copy(update={"resources": {CAD: report.proposal}})
    assert cad_report(found, settings).is_good
    ingest_cell(found, CAD, settings=settings, run_id="run")
    assert_equal(settings.lake_dir, found.center_id, CAD, sandbox.truth(found.center_id, CAD)["current"])


@pytest.mark.parametrize(("counted_from", "configured"), [(0, 1), (1, 0)])
def test_a_pinned_listing_that_is_counted_otherwise_is_bad_and_its_first_page_proposed(
    sandbox: SandboxProcess, settings: Settings, counted_from: int, configured: Literal[0, 1]
) -> None:
    pinned = Paging(style="page", first_page=configured)
    center = put_center(
        sandbox,
        sandbox_side={"paging": "page_unnamed", "first_page": counted_from},
        override={"paging": pinned},
    )

    report = cad_report(center, settings)

    assert not report.is_good
    assert report.proposal is not None
    assert report.proposal.paging == pinned.model_copy(update={"first_page": counted_from})
    assert f"Set paging.first_page to {counted_from}" in texts(report)


@pytest.mark.parametrize("count", [2, 300])
@pytest.mark.parametrize("first_page", [0, 1])
def test_a_pinned_listing_that_is_counted_as_configured_is_left_alone(
    sandbox: SandboxProcess, settings: Settings, first_page: Literal[0, 1], count: int
) -> None:
    """Of two records, page 1 may be empty, which tells nothing."""
    dataset = {"synthetic": {"count": count, "starts_at": "2024-03-01T00:00:00Z", "span_s": 86_400}}
    paging = Paging(style="page", first_page=first_page)
    center = put_center(
        sandbox,
        sandbox_side={"paging": "page_unnamed", "first_page": first_page, "dataset": dataset},
        override={"paging": paging, "since_param": "updated_since", "until_param": "updated_before"},
    )

    report = cad_report(center, settings)

    assert report.is_good
    assert report.proposal is None


@pytest.mark.parametrize("since_param", ["updated_since", "updated_after", "since"])
def test_a_filter_that_works_on_the_time_of_change_is_proposed(
    sandbox: SandboxProcess, settings: Settings, since_param: str
) -> None:
    center = put_center(sandbox, sandbox_side={"since_param": since_param, "until_param": "nobody_knows"})

    report = cad_report(center, settings)

    assert report.proposal == ResourceOverride(since_param=since_param)
    assert "a backfill reads all since its first day at once" in texts(report)


@pytest.mark.parametrize("until_param", ["updated_before", "updated_until", "until"])
def test_an_upper_bound_that_works_on_the_time_of_change_is_proposed(
    sandbox: SandboxProcess, settings: Settings, until_param: str
) -> None:
    center = put_center(sandbox, sandbox_side={"until_param": until_param})

    report = cad_report(center, settings)

    assert report.proposal == ResourceOverride(since_param="updated_since", until_param=until_param)


def test_a_configured_upper_bound_that_does_not_work_is_bad_and_its_removal_proposed(
    sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(
        sandbox,
        sandbox_side={"until_param": "nobody_knows"},
        override={"since_param": "updated_since", "until_param": "wrong"},
    )

    report = cad_report(center, settings)

    assert not report.is_good
    assert report.proposal == ResourceOverride(since_param="updated_since", until_param=None)


@pytest.mark.parametrize(
    ("filters", "words"), [("ignored", "no known filter"), ("by_created_at", "another time")]
)
def test_a_filter_that_would_lose_changes_is_not_proposed(
    sandbox: SandboxProcess, settings: Settings, filters: str, words: str
) -> None:
    center = put_center(sandbox, sandbox_side={"filters": filters})

    report = cad_report(center, settings)

    assert report.proposal is None
    assert words in texts(report)


def test_a_configured_filter_that_would_lose_changes_is_bad_and_its_removal_proposed(
    sandbox: SandboxProcess, settings: Settings
) -> None:
    center = put_center(
        sandbox, sandbox_side={"filters": "by_created_at"}, override={"since_param": "updated_since"}
    )

    report = cad_report(center, settings)

    assert not report.is_good
    assert report.proposal == ResourceOverride(since_param=None)


@pytest.mark.parametrize(
    ("sandbox_side", "words"),
    [
        ({"timestamp_form": "no_zone"}, "not a time with a zone"),
        ({"paths": {CAD: "/v2/cad"}}, "there is no such listing"),
        ({"dataset": {"records": {}}}, "the listing is empty"),
    ],
)
def test_what_stands_in_the_way_is_said(
    sandbox: SandboxProcess, settings: Settings, sandbox_side: dict[str, Any], words: str
) -> None:
    center = put_center(sandbox, sandbox_side=sandbox_side)

    assert words in texts(cad_report(center, settings))


def test_a_pinned_style_is_left_alone(sandbox: SandboxProcess, settings: Settings) -> None:
    center = put_center(
        sandbox, sandbox_side={"paging": "page_unnamed"}, override={"paging": Paging(style="page")}
    )

    report = cad_report(center, settings)

    assert "pinned to 'page'" in texts(report)


@pytest.mark.xdist_group("prefect")
def test_what_was_found_is_shown_and_saved(
    sandbox: SandboxProcess, settings: Settings, prefect_url: str
) -> None:
    from tasks.centers import load_center, save_center

    center = put_center(sandbox)
    save_center(center)

    shown = run("check", center.center_id)
    saved = run("check", center.center_id, "--save")

    assert shown.returncode == 0, shown.stderr
    assert "2 of 2 listings can be read." in shown.stdout
    assert "dispatchlake check --save" in shown.stdout
    assert saved.returncode == 0, saved.stderr
    assert load_center(center.center_id).resource(CAD).since_param == "updated_since"
    assert load_center(center.center_id).resource(CAD).until_param == "updated_before"
    assert not settings.lake_dir.exists(), "nothing is landed"


@pytest.mark.xdist_group("prefect")
def test_a_center_that_cannot_be_read_is_shown_and_the_exit_status_says_so(
    sandbox: SandboxProcess, settings: Settings, prefect_url: str
) -> None:
    from tasks.centers import save_center

    good = put_center(sandbox)
    bad = put_center(sandbox, client_side={"token_path": "/wrong"})
    for center in (good, bad):
        save_center(center)

    result = run("check", good.center_id, bad.center_id)

    assert result.returncode == 1
    assert "2 of 4 listings can be read." in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
