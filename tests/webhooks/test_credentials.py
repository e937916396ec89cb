"""What is issued: shown once, kept as a hash, two valid at once, followed by a running receiver."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dispatchlake.errors import ConfigError
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind, hash_secret
from tests.webhooks.receiving import CENTER, Receiving

BEARER, OAUTH = CredentialKind.BEARER, CredentialKind.OAUTH


@pytest.fixture
def file(tmp_path: Path) -> CredentialFile:
    return CredentialFile(tmp_path / "webhooks")


@pytest.mark.parametrize("kind", list(CredentialKind))
def test_a_secret_is_not_in_the_file(file: CredentialFile, kind: CredentialKind) -> None:
    credential, secret = file.issue("houston-tx", kind)

    assert len(secret) > 40
    assert secret not in file.path.read_text()
    assert secret not in repr(credential) + repr(file.current())
    assert credential.secret_hash == hash_secret(secret)
    assert file.current().of_center("houston-tx", kind) == [credential]


def test_the_file_is_its_owners_alone(file: CredentialFile) -> None:
    file.issue("houston-tx", BEARER)

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_the_signing_key_stays_and_is_not_shown(file: CredentialFile) -> None:
    file.issue("a-tx", BEARER)
    key = file.current().signing_key.get_secret_value()

    file.issue("b-tx", BEARER)

    assert file.current().signing_key.get_secret_value() == key
    assert key not in repr(file.current())
    assert len(key) >= 32


def test_two_are_valid_during_a_rotation_and_no_third(file: CredentialFile) -> None:
    old, _ = file.issue("houston-tx", BEARER)
    new, _ = file.rotate("houston-tx", BEARER)

    with pytest.raises(ConfigError, match=f"two valid .*webhooks revoke houston-tx {old.credential_id}"):
        file.rotate("houston-tx", BEARER)

    assert file.current().of_center("houston-tx", BEARER) == [old, new]
    assert file.revoke("houston-tx", old.credential_id) == [old.credential_id]
    assert file.current().of_center("houston-tx", BEARER) == [new]
    file.rotate("houston-tx", BEARER)


def test_the_kinds_are_apart(file: CredentialFile) -> None:
    file.issue("houston-tx", BEARER)
    client, _ = file.issue("houston-tx", OAUTH)

    assert file.current().find_client(client.credential_id) == ("houston-tx", client)
    (bearer,) = file.current().of_center("houston-tx", BEARER)
    assert file.current().find_client(bearer.credential_id) is None


def test_what_does_not_fit_is_a_sentence(file: CredentialFile) -> None:
    with pytest.raises(
        ConfigError, match=r"no credential of the kind bearer to rotate.*webhooks issue a-tx$"
    ):
        file.rotate("a-tx", BEARER)
    with pytest.raises(ConfigError, match="has no credential"):
        file.revoke("a-tx")
    file.issue("a-tx", OAUTH)
    with pytest.raises(ConfigError, match=r"has a credential .* webhooks rotate a-tx --oauth"):
        file.issue("a-tx", OAUTH)
    with pytest.raises(ConfigError, match="has no credential nonsense"):
        file.revoke("a-tx", "nonsense")


@pytest.mark.parametrize("center_id", ["", "../etc", "Houston", "a/b", "a\n", "a" * 64, "-a", "a b"])
def test_an_odd_id_of_a_center_is_refused(file: CredentialFile, center_id: str) -> None:
    with pytest.raises(ConfigError, match="is no id of a dispatch center"):
        file.issue(center_id, BEARER)

    assert not file.path.exists()


def test_all_of_a_center_are_revoked(file: CredentialFile) -> None:
    file.issue("a-tx", BEARER)
    file.issue("a-tx", OAUTH)
    kept, _ = file.issue("b-tx", BEARER)

    assert len(file.revoke("a-tx")) == 2

    assert dict(file.current().centers) == {"b-tx": (kept,)}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"signing_key": "k", "centers": {"a": [{"x": 1}]}}'])
def test_a_damaged_file_is_a_sentence_and_is_left_alone(file: CredentialFile, content: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(content)

    with pytest.raises(ConfigError, match=r"is damaged: .*credentials\.json"):
        file.current()
    with pytest.raises(ConfigError, match="is damaged"):
        file.issue("a-tx", BEARER)

    assert file.path.read_text() == content


def test_a_running_receiver_follows_the_file(receiving: Receiving) -> None:
    other = CredentialFile(receiving.settings.webhooks_dir)  # as the command of another process has it

    assert receiving.deliver(center="new-tx", token="x").status == 401
    first, old = other.issue("new-tx", BEARER)
    assert receiving.deliver(center="new-tx", token=old).status == 200
    second, new = other.rotate("new-tx", BEARER)
    assert receiving.deliver(center="new-tx", token=old).status == 200
    assert receiving.deliver(center="new-tx", token=new).status == 200
    other.revoke("new-tx", first.credential_id)
    assert receiving.deliver(center="new-tx", token=old).status == 401
    assert receiving.deliver(center="new-tx", token=new).status == 200
    other.revoke("new-tx")
    assert receiving.deliver(center="new-tx", token=new).status == 401
    assert len(receiving.waiting("new-tx")) == 4
    assert second.credential_id != first.credential_id


def test_a_file_that_gets_damaged_keeps_nobody_out(
    receiving: Receiving, caplog: pytest.LogCaptureFixture
) -> None:
    assert receiving.deliver().status == 200
    path = receiving.file.path
    whole = path.read_text()
    try:
        path.write_text(json.dumps({"signing_key": 5}))

        assert receiving.deliver().status == 200
        assert receiving.deliver(token="wrong").status == 401
    finally:
        path.write_text(whole)
    assert receiving.deliver().status == 200
    assert caplog.text.count("is damaged") == 1, "told once"
    assert CENTER in receiving.file.current().centers
