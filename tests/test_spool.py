from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.errors import ConfigError, SpoolBusy, SpoolError, is_transient
from dispatchlake.spool import Delivery, DeliveryKind, Spool, Standing
from tests.examples import examples
from tests.guarantees.disks import small_disk

ROOT = Path(__file__).parents[1]

NOON = datetime(2024, 7, 8, 12, tzinfo=UTC)


def delivery(center_id: str = "houston-tx", body: bytes = b"{}", received_at: datetime = NOON) -> Delivery:
    headers = {"content-type": "application/json"}
    return Delivery(str(uuid4()), center_id, DeliveryKind.CAD, received_at, headers, body)


def everything(spool: Spool, center_id: str = "houston-tx") -> list[Delivery]:
    return spool.waiting(center_id, max_count=1_000_000, max_bytes=1 << 40)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool.open(tmp_path / "spool") as opened:
        yield opened


def test_what_was_kept_waits_as_it_came(spool: Spool) -> None:
    came = Delivery(
        raw_id=str(uuid4()),
        center_id="houston-tx",
        kind=DeliveryKind.INCIDENT_EVENTS,
        received_at=datetime(2024, 7, 8, 12, 0, 0, 123456, tzinfo=UTC),
        headers={"content-type": "application/json; charset=utf-8", "user-agent": "Ä\n\0"},
        body=bytes(range(256)),
    )

    spool.keep([came])

    assert everything(spool) == [came]
    assert spool.standings() == {
        ("houston-tx", DeliveryKind.INCIDENT_EVENTS): Standing(1, 256, came.received_at)
    }


def test_an_empty_one_has_nothing(spool: Spool) -> None:
    assert spool.centers() == []
    assert everything(spool) == []
    assert spool.standings() == {}
    spool.keep([])
    spool.forget([])
    assert spool.count() == 0


def test_each_center_has_its_own_in_the_order_received(spool: Spool) -> None:
    mixed = [delivery(center, str(n).encode()) for n in range(5) for center in ("b-tx", "a-tx")]

    spool.keep(mixed[:4])
    spool.keep(mixed[4:])

    assert spool.centers() == ["a-tx", "b-tx"]
    for center in spool.centers():
        assert [d.body for d in everything(spool, center)] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("max_count", "max_bytes", "taken"),
    [(10, 1000, 4), (2, 1000, 2), (10, 30, 3), (10, 29, 2), (10, 1, 1), (1, 1, 1)],
)
def test_as_many_are_taken_as_fit_but_at_least_one(
    spool: Spool, max_count: int, max_bytes: int, taken: int
) -> None:
    kept = [delivery(body=bytes(10)) for _ in range(4)]
    spool.keep(kept)

    found = spool.waiting("houston-tx", max_count=max_count, max_bytes=max_bytes)

    assert [d.raw_id for d in found] == [d.raw_id for d in kept[:taken]]


def test_what_is_forgotten_is_gone_and_the_rest_stays(spool: Spool) -> None:
    kept = [delivery(body=str(n).encode()) for n in range(4)]
    spool.keep(kept)

    spool.forget([kept[0].raw_id, kept[2].raw_id, str(uuid4())])
    spool.forget([kept[0].raw_id])

    assert [d.body for d in everything(spool)] == [b"1", b"3"]


@examples(20)
@given(seconds=st.lists(st.integers(-3, 3), min_size=1, max_size=12), forget=st.booleans())
def test_time_goes_on_whatever_the_clock_does(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int], forget: bool
) -> None:
    taken: list[Delivery] = []
    folder = tmp_path_factory.mktemp("spool")
    for second in seconds:
        with Spool.open(folder) as spool:  # each time another process, in effect
            spool.keep([delivery(received_at=NOON + timedelta(seconds=second))])
            if forget:
                taken += everything(spool)
                spool.forget([d.raw_id for d in taken])
    with Spool.open(folder) as spool:
        taken += everything(spool)

    times = [d.received_at for d in taken]
    assert len(times) == len(seconds)
    assert times == sorted(set(times)), "each is later than the one before"
    assert max(times) - NOON <= timedelta(seconds=max(seconds), microseconds=len(seconds))


def test_a_clock_that_was_years_ahead_dates_only_what_came_meanwhile(spool: Spool) -> None:
    years_ahead = NOON + timedelta(days=4000)
    came = [NOON, years_ahead, NOON + timedelta(seconds=1), NOON, NOON - timedelta(minutes=59)]

    for received_at in came:
        spool.keep([delivery(received_at=received_at)])

    assert [d.received_at - NOON for d in everything(spool)] == [
        timedelta(),
        timedelta(days=4000),
        timedelta(seconds=1),
        timedelta(seconds=1, microseconds=1),
        timedelta(seconds=1, microseconds=2),
    ]


@pytest.mark.parametrize("year", [1970, 2000, 2023])
def test_a_clock_that_begins_anew_dates_nothing_in_the_years_before_there_was_a_receiver(
    spool: Spool, year: int
) -> None:
    """As of a machine whose battery is empty, until it asks for the time: retention would take it all."""
    begun_anew = datetime(year, 1, 1, tzinfo=UTC)
    for received_at in (NOON, begun_anew, NOON + timedelta(minutes=1)):
        spool.keep([delivery(received_at=received_at)])

    assert [d.received_at - NOON for d in everything(spool)] == [
        timedelta(),
        timedelta(microseconds=1),
        timedelta(minutes=1),
    ]


