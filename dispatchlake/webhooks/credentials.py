"""Who may deliver for which dispatch center: what we issued, kept as hashes, in one private file.

Secrets are ours, 256 random bits each, so one round of SHA-256 hides them: there is nothing to guess. The
file is replaced whole, and the receiver reads it again whenever it is another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer

from dispatchlake.errors import ConfigError
from dispatchlake.folders import explained, private_folder
from dispatchlake.model import CENTER_ID_PATTERN

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 2
"""Credentials of a kind that a center has at most: the one in use and the one it is changed for."""

_LOCK_WAIT_S = 10.0


class CredentialKind(StrEnum):
    """The two ways the vendor documents: a token of ours, or a client that fetches tokens from us."""

    BEARER = "bearer"
    OAUTH = "oauth"


class Credential(BaseModel):
    """What is known of one secret: everything but the secret.

    Attributes:
        credential_id: A name for it that may be shown and logged; of an OAuth client, its client id.
        secret_hash: SHA-256 of the secret, in hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    credential_id: str
    kind: CredentialKind
    secret_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    issued_at: datetime


class Credentials(BaseModel):
    """All that was issued.

    Attributes:
        signing_key: What our OAuth tokens are signed with.
        centers: By center id, each center's credentials, oldest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    signing_key: SecretStr
    centers: Mapping[str, tuple[Credential, ...]] = {}

    @field_serializer("signing_key", when_used="json")
    def _write_out(self, key: SecretStr) -> str:
        return key.get_secret_value()

    def of_center(self, center_id: str, kind: CredentialKind) -> list[Credential]:
        """Return a center's credentials of a kind, oldest first."""
        return _of_kind(self.centers, center_id, kind)

    def find_client(self, client_id: str) -> tuple[str, Credential] | None:
        """Return the center of an OAuth client and what is known of the client, or None."""
        for center_id, credentials in self.centers.items():
            for credential in credentials:
                if credential.kind is CredentialKind.OAUTH and credential.credential_id == client_id:
                    return center_id, credential
        return None


def hash_secret(secret: str) -> str:
    """Return the hash by which a secret is known."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class CredentialFile:
    """The file of credentials: changed by a command, followed by a receiver.

    Args:
        folder: Where it lies; for its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "credentials.json"
        self._seen: tuple[int, ...] | None = None
        self._current: Credentials | None = None

    def current(self) -> Credentials:
        """Return what was issued by now; the file is read again only where it is another than before.

        A file that has become unreadable changes nothing: who could deliver still can, and the log says so.

        Raises:
            ConfigError: It cannot be read, and never could.
        """
        state = self._state()
        if self._current is None or state != self._seen:
            try:
                self._current = self._read()
            except ConfigError as error:
                if self._current is None:
                    raise
                logger.error("%s Until then, those that were valid before are.", error)  # noqa: TRY400
            self._seen = state
        return self._current

    def issue(self, center_id: str, kind: CredentialKind) -> tuple[Credential, str]:
        """Issue a center's first credential of a kind and return it with its secret.

        Raises:
            ConfigError: The center has one, or that is no id of a center.
        """
        with self._changing() as centers:
            if _of_kind(centers, center_id, kind):
                raise ConfigError(
                    f"Center {center_id} has a credential of the kind {kind} already. To replace it without "
                    f"a gap: dispatchlake webhooks rotate {center_id}{_option(kind)}"
                )
            return _add(centers, center_id, kind)

    def rotate(self, center_id: str, kind: CredentialKind) -> tuple[Credential, str]:
        """Issue another beside the one in use and return it with its secret; both are valid.

        Raises:
            ConfigError: There is none to rotate, or two are valid already.
        """
        with self._changing() as centers:
            there = _of_kind(centers, center_id, kind)
            if not there:
                raise ConfigError(
                    f"Center {center_id} has no credential of the kind {kind} to rotate. Issue one: "
                    f"dispatchlake webhooks issue {center_id}{_option(kind)}"
                )
            if len(there) >= MOST_AT_ONCE:
                raise ConfigError(
                    f"Center {center_id} has two valid credentials of the kind {kind}: a rotation is under "
                    "way. Once the vendor uses the new one, end the old one: dispatchlake webhooks revoke "
                    f"{center_id} {there[0].credential_id}"
                )
            return _add(centers, center_id, kind)

    def revoke(self, center_id: str, credential_id: str | None = None) -> list[str]:
        """End one credential of a center, or all of them; return the ids of those that were ended.

        Raises:
            ConfigError: There is none such.
        """
        with self._changing() as centers:
            there = centers.get(center_id, ())
            ended = [c.credential_id for c in there if credential_id in (None, c.credential_id)]
            if not ended:
                which = f"no credential {credential_id}" if credential_id else "no credential"
                raise ConfigError(
                    f"Center {center_id} has {which}. Which there are: dispatchlake webhooks list"
                )
            left = tuple(c for c in there if c.credential_id not in ended)
            centers.pop(center_id)
            if left:
                centers[center_id] = left
            return ended

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, tuple[Credential, ...]]]:
        """Yield the centers to be changed, and write them; whoever reads sees all of the change or none."""
        folder = private_folder(self.path.parent)
        with explained(folder):
            try:
                lock = FileLock(folder / "credentials.lock", timeout=_LOCK_WAIT_S, mode=0o600).acquire()
            except Timeout:
                raise ConfigError(
                    "Another command is changing the credentials. Try again in a moment."
                ) from None
            with lock:
                before = self._read()
                centers = dict(before.centers)
                yield centers
                self._write(Credentials(signing_key=before.signing_key, centers=centers))

    def _read(self) -> Credentials:
        try:
            return Credentials.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return Credentials(signing_key=SecretStr(secrets.token_urlsafe(32)))
        except OSError as error:
            raise ConfigError(
                f"The file of webhook credentials cannot be read: {self.path} ({error.strerror}). Its owner "
                "must be the user that runs the receiver."
            ) from None
        except ValidationError:  # its text would show what it found
            raise ConfigError(
                f"The file of webhook credentials is damaged: {self.path}. Restore it from a backup, or move "
                "it aside and issue new credentials."
            ) from None

    def _write(self, credentials: Credentials) -> None:
        unfinished = self.path.with_suffix(".new")  # what a killed writer left is written over
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(credentials.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _of_kind(
    centers: Mapping[str, tuple[Credential, ...]], center_id: str, kind: CredentialKind
) -> list[Credential]:
    return [c for c in centers.get(center_id, ()) if c.kind is kind]


def _option(kind: CredentialKind) -> str:
    return " --oauth" if kind is CredentialKind.OAUTH else ""


def _add(
    centers: dict[str, tuple[Credential, ...]], center_id: str, kind: CredentialKind
) -> tuple[Credential, str]:
    if not re.fullmatch(CENTER_ID_PATTERN, center_id):
        raise ConfigError(
            f"{center_id!r} is no id of a dispatch center: lower-case letters, digits and inner hyphens, at "
            "most 63."
        )
    secret = f"dlw_{secrets.token_urlsafe(32)}"  # a prefix by which a leaked one is recognised
    credential = Credential(
        credential_id=f"{center_id}-{kind}-{secrets.token_hex(3)}",
        kind=kind,
        secret_hash=hash_secret(secret),
        issued_at=datetime.now(UTC).replace(microsecond=0),
    )
    centers[center_id] = (*centers.get(center_id, ()), credential)
    return credential, secret
