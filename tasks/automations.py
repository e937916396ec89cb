"""The automations that turn events into messages, and the block that says where messages go.

They call the block document named `dispatchlake-alerts`, of whatever notification type: a webhook set with
`dispatchlake alerts set`, or Slack, Teams, e-mail, PagerDuty made in the UI. Without it there is nobody to
call, and none of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation, AutomationCore, EventTrigger, Posture, SendNotification
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.types import SecretDict

from dispatchlake.alerts import RECOVERED, Condition
from dispatchlake.errors import ConfigError
from tasks.alerts import EVENTS, UNUSABLE
from tasks.resuming import GIVEN_UP

BLOCK_NAME = "dispatchlake-alerts"

TAG = "dispatchlake-alerts"
"""Marks what is ours: only automations that carry it are changed or removed."""

STUCK_AFTER = timedelta(hours=1)
"""An ingest or maintenance that runs longer is told of; a backfill may take as long as it needs."""

NO_BLOCK = (
    "Nobody is told of troubles yet: no notification block is named dispatchlake-alerts. Set one: "
    "dispatchlake alerts set - (reads the address of a webhook, such as Slack's), or make any notification "
    "block of that name in the UI, then: dispatchlake alerts apply"
)

_SCHEDULED = ["ingest", "maintain", "retention", "check"]
_BY_HAND = ["backfill", "replay"]
_FLOWS = [*_SCHEDULED, *_BY_HAND]
_RUN = "{{ flow_run.name }} ({{ flow.name }}): {{ flow_run|ui_url or 'in the UI under Runs' }}"
_HOUR = timedelta(hours=1)
_PER_REQUEST = 200

_TOLD = {
    "login failed": (EVENTS[Condition.LOGIN_FAILED], "A center refuses its credentials."),
    "center late": (EVENTS[Condition.LATE], "A center lags more than DISPATCHLAKE_LATE_AFTER_S."),
    "center silent": (EVENTS[Condition.SILENT], "A center answers, and what usually comes does not."),
    "quarantine grew": (EVENTS[Condition.QUARANTINE_GREW], "Records were set aside in the last hour."),
    "disk nearly full": (EVENTS[Condition.DISK_NEARLY_FULL], "It is beyond DISPATCHLAKE_DISK_FULL_SHARE."),
    "deliveries wait": (
        EVENTS[Condition.DELIVERIES_WAIT],
        "A webhook delivery waits for longer than DISPATCHLAKE_DELIVERIES_LATE_AFTER_S.",
    ),
    "quality dropped": (
        EVENTS[Condition.QUALITY_DROPPED],
        "More records than usual have nulls, times out of order or the like.",
    ),
    "open zone late": (
        EVENTS[Condition.OPEN_ZONE_LATE],
        "It has not shown what the restricted zone holds for longer than DISPATCHLAKE_OPEN_LATE_AFTER_S.",
    ),
    "erasure unfinished": (
        EVENTS[Condition.ERASURE_UNFINISHED],
        "An erasure was begun more than an hour ago and is not done.",
    ),
    "well again": (EVENTS[RECOVERED], "A trouble that was told is over."),
}
"""Automations for our own events by name: the event, and what it means. The messages come with them."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did: names of automations, and one sentence on it."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    sentence: str = ""


def apply(*, stuck_after: timedelta = STUCK_AFTER) -> Applied:
    """Bring the server's automations to what this version ships; repeating it changes nothing.

    One that somebody switched off stays off. Without the block all of ours are removed: they could only fail.

    Args:
        stuck_after: How long an ingest or maintenance may run before it is told of; 10 s at least.
    """
    block = _find_block()
    wanted = {} if block is None else {one.name: one for one in _automations(block.id, stuck_after)}
    done: dict[str, list[str]] = {"created": [], "updated": [], "unchanged": [], "removed": []}
    with get_client(sync_client=True) as client:
        ours = {one.name: one for one in _read_automations(client) if TAG in one.tags}
        ids = {name: one.id for name, one in ours.items() if one.id is not None}
        for name, automation in wanted.items():
            there = ours.get(name)
            if there is None:
                client.create_automation(automation)
                done["created"].append(name)
            elif _content(there) != _content(automation):
                client.update_automation(ids[name], automation.model_copy(update={"enabled": there.enabled}))
                done["updated"].append(name)
            else:
                done["unchanged"].append(name)
        for name in sorted(set(ours) - set(wanted)):
            client.delete_automation(ids[name])
            done["removed"].append(name)
    sentence = NO_BLOCK
    if block is not None:
        type_name = block.block_type.name if block.block_type else "notification block"
        sentence = f"{len(wanted)} automations tell of troubles through {BLOCK_NAME} ({type_name})."
    return Applied(**{key: tuple(names) for key, names in done.items()}, sentence=sentence)


def set_receiver(url: str) -> None:
    """Let messages go to a webhook: JSON with one field `text`, as Slack, Mattermost and many others take it.

    The address is kept as a secret: whoever has that of a Slack webhook can write there.

    Raises:
        ConfigError: It is no address, or a block of another type has the name.
    """
    if not url.startswith(("https://", "http://")) or any(character.isspace() for character in url):
        raise ConfigError("That is no address of a webhook: it must begin with https:// and be one word.")
    there = _find_block()
    slug = CustomWebhookNotificationBlock.get_block_type_slug()
    if there is not None and there.block_type is not None and there.block_type.slug != slug:
        raise ConfigError(
            f"A block named {BLOCK_NAME} of the type {there.block_type.name} is there already. Edit it in "
            "the UI under Blocks, or delete it first."
        )
    CustomWebhookNotificationBlock(
        name=BLOCK_NAME,
        url="{{receiver}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets=SecretDict({"receiver": url}),
        headers=None,
        cookies=None,
    ).save(BLOCK_NAME, overwrite=True)


