"""`dispatchlake alerts`: where messages go. The address is a secret: from a file or stdin, never argv."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.terminal import console
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings

app = App(name="alerts", help="Say where messages about troubles go, and try it.")


@app.command(name="set")
def set_(file: Annotated[Path, Parameter(allow_leading_hyphen=True)], /) -> None:
    """Send messages to a webhook: JSON with one field, text, as Slack, Mattermost and others take it.

    For e-mail, Teams, PagerDuty and the rest make a notification block named dispatchlake-alerts in the UI,
    and then: dispatchlake alerts apply

    Args:
        file: File with the webhook's address, or - to read it from standard input.
    """
    try:
        url = (sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{file} cannot be read: {reason}.") from None
    with prefect_api(load_settings()):
        from tasks.automations import apply as apply_automations
        from tasks.automations import set_receiver

        set_receiver(url)
        console.print(apply_automations().sentence, soft_wrap=True)
    console.print("Try it: dispatchlake alerts test")


@app.command
def apply() -> None:
    """Bring the server's automations to what this version ships; `dispatchlake up` does the same."""
    with prefect_api(load_settings()):
        from tasks.automations import apply as apply_automations

        console.print(apply_automations().sentence, soft_wrap=True)


@app.command
def test() -> None:
    """Send one message through the block, as an automation would."""
    with prefect_api(load_settings()):
        from tasks.automations import send_test

        send_test()
    console.print("Sent. Look whether it arrived.")
