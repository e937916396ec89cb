"""A listing that changes between its pages, played without a network: what the guards are for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from dispatchlake.api.listing import Listing
from dispatchlake.lake import ColumnDecoder
from dispatchlake.model import Paging, Resource, Scope
from dispatchlake.payload import decode_page

Order = Literal["created_desc", "created_asc", "updated_desc", "updated_asc", "id"]
Form = Literal["link", "pagy_countless", "pagy", "page", "offset"]

CENTER_ID = "center-a"


@dataclass
class ChangingList:
    """Records of one center, listed in an order, with page numbers or offsets.

    Attributes:
        until: The upper bound that is asked for: what changes after it leaves the list. None asks for none.
    """

    order: Order
    form: Form
    page_size: int
    until: int | None = None
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    time: int = 0

    def add(self, number: int) -> None:
        """Let a record appear; its id says nothing of when."""
        self.time += 1
        identity = f"{number * 7919 % 10_007:05}"
        self.records[identity] = {"id": identity, "created_at": self.time, "updated_at": self.time}

    def update(self, position: int) -> None:
        """Change the record that stands at a position of the list now."""
        self.time += 1
        if shown := self.shown():
            shown[position % len(shown)]["updated_at"] = self.time

    def shown(self) -> list[dict[str, Any]]:
        """Return the records in the list's order."""
        name, _, direction = self.order.partition("_")
        key = "id" if name == "id" else f"{name}_at"
        listed = [r for r in self.records.values() if self.until is None or r["updated_at"] <= self.until]
        return sorted(listed, key=lambda r: (r[key], r["id"]), reverse=direction == "desc")

    def answer(self, url: httpx.URL) -> httpx.Response:
        """Return the page that a request asks for."""
        shown, size = self.shown(), self.page_size
        page = int(url.params.get("page", 1))
        start = int(url.params["offset"]) if "offset" in url.params else (page - 1) * size
        headers = {}
        if self.form == "link" and start + size < len(shown):
            headers["Link"] = f'<{url.copy_set_param("page", page + 1)}>; rel="next"'
        elif self.form.startswith("pagy"):
            headers = {"current-page": str(page), "page-limit": str(size)}
        if self.form == "pagy":
            headers |= {"total-pages": str(max(1, -(-len(shown) // size))), "total-count": str(len(shown))}
        return httpx.Response(200, headers=headers, json=shown[start : start + size])


def resource(**paging: Any) -> Resource:
    """Return a listing that is paged through like this."""
    return Resource(
        name="incident_events", scope=Scope.INCIDENT_EVENTS, path="/v1/x", paging=Paging(**paging)
    )


def read(server: ChangingList, changes: Iterable[Iterable[tuple[str, int]]]) -> tuple[set[str], int]:
    """Read the listing to its end; before each page after the first, the next changes happen.

    Returns:
        The ids that were read, and the number of requests.
    """
    style = server.form if server.form in {"page", "offset"} else "follow"
    # A size of its own is asked for, so that a single full page does not look like a listing without an end.
    paging: dict[str, Any] = {"style": style, "page_size": server.page_size + 1}
    asked = resource(**paging).model_copy(update={"until_param": server.until and "updated_before"})
    listing = Listing(asked, CENTER_ID, httpx.URL("https://center.example/v1/x"))
    coming, ids, requests = iter(changes), set(), 0
    decode_columns = ColumnDecoder()
    while (url := listing.next_url) is not None:
        if requests:
            for what, number in next(coming, ()):
                server.update(number) if what == "update" else server.add(
                    1_000 + len(server.records) + number
                )
        requests += 1
        response = server.answer(url)
        # One page as columns, the next as objects: that makes no difference.
        decode = decode_columns if requests % 2 else decode_page
        payload = decode(response.content, asked)
        ids |= {record["id"] for record in payload.records}
        listing.take(url, response, payload)
        assert requests < 10_000, json.dumps(server.order)
    return ids, requests
