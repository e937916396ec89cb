"""Asking a center's API for a link to a media file when the one that was delivered opens nothing any more.

The vendor says that media URLs are available from its API, and documents no answer that has one. So the
incident is asked for, and its media are looked for wherever they stand in the answer; that is archived first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from dispatchlake.api import CenterClient, Patience
from dispatchlake.errors import (
    AuthRejected,
    CenterError,
    ConfigError,
    ContractBroken,
    DispatchLakeError,
    RequestRejected,
)
from dispatchlake.lake import ExpiredMedia, Lake, MediaAnswer, MediaLink
from dispatchlake.model import DispatchCenter
from dispatchlake.payload import PayloadError, decode_json
from dispatchlake.settings import Settings

FindCenter = Callable[[str], DispatchCenter]
"""Returns a registered center with its credentials; raises ConfigError where that cannot be had."""

_LISTING = "incident_events"


class LinkFinder:
    """Asks centers for incidents; a context that closes its connections.

    Args:
        lake: Where answers are archived and noted.
        settings: How patient we are.
        find_center: Where credentials are from.
        run_id: Kept with each page.
    """

    def __init__(self, lake: Lake, settings: Settings, find_center: FindCenter, *, run_id: str) -> None:
        self._lake = lake
        self._settings = settings
        self._find_center = find_center
        self._run_id = run_id
        self._clients: dict[str, CenterClient] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def iter_links(self) -> Iterator[list[MediaLink]]:
        """Yield fresh links, those of an incident at once, until no incident is to be asked for.

        What comes of each is to be recorded before the next is asked for.

        Raises:
            LakeError: The lake could not be asked or written.
        """
        while expired := self._lake.media_expired():
            if links := self._ask(expired):
                yield links

    def _ask(self, expired: list[ExpiredMedia]) -> list[MediaLink]:
        """Return the fresh links of an incident's media; of those that have none, note why."""
        asked_at = datetime.now(UTC)
        center_id, incident_id = expired[0].of.center_id, expired[0].incident_id
        try:
            client = self._client(center_id)
            page = client.fetch_item(client.center.resource(_LISTING), incident_id)
        except (CenterError, ConfigError) as error:
            answer, sentence = _judge(error)
            self._lake.record_answer(expired, asked_at=asked_at, answer=answer, error=sentence)
            return []
        self._lake.archive(page, run_id=self._run_id)
        shown = list(_iter_media(page.body))
        found = {one: link for one in expired if (link := _link_of(one, shown))}
        if missing := [one for one in expired if one not in found]:
            sentence = "The API was asked for the incident, and shows no link to this file."
            self._lake.record_answer(missing, asked_at=asked_at, answer="none", error=sentence)
        return [replace(one.of, link=link, asked_at=asked_at, answer="link") for one, link in found.items()]

    def _client(self, center_id: str) -> CenterClient:
        if center_id not in self._clients:
            center = self._find_center(center_id)
            if not center.enabled:
                raise ConfigError(f"Dispatch center {center_id} is switched off, so its API is not asked.")
            patience = Patience(
                self._settings.timeout_s, self._settings.page_timeout_s, self._settings.retry_budget_s
            )
            client = CenterClient(center, state_dir=self._settings.state_dir, patience=patience)
            self._clients[center_id] = self._open.enter_context(client)
        return self._clients[center_id]


def _judge(error: DispatchLakeError) -> tuple[MediaAnswer, str]:
    """Return what it means that an incident could not be had, and the sentence to keep."""
    if isinstance(error, RequestRejected):
        status = "it is not asked" if error.status is None else f"HTTP {error.status}"
        return "none", f"The API shows no such incident ({status})."
    if isinstance(error, AuthRejected):
        return "refused", f"The API could not be asked for another: {error}"
    if isinstance(error, ContractBroken):
        return "none", f"The API could not be asked for another: {error}"
    return "failed", f"The API could not be asked for another yet: {error}"


def _iter_media(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield every object of a body that has a URL, however deep it lies."""
    try:
        left = [decode_json(body)]
    except PayloadError:
        return
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get("url"), str):
                yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _link_of(expired: ExpiredMedia, shown: list[dict[str, Any]]) -> str | None:
    """Return the link that is shown for a file: under its id, or else one that leads to the same place."""
    media_id = expired.of.media_id
    by_id = (one["url"] for one in shown if media_id in (one.get("id"), one.get("media_id")))
    by_place = (one["url"] for one in shown if one["url"].partition("?")[0] == expired.url)
    link: str | None = next(by_id, None) or next(by_place, None)
    return link
