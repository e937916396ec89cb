"""Media files, from the links that deliveries brought to a folder of their own: where `api` and `lake` meet.

A file is on the disk before the lake says so; killed in between, it is fetched again, over what is there.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dispatchlake.api.media import MediaClient, MediaLimits
from dispatchlake.errors import (
    ConfigError,
    LinkExpired,
    LinkRefused,
    MediaError,
    MediaUnavailable,
)
from dispatchlake.folders import private_folder
from dispatchlake.fresh_links import FindCenter, LinkFinder
from dispatchlake.lake import Lake, MediaLink, MediaOutcome, MediaState, open_lake
from dispatchlake.media_folder import remove_media
from dispatchlake.repetition import repeat
from dispatchlake.settings import Settings
from dispatchlake.stop import Stop

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Files fetched at once, so that a long one keeps none waiting whose link is about to expire."""

BATCH = 20


@dataclass(frozen=True, slots=True)
class MediaSummary:
    """What one pass did: numbers only, safe to show anywhere."""

    fetched: int = 0
    expired: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def tried(self) -> int:
        """Return how many files were tried."""
        return self.fetched + self.expired + self.refused + self.failed

    def sentence(self) -> str:
        """Return it in one line."""
        if not self.tried:
            return "No media file waits"
        return (
            f"{self.fetched:,} media files fetched in {self.seconds:.1f} s; {self.expired:,} links had "
            f"expired, {self.refused:,} were refused, {self.failed:,} failed and are tried again"
        )


def fetch_media(
    settings: Settings,
    *,
    find_center: FindCenter | None = None,
    client: MediaClient | None = None,
    stop: Stop | None = None,
) -> MediaSummary:
    """Fetch what is due, until nothing is or it is asked to stop.

    Args:
        settings: Where the lake and the files are, and how large one may be.
        find_center: Whose API is asked for a fresh link where one has expired; no one is if left out.
        client: The one that goes out to the internet if left out.
        stop: Heeded between two batches.

    Raises:
        ConfigError: Media are not to be fetched here, or their folder cannot be used.
        LakeError: The lake could not be asked or written.
    """
    if not settings.fetch_media:
        raise ConfigError(
            "Media files are not fetched here: they are callers' photos, videos and voices, and need a place "
            "that may hold them. If this one may, set DISPATCHLAKE_FETCH_MEDIA=1."
        )
    client = client or MediaClient(MediaLimits(file_bytes=settings.media_max_mb << 20))
    started_s = time.monotonic()
    counts: Counter[MediaState] = Counter()
    with contextlib.ExitStack() as stack:
        lake = stack.enter_context(open_lake(settings))
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        batches = _iter_batches(lake)
        if find_center is not None:
            run_id = f"media {uuid.uuid4()}"
            finder = stack.enter_context(LinkFinder(lake, settings, find_center, run_id=run_id))
            batches = itertools.chain(batches, finder.iter_links())
        for batch in batches:
            futures = [pool.submit(_fetch, client, one, settings.media_dir) for one in batch]
            for future in as_completed(futures):
                outcome = future.result()
                erased = lake.record_media([outcome])
                remove_media(
                    settings.media_dir, (f"{one.of.center_id}/{one.of.version_hash}" for one in erased)
                )
                counts[outcome.state] += 1
            if stop is not None and stop.is_asked:
                break
    summary = MediaSummary(
        **{str(state): count for state, count in counts.items()}, seconds=time.monotonic() - started_s
    )
    logger.info("%s.", summary.sentence())
    return summary


def keep_fetching(
    settings: Settings,
    *,
    find_center: FindCenter,
    every_s: float,
    stop: Stop,
    tell: Callable[[str], None],
) -> None:
    """Fetch what is due, again and again, until asked to stop.

    Args:
        settings: See `fetch_media`.
        find_center: See `fetch_media`.
        every_s: Pause between two looks, in seconds.
        stop: Ends the pause too.
        tell: Given a sentence when something was tried, and when a look failed for a new reason.
    """

    def fetch() -> str:
        summary = fetch_media(settings, find_center=find_center, stop=stop)
        return f"{summary.sentence()}." if summary.tried else ""

    repeat(fetch, every_s=every_s, stop=stop, tell=tell, final=(ConfigError,))


def _iter_batches(lake: Lake) -> Iterator[list[MediaLink]]:
    """Yield what is due, none twice: what was yielded is recorded before the next is asked for."""
    if renewed := lake.media_renewed(limit=BATCH):
        yield renewed
    while due := lake.media_due(limit=BATCH):
        yield due


def _fetch(client: MediaClient, one: MediaLink, folder: Path) -> MediaOutcome:
    """Fetch one file and return what became of it; nothing of it goes beyond that."""
    tried_at = datetime.now(UTC)
    if one.link is None:
        return MediaOutcome(one, "refused", tried_at, error="The delivery has no link that can be read.")
    try:
        # Named by a hash: an id is the vendor's word and may be any text.
        target = private_folder(folder / one.center_id) / one.version_hash
        found = client.fetch(one.link, target)
    except MediaUnavailable as error:
        if one.answer == "link":  # that of the delivery opens nothing: another is asked for
            again = replace(one, answer="failed")
            return MediaOutcome(again, "expired", tried_at, error=f"There was a fresh link. {error}")
        return MediaOutcome(one, "failed", tried_at, error=str(error))
    except MediaError as error:
        return MediaOutcome(one, _state(error), tried_at, error=str(error))
    except Exception as error:  # noqa: BLE001 - strangers chose the link; it keeps no other file from being fetched
        return MediaOutcome(one, "failed", tried_at, error=_trouble(error))
    path = target.relative_to(folder).as_posix()
    return MediaOutcome(one, "fetched", tried_at, path, found.size_bytes, found.sha256)


def _trouble(error: Exception) -> str:
    """Return what to say of an error that is not the link's; its own text may quote that."""
    if isinstance(error, OSError):
        return f"It could not be written ({error.strerror})."
    logger.error("A media file could not be fetched, by an error of ours: %s.", type(error).__name__)
    return f"An error of ours ({type(error).__name__})."


def _state(error: MediaError) -> MediaState:
    states: dict[type[MediaError], MediaState] = {
        LinkExpired: "expired",
        LinkRefused: "refused",
    }
    return states[type(error)]
