"""`dispatchlake quarantine`: why records were set aside, without a word of what they say."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from dispatchlake.cli.terminal import console, table


def quarantine(*, center: Annotated[list[str] | None, Parameter(name="--center")] = None) -> None:
    """Show the reasons records were set aside for, with counts, times and the shape of some.

    Of the records only names of fields, JSON types and lengths are shown: what they say is for those who
    may see it (the table quarantine, and the pages in raw_pages).

    Args:
        center: Id of a center to look at; give it again for another; all if not given.
    """
    from dispatchlake.lake.quarantined import quarantine_reasons

    reasons = quarantine_reasons(center_ids=tuple(center or ()))
    if not reasons:
        console.print(f"Nothing is in quarantine{' for ' + ', '.join(center) if center else ''}.")
        return
    rows = [
        [one.center_id, one.resource, one.reason, one.records, one.first_received_at, one.last_received_at]
        for one in reasons
    ]
    console.print(table(["center", "listing", "reason", "records", "first received", "last received"], rows))
    console.print("\nExamples, by shape; no value is shown:")
    for one in reasons:
        console.print(f"[bold]{one.center_id} {one.resource}[/] {escape(one.reason)}", soft_wrap=True)
        for example in one.examples:
            console.print(
                f"  page {example.raw_id}, position {example.position}: {escape(example.shape)}",
                soft_wrap=True,
            )
    console.print(
        "\nWhere a center calls its fields otherwise, name them in its configuration (its block's resources);"
        " where the parser is wrong, mend it. Then: dispatchlake replay --quarantined",
        soft_wrap=True,
    )
