"""One dispatch center's API: one pool of connections, one rate budget, verbs that yield pages."""

from __future__ import annotations

import functools
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx

import dispatchlake
from dispatchlake.api.answers import ACCEPTED_CODINGS, is_web_page, read_body, refusal, transport_error
from dispatchlake.api.auth import CenterAuth, is_same_origin
from dispatchlake.api.deadline import Deadline, keep_within
from dispatchlake.api.listing import Listing
from dispatchlake.api.login import Login
from dispatchlake.api.paging import HEADERS_OF_INTEREST, resolve
from dispatchlake.api.rate import RateBudget
from dispatchlake.api.retry import RetryPolicy, http_date
from dispatchlake.api.token_store import TokenStore
from dispatchlake.clock import FIRST_PLAUSIBLE
from dispatchlake.errors import (
    CenterError,
    CenterUnavailable,
    ConfigError,
    ContractBroken,
    RequestRejected,
)
from dispatchlake.model import ITEM, DispatchCenter, Page, Resource, Scope
from dispatchlake.payload import NotJson, Payload, PayloadError, decode_page
from dispatchlake.redaction import is_secret_name, redact
from dispatchlake.windows import Window

logger = logging.getLogger(__name__)

MAX_REDIRECTS = 5
BACKFILL_SHARE = 0.5
"""Part of a center's rate budget that all backfills together may take; the rest is live ingestion's."""

BACKFILL_PATIENCE_S = 3600.0
"""A backfill is in no hurry: it waits for its turn where a scheduled run would be told to come back later."""

