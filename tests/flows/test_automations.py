"""The automations of a server on which nobody has said yet where messages go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import run

pytestmark = pytest.mark.xdist_group("prefect")


def test_without_a_block_nothing_is_kept_and_it_is_said_how_to_set_one(prefect_url: str) -> None:
    from tasks.automations import NO_BLOCK, apply

    applied = apply()
    shown, tested = run("alerts", "apply"), run("alerts", "test")

    assert (applied.created, applied.unchanged, applied.sentence) == ((), (), NO_BLOCK)
    assert (shown.returncode, tested.returncode) == (0, 1)
    assert "Set one: dispatchlake alerts set -" in shown.stdout
    assert "Set one: dispatchlake alerts set -" in tested.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise, which the block's type imports
def test_a_block_of_another_type_is_used_and_never_written_over(prefect_url: str) -> None:
    from prefect.blocks.notifications import SlackWebhook
    from pydantic import SecretStr

    from tasks.automations import BLOCK_NAME, apply

    SlackWebhook(url=SecretStr("https://hooks.slack.com/services/T0/B0/synthetic")).save(BLOCK_NAME)
    try:
        applied = apply()
        refused = run("alerts", "set", "-", stdin="https://example.com/hook")
    finally:
        SlackWebhook.delete(BLOCK_NAME)

    assert len(applied.created) == 16
    assert "(Slack Webhook)" in applied.sentence
    assert refused.returncode == 1
    assert "of the type Slack Webhook is there already" in refused.stderr
    assert len(apply().removed) == 16


def test_a_receiver_that_does_not_answer_is_one_sentence_without_its_address(prefect_url: str) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    from tasks.automations import BLOCK_NAME, apply

    run("alerts", "set", "-", stdin="http://127.0.0.1:9/a-secret-path")
    try:
        tested = run("alerts", "test")
    finally:
        CustomWebhookNotificationBlock.delete(BLOCK_NAME)
        apply()

    assert tested.returncode == 1
    assert "could not be delivered (ConnectError)" in tested.stderr
    assert "a-secret-path" not in tested.stdout + tested.stderr
    assert "Traceback" not in tested.stderr


@pytest.mark.parametrize("text", ["", "hooks.example.com", "https://two words"])
def test_what_is_no_address_is_refused(prefect_url: str, text: str) -> None:
    refused = run("alerts", "set", "-", stdin=text)

    assert refused.returncode == 1
    assert "no address of a webhook" in refused.stderr


def test_a_file_that_is_not_there_is_one_sentence(prefect_url: str, tmp_path: Path) -> None:
    refused = run("alerts", "set", str(tmp_path / "none"))

    assert refused.returncode == 1
    assert "cannot be read: No such file or directory." in refused.stderr
