"""The receiver's own TLS certificate, taken up when it is renewed: nothing has to be started again."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from dispatchlake.errors import ConfigError

logger = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key, looked at before each handshake, which costs two questions to the disk.

    Args:
        certificate: PEM file of the certificate with its chain.
        key: PEM file of its private key.

    Raises:
        ConfigError: They cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen = self._state()
        self._context = load(certificate, key)

    def context(self) -> ssl.SSLContext:
        """Return what a handshake that begins now is made with.

        A new certificate that cannot be used, as while only one of the two files is renewed, changes nothing:
        the one before goes on, and the log says so. Connections that are there already keep theirs.
        """
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._context = load(self._certificate, self._key)
            except ConfigError as error:
                logger.error("%s Until then the one before goes on.", error)  # noqa: TRY400 - it says it all
            else:
                logger.info("The certificate %s is a new one, and is used from now on.", self._certificate)
        return self._context

    def _state(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(_state(path) for path in (self._certificate, self._key))


def load(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's side of TLS.

    Raises:
        ConfigError: The files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, lambda: "")
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error.__class__.__name__
        raise ConfigError(
            f"The certificate {certificate} with the key {key} cannot be used: {reason}. Both must be PEM "
            "files, the key without a password and that of the certificate."
        ) from None
    return context


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