MAX_BODY_BYTES = 512 * 2**20
"""Far beyond any page; an answer without end must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the client waits, in seconds.

    Attributes:
        timeout_s: Longest silence of a server.
        page_timeout_s: Longest a whole page may take, from connecting to its end.
        retry_budget_s: How long one request may be tried again.
    """

    timeout_s: float = 30.0
    page_timeout_s: float = 120.0
    retry_budget_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer: the URL it came from, its status and headers, its body and the records that it holds."""

    url: httpx.URL = field(repr=False)
    response: httpx.Response
    requested_at: datetime
    received_at: datetime
    body: bytes = field(repr=False)
    payload: Payload = field(default_factory=lambda: Payload([], {}))


class CenterClient:
    """Reads one dispatch center. Threads may share it; close it, or use it as a context."""

    def __init__(
        self,
        center: DispatchCenter,
        *,
        state_dir: Path,
        patience: Patience | None = None,
        is_backfill: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        decode: Callable[[bytes, Resource], Payload] = decode_page,
    ) -> None:
        """Make a client.

        Args:
            center: Whom to read.
            state_dir: Where tokens and rate budgets are kept for all processes of the machine.
            patience: How long to wait.
            is_backfill: Whether to leave live ingestion its part of the center's rate budget.
            sleep: Called for every wait; may raise to end it.
            decode: Reads a page of a listing; returns and raises what `payload.decode_page` does.
        """
        self.center = center
        self._decode_page = decode
        self._patience = patience or Patience()
        self._state_dir = state_dir
        self._origin = _origin_of(center)
        self._retry = RetryPolicy(self._patience.retry_budget_s, sleep=sleep)
        budget = partial(RateBudget, state_dir / "rates", center.center_id, sleep=sleep)
        self._rate = budget(
            requests_per_s=center.max_requests_per_s, patience_s=self._patience.retry_budget_s
        )
        self._backfill_rate = (
            budget(
                purpose="backfill",
                requests_per_s=center.max_requests_per_s * BACKFILL_SHARE,
                patience_s=BACKFILL_PATIENCE_S,
            )
            if is_backfill
            else None
        )
        self._http = _open_http(center, self._patience)
        self._deadline = Deadline()
        keep_within(self._http, self._deadline)
        self._auths: dict[Scope, CenterAuth] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def logins(self) -> int:
        """Return how often this client asked the center's token endpoint, refused or not."""
        return sum(auth.logins for auth in self._auths.values())

    def log_in(self, resource: Resource) -> None:
        """See that there is a token for a listing; a request that finds none does so itself.

        Raises:
            CenterError: There is none to be had.
        """
        self._auth(resource.scope).log_in()

    def iter_pages(self, resource: Resource, window: Window) -> Iterator[Page]:
        """Yield every page of a listing, as received; each is handed over before the next is asked for.

        A record may come more than once: on two pages, because the list moved, or because the listing was
        read again. Merging by id and version is the lake's business. A cursor that the center refuses has
        outlived its time: the listing is begun anew, once.

        Args:
            resource: Which listing, as this center has it.
            window: Compared with the records' change time at the source, where the resource has filters;
                without, everything is yielded.

        Raises:
            CenterError: It cannot be read whole. What was yielded is good, but not all.
        """
        first_url = self.first_url(resource, window)
        listing = Listing(resource, self.center.center_id, first_url)
        sequence, is_begun_anew = 0, False
        while listing.next_url is not None:
            asked = listing.next_url
            try:
                fetched = self.fetch(resource, asked)
            except RequestRejected as error:
                if is_begun_anew or not listing.is_at_cursor:
                    raise
                logger.info("Reading %s from its beginning again: %s", resource.name, error)
                listing, is_begun_anew = Listing(resource, self.center.center_id, first_url), True
                continue
            sequence += 1
            yield self._page(resource, sequence, asked, fetched)
            listing.take(asked, fetched.response, fetched.payload)

    def first_url(self, resource: Resource, window: Window) -> httpx.URL:
        """Return where a listing begins: its path, page size and filters."""
        paging = resource.paging
        params: dict[str, str] = {}
        if paging.size_param and paging.style != "single":
            params[paging.size_param] = str(paging.page_size)
        if resource.since_param and window.start:
            params[resource.since_param] = _text(window.start)
        if resource.until_param:
            params[resource.until_param] = _text(window.end)
        return httpx.URL(f"{self.center.base_url}{resource.path}", params=params)

    def fetch(self, resource: Resource, url: httpx.URL) -> Fetched:
        """Fetch and decode one page, trying again within the retry budget.

        Raises:
            AuthRejected: Refused even with a fresh token, or by scope.
            RequestRejected: Another 4xx.
            CenterUnavailable, RateLimited: Still failing when the budget was spent.
            ContractBroken: Another origin, or a body without a list of records.
        """
        return self._retry.run(lambda: self._attempt(resource, url))

    def fetch_item(self, resource: Resource, item_id: str) -> Page:
        """Fetch one record, where the resource says that it is shown, trying again within the retry budget.

        Args:
            resource: Its listing, as this center has it.
            item_id: The record's id, whatever text that is.

        Returns:
            Page: Of the resource `NAME:item`; its body is not looked into, so it has no records.

        Raises:
            AuthRejected: Refused even with a fresh token, or by scope.
            ConfigError: No credentials open it.
            ContractBroken: Another origin.
            RequestRejected: Another 4xx, 404 among them; or no path can lead there.
            CenterUnavailable, RateLimited: Still failing when the budget was spent.
        """
        if resource.item_path is None or not item_id.strip("."):  # a path of dots leads elsewhere
            raise RequestRejected(f"{self.center.center_id}: no path leads to that.", self.center.center_id)
        path = resource.item_path.replace("{id}", quote(item_id, safe=""))
        url = httpx.URL(f"{self.center.base_url}{path}")
        one = resource.model_copy(update={"name": f"{resource.name}{ITEM}", "path": resource.item_path})
        fetched = self._retry.run(lambda: self._attempt_item(one, url))
        # Where it was asked for stays in the chain of pages for good, so it does not name the record.
        return replace(self._page(one, 1, url, fetched), url_path=resource.item_path)

    def _attempt(self, resource: Resource, url: httpx.URL) -> Fetched:
        fetched = self._get(resource, url)
        return replace(fetched, payload=self._decode(resource, fetched.response, fetched.body))

    def _attempt_item(self, resource: Resource, url: httpx.URL) -> Fetched:
        fetched = self._get(resource, url)
        if is_web_page(fetched.response, fetched.body):
            raise self._web_page(resource, fetched.response)
        return fetched

    def _get(self, resource: Resource, url: httpx.URL) -> Fetched:
        """Return one answer, not decoded yet."""
        requested_at = datetime.now(UTC)
        target = url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self._keep_to_origin(target)
                self._take_slot()
                with self._answer(resource.scope, target) as response:
                    if not response.has_redirect_location:
                        self._refuse(resource, response)
                        body = read_body(
                            response,
                            self.center.center_id,
                            what=f"a page of {resource.path}",
                            most_bytes=MAX_BODY_BYTES,
                        )
                        return Fetched(url, response, requested_at, datetime.now(UTC), body)
                    target = resolve(target, response.headers["location"])
        except httpx.HTTPError as error:
            host = target.netloc.decode("ascii")
            raise transport_error(
                error, center_id=self.center.center_id, host=host, path=resource.path
            ) from None
        except httpx.InvalidURL:
            raise ContractBroken(
                f"{self.center.center_id}: a redirect of {resource.path} names no URL.", self.center.center_id
            ) from None
        raise ContractBroken(
            f"{self.center.center_id}: {resource.path} is redirected more than {MAX_REDIRECTS} times.",
            self.center.center_id,
        )

    @contextmanager
    def _answer(self, scope: Scope, url: httpx.URL) -> Iterator[httpx.Response]:
        """Yield the answer to a request that carries a token; what is refused is left unread.

        Raises:
            CenterError: There is no token to be had.
        """
        for token, is_last in self._auth(scope).tokens(url):
            with (
                self._deadline.within(self._patience.page_timeout_s),
                self._http.stream("GET", url, headers={"Authorization": f"Bearer {token.value}"}) as response,
            ):
                if is_last or response.status_code != httpx.codes.UNAUTHORIZED:
                    yield response
                    return

    def _take_slot(self) -> None:
        if self._backfill_rate is not None:  # first: who waits here keeps nobody else waiting
            self._backfill_rate.take()
        self._rate.take()

    def _auth(self, scope: Scope) -> CenterAuth:
        if scope not in self._auths:
            credentials = self.center.credentials.get(scope)
            if credentials is None:
                raise ConfigError(
                    f"Dispatch center {self.center.center_id} has no credentials for the scope {scope}. "
                    f"Register them: dispatchlake centers add {self.center.center_id} --scope {scope} ..."
                )
            store = TokenStore(
                self._state_dir / "tokens",
                origin=self.center.base_url,
                client_id=credentials.client_id,
                scope=scope,
                client_secret=credentials.client_secret.get_secret_value(),
                sleep=self._retry.sleep,
            )
            login = Login(
                self.center,
                scope,
                http=self._http,
                retry=self._retry,
                rate=self._rate,
                deadline=self._deadline,
            )
            self._auths[scope] = CenterAuth(
                self._origin, center_id=self.center.center_id, store=store, login=login
            )
        return self._auths[scope]

    def _keep_to_origin(self, url: httpx.URL) -> None:
        if url.userinfo or not is_same_origin(url, self._origin):
            raise ContractBroken(
                f"{self.center.center_id}: the center named another origin ({url.scheme}://{url.host}) for "
                "what comes next. It is not followed: a token is only ever sent to the center's own.",
                self.center.center_id,
            )

    def _refuse(self, resource: Resource, response: httpx.Response) -> None:
        what = f"{resource.name} (GET {resource.path})"
        error = refusal(response, center_id=self.center.center_id, what=what)
        if error is None:
            return
        if error.retry_after_s is not None:
            self._rate.pause(error.retry_after_s)
        raise error

    def _decode(self, resource: Resource, response: httpx.Response, body: bytes) -> Payload:
        if is_web_page(response, body):
            raise self._web_page(resource, response)
        kind: type[CenterError]
        try:
            return self._decode_page(body, resource)
        except NotJson as error:
            # A body that was cut off looks like this too, so it is worth another try.
            kind, reason = CenterUnavailable, f"is no page of records: {error}"
        except PayloadError as error:
            kind, reason = ContractBroken, f"is no page of records: {error}"
        raise kind(
            f"{self.center.center_id}: the answer to GET {resource.path} {reason}.",
            self.center.center_id,
            response.status_code,
        )

    def _web_page(self, resource: Resource, response: httpx.Response) -> CenterUnavailable:
        return CenterUnavailable(
            f"{self.center.center_id}: the answer to GET {resource.path} is a web page; the center may be "
            "under maintenance.",
            self.center.center_id,
            response.status_code,
        )

    def _page(self, resource: Resource, sequence: int, asked: httpx.URL, fetched: Fetched) -> Page:
        return Page(
            center_id=self.center.center_id,
            resource=resource.name,
            sequence=sequence,
            url_path=asked.path,
            query={name: value for name, value in asked.params.items() if not is_secret_name(name)},
            status=fetched.response.status_code,
            headers={n: v for n, v in fetched.response.headers.items() if n in HEADERS_OF_INTEREST},
            requested_at=fetched.requested_at,
            received_at=fetched.received_at,
            body=fetched.body,
            records=fetched.payload.records,
            answered_at=_answered_at(fetched.response),
        )


