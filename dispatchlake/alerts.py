"""What is to be told: conditions that began, that still hold a day later, or that ended. Pure.

A condition is told when it begins, at most once a day while it holds, and when it is over. The listings of
one center that share a condition are told together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dispatchlake.deliveries import WAITING_ADVICE, WebhookStanding, WebhookState
from dispatchlake.lake.told import Told
from dispatchlake.open_zone import OPEN_ZONE_ADVICE
from dispatchlake.pending_erasures import ERASING_ADVICE
from dispatchlake.quality import Doubt
from dispatchlake.status import DISK_ADVICE, Overview, State, Subject

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
    OPEN_ZONE_LATE = "open-zone-late"
    ERASURE_UNFINISHED = "erasure-unfinished"


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
class _OfTheLake:
    """A condition of the whole lake and of no center: how it is told, and how it stands."""

    begins: str
    ends: str
    advice: str
    is_held: Callable[[Overview], bool]
    why: Callable[[Overview], str]


_OF_THE_LAKE: Mapping[str, _OfTheLake] = {
    Condition.DISK_NEARLY_FULL: _OfTheLake(
        "The disk is nearly full",
        "The disk has room again",
        DISK_ADVICE,
        lambda view: view.disk.is_nearly_full,
        lambda view: view.disk.why,
    ),
    Condition.DELIVERIES_WAIT: _OfTheLake(
        "Webhook deliveries are not landed",
        "Webhook deliveries are landed again",
        WAITING_ADVICE,
        lambda view: view.waiting.is_late,
        lambda view: view.waiting.why,
    ),
    Condition.OPEN_ZONE_LATE: _OfTheLake(
        "The open zone is late",
        "The open zone is published again",
        OPEN_ZONE_ADVICE,
        lambda view: view.open_zone.is_late,
        lambda view: view.open_zone.why,
    ),
    Condition.ERASURE_UNFINISHED: _OfTheLake(
        "An erasure is unfinished",
        "No erasure is unfinished any more",
        ERASING_ADVICE,
        lambda view: view.erasing.is_stuck,
        lambda view: view.erasing.why,
    ),
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
        resources = [standing.resource for standing in standings] or [""]
        known = {resource: before.get((center_id, resource, condition)) for resource in resources}
        is_due, now = _renewed(known, center_id, condition, view.taken_at)
        if is_due:
            alerts.append(_alert(view, condition, center_id, standings))
        after += now
    kept, recovered = _ended(view, before.values(), holding)
    return alerts + recovered + doubts, sorted(after + kept + doubted)


def _renewed(
    known: Mapping[str, Told | None], center_id: str, condition: str, now: datetime
) -> tuple[bool, list[Told]]:
    """Return whether a condition that holds of some resources is to be told, and what will have been told."""
    is_due = any(one is None or now - one.told_at >= AGAIN_AFTER for one in known.values())
    after = [
        Told(
            center_id,
            resource,
            condition,
            one.since_at if one else now,
            now if is_due or one is None else one.told_at,
        )
        for resource, one in known.items()
    ]
    return is_due, after


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
        is_due, now = _renewed(known, center_id, _DOUBTED, view.taken_at)
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
        after += now
    over: dict[str, list[Told]] = defaultdict(list)
    for (center_id, what), one in before.items():
        if center_id in view.quality.checked and what not in {doubt.what for doubt in held[center_id]}:
            over[center_id].append(one)
    for center_id, ended in over.items():
        lines = [f"{one.resource}: as usual again, told {one.since_at:%F %H:%M} UTC." for one in ended]
        alerts.append(Alert(RECOVERED, center_id, f"{center_id}: records as usual again", "\n".join(lines)))
    return alerts, after


def _condition(one: Subject) -> str | None:
    """Return what is to be told of a state; that deliveries wait is told once, of all centers."""
    if isinstance(one, WebhookStanding):
        return Condition.SILENT if one.state is WebhookState.SILENT else None
    return _OF_STATE.get(one.state)


def _is_well(one: Subject) -> bool:
    """Say whether a told condition is over; what waits to be landed, though late, has come."""
    if isinstance(one, WebhookStanding):
        return one.state in (WebhookState.OK, WebhookState.LATE)
    return one.state is State.OK


def _holding(view: Overview) -> dict[tuple[str, str], list[Subject]]:
    """Return what is in each condition, by center; of what is the whole lake's there is nothing."""
    holding: dict[tuple[str, str], list[Subject]] = defaultdict(list)
    for one in view.subjects:
        if condition := _condition(one):
            holding[one.center_id, condition].append(one)
        if one.notice:
            holding[one.center_id, Condition.QUARANTINE_GREW].append(one)
    holding |= {("", condition): [] for condition, one in _OF_THE_LAKE.items() if one.is_held(view)}
    return dict(holding)


def _ended(
    view: Overview, before: Iterable[Told], holding: dict[tuple[str, str], list[Subject]]
) -> tuple[list[Told], list[Alert]]:
    """Return what was told and is neither over nor holds for sure, and what is to be told as over."""
    subjects = {(one.center_id, one.resource): one for one in view.subjects}
    kept: list[Told] = []
    over: dict[str, list[tuple[Told, Subject]]] = defaultdict(list)
    alerts: list[Alert] = []
    for one in before:
        held = holding.get((one.center_id, one.condition))
        if held is not None and (not held or one.resource in {other.resource for other in held}):
            continue
        subject = subjects.get((one.center_id, one.resource))
        if of_the_lake := _OF_THE_LAKE.get(one.condition):
            alerts.append(Alert(RECOVERED, "", of_the_lake.ends, of_the_lake.why(view)))
        elif one.condition in _OF_STATE.values() and subject is not None:
            if subject.state is State.FAILING:  # it worked in between and fails again: not over yet
                kept.append(one)
            elif _is_well(subject):
                over[one.center_id].append((one, subject))
    alerts += [_recovery(center_id, ended) for center_id, ended in over.items()]
    return kept, alerts


def _alert(view: Overview, condition: str, center_id: str, subjects: list[Subject]) -> Alert:
    if of_the_lake := _OF_THE_LAKE.get(condition):
        body = f"{of_the_lake.why(view)} {of_the_lake.advice}"
        return Alert(condition, "", of_the_lake.begins, body)
    if condition == Condition.QUARANTINE_GREW:
        lines = [f"{one.resource}: {one.notice}" for one in subjects]
        advice = [f"Why, without a record's content: dispatchlake quarantine --center {center_id}"]
    else:
        lines = [f"{one.resource}: {one.why} {one.through}" for one in subjects]
        advice = list(dict.fromkeys(one.advice for one in subjects))
    return Alert(condition, center_id, f"{center_id}: {_TITLES[condition]}", "\n".join([*lines, *advice]))


def _recovery(center_id: str, ended: list[tuple[Told, Subject]]) -> Alert:
    lines = [
        f"{one.resource}: no longer {one.condition.replace('-', ' ')}, told {one.since_at:%F %H:%M} UTC. "
        f"{subject.through}"
        for one, subject in ended
    ]
    return Alert(RECOVERED, center_id, f"{center_id}: well again", "\n".join(lines))