def test_within_a_batch_too_a_clock_that_was_hours_ahead_is_followed_back(spool: Spool) -> None:
    spool.keep([delivery(received_at=NOON + timedelta(hours=2)), delivery()])

    assert [d.received_at - NOON for d in everything(spool)] == [timedelta(hours=2), timedelta()]


def test_a_batch_is_kept_whole_or_not_at_all(spool: Spool) -> None:
    first = delivery()
    spool.keep([first])

    with pytest.raises(SpoolError, match=r"spool\.sqlite"):
        spool.keep([delivery(), first])

    assert [d.raw_id for d in everything(spool)] == [first.raw_id]
    spool.keep([delivery()])
    assert spool.count() == 2, "it goes on after a failure"


KEEPER = """
import sys
from pathlib import Path
from tests.test_spool import delivery
from dispatchlake.spool import Spool

with Spool.open(Path(sys.argv[1])) as spool:
    for n in range(int(sys.argv[2])):
        batch = [delivery(body=bytes(n % 7 * 1000)) for _ in range(3)]
        spool.keep(batch)
        print(*(d.raw_id for d in batch), flush=True)
"""


def keeper(folder: Path, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KEEPER, str(folder), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_what_was_kept_survives_sigkill(tmp_path: Path) -> None:
    with keeper(tmp_path, 1_000_000) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()

    with Spool.open(tmp_path) as spool:
        found = [d.raw_id for d in everything(spool)]
    promised = " ".join(line for line in said if line.endswith("\n")).split()
    assert process.returncode == -signal.SIGKILL
    assert found[: len(promised)] == promised
    assert len(found) % 3 == 0, "no batch is there in part"


def test_two_processes_keep_while_a_third_takes_and_forgets(tmp_path: Path) -> None:
    with keeper(tmp_path, 40) as one, keeper(tmp_path, 40) as other, Spool.open(tmp_path) as spool:
        taken: list[str] = []
        while one.poll() is None or other.poll() is None or spool.count():
            batch = [d.raw_id for d in spool.waiting("houston-tx", max_count=10, max_bytes=1 << 20)]
            spool.forget(batch)
            taken += batch
        assert one.stdout is not None
        assert other.stdout is not None
        said = (one.stdout.read() + other.stdout.read()).split()

    assert one.returncode == other.returncode == 0
    assert len(said) == 240
    assert sorted(taken) == sorted(said), "each once"


def test_nobody_else_may_read_it(spool: Spool, tmp_path: Path) -> None:
    spool.keep([delivery()])

    files = sorted((tmp_path / "spool").iterdir())

    assert {"spool.sqlite", "spool.sqlite-wal"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_each_commit_reaches_the_disk(spool: Spool) -> None:
    assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_it_grows_small_again_when_nothing_waits(spool: Spool, tmp_path: Path) -> None:
    kept = [delivery(body=os.urandom(1_000_000)) for _ in range(5)]
    spool.keep(kept)

    spool.forget([d.raw_id for d in kept])
    spool.close()

    assert sum(file.stat().st_size for file in (tmp_path / "spool").iterdir()) < 100_000


def test_while_it_grows_small_others_keep(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatchlake.spool._SHRINK_PAGES", 100)
    kept = [delivery(body=os.urandom(1_000_000)) for _ in range(2)]
    spool.keep(kept)
    came: list[Delivery] = []

    with Spool.open(tmp_path / "spool") as receiver:

        def deliver(statement: str) -> None:
            if "incremental_vacuum" in statement:
                came.append(delivery(body=bytes(len(came))))
                receiver.keep(came[-1:])

        spool._connection.set_trace_callback(deliver)
        spool.forget([d.raw_id for d in kept])
        spool._connection.set_trace_callback(None)

    assert len(came) > 1, "it is free again and again"
    assert [d.body for d in everything(spool)] == [d.body for d in came]
    spool.close()
    assert sum(file.stat().st_size for file in (tmp_path / "spool").iterdir()) < 100_000


@pytest.mark.parametrize("content", [b"this is not a spool " * 500, b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_file_gives_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spool.sqlite").write_bytes(content)

    with pytest.raises(
        SpoolError, match=r"cannot be read or written: .*spool\.sqlite .* a new one"
    ) as caught:
        Spool.open(tmp_path)

    assert not is_transient(caught.value)
    assert (tmp_path / "spool.sqlite").read_bytes() == content, "it is left for whoever can mend it"


def test_damage_in_its_middle_gives_a_clear_error(tmp_path: Path) -> None:
    with Spool.open(tmp_path) as spool:
        spool.keep([delivery(body=bytes(100_000)) for _ in range(5)])
    path = tmp_path / "spool.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))

    with pytest.raises(SpoolError, match="cannot be read or written"), Spool.open(tmp_path) as spool:
        everything(spool)


def test_one_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Spool.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "spool.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(SpoolError, match="made by a newer version"):
        Spool.open(tmp_path)


def test_a_full_disk_keeps_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 << 20) as disk, Spool.open(disk.folder / "spool") as spool:
        spool.keep([delivery(body=b"before")])
        disk.fill(leave_bytes=64 << 10)

        with pytest.raises(SpoolBusy, match="the disk is full") as caught:
            spool.keep([delivery(body=bytes(1 << 20))])

        assert is_transient(caught.value)
        assert [d.body for d in everything(spool)] == [b"before"]
        disk.free()
        spool.keep([delivery(body=b"after")])
        assert [d.body for d in everything(spool)] == [b"before", b"after"]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="file/spool cannot be used"):
        Spool.open(tmp_path / "file" / "spool")
