"""`dispatchlake retention`: how long things are kept, and removing what is older."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from dispatchlake.cli.known_centers import refuse_unknown
from dispatchlake.cli.replay import registered
from dispatchlake.cli.terminal import confirmed, console, table, waiting
from dispatchlake.errors import ConfigError
from dispatchlake.settings import MOST_DAYS, load_settings

if TYPE_CHECKING:  # the lake's packages take a while to import: not for --help
    from dispatchlake.retention import RetentionReport

app = App(name="retention", help="Say how long things are kept, and remove what is older.")

_Class = Literal["records", "caller-data", "raw", "media"]
_Center = Annotated[str, Parameter(name="--center")]


@app.command(name="set")
def set_(of: _Class, days: float, /, *, center: _Center = "") -> None:
    """Keep things of a class for so many days; what is older goes with each run, for good.

    Args:
        of: records (incidents, CAD incidents and all that hangs on them), caller-data (numbers, places and
            texts; the rows stay), raw (bodies of archived pages) or media (files).
        days: How long, counted from when the record was created, or the page or reference received.
        center: For this center instead of all that have no rule of their own.
    """
    if not 1 <= days <= MOST_DAYS:
        raise ConfigError(f"{days:g} is not a number of days to keep something. Give 1 to {MOST_DAYS:,}.")
    from dispatchlake import retention
    from dispatchlake.lake.retention_rules import Rule

    settings = load_settings()
    if center:
        refuse_unknown(settings, center, otherwise="Register it first: dispatchlake centers add --help")
    rule = Rule(center, of, days, getpass.getuser(), datetime.now(UTC))
    retention.set_rule(settings, rule)
    console.print(
        "Kept. The next run removes what is older; to see how much that is: "
        "dispatchlake retention run --dry-run",
        soft_wrap=True,
    )


@app.command
def unset(of: _Class, /, *, center: _Center = "") -> None:
    """Remove a rule: things of that class are kept from now on.

    Args:
        of: The class.
        center: Whose rule; the one for all others if not given.
    """
    from dispatchlake import retention

    retention.unset_rule(load_settings(), center, of)
    console.print("Removed.")


@app.command
def show() -> None:
    """Show the rules: without one, everything is kept."""
    from dispatchlake import retention

    rules = retention.read_rules(load_settings())
    if not rules:
        console.print("There is no rule: everything is kept.")
        return
    rows = [[one.center_id or "all others", one.of, one.days, one.set_by, one.set_at] for one in rules]
    console.print(table(["center", "class", "days", "set by", "set"], rows))


@app.command
def run(
    *,
    dry_run: Annotated[bool, Parameter(name="--dry-run")] = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    declared_fields: Annotated[bool, Parameter(name="--declared-fields")] = False,
) -> None:
    """Remove what is older than the rules say, here and now; it cannot be undone.

    Args:
        dry_run: Count what is due, and change nothing.
        yes: Ask nothing.
        declared_fields: Ask no server how centers name their fields; take them to be as declared.
    """
    settings = load_settings()
    if not dry_run and not yes and not confirmed("Remove what is due for good?"):
        raise ConfigError("Nothing was removed.")
    from dispatchlake import retention

    resources = {} if declared_fields or dry_run else registered(settings, retention.centers(settings))
    with waiting("Counting what is due ..." if dry_run else "Removing what is due ..."):
        report = retention.run(settings, dry_run=dry_run, resources=resources)
    _show(report)


def _show(report: RetentionReport) -> None:
    rows = [
        [one.center_id, one.of, one.cutoff, name, count]
        for one in report.removals
        for name, count in sorted(one.counts.items())
    ]
    if rows:
        console.print(table(["center", "class", "older than", "from", "rows, pages or files"], rows))
    console.print(f"[bold]{report.headline()}.[/]", soft_wrap=True)
