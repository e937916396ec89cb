"""Whatever was told, in whatever order: once a call is erased, the rest is as if it had never been."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dispatchlake.lake import Selection, erasing
from dispatchlake.lake.custody import verify
from tests.examples import examples
from tests.lake.pages import Center
from tests.lake.test_any_landing import EVENTS, Batches, assert_as_folded, batches_of_both, tell

ERASED = "x"
"""One of the ids that the incidents of a history have; all children are of `i1`, or of it as well."""


def adopt(batches: Batches, of: list[bool]) -> Batches:
    """Let some of the children be the call's."""
    choices = iter(of * 50)
    return [
        (
            source,
            [
                {**content, "incident_id": ERASED} if "incident_id" in content and next(choices) else content
                for content in contents
            ],
        )
        for source, contents in batches
    ]


def without_call(batches: Batches) -> Batches:
    """Return the history as if nobody had ever told of the call."""
    return [
        (source, [one for one in contents if ERASED not in (one.get("id"), one.get("incident_id"))])
        for source, contents in batches
    ]


@examples(8, suppress_health_check=[HealthCheck.too_slow])
@given(before=batches_of_both, after=batches_of_both, of=st.lists(st.booleans(), min_size=3, max_size=7))
def test_after_any_history_the_rest_is_as_if_the_call_had_never_been(
    new_center: Callable[[], Center], before: Batches, after: Batches, of: list[bool]
) -> None:
    center = new_center()
    before, after = adopt(before, of), adopt(after, of[::-1])
    # So that there is something to erase, and something that stays.
    before = [*before, ("rest", [_incident(ERASED)]), ("rest", [_incident("y")])]
    tell(center, before)
    plan = erasing.begin(center.lake, center.center_id, ERASED, reason="r", requested_by="r")
    erasing.remove(center.lake, plan, {})
    tell(center, after)  # which tells of it again

    assert_as_folded(center, without_call([*before, *after]))
    for table in ("incidents", "incident_versions", "incident_sightings", *EVENTS.values()):
        assert center.ask(f"SELECT 1 FROM {table} WHERE incident_id = '{ERASED}'") == [], table
    center.lake.replay(Selection((center.center_id,)))
    assert_as_folded(center, without_call([*before, *after]))
    (found,) = verify(center.lake.lake_dir, center_ids=(center.center_id,))
    assert found.broken is None


def _incident(identity: str) -> dict[str, Any]:
    from tests.lake.deliveries import incident_metadata

    return incident_metadata(
        identity, updated=3, audio_call_ended_at=None, caller_phone_number="+13035550140"
    )
