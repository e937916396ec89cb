"""The bearer token on every request: shared by all threads and processes of the machine, renewed once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import httpx

from dispatchlake.api.login import Login
from dispatchlake.api.token_store import Token, TokenStore
from dispatchlake.clock import monotonic_s
from dispatchlake.errors import AuthRejected, CenterError, ContractBroken, is_transient

logger = logging.getLogger(__name__)


class CenterAuth:
    """One OAuth2 identity, for one dispatch center and scope.

    A token comes from memory, else from the machine's store, else from a login. Whoever logs in holds the
    store's lock, so that everyone else waits for that token instead of fetching one of their own. A token is
    renewed before its end; where that fails for now it is used on, by everybody, and its renewal tried again
    after a pause.

    On a 401 the token is given up for everybody. If another process has put a newer one into the store, that
    one is tried; then there is one login and one more try. What is answered to that is the answer: a second
    login would not help, and might lock the account. Nor is there another after a refused one.

    It is no auth flow of httpx, which reads the whole body of a refused answer, however long or slow it is.
    """

    def __init__(self, origin: httpx.URL, *, center_id: str, store: TokenStore, login: Login) -> None:
        self._origin = origin
        self._center_id = center_id
        self._store = store
        self._login = login
        self._token: Token | None = None
        self._refusal: AuthRejected | None = None
        self._lock = threading.Lock()

    @property
    def logins(self) -> int:
        """Return how often this identity asked the token endpoint."""
        return self._login.tries

    def log_in(self) -> None:
        """See that there is a token.

        Raises:
            CenterError: There is none to be had.
        """
        self._current()

    def tokens(self, url: httpx.URL) -> Iterator[tuple[Token, bool]]:
        """Yield what may authorise a request, and whether it is the last; the next, once one was refused.

        Raises:
            CenterError: There is no token to be had.
            ContractBroken: The request goes to another origin than the center's; no token leaves with it.
        """
        if not is_same_origin(url, self._origin):
            raise ContractBroken(
                f"{self._center_id}: a request to {url.host} was stopped: a token is only ever sent "
                "to the center's own origin.",
                self._center_id,
            )
        token, tries_left = self._current(), 2
        yield token, False
        while tries_left:
            token, has_logged_in = self._replace(token)
            tries_left = 0 if has_logged_in else tries_left - 1
            yield token, not tries_left

    def _current(self) -> Token:
        with self._lock:
            if self._token is None or not self._token.is_fresh(monotonic_s()):
                with self._store.locked():
                    self._token = self._stored() or self._renewed()
            return self._token

    def _replace(self, refused: Token) -> tuple[Token, bool]:
        """Return another token than the refused one, and whether it took a login."""
        logger.info("%s refused token %s; getting another", self._center_id, refused.generation)
        with self._lock, self._store.locked():
            stored = self._stored()
            is_newer = stored is not None and stored.value != refused.value
            if stored is None or not is_newer:
                self._store.drop()
                stored = self._fetch(is_urgent=True)
            self._token = stored
            return stored, not is_newer

    def _stored(self) -> Token | None:
        token = self._store.read()
        return token if token is not None and token.is_fresh(monotonic_s()) else None

    def _renewed(self) -> Token:
        """Return a new token; or where there is none to be had for now, the one that is due, while good."""
        due = self._store.read()
        if due is None or monotonic_s() >= due.lapses_at_s:
            return self._fetch(is_urgent=True)
        try:
            return self._fetch(is_urgent=False)
        except CenterError as error:
            now_s = monotonic_s()
            if not is_transient(error) or now_s >= due.lapses_at_s:
                raise
            logger.warning("%s The token there is serves for %.0f s yet.", error, due.lapses_at_s - now_s)
            due = due.postponed(now_s, error.retry_after_s)
        self._store.write(due)
        return due

    def _fetch(self, *, is_urgent: bool) -> Token:
        if self._refusal is not None:
            raise AuthRejected(*self._refusal.args)
        try:
            token = self._login.fetch_token(is_urgent=is_urgent)
        except AuthRejected as error:
            self._refusal = error
            raise
        self._store.write(token)
        return token


def is_same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Say whether two URLs share scheme, host and port; a default port counts as written out."""
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    default = {"https": 443, "http": 80}.get(url.scheme)
    return url.scheme, url.host, url.port if url.port is not None else default
