"""What is to be told: conditions that began, that still hold a day later, or that ended. Pure.

A condition is told when it begins, at most once a day while it holds, and when it is over. The listings of
one center that share a condition are told together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from dispatchlake.lake.told import Told
from dispatchlake.quality import Doubt
from dispatchlake.status import DISK_ADVICE, WAITING_ADVICE, Overview, Standing, State, in_words

AGAIN_AFTER = timedelta(days=1)
"""How soon a condition that holds is told again."""


class Condition(StrEnum):
    """What may be told of; the value is kept in the lake."""

    LOGIN_FAILED = "login-failed"
    LATE = "late"
    SILENT = "silent"
    QUARANTINE_GREW = "quarantine-grew"
    DISK_NEARLY_FULL = "disk-nearly-full"
    DELIVERIES_WAIT = "deliveries-wait"
    QUALITY_DROPPED = "quality-dropped"


RECOVERED = "recovered"
_DOUBTED = Condition.QUALITY_DROPPED

DOUBT_ADVICE = (
    "Nothing is lost: the records are as the center sends them. See the views data_quality and "
    "docs/analysts.md; ask the center what has changed."
)

_OF_STATE: Mapping[State, str] = {
    State.LOGIN_FAILED: Condition.LOGIN_FAILED,
    State.LATE: Condition.LATE,
    State.SILENT: Condition.SILENT,
}
_TITLES: Mapping[str, str] = {
    Condition.LOGIN_FAILED: "the login is refused",
    Condition.LATE: "late",
    Condition.SILENT: "silent",
    Condition.QUARANTINE_GREW: "records were set aside",
    Condition.QUALITY_DROPPED: "records are worse than usual",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to be told: numbers, names and sentences of ours, never a record.

    Attributes:
        what: A `Condition`, or `RECOVERED`.
        center_id: The dispatch center; "" where it is the whole lake's.
        subject: One line.
        body: What happened, why, what to do.
    """

    what: str
    center_id: str
    subject: str
    body: str


def decide(view: Overview, told: Iterable[Told]) -> tuple[list[Alert], list[Told]]:
    """Return what is to be told now, and what will have been told then."""
    told = list(told)
    doubts, doubted = _decide_quality(view, [one for one in told if one.condition == _DOUBTED])
    before = {(one.center_id, one.resource, one.condition): one for one in told if one.condition != _DOUBTED}
    holding = _holding(view)
    alerts: list[Alert] = []
    after: list[Told] = []
    for (center_id, condition), standings in holding.items():
        resources = [standing.listing.resource for standing in standings] or [""]
        known = {resource: before.get((center_id, resource, condition)) for resource in resources}
        is_due = any(one is None or view.taken_at - one.told_at >= AGAIN_AFTER for one in known.values())
        if is_due:
            alerts.append(_alert(view, condition, center_id, standings))
        for resource, one in known.items():
            since_at = one.since_at if one else view.taken_at
            told_at = view.taken_at if is_due or one is None else one.told_at
            after.append(Told(center_id, resource, condition, since_at, told_at))
    kept, recovered = _ended(view, before.values(), holding)
    return alerts + recovered + doubts, sorted(after + kept + doubted)


def _decide_quality(view: Overview, told: Iterable[Told]) -> tuple[list[Alert], list[Told]]:
    """Return the same of checks that fail more often than usual; `Told.resource` is the check.

    Of a center that brought nothing new nothing is known: what holds goes on, untold.
    """
    before = {(one.center_id, one.resource): one for one in told}
    held: dict[str, list[Doubt]] = defaultdict(list)
    for doubt in view.quality.doubts:
        held[doubt.center_id].append(doubt)
    after = [one for one in before.values() if one.center_id not in view.quality.checked]
    alerts: list[Alert] = []
    for center_id, doubts in held.items():
        known = {doubt.what: before.get((center_id, doubt.what)) for doubt in doubts}
        is_due = any(one is None or view.taken_at - one.told_at >= AGAIN_AFTER for one in known.values())
        if is_due:
            lines = [f"{doubt.what}: {doubt.why}" for doubt in doubts]
            alerts.append(
                Alert(
                    _DOUBTED,
                    center_id,
                    f"{center_id}: {_TITLES[_DOUBTED]}",
                    "\n".join([*lines, DOUBT_ADVICE]),
                )
            )
        for what, one in known.items():
            since_at = one.since_at if one else view.taken_at
            told_at = view.taken_at if is_due or one is None else one.told_at
            after.append(Told(center_id, what, _DOUBTED, since_at, told_at))
    over: dict[str, list[Told]] = defaultdict(list)
    for (center_id, what), one in before.items():
        if center_id in view.quality.checked and what not in {doubt.what for doubt in held[center_id]}:
            over[center_id].append(one)
    for center_id, ended in over.items():
        lines = [f"{one.resource}: as usual again, told {one.since_at:%F %H:%M} UTC." for one in ended]
        alerts.append(Alert(RECOVERED, center_id, f"{center_id}: records as usual again", "\n".join(lines)))
    return alerts, after


