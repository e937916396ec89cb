"""What a request is answered that is not taken, and the one line of the log about any request."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response

from dispatchlake.errors import DeliveryRefused

logger = logging.getLogger("dispatchlake.receiver")


def refused(refusal: DeliveryRefused) -> Response:
    """Return the answer to a request that is not taken."""
    headers = {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (400, 408):
        headers["Connection"] = "close"  # where its body ends is not known, or is not waited for
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)


@dataclass(slots=True)
class Line:
    """One line of the log: only of what we know ourselves, and nothing in it as somebody sent it.

    Attributes:
        source: The address that asks.
        kind: Which of our URLs.
        center: Only where something was issued for it: of any other, the name may be anything.
        credential: By which it was let in.
        body_bytes: Size of the body, unpacked.
        raw_id: By which the lake knows the delivery.
    """

    source: str
    kind: str = "-"
    center: str = "-"
    credential: str = "-"
    body_bytes: int | None = None
    raw_id: str = "-"

    def write(self, status: int, took_s: float = 0.0) -> None:
        """Write it, with the status that was answered."""
        logger.info(
            "status=%d kind=%s center=%s credential=%s bytes=%s ms=%.0f source=%s raw_id=%s",
            status,
            self.kind,
            self.center,
            self.credential,
            "-" if self.body_bytes is None else self.body_bytes,
            took_s * 1000,
            self.source,
            self.raw_id,
        )