def send_test() -> None:
    """Send a message through the block, as an automation would.

    Raises:
        ConfigError: There is no block, or the message could not be delivered.
    """
    document = _find_block()
    if document is None or document.block_type is None:
        raise ConfigError(NO_BLOCK)
    block: Any = Block.load(f"{document.block_type.slug}/{BLOCK_NAME}")
    if "notify" not in block.get_block_capabilities():
        raise ConfigError(
            f"The block {BLOCK_NAME} is of the type {document.block_type.name}, which sends nothing. Delete "
            "it and make a notification block of that name."
        )
    try:
        with block.raise_on_failure():
            block.notify("This is a test: messages of dispatchlake arrive here.", "dispatchlake: test")
    except Exception as error:  # noqa: BLE001 - whatever a receiver's library raises; it may quote the address
        raise ConfigError(
            f"The test message could not be delivered ({type(error).__name__}). Check the address in the "
            f"block {BLOCK_NAME}, and whether it can be reached from here."
        ) from None


def _automations(block_id: UUID, stuck_after: timedelta) -> Iterator[AutomationCore]:
    """Yield what is shipped, calling the block."""
    for name, (event, description) in _TOLD.items():
        yield _automation(block_id, name, description, _on(event))
    yield _automation(
        block_id,
        "lake unusable",
        "An ingest run could not read the lake; told once an hour at most.",
        _on(UNUSABLE, within=_HOUR),
    )
    for name, flows, what_next in (
        ("run crashed", _SCHEDULED, "The next run takes up its work."),
        (
            "run by hand crashed",
            _BY_HAND,
            (
                "Started in the UI, it is begun again by itself within minutes, or you are told why not. "
                "Started in a terminal, start it again: a backfill skips what is complete."
            ),
        ),
    ):
        yield _automation(
            block_id,
            name,
            "A run ended without an answer: its process was killed, or the machine restarted.",
            _on("prefect.flow-run.Crashed", flows=flows),
            "dispatchlake: a run crashed",
            f"{_RUN}\n{what_next} If it happens again, look at the worker's log and memory.",
        )
    yield _automation(
        block_id,
        "run given up",
        "A run crashed too often, or cannot be begun again.",
        _on(f"prefect.flow-run.{GIVEN_UP}", flows=_BY_HAND),
        "dispatchlake: a crashed run is given up",
        f"{_RUN}\nIt is not begun again by itself any more. Open it: its state says why, and what to do.",
    )
    yield _automation(
        block_id,
        "run stuck",
        "An ingest or maintenance began and has not ended in its time.",
        EventTrigger(
            after={"prefect.flow-run.Running"},
            expect={f"prefect.flow-run.{name}" for name in _ENDS},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_related(["ingest", "maintain"]),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=stuck_after,
        ),
        "dispatchlake: a run is stuck",
        f"{_RUN}\nIt has been running for longer than usual. Open it: if its log stands still, cancel it; "
        "the next run takes up its work.",
    )
    yield _automation(
        block_id,
        "no worker",
        "Three runs within an hour were not taken up in time; told once an hour at most.",
        _on("prefect.flow-run.Late", flows=_FLOWS, threshold=3, within=_HOUR),
        "dispatchlake: runs are not taken up",
        f"{_RUN}\nIt is due and no worker has taken it up. Start the worker (dispatchlake up, or its "
        "service), or see under Work Pools whether the pool is paused.",
    )


def _automation(
    block_id: UUID,
    name: str,
    description: str,
    trigger: EventTrigger,
    subject: str = "{{ event.payload.subject }}",
    body: str = "{{ event.payload.body }}",
) -> AutomationCore:
    return AutomationCore(
        name=f"dispatchlake: {name}",
        description=description,
        enabled=True,
        tags=[TAG],
        trigger=trigger,
        actions=[SendNotification(block_document_id=block_id, subject=subject, body=body)],
    )


def _on(
    event: str, *, flows: list[str] | None = None, threshold: int = 1, within: timedelta = timedelta(0)
) -> EventTrigger:
    """Return the trigger for an event that happens; with `within`, once in that time at most."""
    return EventTrigger(
        expect={event},
        match_related=_related(flows) if flows else {},
        posture=Posture.Reactive,
        threshold=threshold,
        within=within,
    )


_ENDS = ("Completed", "Partial", "Failed", "Crashed", "Cancelled")
"""Names of the states a run may end in; Partial is ours (`tasks.policy`)."""


def _related(names: list[str]) -> dict[str, str | list[str]]:
    return {"prefect.resource.role": "flow", "prefect.resource.name": names}


def _content(automation: AutomationCore) -> dict[str, Any]:
    """Return what an automation says, whoever wrote it down."""
    content = automation.model_dump(
        mode="json", include={"name", "description", "tags", "trigger", "actions"}
    )
    trigger = content["trigger"]
    for name in ("after", "expect", "for_each"):  # sets: in any order
        trigger[name] = sorted(trigger[name])
    return content


def _read_automations(client: Any) -> list[Automation]:
    found: list[Automation] = []
    while True:
        more = client.read_automations(limit=_PER_REQUEST, offset=len(found))
        found += more
        if len(more) < _PER_REQUEST:
            return found


def _find_block() -> BlockDocument | None:
    """Return the block that messages go through, of whatever type; None if there is none."""
    offset = 0
    with get_client(sync_client=True) as client:
        while True:
            documents = client.read_block_documents(offset=offset, limit=_PER_REQUEST, include_secrets=False)
            for document in documents:
                if document.name == BLOCK_NAME:
                    return document
            if len(documents) < _PER_REQUEST:
                return None
            offset += len(documents)
