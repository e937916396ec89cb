from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from dispatchlake.errors import ConfigError
from dispatchlake.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DISPATCHLAKE_{name.upper()}", raising=False)


def test_everything_has_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load_settings()

    assert settings.data_dir == tmp_path / "data"
    assert settings.lookback == timedelta(hours=1)


def test_the_environment_sets_each_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {
        "DATA_DIR": str(tmp_path),
        "LOOKBACK_S": "0",
        "RETRY_BUDGET_S": "1.5",
        "TIMEOUT_S": "2",
        "PAGE_TIMEOUT_S": "3",
        "RETRY_TASKS": "false",
        "LOCK_WAIT_S": "4",
        "MEMORY_LIMIT_MB": "512",
        "KEEP_SNAPSHOTS_DAYS": "30.5",
        "KEEP_ALL_SNAPSHOTS_DAYS": "0.5",
        "KEEP_FILES_DAYS": "2",
        "LATE_AFTER_S": "60",
        "DELIVERIES_LATE_AFTER_S": "120",
        "DISK_FULL_SHARE": "0.8",
        "METRICS_FILE": "/tmp/dispatchlake.prom",
        "FETCH_MEDIA": "true",
        "MEDIA_MAX_MB": "20",
        "TOKEN_KEY": "k" * 32,
        "COORDINATE_DECIMALS": "2",
        "ENCRYPT_LAKE": "true",
        "OPEN_LATE_AFTER_S": "30",
    }
    assert {name.lower() for name in given} == set(Settings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(f"DISPATCHLAKE_{name}", value)

    settings = load_settings()

    assert settings == Settings(
        data_dir=tmp_path,
        lookback_s=0,
        retry_budget_s=1.5,
        timeout_s=2,
        page_timeout_s=3,
        retry_tasks=False,
        lock_wait_s=4,
        memory_limit_mb=512,
        keep_snapshots_days=30.5,
        keep_all_snapshots_days=0.5,
        keep_files_days=2,
        late_after_s=60,
        deliveries_late_after_s=120,
        disk_full_share=0.8,
        metrics_file=Path("/tmp/dispatchlake.prom"),
        fetch_media=True,
        media_max_mb=20,
        token_key=SecretStr("k" * 32),
        coordinate_decimals=2,
        encrypt_lake=True,
        open_late_after_s=30,
    )


def test_every_folder_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    folders = [
        settings.lake_dir,
        settings.state_dir,
        settings.spool_dir,
        settings.webhooks_dir,
        settings.prefect_dir,
    ]

    assert len(set(folders)) == 5
    assert {folder.parent for folder in folders} == {tmp_path}


def test_the_data_folder_is_made_absolute_and_may_begin_at_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", "~/lake/../data")

    assert load_settings().data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISPATCHLAKE_LOOKBACK_S", "an hour"),
        ("DISPATCHLAKE_LOOKBACK_S", "-1"),
        ("DISPATCHLAKE_TIMEOUT_S", "0"),
        ("DISPATCHLAKE_RETRY_BUDGET_S", ""),
        ("DISPATCHLAKE_MEMORY_LIMIT_MB", "1"),
        ("DISPATCHLAKE_MEMORY_LIMIT_MB", "1.5"),
        ("DISPATCHLAKE_KEEP_SNAPSHOTS_DAYS", "-1"),
        ("DISPATCHLAKE_KEEP_FILES_DAYS", "nan"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match=f"a setting that cannot be used. {name}: "):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "demand"),
    [
        ("LOOKBACK_S", "an hour", "must be a number"),
        ("LOOKBACK_S", "1e300", "must be less than or equal to 3153600000"),
        ("LATE_AFTER_S", "inf", "must be a finite number"),
        ("LATE_AFTER_S", "nan", "must be a finite number"),
        ("TIMEOUT_S", "0", "must be greater than 0"),
        ("MEMORY_LIMIT_MB", "1.5", "must be a whole number"),
        ("MEMORY_LIMIT_MB", "", "must be a whole number"),
        ("FETCH_MEDIA", "perhaps", "must be true or false"),
        ("TOKEN_KEY", "too short", "must have at least 32 characters"),
    ],
)
def test_it_is_said_what_a_value_must_be_in_a_persons_words(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, demand: str
) -> None:
    monkeypatch.setenv(f"DISPATCHLAKE_{name}", value)

    with pytest.raises(ConfigError) as caught:
        load_settings()

    assert str(caught.value) == (
        f"The environment has a setting that cannot be used. DISPATCHLAKE_{name}: {demand}. Correct it, or "
        "unset it and have its default."
    )


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHLAKE_SOMETHING_ELSE", "x")

    load_settings()


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    with pytest.raises(ValueError, match="frozen"):
        settings.timeout_s = 5  # type: ignore[misc]


def test_a_relative_data_folder_is_refused_in_a_workers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHLAKE_DATA_DIR", "data")
    load_settings()
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "00000000-0000-0000-0000-000000000000")

    with pytest.raises(
        ConfigError, match=r"data is a relative path, .* absolute path where the worker is started"
    ):
        load_settings()
