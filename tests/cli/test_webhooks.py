"""`dispatchlake webhooks`: a secret is shown once and alone; mistakes are sentences."""

from __future__ import annotations

import pytest

from dispatchlake.lake import open_lake
from dispatchlake.settings import Settings
from dispatchlake.webhooks.credentials import CredentialFile, CredentialKind, hash_secret
from tests.command_line import Outcome, run
from tests.lake.pages import incident, load


@pytest.fixture(autouse=True)
def _no_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is registered, whatever server another test has started."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def secret_of(outcome: Outcome) -> str:
    assert outcome.returncode == 0, outcome.stderr
    (line,) = outcome.stdout.splitlines()
    assert line.startswith("dlw_")
    assert line not in outcome.stderr
    return line


def of(settings: Settings, kind: CredentialKind) -> list[tuple[str, str]]:
    current = CredentialFile(settings.webhooks_dir).current()
    return [(c.credential_id, c.secret_hash) for c in current.of_center("houston-tx", kind)]


def test_issue_rotate_revoke_list(settings: Settings) -> None:
    issued = run("webhooks", "issue", "houston-tx")
    rotated = run("webhooks", "rotate", "houston-tx")
    first, second = of(settings, CredentialKind.BEARER)
    listed = run("webhooks", "list")
    revoked = run("webhooks", "revoke", "houston-tx", first[0])

    assert first[1] == hash_secret(secret_of(issued))
    assert second[1] == hash_secret(secret_of(rotated))
    assert "POST /webhooks/houston-tx/incident-events, POST /webhooks/houston-tx/cad" in issued.stderr
    assert f"dispatchlake webhooks revoke houston-tx {first[0]}" in rotated.stderr
    assert first[0] in listed.stdout
    assert second[0] in listed.stdout
    assert first[1][:12] not in listed.stdout
    assert revoked.returncode == 0
    assert of(settings, CredentialKind.BEARER) == [second]


def test_an_oauth_client(settings: Settings) -> None:
    issued = run("webhooks", "issue", "houston-tx", "--oauth")

    ((client_id, secret_hash),) = of(settings, CredentialKind.OAUTH)
    assert secret_hash == hash_secret(secret_of(issued))
    assert f"client id {client_id}" in issued.stderr
    assert "POST /oauth/token" in issued.stderr


def test_all_of_a_center_are_revoked_at_once(settings: Settings) -> None:
    run("webhooks", "issue", "houston-tx")
    run("webhooks", "issue", "houston-tx", "--oauth")

    revoked = run("webhooks", "revoke", "houston-tx")

    assert revoked.returncode == 0
    assert "houston-tx-bearer-" in revoked.stderr
    assert "houston-tx-oauth-" in revoked.stderr
    assert "Nothing was issued yet" in run("webhooks", "list").stdout
    assert "Nothing was issued for center houston-tx" in run("webhooks", "list", "houston-tx").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["issue", "Houston TX"], "is no id of a dispatch center"),
        (["rotate", "houston-tx"], "dispatchlake webhooks issue houston-tx"),
        (["rotate", "houston-tx", "--oauth"], "dispatchlake webhooks issue houston-tx --oauth"),
        (["revoke", "houston-tx"], "has no credential"),
        (["revoke", "houston-tx", "x"], "has no credential x"),
    ],
)
def test_a_mistake_is_a_sentence(settings: Settings, words: list[str], said: str) -> None:
    result = run("webhooks", *words)

    assert result.returncode == 1
    assert said in result.stderr
    assert result.stdout == ""
    assert not settings.webhooks_dir.joinpath("credentials.json").exists()


def test_beside_known_centers_one_that_is_not_is_refused_unless_it_is_said_to_be_new(
    settings: Settings,
) -> None:
    with open_lake(settings) as lake:
        load(lake, incident(), center_id="houston-tx")

    refused = run("webhooks", "issue", "huston-tx")

    assert refused.returncode == 1
    assert "Unknown dispatch center: huston-tx. Known are: houston-tx." in refused.stderr
    assert refused.stdout == ""
    assert not settings.webhooks_dir.exists()
    secret_of(run("webhooks", "issue", "houston-tx"))
    secret_of(run("webhooks", "issue", "huston-tx", "--new"))


def test_a_second_issue_shows_no_secret(settings: Settings) -> None:
    run("webhooks", "issue", "houston-tx")

    again = run("webhooks", "issue", "houston-tx")

    assert again.returncode == 1
    assert again.stdout == ""
    assert "dispatchlake webhooks rotate houston-tx" in again.stderr


def test_a_damaged_file_is_a_sentence(settings: Settings) -> None:
    settings.webhooks_dir.mkdir(parents=True)
    (settings.webhooks_dir / "credentials.json").write_text("{")

    for words in (["list"], ["issue", "houston-tx"], ["revoke", "houston-tx"]):
        result = run("webhooks", *words)
        assert result.returncode == 1
        assert "The file of webhook credentials is damaged" in result.stderr
