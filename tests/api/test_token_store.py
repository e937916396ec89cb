from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.api import token_store
from dispatchlake.api.token_store import Token, TokenStore
from dispatchlake.errors import ConfigError
from tests.api.reading import logins, read, truth
from tests.centers import put_center
from tests.sandbox_process import SandboxProcess

TOKEN = Token("eyJ.synthetic.token", lapses_at_s=1e12, life_s=7200.0)


def store_in(folder: Path, **changes: str) -> TokenStore:
    fields = {
        "origin": "https://center.example",
        "client_id": "client",
        "scope": "cad_incidents",
        "client_secret": "synthetic-secret",
    }
    return TokenStore(folder, **(fields | changes))


def token_file(folder: Path) -> Path:
    (path,) = folder.glob("*.token")
    return path


def test_what_is_written_is_read_back_by_another_store_of_the_same_secret(tmp_path: Path) -> None:
    store_in(tmp_path).write(TOKEN)

    assert store_in(tmp_path).read() == TOKEN


def test_a_token_of_unlimited_life_is_read_back_as_such(tmp_path: Path) -> None:
    unlimited = Token("token", lapses_at_s=float("inf"), life_s=float("inf"))
    store_in(tmp_path).write(unlimited)

    assert store_in(tmp_path).read() == unlimited


def test_only_the_owner_may_enter_the_folder_or_read_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "tokens"
    store = store_in(folder)
    with store.locked():
        store.write(TOKEN)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        ".token": 0o600,
        ".lock": 0o600,
    }


