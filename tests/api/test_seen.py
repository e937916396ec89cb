from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatchlake.api.seen import SeenHashes


@given(st.lists(st.lists(st.text(max_size=3), max_size=30), max_size=12))
def test_seen_hashes_say_the_same_as_a_plain_dictionary(batches: list[list[str]]) -> None:
    seen, plain = SeenHashes(), dict[str, int]()

    for page, batch in enumerate(batches, 1):
        first_seen_on = seen.add(batch, page)

        assert first_seen_on.tolist() == [plain.get(text, 0) for text in batch]
        for text in batch:
            plain.setdefault(text, page)
        assert len(seen) == len(plain)


def test_seen_hashes_keep_few_runs() -> None:
    seen = SeenHashes()

    for page in range(1, 400):
        seen.add((f"{page}-{number}" for number in range(10)), page)

    assert len(seen) == 3990
    assert len(seen._runs) < 15
