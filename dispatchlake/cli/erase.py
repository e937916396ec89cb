"""`dispatchlake erase`: one call removed from everything that is kept here, and the proof that it is."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.markup import escape

from dispatchlake.cli.replay import registered
from dispatchlake.cli.terminal import confirmed, console, errors, table, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings

if TYPE_CHECKING:  # the lake's packages take a while to import: not for --help
    from dispatchlake.erasure import ErasureReport


def erase(
    center: str | None = None,
    incident: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    reason: str | None = None,
    unfinished: bool = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    declared_fields: Annotated[bool, Parameter(name="--declared-fields")] = False,
) -> None:
    """Erase one call everywhere, then search every byte below the data folder for it.

    Tables and all their versions, archived pages, media files, the spool, old snapshots. It cannot be undone,
    and nothing brings the call back: no later run, delivery, replay or restore. All older snapshots are
    forgotten (`AT (TIMESTAMP => ...)`), and queries at work on old files fail. Exit status 1 if anything was
    found after it, or the erasure is unfinished for another reason.

    Args:
        center: Id of the dispatch center.
        incident: The incident's id (incidents.incident_id); - reads it from standard input, so that it is in
            no list of processes and no history of a shell.
        reason: Why, in a few words or a code; kept, so with nothing of the call.
        unfinished: Go on with what was begun and is not done, instead.
        yes: Ask nothing.
        declared_fields: Ask no server how a center names its fields; take them to be as declared.
    """
    settings = load_settings()
    if unfinished:
        from dispatchlake import erasure

        centers = sorted({one.center_id for one in erasure.unfinished(settings)})
        resources = {} if declared_fields else registered(settings, centers)
        with waiting("Going on with what is unfinished ..."):
            reports = erasure.finish_unfinished(settings, resources=resources)
        if not reports:
            console.print("No erasure is unfinished.")
    else:
        center_id, incident_id, why = _asked_for(center, incident, reason)
        if not yes and not confirmed(f"Erase that incident of {center_id} for good?"):
            raise ConfigError("Nothing was erased.")
        from dispatchlake import erasure

        resources = {} if declared_fields else registered(settings, [center_id])
        with waiting("Erasing, and searching for what is left ..."):
            reports = [
                erasure.erase(
                    settings,
                    center_id,
                    incident_id,
                    reason=why,
                    requested_by=getpass.getuser(),
                    resources=resources,
                )
            ]
    for report in reports:
        _show(report)
    if not all(report.is_done for report in reports):
        sys.exit(1)


def erasures() -> None:
    """List what was erased: when, why, by whom and how much; nothing of the calls themselves."""
    from dispatchlake.lake.ledger_table import read_erasures

    rows = [
        [
            one.erasure_id,
            one.center_id,
            one.kind,
            one.reason,
            one.requested_by,
            one.begun_at,
            one.erased_at or "unfinished",
            sum(one.counts.values()),
        ]
        for one in read_erasures(load_settings().lake_dir)
        if one.kind == "incident"
    ]
    if not rows:
        console.print("Nothing was erased.")
        return
    console.print(table(["erasure", "center", "what", "reason", "by", "begun", "done", "removed"], rows))


def _asked_for(center: str | None, incident: str | None, reason: str | None) -> tuple[str, str, str]:
    if center is None or incident is None:
        raise ConfigError("Name a center and an incident: dispatchlake erase CENTER INCIDENT --reason WHY")
    if not reason or not reason.strip():
        raise ConfigError("Say why, in a few words or a code, with nothing of the call: --reason WHY")
    if incident == "-":
        incident = sys.stdin.readline().strip()
    return center, incident, reason.strip()


def _show(report: ErasureReport) -> None:
    rows = sorted(report.counts.items())
    console.print(f"Erasure {report.erasure_id} of {report.center_id}:", soft_wrap=True)
    console.print(table(["removed from", "rows, pages or files"], rows))
    searched = report.searched
    console.print(
        f"Searched {searched.files:,} files, {searched.bytes:,} bytes, for {report.texts:,} texts of the "
        f"call: as they lie on the disk; {searched.parquet:,} Parquet files unpacked and "
        f"{searched.databases:,} databases value by value as well.",
        soft_wrap=True,
    )
    if report.is_done:
        console.print("[bold]Nothing was found.[/]")
        return
    for path, name in report.found:
        errors.print(f"[red]Found[/] its {name} in {escape(path)}", soft_wrap=True)
    for path in report.searched.unread:
        errors.print(f"[red]Could not be read[/]: {escape(path)}", soft_wrap=True)
    errors.print(
        "[bold red]The erasure is unfinished.[/] Remove what is named, or let it end that writes there; "
        "then: dispatchlake erase --unfinished",
        soft_wrap=True,
    )