def test_a_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir(mode=0o755)

    store_in(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_on_disk_gives_the_token_or_the_secret_away(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.locked():
        store.write(TOKEN)

    for path in tmp_path.iterdir():
        found = path.read_bytes() + path.name.encode()
        for hidden in (TOKEN.value, "synthetic-secret", "center.example", "cad_incidents"):
            assert hidden.encode() not in found
    assert TOKEN.value not in repr((store, TOKEN))


@pytest.mark.parametrize("changed", ["origin", "client_id", "scope"])
def test_another_origin_client_or_scope_has_a_place_of_its_own(tmp_path: Path, changed: str) -> None:
    store_in(tmp_path).write(TOKEN)

    assert store_in(tmp_path, **{changed: "another"}).read() is None
    assert store_in(tmp_path).read() == TOKEN


def test_a_rotated_secret_cannot_read_what_the_old_one_wrote(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store_in(tmp_path).write(TOKEN)

    assert store_in(tmp_path, client_secret="rotated").read() is None
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "cannot be read (InvalidToken); logging in anew" in caplog.text


@pytest.mark.parametrize("spoil", ["empty", "cut off", "text", "flipped byte", "not even bytes of a token"])
def test_a_spoiled_file_counts_as_none_and_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    store = store_in(tmp_path)
    store.write(TOKEN)
    content = bytearray(token_file(tmp_path).read_bytes())
    if spoil == "flipped byte":
        content[len(content) // 2] ^= 1
    spoiled = {
        "empty": b"",
        "cut off": bytes(content[: len(content) // 2]),
        "text": b"not a token",
        "flipped byte": bytes(content),
        "not even bytes of a token": b"\xff\x00" * 40,
    }
    token_file(tmp_path).write_bytes(spoiled[spoil])

    assert store.read() is None
    assert "logging in anew" in caplog.text
    store.write(TOKEN)
    assert store.read() == TOKEN


@pytest.mark.parametrize(
    "content", [{}, {"boot_id": "{boot}"}, {"value": "x", "boot_id": "{boot}", "new": 1}]
)
def test_a_file_of_another_version_of_this_software_counts_as_none(
    tmp_path: Path, content: dict[str, object]
) -> None:
    store = store_in(tmp_path)
    text = json.dumps(content).replace("{boot}", token_store.boot_id())
    store.write(TOKEN)
    token_file(tmp_path).write_bytes(store._fernet.encrypt(text.encode()))

    assert store.read() is None


def test_a_token_of_another_boot_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock began anew: when it lapses can no longer be told."""
    store = store_in(tmp_path)
    store.write(TOKEN)
    monkeypatch.setattr(token_store, "boot_id", lambda: "another boot")

    assert store.read() is None


def test_a_dropped_token_is_gone_for_everybody_and_may_be_dropped_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.write(TOKEN)

    store.drop()
    store.drop()

    assert store_in(tmp_path).read() is None


def test_a_write_that_fails_leaves_the_old_token_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    store.write(TOKEN)

    def disk_is_full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(ConfigError, match="No space left on device"):
        store.write(replace(TOKEN, value="another"))

    assert store.read() == TOKEN
    assert [path.suffix for path in tmp_path.iterdir()] == [".token"]


def test_a_writer_killed_before_the_end_leaves_the_old_token_whole(tmp_path: Path) -> None:
    store_in(tmp_path).write(TOKEN)
    code = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.api.test_token_store import TOKEN, store_in
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
store_in(Path(sys.argv[1])).write(replace(TOKEN, value="another"))
"""

    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert store_in(tmp_path).read() == TOKEN


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")

    with pytest.raises(ConfigError, match=r"state/tokens cannot be used: .* set DISPATCHLAKE_DATA_DIR"):
        store_in(tmp_path / "state" / "tokens")


@pytest.mark.parametrize(
    ("life_s", "margin_s"), [(7200, 300), (3600, 300), (3000, 300), (600, 60), (3, 0.3), (1e9, 300)]
)
def test_a_token_is_renewed_five_minutes_or_a_tenth_of_its_life_before_its_end(
    life_s: float, margin_s: float
) -> None:
    token = Token("token", lapses_at_s=1000 + life_s, life_s=life_s)

    assert token.is_fresh(1000 + life_s - margin_s - 0.001)
    assert not token.is_fresh(1000 + life_s - margin_s)


@given(life_s=st.floats(0.001, 1e9), age=st.floats(0, 2))
def test_a_token_past_its_end_is_never_fresh_and_a_new_one_always_is(life_s: float, age: float) -> None:
    token = Token("token", lapses_at_s=life_s, life_s=life_s)

    assert token.is_fresh(0)
    assert not token.is_fresh(life_s * (1 + age))


def test_a_renewal_is_postponed_by_a_pause_and_never_past_the_end() -> None:
    token = Token("token", lapses_at_s=7200, life_s=7200)

    postponed = token.postponed(7000)

    assert not token.is_fresh(7000)
    assert [postponed.is_fresh(now_s) for now_s in (7000, 7029.9, 7030)] == [True, True, False]
    assert [token.postponed(7190).is_fresh(now_s) for now_s in (7199.9, 7200)] == [True, False]


def test_a_token_without_an_end_stays_fresh() -> None:
    assert Token("token", lapses_at_s=float("inf"), life_s=float("inf")).is_fresh(1e15)


def test_generations_tell_tokens_apart_without_showing_them() -> None:
    one, other = replace(TOKEN, value="one"), replace(TOKEN, value="other")

    assert one.generation != other.generation
    assert one.generation == replace(one, lapses_at_s=0).generation
    assert len(one.generation) == 8


def test_after_a_rotation_the_client_logs_in_anew_and_the_store_holds_the_new_token(
    sandbox: SandboxProcess, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    center = put_center(sandbox)
    read(center, state_dir)
    config = {
        str(scope): {"client_id": c.client_id, "client_secret": f"rotated-{scope}"}
        for scope, c in center.credentials.items()
    }
    sandbox.patch_center(center.center_id, {"credentials": config})
    rotated = type(center).model_validate(center.model_dump() | {"credentials": config})

    assert set(read(rotated, state_dir)) == truth(sandbox, center)
    assert "logging in anew" in caplog.text
    assert set(read(rotated, state_dir)) == truth(sandbox, center)
    assert logins(sandbox, center) == (2, 0)
