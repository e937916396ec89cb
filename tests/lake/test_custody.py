"""Whatever is done to the archive afterwards is named: which center, which page, and what is wrong."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from dispatchlake.errors import ConfigError, LakeError
from dispatchlake.lake import Lake, chain, erasing, migrations
from dispatchlake.lake.custody import BrokenLink, Custody, verify
from dispatchlake.lake.reading import connect
from dispatchlake.lake.schemas import CHAIN_HEADS, RAW_PAGES
from tests.lake.pages import CENTER, END, Center, cell, incident, load, page, see_one_center

DOCUMENT = (Path(__file__).parents[2] / "docs" / "chain-of-custody.md").read_text()
BROKEN_PAGES, BROKEN_HEADS, HEADS, REDACTED = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)

PAGES = 4


@pytest.fixture
def archived(center: Center) -> Center:
    """A center with four archived pages."""
    center.load_pages(
        [
            center.page(
                incident(f"i{number}"),
                sequence=number,
                received_at=END + timedelta(seconds=number, microseconds=number),
            )
            for number in range(1, PAGES + 1)
        ]
    )
    return center


def custody(center: Center, shared_dir: Path) -> Custody:
    (found,) = verify(shared_dir, center_ids=(center.center_id,))
    return found


def raw_id(center: Center, position: int) -> str:
    ((found,),) = center.ask(f"SELECT raw_id FROM raw_pages WHERE chain_position = {position}")
    return str(found)


def test_an_archive_as_it_was_written_is_whole(archived: Center, shared_dir: Path) -> None:
    found = custody(archived, shared_dir)

    ((body_bytes, head),) = archived.ask(
        "SELECT sum(octet_length(body)), max_by(record_sha256, chain_position) FROM raw_pages"
    )
    assert found == Custody(
        archived.center_id,
        PAGES,
        body_bytes,
        END + timedelta(seconds=1, microseconds=1),
        END + timedelta(seconds=PAGES, microseconds=PAGES),
        head,
        None,
    )
    assert archived.ask(BROKEN_PAGES) == archived.ask(BROKEN_HEADS) == []
    assert archived.ask(HEADS) == [(archived.center_id, PAGES, head)]


def test_a_center_without_pages_has_no_chain(center: Center, shared_dir: Path) -> None:
    center.load_pages([])

    assert center.center_id not in {one.center_id for one in verify(shared_dir)}
    with pytest.raises(ConfigError, match=f"no page of dispatch center {center.center_id}"):
        list(verify(shared_dir, center_ids=(center.center_id,)))


def test_the_hash_can_be_computed_from_the_description_alone(center: Center) -> None:
    """Nothing of ours but the row: netstrings and SHA-256."""
    odd = center.page(incident(), received_at=datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC))
    center.load_pages([odd, center.page(incident())])

    previous = "0" * 64
    for row in center.ask(
        """SELECT raw_id, center_id, resource, run_id, sequence, url_path, query, status, headers,
        epoch_us(requested_at), epoch_us(received_at), body_bytes, body_sha256, record_sha256
        FROM raw_pages ORDER BY chain_position"""
    ):
        texts = [previous, *map(str, row[:-1])]
        content = "".join(f"{len(text.encode())}:{text}," for text in texts).encode()
        previous = hashlib.sha256(content).hexdigest()
        assert row[-1] == previous


def change(center: Center, assignment: str, *, at: int) -> None:
    center.lake._connection.execute(
        f"UPDATE raw_pages SET {assignment} WHERE center_id = '{center.center_id}' AND chain_position = {at}"
    )


def swap(center: Center) -> None:
    for before, after in ((2, -2), (3, 2), (-2, 3)):
        change(center, f"chain_position = {after}", at=before)


def swap_bodies(center: Center) -> None:
    bodies = dict(center.ask("SELECT chain_position, body FROM raw_pages"))
    for position, other in ((2, 3), (3, 2)):
        center.lake._connection.execute(
            "UPDATE raw_pages SET body = ? WHERE center_id = ? AND chain_position = ?",
            [bodies[other], center.center_id, position],
        )


def cut_off_with_the_head(center: Center) -> None:
    delete(center, "chain_position > 2")
    delete(center, "true", "chain_heads")


def delete(center: Center, where: str, table: str = "raw_pages") -> None:
    center.lake._connection.execute(f"DELETE FROM {table} WHERE center_id = '{center.center_id}' AND {where}")


def forge(center: Center, position: int) -> None:
    """Change a fact and compute the page's own hash anew: only its neighbour can tell."""
    change(center, "url_path = '/forged'", at=position)
    change(center, f"record_sha256 = {chain.record_sha256_sql()}", at=position)


