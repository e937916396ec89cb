"""What an answer, or its absence, means: the one place where HTTP becomes our tree of errors.

No text made here quotes a body or the query of a URL.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping

import httpx

from dispatchlake.api.retry import asked_wait_s
from dispatchlake.errors import (
    AuthRejected,
    CenterError,
    CenterUnavailable,
    ConfigError,
    ContractBroken,
    DispatchLakeError,
    RateLimited,
    RequestRejected,
)
from dispatchlake.unpacking import WINDOWS, UnpacksToTooMuch, unpack


def refusal(response: httpx.Response, *, center_id: str, what: str) -> CenterError | None:
    """Return what a listing's status means, or None for a 200.

    Args:
        response: The answer, its body read or not.
        center_id: Whose answer.
        what: What was asked for, for the sentence: "incident_events (GET /v1/incident_events)".
    """
    status = response.status_code
    if status == httpx.codes.OK:
        return None
    kind, comment = _judge(status)
    text = f"{center_id}: the center answered {status} to {what}{comment.format(center_id=center_id)}"
    return kind(text, center_id, status, asked_wait_s(response.headers))


_JUDGED: Mapping[int, tuple[type[CenterError], str]] = {
    401: (
        AuthRejected,
        ", even with a fresh token. Ask the vendor whether these credentials are still good.",
    ),
    403: (
        AuthRejected,
        ": these credentials do not open it. Compare their scope with what the vendor issued.",
    ),
    404: (
        RequestRejected,
        ": there is no such listing. Set the resource's path in the center's configuration.",
    ),
    408: (CenterUnavailable, "."),
    425: (CenterUnavailable, "."),
    429: (RateLimited, ": too many requests."),
    501: (RequestRejected, ": it does not know how."),
}


def _judge(status: int) -> tuple[type[CenterError], str]:
    """Return the kind of error a status is, and what to say of it after the status."""
    if status in _JUDGED:
        return _JUDGED[status]
    if httpx.codes.is_server_error(status):
        return CenterUnavailable, "."
    if httpx.codes.is_client_error(status):
        return (
            RequestRejected,
            ": it does not take the request as we send it. `dispatchlake check {center_id}` says more.",
        )
    return ContractBroken, ", which the contract does not allow."


def transport_error(error: httpx.HTTPError, *, center_id: str, host: str, path: str) -> DispatchLakeError:
    """Return what a failure below HTTP means; the path is named, so it has no record's id in it."""
    if isinstance(error, httpx.ConnectError):
        # Only while a connection is made: one that is cut later fails in TLS too, and may work again.
        for cause in _iter_origins(error):
            if not isinstance(cause, ssl.SSLError) or isinstance(cause, _CUT_OFF):
                continue
            named = getattr(cause, "verify_message", "") or getattr(cause, "reason", "")
            reason = named or type(cause).__name__
            return ConfigError(
                f"{center_id}: no secure connection to {host}: {reason}. If your network inspects TLS, name "
                "its certificates in SSL_CERT_FILE; otherwise check the center's base URL."
            )
    if isinstance(error, httpx.TimeoutException):
        return CenterUnavailable(f"{center_id}: {host} did not answer in time ({path}).", center_id)
    if isinstance(error, httpx.ConnectError):
        return CenterUnavailable(
            f"{center_id}: {host} cannot be reached. If it stays so, check the center's base URL and the "
            "network.",
            center_id,
        )
    return CenterUnavailable(
        f"{center_id}: the connection to {host} broke ({type(error).__name__}, {path}).", center_id
    )


def _iter_origins(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it came from; the HTTP libraries chain some of it by context alone."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


ACCEPTED_CODINGS = "gzip, deflate"
"""What is asked for, as the header says it."""

_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def read_body(response: httpx.Response, center_id: str, *, what: str, most_bytes: int) -> bytes:
    """Return the whole body, unless it has no end; how long it may take is the deadline's business.

    What comes packed is unpacked no further than it may be long: a few bytes can stand for gigabytes.

    Args:
        response: A streamed answer.
        center_id: Whose answer.
        what: What the body is, for the sentence: "a page of /v1/incident_events".
        most_bytes: How long it may be, unpacked.

    Raises:
        CenterUnavailable: It is damaged.
        ContractBroken: It is longer, or packed in a way that we have not asked for.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity", *WINDOWS):
        raise ContractBroken(
            f"{center_id}: {what} came packed in a way that was not asked for; `{ACCEPTED_CODINGS}` was.",
            center_id,
            response.status_code,
        )
    try:
        is_packed = coding in WINDOWS
        content = _receive(response, most_bytes=most_bytes, is_packed=is_packed)
        unpacked = unpack(content, coding, most_bytes=most_bytes) if is_packed else content
    except UnpacksToTooMuch:
        raise ContractBroken(
            f"{center_id}: {what} is longer than {most_bytes / 2**20:,.0f} MiB. If it is a page, ask for "
            "smaller ones (paging.page_size).",
            center_id,
            response.status_code,
        ) from None
    if unpacked is None:
        raise CenterUnavailable(
            f"{center_id}: {what} cannot be decompressed.", center_id, response.status_code
        )
    return unpacked


def _receive(response: httpx.Response, *, most_bytes: int, is_packed: bool) -> bytes:
    """Return the body as it comes over the network: httpx unpacks each piece to whatever it comes to."""
    chunks, size_bytes = [], 0
    for chunk in response.iter_raw() if is_packed else response.iter_bytes():
        chunks.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > most_bytes:
            raise UnpacksToTooMuch
    return b"".join(chunks)


def is_web_page(response: httpx.Response, body: bytes) -> bool:
    """Say whether a page for people came where records were asked for: maintenance, or a login form."""
    content_type = response.headers.get("content-type", "").lower()
    return "html" in content_type or body.lstrip()[:1] == b"<"
