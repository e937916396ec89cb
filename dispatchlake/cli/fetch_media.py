"""`dispatchlake fetch-media`: photos, videos and recordings that deliveries link to, once or all the time."""

from __future__ import annotations

import signal
from types import FrameType

from dispatchlake.cli.terminal import console
from dispatchlake.errors import ConfigError
from dispatchlake.settings import load_settings

LEAST_EVERY_S = 1.0


def fetch_media(*, every: float | None = None) -> None:
    """Download the media files that deliveries link to, before their links expire.

    Only with DISPATCHLAKE_FETCH_MEDIA=1; then `dispatchlake up` does so every 15 seconds. The table
    media_files has where each is, or why it is not there.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 15 is a good number. Once if not given.
    """
    if every is not None and every < LEAST_EVERY_S:
        raise ConfigError(f"Every {every:g} s is too often. Give {LEAST_EVERY_S:g} or more.")
    from dispatchlake import media, redaction
    from dispatchlake.stop import Stop

    redaction.install()
    settings = load_settings()
    if every is None:
        _tell(f"{media.fetch_media(settings).sentence()}.")
        return
    stop = Stop()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    media.keep_fetching(settings, every_s=every, stop=stop, tell=_tell)


def _tell(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
