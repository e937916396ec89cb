"""Where things lie and how patient we are: one frozen object, read from the environment in one place."""

from __future__ import annotations

import functools
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dispatchlake.errors import ConfigError
from dispatchlake.mistakes import mistakes

MOST_DAYS = 36_500
"""A hundred years: whoever keeps something longer has mixed up a unit."""

_PREFIX = "DISPATCHLAKE_"

_WORKERS_RUN = "PREFECT__FLOW_RUN_ID"
"""Environment variable of a process that a Prefect worker has started for one run."""

Zone = Literal["restricted", "open"]
"""The lake as it is, or what of it reveals no caller."""

Days = Annotated[float, Field(ge=0, le=MOST_DAYS)]
Seconds = Annotated[float, Field(gt=0, le=MOST_DAYS * 86_400)]


class Settings(BaseSettings):
    """Settings of this installation; each can be set as an environment variable `DISPATCHLAKE_<NAME>`.

    Attributes:
        data_dir: Home of the lake, the token store and Prefect's database.
        lookback_s: Overlap that every scheduled run re-reads before its watermark, in seconds.
        retry_budget_s: How long one request may be retried, in seconds.
        timeout_s: Longest silence of a server we sit through, in seconds.
        page_timeout_s: Longest a whole page may take, however steadily it drips, in seconds.
        retry_tasks: Whether Prefect tries a cell again, minutes after a passing fault.
        lock_wait_s: How long a commit waits for another writer, in seconds.
        memory_limit_mb: DuckDB's memory budget per process; more is spilled to disk.
        keep_snapshots_days: How far back the lake can be asked what it held (AT); older snapshots expire.
        keep_all_snapshots_days: How long every snapshot is kept; of older ones, the last of each hour.
        keep_files_days: How long a file stays that no snapshot needs; longer than any query runs.
        late_after_s: A center that is complete through longer ago than this is late, in seconds.
        deliveries_late_after_s: A webhook delivery that waits longer to be landed is late, in seconds.
        disk_full_share: Share of the data folder's disk, 0 to 1, beyond which it counts as nearly full.
        metrics_file: Where each ingest run writes the metrics for Prometheus; None for nowhere.
        fetch_media: Whether media files are downloaded; off, only references to them are kept.
        media_max_mb: Largest media file that is taken, in megabytes.
        token_key: What tokens of the open zone are made with, at least 32 characters, random; None for the
            key in the file of secrets.
        coordinate_decimals: Decimal places that coordinates keep in the open zone; 3 are about 100 m.
        encrypt_lake: Whether the restricted zone's files are encrypted; counts when the lake is made.
        open_late_after_s: An open zone that is behind the restricted one for longer is late, in seconds.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore", allow_inf_nan=False)

    data_dir: Path = Path("data")
    lookback_s: Annotated[float, Field(ge=0, le=MOST_DAYS * 86_400)] = 3600.0
    retry_budget_s: Seconds = 60.0
    timeout_s: Seconds = 30.0
    page_timeout_s: Seconds = 120.0
    retry_tasks: bool = True
    lock_wait_s: Seconds = 120.0
    memory_limit_mb: Annotated[int, Field(ge=64)] = 112
    keep_snapshots_days: Days = 7.0
    keep_all_snapshots_days: Days = 1.0
    keep_files_days: Days = 1.0
    late_after_s: Seconds = 900.0
    deliveries_late_after_s: Seconds = 600.0
    disk_full_share: Annotated[float, Field(ge=0, le=1)] = 0.9
    metrics_file: Path | None = None
    fetch_media: bool = False
    media_max_mb: Annotated[int, Field(ge=1)] = 500
    token_key: Annotated[SecretStr, Field(min_length=32)] | None = None
    coordinate_decimals: Annotated[int, Field(ge=0, le=5)] = 3
    encrypt_lake: bool = False
    open_late_after_s: Seconds = 3600.0

    @property
    def lake_dir(self) -> Path:
        """Return the folder of the catalog and its Parquet files: the restricted zone."""
        return self.data_dir / "lake"

    @property
    def open_dir(self) -> Path:
        """Return the folder of the open zone: a lake too, that can be made anew from the restricted one."""
        return self.data_dir / "open"

    def zone_dir(self, zone: Zone) -> Path:
        """Return the folder of a zone."""
        return self.open_dir if zone == "open" else self.lake_dir

    @property
    def secrets_dir(self) -> Path:
        """Return the folder of the key that tokens are made with: outside both zones, its owner's alone."""
        return self.data_dir / "secrets"

    @property
    def access_dir(self) -> Path:
        """Return the folder of the log of who has read the restricted zone."""
        return self.data_dir / "access"

    @property
    def state_dir(self) -> Path:
        """Return the folder of tokens and locks: machine-local, safe to delete while nothing runs."""
        return self.data_dir / "state"

    @property
    def spool_dir(self) -> Path:
        """Return the folder of deliveries that are not in the lake yet: never safe to delete."""
        return self.data_dir / "spool"

    @property
    def webhooks_dir(self) -> Path:
        """Return the folder that says who may deliver: hashes of what was issued, and a signing key."""
        return self.data_dir / "webhooks"

    @property
    def media_dir(self) -> Path:
        """Return the folder of callers' photos, videos and recordings that were fetched."""
        return self.data_dir / "media"

    @property
    def prefect_dir(self) -> Path:
        """Return the home of the local Prefect server."""
        return self.data_dir / "prefect"

    @property
    def lookback(self) -> timedelta:
        """Return the lookback as a span of time."""
        return timedelta(seconds=self.lookback_s)


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        ConfigError: A variable has a value that cannot be used; the text names it. Or a worker runs us, and
            the data folder is a relative path: the run's folder is temporary, and the lake would go with it.
    """
    try:
        ours = (item for item in os.environ.items() if item[0].upper().startswith(_PREFIX))
        settings = _settings_of(frozenset(ours))
    except ValidationError as error:
        problems = mistakes(error, called=lambda name: f"{_PREFIX}{name.upper()}")
        raise ConfigError(
            f"The environment has a setting that cannot be used. {problems}. Correct it, or unset it and "
            "have its default."
        ) from None
    folder = settings.data_dir.expanduser()
    if not folder.is_absolute() and os.environ.get(_WORKERS_RUN):
        raise ConfigError(
            f"The data folder {folder} is a relative path, and this run's working folder is removed with it. "
            "Set DISPATCHLAKE_DATA_DIR to an absolute path where the worker is started."
        )
    return settings.model_copy(update={"data_dir": folder.resolve()})


@functools.lru_cache(maxsize=1)
def _settings_of(_environment: frozenset[tuple[str, str]]) -> Settings:
    """Return what the environment says now: milliseconds, which each cell would pay several times."""
    return Settings()
