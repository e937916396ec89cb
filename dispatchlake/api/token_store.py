"""The machine's token store: one encrypted file per center, client and scope, shared by every process.

A token is kept with the monotonic time at which it lapses, which no change of the wall clock moves; a
machine's restart begins that clock anew, so a token is only trusted within the boot that fetched it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from filelock import FileLock, Timeout

from dispatchlake.clock import boot_id
from dispatchlake.errors import CenterUnavailable
from dispatchlake.folders import explained, private_folder

logger = logging.getLogger(__name__)

MARGIN_S = 300.0
MARGIN_SHARE = 0.1
"""A token is renewed this long before its end, whichever is shorter."""

RENEWAL_PAUSE_S = 30.0
"""How long a token is used that could not be renewed, until that is tried again."""

LOCK_WAIT_S = 120.0
"""Longer than any login may take with its retries: whoever waits gets the token of whoever logs in."""

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token.

    Attributes:
        lapses_at_s: Monotonic time of this machine at which its life ends, in seconds; infinite where the
            server stated no life, and the token is good until it is refused.
        life_s: Its whole life as the server stated it, in seconds.
        postponed_until_s: Monotonic time until which it is not to be renewed, since that has failed.
        generation: A name for it that may be logged.
    """

    value: str = field(repr=False)
    lapses_at_s: float
    life_s: float
    postponed_until_s: float = 0.0

    @property
    def generation(self) -> str:
        """Return a short name for this token that gives nothing away."""
        return hashlib.sha256(self.value.encode()).hexdigest()[:8]

    def is_fresh(self, now_s: float) -> bool:
        """Say whether the token may be used now as it is.

        That is not within 5 minutes, or 10 % of its life, of its end, unless its renewal is postponed.
        """
        renewed_at_s = self.lapses_at_s - min(MARGIN_S, MARGIN_SHARE * self.life_s)
        return now_s < max(renewed_at_s, min(self.postponed_until_s, self.lapses_at_s))

    def postponed(self, now_s: float, asked_s: float | None = None) -> Token:
        """Return the token as one that is renewed a little later, or as much as the server has asked for."""
        return replace(self, postponed_until_s=now_s + max(RENEWAL_PAUSE_S, asked_s or 0.0))


class TokenStore:
    """The place of one center's token for one client and scope; `sleep` may raise to end a wait for it."""

    def __init__(
        self,
        folder: Path,
        *,
        origin: str,
        client_id: str,
        scope: str,
        client_secret: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        name = hashlib.sha256(f"{origin}\0{client_id}\0{scope}".encode()).hexdigest()[:32]
        self._path = private_folder(folder) / f"{name}.token"
        self._lock = FileLock(folder / f"{name}.lock", timeout=0, mode=0o600)
        self._sleep = sleep
        # The key lives nowhere but in the client secret: the file is worthless without it, and a token of
        # a rotated secret is no longer readable.
        key = HKDF(SHA256(), 32, salt=name.encode(), info=b"dispatchlake token store").derive(
            client_secret.encode()
        )
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def __repr__(self) -> str:
        return f"TokenStore({self._path.name})"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store against every other thread and process of the machine.

        Raises:
            CenterUnavailable: Somebody else held it for too long.
        """
        ends_s = time.monotonic() + LOCK_WAIT_S
        while not self._take():
            if time.monotonic() > ends_s:
                raise CenterUnavailable(
                    f"Another process of this machine has been logging in for more than {LOCK_WAIT_S:.0f} s."
                )
            self._sleep(_POLL_S)
        try:
            self._sleep(0)  # whoever was to stop meanwhile does nothing with it
            yield
        finally:
            self._lock.release()

    def _take(self) -> bool:
        with explained(self._path.parent):
            try:
                self._lock.acquire()
            except Timeout:
                return False
        return True

    def read(self) -> Token | None:
        """Return the stored token, or None where there is none that can be read and trusted."""
        try:
            content = json.loads(self._fernet.decrypt(self._path.read_bytes()))
            if content.pop("boot_id") != boot_id():
                return None
            return Token(**content)
        except FileNotFoundError:
            return None
        except (OSError, InvalidToken, ValueError, KeyError, TypeError) as error:
            logger.warning(
                "The stored token %s cannot be read (%s); logging in anew.",
                self._path.name,
                type(error).__name__,
            )
            return None

    def write(self, token: Token) -> None:
        """Store the token. The caller holds the lock; whoever reads sees the old one or the new, whole."""
        content = self._fernet.encrypt(json.dumps(asdict(token) | {"boot_id": boot_id()}).encode())
        unfinished = self._path.with_suffix(".new")  # what a killed writer left is written over
        with explained(self._path.parent):
            try:
                descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(self._path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise

    def drop(self) -> None:
        """Forget the stored token."""
        with explained(self._path.parent):
            self._path.unlink(missing_ok=True)
