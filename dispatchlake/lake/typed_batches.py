"""Pages in batches, with what became of their records: what a load draws."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

from dispatchlake.lake.archive import Batch, iter_batches
from dispatchlake.lake.record_types import record_type_of
from dispatchlake.lake.typed_pages import TypedPages, type_pages
from dispatchlake.model import Page, Resource

_YOUNG_OBJECTS = 50_000

TypedBatch = tuple[Batch, TypedPages | Exception]
"""A batch without its decoded records, and what became of them, or why nothing did."""


def type_batches(pages: Iterable[Page], resource: Resource) -> Iterator[TypedBatch]:
    """Yield pages in batches, typed as they are read: decoded, records are many times as large.

    A process that decodes has hundreds of thousands of small objects, none in a cycle. Its collector of
    cycles looks for some more seldom from then on; it took a fifth of a large load.
    """
    young, *older = gc.get_threshold()
    if 0 < young < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS, *older)
    record_type = record_type_of(resource)
    for batch in iter_batches(pages):
        try:
            typed: TypedPages | Exception = type_pages(batch.pages, record_type)
        except Exception as error:  # noqa: BLE001 - raised when it is staged: its pages are archived before
            typed = error
        yield batch.without_records(), typed