def _answered_at(response: httpx.Response) -> datetime | None:
    """Return when a center answered, by its clock; None if it does not say, or its clock was never set."""
    instant = http_date(response.headers.get("date"))
    return instant if instant is not None and instant >= FIRST_PLAUSIBLE else None


def _origin_of(center: DispatchCenter) -> httpx.URL:
    """Return where a center's API is.

    Raises:
        ConfigError: No host can have this name.
    """
    try:
        origin = httpx.URL(center.base_url)
        origin.host.encode("idna")  # as the name is looked up
        is_possible = re.fullmatch(rb"[\w.:-]+", origin.raw_host) and (origin.port or 0) < 2**16
    except (httpx.InvalidURL, UnicodeError):
        is_possible = False
    if not is_possible:
        raise ConfigError(
            f"{center.center_id}: the base URL {center.base_url} is none: check the host's name and the port."
        )
    return origin


def _open_http(center: DispatchCenter, patience: Patience) -> httpx.Client:
    """Return the center's pool of connections.

    Raises:
        ConfigError: The environment names a proxy or certificates that cannot be used.
    """
    try:
        with _READING_TRUST:
            trusted = _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        return httpx.Client(
            http2=True,
            timeout=patience.timeout_s,
            follow_redirects=False,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": ACCEPTED_CODINGS,
                "User-Agent": f"dispatchlake/{dispatchlake.__version__}",
            },
            verify=trusted,
            trust_env=not center.is_on_this_machine,  # a proxy of the environment has no way to loopback
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {reason}."
        ) from None
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise ConfigError(
            "The proxy that the environment names (HTTPS_PROXY, ALL_PROXY) cannot be used: "
            f"{redact(str(error))}"
        ) from None


_READING_TRUST = threading.Lock()
"""Reading the certificates takes some hundredths of a second: clients made at once wait for one reading."""


@functools.cache
def _trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """Return who is trusted, as the environment says, also where no proxy is asked for; read once a process.

    The arguments are what httpx reads from the environment itself: other ones, another answer.
    """
    return httpx.create_ssl_context()


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
