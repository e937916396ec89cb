"""A machine that is not as it should be: it is said what is wrong, and afterwards the lake has all there is.

Disk, catalog, clocks, zones and memory; each test has a sandbox's center and a lake of its own.
"""

from __future__ import annotations

import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from dispatchlake.api import auth, login
from dispatchlake.errors import ConfigError, LakeError, is_transient
from dispatchlake.ingest import ingest_cell
from dispatchlake.lake import Lake, LoadSummary, open_lake
from dispatchlake.lake.connection import catalog_path
from dispatchlake.lake.reading import connect, query_arrow
from dispatchlake.settings import Settings
from tests.centers import put_center
from tests.guarantees.child import child
from tests.guarantees.disks import SmallDisk, small_disk
from tests.guarantees.ledger import Ledger
from tests.guarantees.played_center import PlayedCenter, override
from tests.guarantees.witness import CAD, EVENTS, Witness
from tests.sandbox_process import SandboxProcess
from tests.truth.comparison import rows_of

HOUR = timedelta(hours=1)

CHANGING: dict[str, Any] = {"epoch": "2024-03-01T12:00:00Z"}
"""Half of the center's records are there; with each hour more come, and others change."""


def put(sandbox: SandboxProcess, settings: Settings, **more: Any) -> Witness:
    return Witness(sandbox, put_center(sandbox, **({"sandbox_side": CHANGING} | more)), settings)


def put_behind(sandbox: SandboxProcess, settings: Settings, **more: Any) -> tuple[Witness, LoadSummary]:
    """Put a center, land what it has, and let six hours of more come; return what was landed."""
    witness = put(sandbox, settings, **more)
    landed = witness.ingest()
    sandbox.advance_clock(6 * 3600)
    return witness, landed


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lake for the tests that leave its files alone; kept open, so that opening it again is cheap."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("home"), retry_budget_s=5)
    with Lake.open(settings.lake_dir):
        yield settings


# --- disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 16 * 2**20) as mounted:
        yield mounted


KIB = 1024


def test_a_disk_that_is_full_at_any_step_of_a_load_costs_nothing_once_there_is_room(
    sandbox: SandboxProcess, settings: Settings, disk: SmallDisk, ledger: Ledger
) -> None:
    settings = settings.model_copy(update={"data_dir": disk.folder})
    witness, before = put_behind(sandbox, settings)

    # From no room for a token's file, over none for a page or for its COMMIT, to nearly all that is written.
    for leave in (0, 60 * KIB, 120 * KIB):
        disk.fill(leave)
        with pytest.raises((LakeError, ConfigError)) as caught:
            witness.ingest()
        assert re.search("free space|Make room", str(caught.value)), str(caught.value)
        disk.free()
        assert witness.books() == (before.records, before.watermark), "a load that failed is not seen"

    witness.ingest()
    witness.assert_whole(ledger)


def test_whoever_has_the_lake_open_meanwhile_and_has_asked_it_nothing_goes_on_with_it(
    sandbox: SandboxProcess, settings: Settings, disk: SmallDisk, ledger: Ledger
) -> None:
    settings = settings.model_copy(update={"data_dir": disk.folder})
    witness, before = put_behind(sandbox, settings)

    with open_lake(settings) as waiting:
        disk.fill(60 * KIB)  # not enough for a COMMIT: that DuckDB is given up (docs/decisions/0008)
        with pytest.raises(LakeError, match="free space"):
            witness.ingest()
        disk.free()
        assert waiting.watermark(witness.center.center_id, CAD) == before.watermark
        witness.ingest()
    witness.assert_whole(ledger)


