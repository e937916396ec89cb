"""Whether a center's webhooks are well: what waits, who fell silent, who may deliver at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dispatchlake.deliveries import (
    Waiting,
    WebhookState,
    judge_webhook,
    judge_webhooks,
    measure_waiting,
    together,
)
from dispatchlake.lake.standing import WebhookStatus
from dispatchlake.settings import Settings
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind
from tests.lake.deliveries import incident_metadata, note_created
from tests.standings import NOW, silent_webhook, webhook
from tests.test_landing import delivery, keep

CAD, INCIDENT_EVENTS = "webhook:cad", "webhook:incident-events"
SOME = Waiting(2, NOW, 60)
LATE = Waiting(2, NOW, 601)


@pytest.mark.parametrize(
    ("status", "waiting", "may_deliver", "state"),
    [
        (webhook(), Waiting(), True, WebhookState.OK),
        (webhook(), SOME, True, WebhookState.OK),
        (webhook(), LATE, True, WebhookState.LATE),
        (webhook(), Waiting(), False, WebhookState.UNREGISTERED),
        (webhook(), LATE, False, WebhookState.LATE),
        (WebhookStatus("houston-tx", CAD), Waiting(), True, WebhookState.NOTHING_YET),
        (WebhookStatus("houston-tx", CAD), SOME, True, WebhookState.OK),
        (silent_webhook(), Waiting(), True, WebhookState.SILENT),
        (silent_webhook(), SOME, True, WebhookState.OK),
        (silent_webhook(), Waiting(), False, WebhookState.UNREGISTERED),
        (silent_webhook(days_compared=6, days_without_deliveries=0), Waiting(), True, WebhookState.OK),
        (silent_webhook(days_without_deliveries=3), Waiting(), True, WebhookState.OK),
        (silent_webhook(usual_deliveries_meanwhile=9.5), Waiting(), True, WebhookState.OK),
        (silent_webhook(hours_without_deliveries=0), Waiting(), True, WebhookState.OK),
    ],
)
def test_a_webhook_is_in_the_one_state_that_matters_most(
    status: WebhookStatus, waiting: Waiting, may_deliver: bool, state: WebhookState
) -> None:
    judged = judge_webhook(status, waiting, may_deliver=may_deliver)

    assert judged.state is state
    if state in (WebhookState.LATE, WebhookState.SILENT):
        assert judged.why.endswith(".")
        assert judged.advice.endswith(".")
        assert "{" not in judged.advice
    else:
        assert (judged.why, judged.advice) == ("", "")


def test_what_was_set_aside_is_told_with_its_reason() -> None:
    judged = judge_webhook(
        webhook(quarantined=7, quarantined_last_hour=2, last_reason="it is no JSON"),
        Waiting(),
        may_deliver=True,
    )

    assert judged.state is WebhookState.OK
    assert judged.notice == (
        "2 deliveries were set aside in the last hour, 7 lie in quarantine; the last because: it is no JSON."
    )


def test_the_last_delivery_is_the_last_that_came_be_it_in_the_lake_or_not() -> None:
    landed = webhook(last_received_at=NOW - timedelta(hours=1))

    assert judge_webhook(landed, SOME, may_deliver=True).last_received_at == NOW
    assert judge_webhook(landed, Waiting(), may_deliver=True).last_received_at == NOW - timedelta(hours=1)
    assert judge_webhook(landed, SOME, may_deliver=True).through.startswith("The last delivery came 2024-")
    never = judge_webhook(WebhookStatus("a", CAD), Waiting(), may_deliver=True)
    assert never.through == "Nothing was ever delivered."


def test_who_may_deliver_and_never_did_is_there_and_who_delivers_one_kind_is_not_asked_for_the_other(
    settings: Settings,
) -> None:
    file = CredentialFile(settings.webhooks_dir)
    for center_id in ("new-tx", "houston-tx"):
        file.issue(center_id, CredentialKind.BEARER)

    judged = judge_webhooks(settings, [webhook(), webhook("gone-tx")], {})

    assert [(one.name, one.state) for one in judged] == [
        (f"gone-tx {CAD}", WebhookState.UNREGISTERED),
        (f"houston-tx {CAD}", WebhookState.OK),
        (f"new-tx {CAD}", WebhookState.NOTHING_YET),
        (f"new-tx {INCIDENT_EVENTS}", WebhookState.NOTHING_YET),
    ]


def test_where_nobody_receives_nothing_is_judged_or_made(settings: Settings) -> None:
    assert measure_waiting(settings) == {}
    assert judge_webhooks(settings, [], {}) == ()
    assert together([], 600).why == "No webhook delivery waits."
    assert not settings.spool_dir.exists()
    assert not settings.webhooks_dir.exists()


def test_how_long_deliveries_wait_is_known_without_a_lake(settings: Settings) -> None:
    now = datetime.now(UTC)
    keep(settings, delivery(incident_metadata(), received_at=now - timedelta(hours=3)))
    keep(settings, delivery(note_created(), received_at=now), delivery(note_created(), received_at=now))

    waiting = measure_waiting(settings)

    assert {name: (one.count, one.is_late) for name, one in waiting.items()} == {
        ("center-a", INCIDENT_EVENTS): (1, True),
        ("center-a", CAD): (2, False),
    }
    assert together(waiting.values(), 600).why == (
        "3 webhook deliveries wait to be landed, the oldest for 3.0 h."
    )
    assert not settings.lake_dir.exists()
