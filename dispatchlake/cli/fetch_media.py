"""`dispatchlake fetch-media`: photos, videos and recordings that deliveries link to, once or all the time."""

from __future__ import annotations

from dispatchlake.cli.repeated import refuse_too_often, stopped_by_signals, tell
from dispatchlake.settings import load_settings


def fetch_media(*, every: float | None = None) -> None:
    """Download the media files that deliveries link to, before their links expire.

    Only with DISPATCHLAKE_FETCH_MEDIA=1; then `dispatchlake up` does so every 15 seconds. The table
    media_files has where each is, or why it is not there.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 15 is a good number. Once if not given.
    """
    refuse_too_often(every)
    from dispatchlake import media, redaction

    redaction.install()
    settings = load_settings()
    if every is None:
        tell(f"{media.fetch_media(settings).sentence()}.")
    else:
        media.keep_fetching(settings, every_s=every, stop=stopped_by_signals(), tell=tell)
