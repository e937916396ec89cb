"""The key that tokens are made with: its owner's alone, made once, and never shown."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from dispatchlake.errors import ConfigError
from dispatchlake.lake.tokens import TokenKey, load_key, replace_key, tokenised
from dispatchlake.lake.treatments import OpenColumn
from dispatchlake.settings import Settings, load_settings
from tests.lake.scripts import Script

SECRET = b"s" * 32


def test_equal_numbers_of_a_center_have_one_token_and_others_another() -> None:
    key = TokenKey(SECRET)
    token = key.token("phone", "a", "+13035550140")

    assert token == TokenKey(SECRET).token("phone", "a", "+13035550140")
    assert token.startswith("tel_")
    assert len(token) == len("tel_") + 24
    assert token != key.token("phone", "a", "+13035550141")
    assert token != key.token("phone", "b", "+13035550140")
    assert token != TokenKey(b"t" * 32).token("phone", "a", "+13035550140")


def test_a_number_and_a_hash_of_the_same_text_share_nothing() -> None:
    key = TokenKey(SECRET)

    number, fingerprint = key.token("phone", "a", "x"), key.token("fingerprint", "a", "x")

    assert number.partition("_")[2] != fingerprint.partition("_")[2]
    assert fingerprint == key.token("id or fingerprint", "a", "x"), "they join"


def test_what_is_null_stays_null_and_an_id_of_the_vendor_stays_itself() -> None:
    columns = [
        OpenColumn("center_id", "center_id"),
        OpenColumn("media_id", "media_id", "id or fingerprint"),
        OpenColumn("version_hash", "version_hash", "fingerprint"),
        OpenColumn("number", "number", "phone"),
    ]
    batch = pa.record_batch(
        {
            "center_id": ["a", "a", "b"],
            "media_id": ["m1", "hash", "hash"],
            "version_hash": ["other", "hash", "hash"],
            "number": [None, "1", "1"],
        }
    )

    found = tokenised(batch, columns, TokenKey(SECRET)).to_pydict()

    assert found["center_id"] == ["a", "a", "b"]
    assert found["media_id"][0] == "m1"
    assert found["media_id"][1:] == found["version_hash"][1:]
    assert "hash" not in found["media_id"]
    assert found["number"][0] is None
    assert found["number"][1] != found["number"][2]


def test_the_key_is_made_once_outside_both_zones_and_is_its_owners_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    first, again = load_key(settings), load_key(settings)

    (file,) = settings.secrets_dir.iterdir()
    assert first.fingerprint == again.fingerprint
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.secrets_dir.stat().st_mode) == 0o700
    assert not settings.secrets_dir.is_relative_to(settings.open_dir)
    assert not settings.secrets_dir.is_relative_to(settings.lake_dir)


MAKE = """
import sys
from pathlib import Path
from dispatchlake.lake.tokens import load_key
from dispatchlake.settings import Settings

print("ready", flush=True)
input()
print(load_key(Settings(data_dir=Path(sys.argv[1]))).fingerprint)
"""


def test_two_processes_that_make_it_at_once_have_one_key(tmp_path: Path) -> None:
    with Script(MAKE, tmp_path) as one, Script(MAKE, tmp_path) as other:
        assert (one.line(), other.line()) == ("ready", "ready")
        one.go_on()
        other.go_on()

        assert one.finish() == other.finish()


def test_the_environment_may_have_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DISPATCHLAKE_TOKEN_KEY", "k" * 32)
    settings = load_settings()

    assert load_key(settings).fingerprint == load_key(settings).fingerprint
    assert not settings.secrets_dir.exists()
    with pytest.raises(ConfigError, match="DISPATCHLAKE_TOKEN_KEY"):
        replace_key(settings)
    monkeypatch.setenv("DISPATCHLAKE_TOKEN_KEY", "short-and-secret")
    with pytest.raises(ConfigError, match="TOKEN_KEY") as caught:
        load_settings()
    assert "short-and-secret" not in str(caught.value)


def test_a_new_key_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    before = load_key(settings).fingerprint

    replace_key(settings)

    assert load_key(settings).fingerprint != before
    (file,) = settings.secrets_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "no key", "ab" * 31, "é" * 64])
def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.secrets_dir.mkdir()
    file = settings.secrets_dir / "token-key"
    file.write_text(text)

    with pytest.raises(ConfigError, match="is not a key for tokens"):
        load_key(settings)
    assert file.read_text() == text


def test_the_key_shows_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(data_dir=tmp_path, token_key="the-key-itself-" * 3)  # type: ignore[arg-type]

    key = load_key(settings)

    for text in (repr(key), str(key), repr(settings), caplog.text, str(vars(settings)["token_key"])):
        assert "the-key-itself" not in text