QUOTA = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (100, 12_000, 200_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    try:
        ingest()
    except DispatchLakeError as error:
        print(type(error).__name__, error)
    else:
        print("landed")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
"""


def test_a_quota_that_ends_a_load_costs_nothing_once_it_is_lifted(
    sandbox: SandboxProcess, settings: Settings, ledger: Ledger
) -> None:
    """For whoever may not mount a disk: no file may grow beyond so many bytes."""
    witness, _ = put_behind(sandbox, settings)

    with child(QUOTA, witness.center, settings) as script:
        lines = script.finish().splitlines()

    assert len(lines) == 3
    assert lines[0].startswith(("LakeError", "ConfigError")), lines
    assert all(line == "landed" or "space" in line or "room" in line for line in lines), lines
    witness.ingest()
    witness.assert_whole(ledger)


def test_a_folder_that_may_not_be_written_is_named_and_the_lake_is_as_it_was(
    sandbox: SandboxProcess, settings: Settings, disk: SmallDisk, ledger: Ledger
) -> None:
    settings = settings.model_copy(update={"data_dir": disk.folder})
    witness = put(sandbox, settings)
    witness.ingest()
    sandbox.advance_clock(3600)

    disk.make_read_only()
    with pytest.raises(ConfigError, match=r"cannot be written: .*lake \(Read-only file system\)"):
        witness.ingest()
    with pytest.raises(LakeError, match="must be writable, also to read"):
        witness.books()
    disk.make_writable()

    witness.ingest()
    witness.assert_whole(ledger)


# --- catalog


def damage(catalog: Path, how: str) -> None:
    content = catalog.read_bytes()
    damaged = {
        "zeros": content[:4096] + bytes(len(content) - 4096),
        "other content": b"this is not a catalog\n" * 4000,
    }[how]
    catalog.write_bytes(damaged)


def files(lake_dir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (lake_dir / "data").rglob("*.parquet")}


@pytest.mark.parametrize("how", ["zeros", "other content"])
def test_a_damaged_catalog_is_named_and_left_alone_and_its_copy_goes_on(
    sandbox: SandboxProcess, settings: Settings, how: str, ledger: Ledger
) -> None:
    witness = put(sandbox, settings)
    witness.ingest()
    catalog = catalog_path(settings.lake_dir)
    copy, data = catalog.read_bytes(), files(settings.lake_dir)
    sandbox.advance_clock(3600)
    damage(catalog, how)
    damaged = catalog.read_bytes()

    with pytest.raises(LakeError, match="damaged or not a lake; restore it from a backup") as caught:
        witness.ingest()

    assert str(catalog) in str(caught.value)
    assert not is_transient(caught.value)
    assert catalog.read_bytes() == damaged, "what may be rescued is left alone"
    assert files(settings.lake_dir) == data
    catalog.write_bytes(copy)
    witness.ingest()
    witness.assert_whole(ledger)


def test_an_older_copy_of_the_catalog_catches_up_with_the_next_load(
    sandbox: SandboxProcess, settings: Settings, ledger: Ledger
) -> None:
    """What the lost catalog knew of is asked for again, from the watermark that the copy has."""
    witness = put(sandbox, settings, override={"since_param": "updated_since"})
    witness.ingest()
    catalog, copy = catalog_path(settings.lake_dir), settings.data_dir / "copy"
    shutil.copy(catalog, copy)
    older = witness.books()
    sandbox.advance_clock(6 * 3600)
    lost = witness.ingest()
    assert lost.new > 0
    assert lost.changed > 0

    shutil.copy(copy, catalog)

    assert witness.books() == older
    again = witness.ingest()
    assert (again.new, again.changed) == (lost.new, lost.changed)
    witness.assert_whole(ledger)


# --- clocks


class SkewedClock:
    """A wall clock that is set to another time whenever somebody looks; the monotonic one stays as it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._hours = cycle([0])
        clock = self

        class Skewed(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + next(clock._hours) * HOUR

        found = [
            module
            for name, module in list(sys.modules.items())
            if name.startswith("dispatchlake.") and getattr(module, "datetime", None) is datetime
        ]
        assert {module.__name__ for module in found} >= {
            "dispatchlake.ingest", "dispatchlake.api.client", "dispatchlake.lake.lake"
        }  # fmt: skip
        for module in found:
            monkeypatch.setattr(module, "datetime", Skewed)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + next(clock._hours) * 3600)

    def show(self, *hours: int) -> None:
        """Be so many hours wrong, one after the other with each look."""
        self._hours = cycle(hours)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SkewedClock:
    return SkewedClock(monkeypatch)


@pytest.mark.parametrize("until", [None, "updated_before"])
def test_a_wall_clock_that_jumps_between_and_during_loads_loses_nothing(
    sandbox: SandboxProcess, home: Settings, clock: SkewedClock, until: str | None, ledger: Ledger
) -> None:
    """The center lives now, and is asked for what changed since the last run, with no lookback to help."""
    began = datetime.now(UTC).replace(microsecond=0) - HOUR
    settings = home.model_copy(update={"lookback_s": 0})
    synthetic = {"count": 100, "starts_at": (began - 12 * HOUR).isoformat(), "span_s": 86_400}
    witness = put(
        sandbox,
        settings,
        sandbox_side={"dataset": {"synthetic": synthetic}, "epoch": began.isoformat()},
        override={"since_param": "updated_since", "until_param": until},
    )
    watermark: datetime | None = None

    for hours in ([0], [-1], [1, -1], [0, 1, -1]):
        clock.show(*hours)
        after = witness.ingest().watermark
        assert after is not None
        assert watermark is None or after >= watermark
        watermark = after
        sandbox.advance_clock(900)
    clock.show(0)
    witness.ingest()
    witness.assert_whole(ledger)


def test_a_record_of_the_future_hides_nothing_while_our_clock_is_fast(
    sandbox: SandboxProcess, home: Settings, clock: SkewedClock, ledger: Ledger
) -> None:
    """The center lives now, and dates one of its records six hours ahead; our clock is three hours fast."""
    began = datetime.now(UTC).replace(microsecond=0)
    settings = home.model_copy(update={"lookback_s": 0})

    def version(identity: str, updated: timedelta, visible: timedelta) -> dict[str, Any]:
        record = {"id": identity, "created_at": f"{began:%FT%TZ}", "updated_at": f"{began + updated:%FT%TZ}"}
        return {"visible_at": f"{began + visible:%FT%TZ}", "record": record}

    versions = [
        version("future", 6 * HOUR, -HOUR),
        version("quiet", -HOUR, -HOUR),
        version("later", HOUR / 6, HOUR / 6),
    ]
    witness = put(
        sandbox,
        settings,
        sandbox_side={"dataset": {"records": {CAD: versions}}, "epoch": f"{began:%FT%TZ}"},
        override={"since_param": "updated_since"},
    )
    clock.show(3)
    witness.ingest()
    sandbox.advance_clock(900)

    witness.ingest()

    witness.assert_whole(ledger)


@pytest.mark.parametrize("hours", [(-1,), (1, -1)])
def test_no_wait_depends_on_the_wall_clock(
    sandbox: SandboxProcess, home: Settings, clock: SkewedClock, hours: tuple[int, ...], ledger: Ledger
) -> None:
    """A wait counted by it would take an hour, or be refused as longer than our patience."""
    witness = put(sandbox, home)
    waits: list[dict[str, Any]] = [
        {"kind": "status", "status": 429, "retry_after_s": 1, "retry_after_form": "date"},
        {"kind": "status", "status": 503},
        {"kind": "expire_token"},
    ]
    for wait in waits:
        sandbox.add_fault(witness.center.center_id, on=CAD, **wait)
    clock.show(*hours)

    witness.ingest(home.model_copy(update={"retry_budget_s": 60}))

    assert sandbox.faults_left(witness.center.center_id) == []
    witness.assert_whole(ledger)


def test_the_hour_that_comes_twice_and_the_one_that_never_comes(home: Settings) -> None:
    """In Chicago the clocks go back on 2024-11-03 at 2:00 and go forward on 2024-03-10 at 2:00."""
    stamps = {
        "before the gap": ("2024-03-10T01:59:59-06:00", "2024-03-10 07:59:59"),
        "after the gap": ("2024-03-10 03:00:00 -0500", "2024-03-10 08:00:00"),
        "first 1:30": ("2024-11-03T01:30:00-05:00", "2024-11-03 06:30:00"),
        "second 1:30": ("2024-11-03 01:30:00 -0600", "2024-11-03 07:30:00"),
        "in the vendor's form": ("2024-11-03 07:30:01 UTC", "2024-11-03 07:30:01"),
    }
    records = ", ".join(
        f'{{"id": "{name}", "created_at": "{written}", "updated_at": "{written}"}}'
        for name, (written, _) in stamps.items()
    )
    with PlayedCenter(time_zone="America/Chicago", **override(since_param="since")) as played:
        played.pages = [f"[{records}]".encode()]
        summary = ingest_cell(played.center, CAD, settings=home, run_id="run")
        again = ingest_cell(played.center, CAD, settings=home, run_id="run")

    own = f"center_id = '{played.center.center_id}'"
    rows = query_arrow(
        f"SELECT cad_incident_id AS id, updated_at FROM cad_incidents WHERE {own} ORDER BY updated_at",
        lake_dir=home.lake_dir,
    ).to_pylist()
    assert [(row["id"], f"{row['updated_at'].astimezone(UTC):%F %T}") for row in rows] == [
        (name, instant) for name, (_, instant) in stamps.items()
    ]
    local = query_arrow(
        f"""SELECT DISTINCT strftime(updated_at AT TIME ZONE 'America/Chicago', '%H:%M') AS wall
        FROM cad_incidents WHERE {own} AND cad_incident_id LIKE '%1:30'""",
        lake_dir=home.lake_dir,
    )
    assert local["wall"].to_pylist() == ["01:30"], "alike on the wall, told apart in the lake"
    assert (again.new, again.changed) == (0, 0)
    assert summary.watermark is not None
    since = datetime.fromisoformat(played.queries[-1]["since"])
    assert since == summary.watermark - home.lookback
    assert summary.watermark <= datetime(2024, 11, 3, 7, 30, 1, tzinfo=UTC)


ELSEWHERE = """
from dispatchlake.lake.reading import query_frame
ingest(since=date(2024, 2, 28))
newest = "SELECT max(updated_at) AS newest, strftime(newest, '%Y-%m-%d %H:%M:%S') AS shown FROM cad_incidents"
for column in ("newest", "shown"):
    print(query_frame(newest, lake_dir=settings.lake_dir)[column][0])
"""


def content_of(settings: Settings) -> list[list[dict[str, Any]]]:
    """Return what two lakes that read the same must agree in."""
    with connect(settings.lake_dir) as lake:
        return [
            rows_of(lake, "SELECT * EXCLUDE (received_at, raw_id) FROM cad_incidents ORDER BY ALL"),
            rows_of(lake, "SELECT * EXCLUDE (received_at, raw_id) FROM cad_incident_versions ORDER BY ALL"),
            rows_of(lake, "SELECT epoch(window_start) FROM coverage"),
        ]


def test_a_machine_in_another_time_zone_makes_the_same_lake(
    sandbox: SandboxProcess, settings: Settings, tmp_path: Path, ledger: Ledger
) -> None:
    """Apia is 13 hours ahead of UTC: another day most of the time."""
    witness = put(sandbox, settings, override={"since_param": "updated_since"})
    there = Settings(data_dir=tmp_path / "there", retry_budget_s=5)

    with child(ELSEWHERE, witness.center, there, environment={"TZ": "Pacific/Apia"}) as script:
        told, shown = script.finish().splitlines()
    witness.ingest(since=date(2024, 2, 28))

    newest = max(datetime.fromisoformat(record["updated_at"]) for record in witness.truth())
    assert datetime.fromisoformat(told) == newest
    assert told.endswith("+00:00")
    assert datetime.fromisoformat(shown).replace(tzinfo=UTC) == newest.replace(microsecond=0)
    assert content_of(there) == content_of(settings)
    assert witness.ask("SELECT window_start FROM coverage") == [
        {"window_start": datetime(2024, 2, 28, tzinfo=UTC)}
    ]
    witness.assert_whole(ledger)


# --- memory


def wordy(count: int) -> list[bytes]:
    """Return pages of records of 2 KB each, a thousand a page."""
    words = "".join(random.Random(1).choices("abcdefghij", k=4000))
    stamps = '"created_at": "2024-03-01 00:00:00 UTC", "updated_at": "2024-03-01 00:00:00 UTC"'
    records = [
        f'{{"id": "{number}", {stamps}, "narrative": "{words[number % 2000 :][:2000]}{number}"}}'
        for number in range(count)
    ]
    return [f"[{', '.join(records[at : at + 1000])}]".encode() for at in range(0, count, 1000)]


def test_a_load_that_needs_more_memory_than_allowed_says_so_and_lands_once_it_has_it(
    settings: Settings,
) -> None:
    with PlayedCenter() as played:
        played.pages = wordy(12_000)

        def ingest(limit_mb: int) -> int:
            limited = settings.model_copy(update={"memory_limit_mb": limit_mb})
            return ingest_cell(played.center, EVENTS, settings=limited, run_id="run").new

        with pytest.raises(LakeError, match="needs more memory than DISPATCHLAKE_MEMORY_LIMIT_MB allows"):
            ingest(64)
        assert query_arrow("FROM incidents", lake_dir=settings.lake_dir).num_rows == 0

        assert ingest(1024) == 12_000
    (row,) = query_arrow(
        """SELECT count(DISTINCT incident_id) AS ids, sum(length(extra ->> 'narrative')) AS letters
        FROM incidents""",
        lake_dir=settings.lake_dir,
    ).to_pylist()
    assert row["ids"] == 12_000
    assert row["letters"] == sum(2000 + len(str(number)) for number in range(12_000))


SMALL_PROCESS = """
import resource
import duckdb, pyarrow
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 96 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    ingest()
except Exception as error:
    print("failed", type(error).__name__)
else:
    print("landed")
"""


def test_a_process_that_may_not_grow_costs_nothing_once_another_may(
    sandbox: SandboxProcess, settings: Settings, ledger: Ledger
) -> None:
    """It may fail in words or be ended by the system: the lake has all of its load, or nothing."""
    witness = put(sandbox, settings)
    witness.ingest()
    before = witness.books()
    sandbox.advance_clock(6 * 3600)

    with child(SMALL_PROCESS, witness.center, settings) as script:
        said = script.ended()

    assert said.startswith(("failed", "landed")) or not said
    if said.startswith("landed"):
        witness.see()
    else:
        assert witness.books() == before
    witness.ingest()
    witness.assert_whole(ledger)


# --- centers and tokens


def test_two_centers_that_send_the_very_same_records_stay_apart(
    sandbox: SandboxProcess, home: Settings, ledger: Ledger
) -> None:
    """Same ids, same content, same hashes: only the credential tells whose they are."""

    def version(number: int, changed: str) -> dict[str, Any]:
        record = {"id": f"same-{number}", "created_at": "2024-03-01T00:00:00Z", "updated_at": changed}
        return {"visible_at": changed, "record": record | {"incident_type": f"kind {number}"}}

    first = [version(number, "2024-03-01T00:00:00Z") for number in range(20)]
    later = [version(number, "2024-03-01T12:00:00Z") for number in range(0, 20, 2)]
    side = {"dataset": {"records": {CAD: first + later}}, "epoch": "2024-03-01T06:00:00Z"}
    one, other = (put(sandbox, home, sandbox_side=side) for _ in range(2))
    one.ingest()
    assert other.books() == (0, None)
    before = other.ingest()
    sandbox.advance_clock(6 * 3600)

    one.ingest()

    one.assert_whole(ledger)
    assert other.books() == (20, before.watermark), "the other has not been read again"
    other.ingest()
    other.assert_whole(ledger)


def test_a_long_run_renews_its_token_before_each_end_and_lands_whole(
    sandbox: SandboxProcess, home: Settings, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    """Each look at the machine's clock, two hours' tokens are 20 minutes older: a run of a day and a half."""
    witness = put(sandbox, home, sandbox_side=CHANGING | {"page_size_cap": 3})
    looks = iter(range(0, 10**9, 1200))
    for module in (auth, login):
        monkeypatch.setattr(module, "monotonic_s", lambda: float(next(looks)))

    summary = witness.ingest()

    counts = sandbox.counts(witness.center.center_id)
    assert summary.pages >= 40
    # Two hours less the five minutes' margin are five looks, one of them the login's own.
    assert summary.pages // 6 <= counts["logins_ok"] <= summary.pages // 4
    assert counts["logins_ok"] == len(sandbox.tokens(witness.center.center_id))
    assert set(counts["statuses"]) == {"200"}, "none was refused first"
    witness.assert_whole(ledger)


def test_tokens_that_lapse_under_way_cost_one_login_each(
    sandbox: SandboxProcess, home: Settings, ledger: Ledger
) -> None:
    witness = put(sandbox, home, sandbox_side=CHANGING | {"page_size_cap": 10})
    pages = range(2, 13, 2)
    for page in pages:
        sandbox.add_fault(witness.center.center_id, "expire_token", on=CAD, page=page)

    witness.ingest()

    counts = sandbox.counts(witness.center.center_id)
    assert sandbox.faults_left(witness.center.center_id) == []
    assert (counts["logins_ok"], counts["statuses"]["401"]) == (1 + len(pages), len(pages))
    witness.assert_whole(ledger)