def _holding(view: Overview) -> dict[tuple[str, str], list[Standing]]:
    """Return the listings in each condition, by center; what is the whole lake's has none."""
    holding: dict[tuple[str, str], list[Standing]] = defaultdict(list)
    for standing in view.standings:
        center_id = standing.listing.center_id
        if condition := _OF_STATE.get(standing.state):
            holding[center_id, condition].append(standing)
        if standing.notice:
            holding[center_id, Condition.QUARANTINE_GREW].append(standing)
    if view.disk.is_nearly_full:
        holding["", Condition.DISK_NEARLY_FULL] = []
    if view.waiting.is_late:
        holding["", Condition.DELIVERIES_WAIT] = []
    return dict(holding)


def _ended(
    view: Overview, before: Iterable[Told], holding: dict[tuple[str, str], list[Standing]]
) -> tuple[list[Told], list[Alert]]:
    """Return what was told and is neither over nor holds for sure, and what is to be told as over."""
    states = {(s.listing.center_id, s.listing.resource): s for s in view.standings}
    kept: list[Told] = []
    over: dict[str, list[tuple[Told, Standing]]] = defaultdict(list)
    alerts: list[Alert] = []
    for one in before:
        held = holding.get((one.center_id, one.condition))
        if held is not None and (not held or one.resource in {s.listing.resource for s in held}):
            continue
        standing = states.get((one.center_id, one.resource))
        if one.condition == Condition.DISK_NEARLY_FULL:
            alerts.append(Alert(RECOVERED, "", "The disk has room again", view.disk.why))
        elif one.condition == Condition.DELIVERIES_WAIT:
            alerts.append(Alert(RECOVERED, "", "Webhook deliveries are landed again", view.waiting.why))
        elif one.condition in _OF_STATE.values() and standing is not None:
            if standing.state is State.FAILING:  # it worked in between and fails again: not over yet
                kept.append(one)
            elif standing.state is State.OK:
                over[one.center_id].append((one, standing))
    alerts += [_recovery(center_id, ended) for center_id, ended in over.items()]
    return kept, alerts


def _alert(view: Overview, condition: str, center_id: str, standings: list[Standing]) -> Alert:
    if condition == Condition.DISK_NEARLY_FULL:
        return Alert(condition, "", "The disk is nearly full", f"{view.disk.why} {DISK_ADVICE}")
    if condition == Condition.DELIVERIES_WAIT:
        return Alert(
            condition, "", "Webhook deliveries are not landed", f"{view.waiting.why} {WAITING_ADVICE}"
        )
    lines: list[str] = []
    for standing in standings:
        listing = standing.listing
        if condition == Condition.QUARANTINE_GREW:
            lines.append(f"{listing.resource}: {standing.notice}")
        else:
            lines.append(f"{listing.resource}: {standing.why} {_through(standing)}")
    if condition == Condition.QUARANTINE_GREW:
        advice = [f"Why, without a record's content: dispatchlake quarantine --center {center_id}"]
    else:
        advice = list(dict.fromkeys(standing.advice for standing in standings))
    return Alert(condition, center_id, f"{center_id}: {_TITLES[condition]}", "\n".join([*lines, *advice]))


def _recovery(center_id: str, ended: list[tuple[Told, Standing]]) -> Alert:
    lines = [
        f"{one.resource}: no longer {one.condition.replace('-', ' ')}, told {one.since_at:%F %H:%M} UTC. "
        f"{_through(standing)}"
        for one, standing in ended
    ]
    return Alert(RECOVERED, center_id, f"{center_id}: well again", "\n".join(lines))


def _through(standing: Standing) -> str:
    listing = standing.listing
    if listing.complete_through is None or listing.lag_s is None:
        return "It was never read to its end."
    return f"Complete through {listing.complete_through:%F %H:%M} UTC, {in_words(listing.lag_s)} ago."
