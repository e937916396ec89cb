"""`dispatchlake fetch-media`: photos, videos and recordings that deliveries link to, once or all the time."""

from __future__ import annotations

from functools import partial

from dispatchlake.cli.prefect_api import prefect_api
from dispatchlake.cli.repeated import refuse_too_often, stopped_by_signals, tell
from dispatchlake.errors import ConfigError
from dispatchlake.model import DispatchCenter
from dispatchlake.settings import Settings, load_settings


def fetch_media(*, every: float | None = None) -> None:
    """Download the media files that deliveries link to, before their links expire.

    For one that has expired, the center's API is asked for a fresh one.

    Only with DISPATCHLAKE_FETCH_MEDIA=1; then `dispatchlake up` does so every 15 seconds. The table
    media_files has where each is, or why it is not there.

    Args:
        every: Look again every so many seconds, until Ctrl-C; 15 is a good number. Once if not given.
    """
    refuse_too_often(every)
    from dispatchlake import media, redaction

    redaction.install()
    settings = load_settings()
    find_center = partial(_find_center, settings)
    if every is None:
        tell(f"{media.fetch_media(settings, find_center=find_center).sentence()}.")
    else:
        media.keep_fetching(
            settings, find_center=find_center, every_s=every, stop=stopped_by_signals(), tell=tell
        )


def _find_center(settings: Settings, center_id: str) -> DispatchCenter:
    """Return a registered center with its credentials; Prefect is imported by who first needs one.

    Raises:
        ConfigError: It is not registered, or the Prefect server cannot be asked now.
    """
    with prefect_api(settings):
        from tasks.centers import load_center

        try:
            return load_center(center_id)
        except ConfigError:
            raise
        except Exception as error:  # Prefect's, its HTTP client's: a server that restarts must end nothing
            raise ConfigError(
                f"The Prefect server could not be asked for {center_id} ({type(error).__name__})."
            ) from error
