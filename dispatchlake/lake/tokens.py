"""Tokens: what the open zone shows instead of a caller's number, or of a hash that would give it away.

A token is HMAC-SHA256 under a key of its center's own, which is derived from one secret. Equal values of a
center have equal tokens, so they join and count as the values would; without the secret nobody can try which
number a token stands for. It is made here and not in SQL: the secret never comes near a query, its log or its
error.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.errors import ConfigError
from dispatchlake.folders import explained, private_folder
from dispatchlake.lake.treatments import OpenColumn
from dispatchlake.settings import Settings

_PREFIX = {"phone": "tel_", "fingerprint": "fp_", "id or fingerprint": "fp_"}
_TOKEN_BYTES = 12
"""96 bits: of ten billion values, two share a token once in a billion lakes."""

KEY_VARIABLE = "DISPATCHLAKE_TOKEN_KEY"


class TokenKey:
    """The secret that tokens are made with; it is shown nowhere."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._of_center: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return "TokenKey()"

    @property
    def fingerprint(self) -> str:
        """Return what tells this key from another, and says nothing of it."""
        return self._derive("fingerprint").hex()[:16]

    def token(self, kind: str, center_id: str, value: str) -> str:
        """Return the token of one value of a center."""
        purpose = "phone" if kind == "phone" else "fingerprint"
        key = self._of_center.get((purpose, center_id))
        if key is None:
            key = self._of_center[purpose, center_id] = self._derive(f"{purpose}/{center_id}")
        return _PREFIX[kind] + hmac.digest(key, value.encode(), "sha256")[:_TOKEN_BYTES].hex()

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self._secret, f"dispatchlake/{purpose}".encode(), "sha256")


def tokenised(batch: pa.RecordBatch, columns: Sequence[OpenColumn], key: TokenKey) -> pa.RecordBatch:
    """Return rows with tokens in the place of what may not be shown.

    Args:
        batch: Rows with the columns of a table, its `center_id` among them.
        columns: How each is treated, in that order.
        key: What tokens are made with.
    """
    if not any(column.token for column in columns):
        return batch
    arrays = [
        _tokens(batch, column, key) if column.token else batch.column(column.name) for column in columns
    ]
    return pa.record_batch(arrays, schema=batch.schema)


def _tokens(batch: pa.RecordBatch, column: OpenColumn, key: TokenKey) -> pa.Array:
    values = batch.column(column.name)
    made: dict[tuple[str, str], str] = {}
    tokens: list[str | None] = []
    for center_id, value in zip(batch.column("center_id").to_pylist(), values.to_pylist(), strict=True):
        if value is None:
            tokens.append(None)
            continue
        token = made.get((center_id, value))
        if token is None:
            token = made[center_id, value] = key.token(column.token, center_id or "", value)
        tokens.append(token)
    array = pa.array(tokens, values.type)
    if column.token == "id or fingerprint":  # noqa: S105 - no password; and the vendor's own id says nothing
        is_hash = pc.fill_null(pc.equal(values, batch.column("version_hash")), fill_value=True)
        return pc.if_else(is_hash, array, values)
    return array


def load_key(settings: Settings) -> TokenKey:
    """Return the key: that of the environment, or of the file of secrets, which is made on first use.

    Raises:
        ConfigError: It cannot be read or made, or is no key.
    """
    if settings.token_key is not None:
        return TokenKey(hashlib.sha256(settings.token_key.get_secret_value().encode()).digest())
    path = _path(settings)
    with explained(path.parent):
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            text = _make(path)
    return TokenKey(_secret_in(text, path))


def replace_key(settings: Settings) -> None:
    """Put a new key in the place of the one in the file of secrets.

    Raises:
        ConfigError: The environment has the key, or the file cannot be written.
    """
    if settings.token_key is not None:
        raise ConfigError(
            f"The key is set in the environment ({KEY_VARIABLE}), where it cannot be changed from here. Set "
            "another one wherever dispatchlake runs, then: dispatchlake publish"
        )
    path = _path(settings)
    with explained(private_folder(path.parent)):
        _new_file(path).replace(path)


def _path(settings: Settings) -> Path:
    return settings.secrets_dir / "token-key"


def _make(path: Path) -> str:
    """Make the file, unless another process does so at this moment: then its key is the one."""
    private_folder(path.parent)
    new = _new_file(path)
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        new.unlink()
    return path.read_text(encoding="ascii", errors="replace")


def _new_file(path: Path) -> Path:
    """Return a file beside `path`, its owner's alone and on the disk, with a new key in it."""
    new = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secrets.token_hex(32)}\n")
        file.flush()
        os.fsync(descriptor)
    return new


def _secret_in(text: str, path: Path) -> bytes:
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise ConfigError(
            f"{path} is not a key for tokens (64 hexadecimal digits). Put it back from your copy; if that "
            "is lost, have a new one made: remove the file, then: dispatchlake publish"
        )
    return secret