def add(center: Center, position: int | None) -> None:
    center.lake._connection.execute(
        """INSERT INTO raw_pages SELECT * REPLACE ('~added' AS raw_id, $position AS chain_position)
        FROM raw_pages WHERE center_id = $center AND chain_position = 2""",
        {"center": center.center_id, "position": position},
    )


ALTERED = "record altered: its facts do not match record_sha256"
BODY = "body does not match its hash"
MOVED = "does not follow the page before it: one of the two was replaced or moved"
MISSING = "page missing"
HEAD = "the chain's head is of another page"

Tamper = Callable[[Center], None]

TAMPERED: dict[str, tuple[Tamper, int | None, str | None, str]] = {
    "a body": (lambda c: change(c, "body = 'x'::BLOB", at=2), 2, "itself", BODY),
    "the last body": (lambda c: change(c, "body = body || ' '::BLOB", at=4), 4, "itself", BODY),
    "a body that is gone": (lambda c: change(c, "body = NULL", at=3), 3, "itself", BODY),
    "a body and its hash": (
        lambda c: change(c, "body = 'x'::BLOB, body_bytes = 1, body_sha256 = sha256('x')", at=2),
        2, "itself", ALTERED,
    ),
    "a hash that is gone": (lambda c: change(c, "record_sha256 = NULL", at=3), 3, "itself", ALTERED),
    "a link": (lambda c: change(c, "previous_sha256 = repeat('0', 64)", at=3), 3, "itself", ALTERED),
    "a fact, its hash made anew": (lambda c: forge(c, 2), 3, "itself", MOVED),
    "the last page, its hash made anew": (lambda c: forge(c, 4), 4, "itself", HEAD),
    "two places swapped": (swap, 2, "itself", MOVED),
    "two bodies swapped": (swap_bodies, 2, "itself", BODY),
    "a middle page": (lambda c: delete(c, "chain_position = 2"), 2, None, MISSING),
    "the first page": (lambda c: delete(c, "chain_position = 1"), 1, None, MISSING),
    "the last page": (
        lambda c: delete(c, "chain_position = 4"), 4, None, "end cut off: pages 4 to 4 are missing",
    ),
    "all pages": (lambda c: delete(c, "true"), 1, None, "end cut off: pages 1 to 4 are missing"),
    "the last two and the head": (cut_off_with_the_head, 2, "itself", "the chain's head is missing"),
    "a page more": (lambda c: add(c, 2), 2, "~added", "a second page in this place"),
    "a page more, at the end": (lambda c: add(c, 5), 5, "~added", ALTERED),
    "a page more, without a place": (
        lambda c: add(c, None), None, "~added",
        "a page without a place in the chain: it was added by other means",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Center, Custody]]]:
    """A center with four pages for each of them, tampered with, and what `verify` says of it."""
    folder = tmp_path_factory.mktemp("tampered") / "lake"
    ids = {f"center-{number}": name for number, name in enumerate(TAMPERED)}
    with Lake.open(folder) as lake, connect(folder) as reader:
        lake._connection.execute("SET threads = 1")
        see_one_center(reader)
        pages = [
            page(center_id=center_id, sequence=number, body=b"[" + b" " * number + b"]")
            for number in range(1, PAGES + 1)
            for center_id in ids
        ]
        lake.load(pages, cell=cell("center-0"), run_id="run")
        centers = {center_id: Center(lake, reader, center_id) for center_id in ids}
        assert all(found.broken is None for found in verify(folder))
        for center_id, name in ids.items():
            TAMPERED[name][0](centers[center_id])
        yield {ids[found.center_id]: (centers[found.center_id], found) for found in verify(folder)}


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_done_to_the_archive_is_named(
    tampered: dict[str, tuple[Center, Custody]], name: str
) -> None:
    _, position, page_id, problem = TAMPERED[name]
    center, found = tampered[name]

    if page_id == "itself":
        assert position is not None
        page_id = raw_id(center, position)
    assert found.broken == BrokenLink(center.center_id, position, page_id, problem)


def test_somebody_with_the_document_alone_sees_it_too(tampered: dict[str, tuple[Center, Custody]]) -> None:
    for center, found in tampered.values():
        assert found.broken is not None
        pages, heads = center.ask(BROKEN_PAGES), center.ask(BROKEN_HEADS)
        assert pages or heads
        if found.broken.raw_id is not None and pages:
            assert (found.broken.position, found.broken.raw_id) in [row[1:3] for row in pages]


FACTS = {
    "raw_id": "'another'",
    "resource": "'cad_incidents'",
    "run_id": "'another'",
    "sequence": "sequence + 1",
    "url_path": "url_path || '/'",
    "query": """'{"page": "2"}'""",
    "status": "201",
    "headers": "'{}'",
    "requested_at": "requested_at + INTERVAL 1 MICROSECOND",
    "received_at": "received_at - INTERVAL 1 DAY",
    "body_bytes": "body_bytes + 1",
    "body_sha256": "sha256('')",
}


