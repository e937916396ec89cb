"""One media file, from its link to the disk: the only requests that go to hosts no configuration names.

Whoever can deliver to us chooses the link. So it must be https, and lead to public addresses only, also where
it redirects to. No credential of ours, cookie or proxy is involved, and a link, whose query lets anyone in,
is in no log and no error.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpcore
import httpx

from dispatchlake.api.deadline import Deadline, EndingBackend
from dispatchlake.api.partial_file import MediaFile, PartialFile
from dispatchlake.api.public_network import Network, PublicOnly
from dispatchlake.api.retry import RetryPolicy
from dispatchlake.errors import LinkExpired, LinkRefused, MediaUnavailable

MOST_REDIRECTS = 5
_LAST_PORT = 65_535

_GONE = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What one file may cost.

    Attributes:
        file_bytes: Longest file.
        silence_s: Longest silence of the host.
        file_s: Longest time of one attempt; what has come by then is gone on from in the next.
        retry_budget_s: How long after the first attempt another one may begin.
    """

    file_bytes: int
    silence_s: float = 30.0
    file_s: float = 600.0
    retry_budget_s: float = 30.0


class MediaClient:
    """Fetches files, one a call; calls may come from several threads.

    Args:
        limits: What one file may cost.
        network: The real one if left out.
        tls: Which certificates are trusted; those the system trusts if left out.
    """

    def __init__(
        self, limits: MediaLimits, *, network: Network | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._limits = limits
        self._network = network or Network()
        self._tls = tls or ssl.create_default_context()
        self._retry = RetryPolicy(limits.retry_budget_s)

    def fetch(self, link: str, target: Path) -> MediaFile:
        """Download what a link leads to.

        What an attempt that broke off has left beside the target is gone on from, also by another process, as
        long as the host says that it is still the same file.

        Args:
            link: With its query.
            target: Appears whole or not at all; its folder is there.

        Raises:
            LinkExpired: The link opens nothing, or no longer.
            LinkRefused: It leads where we do not go, or to more than we take.
            MediaUnavailable: It could not be had now.
        """
        part = PartialFile(target)
        try:
            return self._retry.run(lambda: self._fetch(link, part))
        except LinkRefused:
            part.discard()
            raise

    def _fetch(self, link: str, part: PartialFile) -> MediaFile:
        url = _checked(link)
        deadline = Deadline()
        backend = EndingBackend(PublicOnly(self._network), deadline)
        with (
            deadline.within(self._limits.file_s),
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
        ):
            for _ in range(MOST_REDIRECTS + 1):
                try:
                    with pool.stream(
                        "GET", _raw(url), headers=_headers(url, part), extensions=self._timeouts()
                    ) as response:
                        headers = _read_headers(response)
                        if response.status not in {301, 302, 303, 307, 308}:
                            self._save(response, headers, part)
                            return part.finish()
                except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
                    raise MediaUnavailable(f"The connection failed ({type(error).__name__}).") from None
                url = _checked(headers.get("location", ""), base=url)
        raise LinkRefused(f"There are more than {MOST_REDIRECTS} redirects.")

    def _timeouts(self) -> dict[str, dict[str, float]]:
        return {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._limits.silence_s)}

    def _save(self, response: httpcore.Response, headers: Mapping[str, str], part: PartialFile) -> None:
        """Write an answer's body to what is there already of it, or from the beginning."""
        self._refuse(response, part)
        start, whole = 0, None
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start = part.size_bytes
            whole = _size_of_which_the_rest_comes(headers, start)
            if whole is None:
                part.discard()
                raise MediaUnavailable("The host sent another part than was asked for.")
        length = headers.get("content-length", "")
        if length.isdecimal() and start + int(length) > self._limits.file_bytes:
            raise self._too_large()
        with part.writing(start, headers.get("etag", "")) as file:
            written = start
            for chunk in response.iter_stream():
                written += len(chunk)
                if written > self._limits.file_bytes:
                    raise self._too_large()
                file.write(chunk)
        if whole is not None and written != whole:
            raise MediaUnavailable("The rest of the file did not come to its end.")

    def _refuse(self, response: httpcore.Response, part: PartialFile) -> None:
        """Raise what an answer means that is no file or part of one."""
        if response.status in _GONE:
            raise LinkExpired(f"The link opens nothing any more (HTTP {response.status}).")
        if response.status in _PASSING or response.status >= 500:
            raise MediaUnavailable(f"The host answered with HTTP {response.status}.")
        if response.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        if _is_gone_on_from(part):  # 416, or another: what it refuses may be the part, and not the file
            part.discard()
            raise MediaUnavailable("What was there already is no part of the file any more.")
        raise LinkRefused(f"The host answered with HTTP {response.status}.")

    def _too_large(self) -> LinkRefused:
        return LinkRefused(f"The file is larger than {self._limits.file_bytes:,} bytes.")


def _checked(link: str, *, base: httpx.URL | None = None) -> httpx.URL:
    """Return the URL of a link or of a redirect.

    Raises:
        LinkRefused: It is no https URL, or has a user name in it.
    """
    try:
        url = base.join(link) if base is not None and link else httpx.URL(link)
        host = url.host  # a name with letters beyond ASCII is decoded only now
    except (httpx.InvalidURL, ValueError):  # the latter of a name, or a text, that cannot be decoded
        raise LinkRefused("The link is no URL.") from None
    if url.scheme != "https" or not host or url.userinfo or (url.port or 0) > _LAST_PORT:
        raise LinkRefused("The link is no https URL, or has a user name in it.")
    return url


def _raw(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _headers(url: httpx.URL, part: PartialFile) -> list[tuple[bytes, bytes]]:
    """Return what is sent: nothing that says who we are; and what is asked for, if some of it is there."""
    headers = {b"Host": url.netloc, b"Accept": b"*/*", b"Accept-Encoding": b"identity"}
    if _is_gone_on_from(part):
        headers |= {b"Range": b"bytes=%d-" % part.size_bytes, b"If-Range": part.tag.encode("latin-1")}
    return list(headers.items())


def _is_gone_on_from(part: PartialFile) -> bool:
    return bool(part.tag and part.size_bytes)


def _read_headers(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _size_of_which_the_rest_comes(headers: Mapping[str, str], start: int) -> int | None:
    """Return how large the file is of which an answer is all that comes from a byte on; None if it is not."""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", headers.get("content-range", ""))
    if found is None or int(found[1]) != start or int(found[2]) + 1 != int(found[3]):
        return None
    return int(found[3])
