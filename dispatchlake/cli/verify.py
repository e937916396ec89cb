"""`dispatchlake verify`: whether the archive is as it was written."""

from __future__ import annotations

import sys

from dispatchlake.cli.terminal import console, errors, table, waiting


def verify(*centers: str) -> None:
    """Recompute the hash of every archived page and the chain they form, center by center.

    Exit status 1 if any page was changed, removed, added or moved since it was archived, other than by an
    erasure or a rule of retention that the chain itself tells of; the first broken link of each center is
    named, and each such redaction is listed. How somebody else checks it: docs/chain-of-custody.md.

    Args:
        centers: Ids of the centers to verify; every one that has archived pages if none is given.
    """
    from dispatchlake.lake import custody

    with waiting("Recomputing the archive ..."):
        found = list(custody.verify(center_ids=centers))
    if not found:
        console.print("The archive has no page yet.")
        return
    rows = [
        [
            one.center_id,
            one.pages,
            one.redacted,
            one.body_bytes,
            one.first_received_at,
            one.last_received_at,
            "broken" if one.broken else "whole",
        ]
        for one in found
    ]
    console.print(
        table(["center", "pages", "redacted", "bytes", "first received", "last received", "chain"], rows)
    )
    for one in found:
        for cut in one.redactions:
            console.print(
                f"{one.center_id}: records were cut out of {cut.pages:,} pages on {cut.redacted_at:%F %T}Z, "
                f"by {', '.join(cut.because)}; everything else of them is as it was written.",
                soft_wrap=True,
            )
    broken = [one.broken for one in found if one.broken]
    if broken:
        for link in broken:
            place = "" if link.position is None else f", position {link.position:,}"
            page = "" if link.raw_id is None else f", page {link.raw_id}"
            errors.print(f"[red]{link.center_id}{place}{page}[/]: {link.problem}", soft_wrap=True)
        errors.print(f"[bold red]The chain of {len(broken)} of {len(found)} centers is broken.[/]")
        sys.exit(1)
    console.print("\nHeads; note them where those who keep this lake cannot change them:")
    for one in found:
        console.print(f"  {one.center_id} {one.pages} {one.head_sha256}", soft_wrap=True)