def test_each_fact_counts(center: Center) -> None:
    assert set(FACTS) | {"center_id"} == set(chain.FACTS)
    center.load_pages([center.page(sequence=number) for number in range(len(FACTS) + 1)])

    changes = ", ".join(
        f"{name} = CASE chain_position WHEN {position} THEN {value} ELSE {name} END"
        for position, (name, value) in enumerate(FACTS.items(), 1)
    )
    center.lake._connection.execute(f"UPDATE raw_pages SET {changes} WHERE center_id = '{center.center_id}'")

    broken = {row[1]: row[4] for row in center.ask(BROKEN_PAGES)}
    assert broken == dict.fromkeys(range(1, len(FACTS) + 1), False), "each but the page left alone"


def test_a_page_moved_to_another_center_is_named_there(
    new_center: Callable[[], Center], shared_dir: Path
) -> None:
    one, other = new_center(), new_center()
    for center in (one, other):
        center.load(incident())

    change(other, "center_id = 'center-of-nobody'", at=1)
    change(one, f"center_id = '{other.center_id}'", at=1)

    assert custody(one, shared_dir).broken == BrokenLink(
        one.center_id, 1, None, "end cut off: pages 1 to 1 are missing"
    )
    assert custody(other, shared_dir).broken == BrokenLink(other.center_id, 1, raw_id(other, 1), ALTERED)


def test_an_archive_whose_file_is_gone_cannot_be_verified(lake: Lake, lake_dir: Path) -> None:
    load(lake, incident("secret text"))
    for file in (lake_dir / "data").rglob("raw_pages/**/*.parquet"):
        file.unlink()

    with pytest.raises(LakeError, match="a file of it is missing or damaged") as caught:
        list(verify(lake_dir))
    assert "secret" not in str(caught.value)


def test_writers_at_once_make_one_chain(lake: Lake, lake_dir: Path) -> None:
    def write(number: int) -> None:
        with Lake.open(lake_dir, lock_wait_s=60) as other:
            for _ in range(3):
                load(other, incident(f"i{number}"))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))

    (found,) = verify(lake_dir)
    assert (found.pages, found.broken) == (6, None)


