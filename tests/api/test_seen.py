from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.api.seen import SeenHashes


@given(
    batches=st.lists(st.lists(st.text(max_size=3), max_size=30), max_size=12),
    may_be_asked=st.lists(st.booleans(), min_size=1, max_size=4),
    asks_how_many=st.booleans(),
)
def test_seen_hashes_say_the_same_as_a_plain_dictionary(
    batches: list[list[str]], may_be_asked: list[bool], asks_how_many: bool
) -> None:
    seen, plain = SeenHashes(), dict[str, int]()

    for page, batch in enumerate(batches, 1):
        if may_be_asked[page % len(may_be_asked)] or not plain.keys().isdisjoint(batch):
            first_seen_on = seen.add(batch, page)

            assert first_seen_on.tolist() == [plain.get(text, 0) for text in batch]
        else:
            seen.add_unseen(batch, page)
        for text in batch:
            plain.setdefault(text, page)
        if asks_how_many:
            assert len(seen) == len(plain)
    assert len(seen) == len(plain)


def test_seen_hashes_keep_few_runs() -> None:
    seen = SeenHashes()

    for page in range(1, 400):
        seen.add((f"{page}-{number}" for number in range(10)), page)

    assert len(seen) == 3990
    assert len(seen._runs) < 15