def test_a_load_that_fails_leaves_the_chain_whole(
    center: Center, shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    center.load()
    real = chain.link

    def link_and_fail(connection: duckdb.DuckDBPyConnection, rows: list[dict[str, object]]) -> None:
        real(connection, rows)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(chain, "link", link_and_fail)
        with pytest.raises(ZeroDivisionError):
            center.load()
    center.load()

    found = custody(center, shared_dir)
    assert (found.pages, found.broken) == (2, None)


@pytest.fixture
def older_lake(lake: Lake, lake_dir: Path) -> Path:
    """A lake with pages of two centers and without a chain, as the version before made it."""
    for center_id, hours in (("center-b", 3), (CENTER, 2), (CENTER, 1)):
        pages = [
            page(incident(), center_id=center_id, sequence=number, received_at=END + timedelta(hours=hours))
            for number in (1, 2)
        ]
        lake.load(pages, cell=cell(center_id), run_id=f"run-{hours}")
    for name in chain.LINK_COLUMNS:
        lake._connection.execute(f"ALTER TABLE raw_pages DROP COLUMN {name}")
    lake._connection.execute(f"DROP TABLE {CHAIN_HEADS.name}")
    lake._connection.execute("DELETE FROM migrations WHERE name > '0003'")
    lake.close()
    return lake_dir


def test_pages_archived_before_there_was_a_chain_are_chained_in_order(
    older_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(older_lake) as connection:
        before = connection.sql("FROM raw_pages ORDER BY ALL").fetchall()
    with pytest.raises(LakeError, match=r"older version.*dispatchlake ingest"):
        list(verify(older_lake))
    monkeypatch.setattr(chain, "_STEP_PAGES", 3)

    with Lake.open(older_lake) as lake:
        load(lake, incident("after"))

    assert [(found.center_id, found.pages, found.broken) for found in verify(older_lake)] == [
        (CENTER, 5, None),
        ("center-b", 2, None),
    ]
    with connect(older_lake) as connection:
        order = connection.sql(
            f"""SELECT run_id, sequence FROM raw_pages WHERE center_id = '{CENTER}'
            ORDER BY chain_position"""
        ).fetchall()
        links = ", ".join(chain.LINK_COLUMNS)
        kept = connection.sql(
            f"SELECT * EXCLUDE ({links}) FROM raw_pages WHERE run_id <> 'run' ORDER BY ALL"
        ).fetchall()
        comments = set(
            connection.sql(
                """SELECT table_name, column_name, comment FROM duckdb_columns()
                WHERE table_name IN ('raw_pages', 'chain_heads')"""
            ).fetchall()
        )
        assert connection.sql("SELECT count(*) FROM migrations").fetchall() == [(len(migrations.MIGRATIONS),)]
    assert comments == {
        (table.name, column.name, column.full_comment)
        for table in (RAW_PAGES, CHAIN_HEADS)
        for column in table.columns
    }
    assert order == [("run-1", 1), ("run-1", 2), ("run-2", 1), ("run-2", 2), ("run", 1)]
    assert kept == before


def test_verifying_where_there_is_no_lake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no lake"):
        list(verify(tmp_path))


def test_a_chain_needs_no_look_at_the_archive(center: Center) -> None:
    """Whatever became of the pages before, the next one follows the head."""
    center.load()
    ((head,),) = center.ask("SELECT record_sha256 FROM chain_heads")
    delete(center, "true")

    center.load()

    assert center.ask("SELECT chain_position, previous_sha256 FROM raw_pages") == [(2, head)]


@pytest.fixture(scope="module")
def redacted(tmp_path_factory: pytest.TempPathFactory, empty_lake: Path) -> Path:
    """A lake with a call in some pages, of which it was erased, to be copied."""
    home = tmp_path_factory.mktemp("redacted")
    lake_dir = Path(shutil.copytree(empty_lake, home / "lake"))
    with Lake.open(lake_dir) as lake:
        load(lake, incident("the-call-itself"), incident("i1"))
        load(lake, incident("i2"))
        load(lake, incident("the-call-itself", updated=5), incident("i3"))
        plan = erasing.begin(lake, CENTER, "the-call-itself", reason="court order", requested_by="clerk")
        assert erasing.remove(lake, plan, {})["raw_pages"] == 2
    return lake_dir


@pytest.fixture
def redacted_lake(redacted: Path, tmp_path: Path) -> Iterator[Lake]:
    with Lake.open(Path(shutil.copytree(redacted, tmp_path / "lake"))) as lake:
        yield lake


def checked(lake: Lake) -> tuple[str | None, list[int]]:
    """Return what is wrong, and the places that the document's own query names."""
    (found,) = verify(lake.lake_dir)
    with connect(lake.lake_dir) as reader:
        places = [row[1] for row in reader.execute(BROKEN_PAGES).fetchall()]
    return found.broken.problem if found.broken else None, places


def test_a_redaction_that_the_chain_tells_of_is_listed_and_all_else_is_whole(redacted_lake: Lake) -> None:
    (found,) = verify(redacted_lake.lake_dir)

    assert (found.pages, found.redacted, found.broken) == (4, 2, None)
    (cut,) = found.redactions
    assert cut.pages == 2
    assert checked(redacted_lake) == (None, [])
    with connect(redacted_lake.lake_dir) as reader:
        ((center_id, pages, _, reason, _because),) = reader.execute(REDACTED).fetchall()
    assert (center_id, pages, reason) == (CENTER, 2, "court order")


BODY = "'[]'::BLOB"
DONE_AGAIN = "body = '[]'::BLOB, redacted_sha256 = sha256('[]')"


@pytest.mark.parametrize(
    ("change", "place", "problem"),
    [
        (f"body = {BODY}", 2, "body does not match its hash"),
        (f"{DONE_AGAIN}, redacted_at = now()", 2, "no erasure in the chain says so"),
        (
            f"{DONE_AGAIN}, redaction_id = (SELECT max(redaction_id) FROM raw_pages)",
            2,
            "no erasure in the chain",
        ),
        (DONE_AGAIN, 1, "no erasure in the chain says so"),
        ("redacted_sha256 = NULL", 1, "body does not match its hash"),
        ("body = encode(replace(decode(body), 'court', 'other'))", 4, "body does not match its hash"),
    ],
)
def test_tampering_does_not_pass_for_a_redaction(
    redacted_lake: Lake, change: str, place: int, problem: str
) -> None:
    redacted_lake._connection.execute(f"UPDATE raw_pages SET {change} WHERE chain_position = {place}")

    found, places = checked(redacted_lake)

    assert found is not None
    assert problem in found
    assert places == [place]


def test_a_body_that_was_put_back_after_a_redaction_is_named(redacted_lake: Lake) -> None:
    with redacted_lake.held() as connection:
        body = b'[{"id": "the-call-itself"}]'
        digest = hashlib.sha256(body).hexdigest()
        connection.execute(
            "UPDATE raw_pages SET body = ?, redacted_sha256 = ? WHERE chain_position = 3", [body, digest]
        )

    assert checked(redacted_lake) == ("body was changed, and no erasure in the chain says so", [3])
