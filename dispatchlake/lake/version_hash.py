"""The hash that tells versions of a record apart: by its typed content, however that was written."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dispatchlake.lake.record_types import Kind, RecordType

_SHA256_BYTES = 32
_HASH_BYTES = 16
_LONGEST_BYTES = 2**31 - 1
"""Where a slice ends that goes to the end: without that, Arrow 26 fails."""

_SEPARATOR = "\0"
"""No text has one: a record with a NUL is set aside."""


def version_hashes(table: pa.Table, record_type: RecordType) -> pa.StringArray:
    """Return the hash of each record: 128 bits of SHA-256, hexadecimal.

    Hashed is `name=value` of every typed field that is not null, and of `extra`. Times count as instants and
    numbers as doubles, so the form they were written in does not matter; nulls are left out, so a column that
    is added later does not change the hash of what came before it.

    Args:
        table: The columns of the record type, and `extra`.
        record_type: Which columns count, and what they are.
    """
    kinds: dict[str, Kind] = {field.name: field.kind for field in record_type.fields} | {"extra": "text"}
    parts: list[pa.Array | str] = []
    for name, kind in kinds.items():
        if table[name].null_count == len(table):
            continue
        texts = _text(table[name].combine_chunks(), kind)
        if texts.null_count:  # null with its name where the value is, to be skipped
            parts.append(pc.binary_join_element_wise(f"{_SEPARATOR}{name}=", texts, ""))
        else:
            parts += [f"{_SEPARATOR if parts else ''}{name}=", texts]
    if not parts:  # no records, or none with a value in it
        contents = [b""] * len(table)
    elif isinstance(parts[0], str):
        contents = _joined_up(parts).to_pylist()
    else:  # each begins with a separator; or is empty, and Arrow 26 has no row at all where all is null
        contents = pc.binary_slice(_joined_up(["", *parts]), 1, _LONGEST_BYTES).to_pylist()
    digests = b"".join([hashlib.sha256(content).digest() for content in contents])
    halves = np.frombuffer(digests, np.uint8).reshape(-1, _SHA256_BYTES)[:, :_HASH_BYTES].tobytes()
    offsets = np.arange(0, 2 * len(halves) + 1, 2 * _HASH_BYTES, dtype=np.int32)
    return pa.StringArray.from_buffers(len(table), pa.py_buffer(offsets), pa.py_buffer(halves.hex().encode()))


def _joined_up(parts: list[pa.Array | str]) -> pa.BinaryArray:
    return pc.binary_join_element_wise(*parts, "", null_handling="skip").cast(pa.binary())


def _text(column: pa.Array, kind: Kind) -> pa.StringArray:
    """Return the values as texts that will be the same with every version of Arrow."""
    if kind == "number":
        # As their bits: how a double is written is a matter of taste. Adding zero makes 0.0 of -0.0.
        return pc.add(column, 0.0).view(pa.int64()).cast(pa.string())
    if kind == "instant":
        return column.cast(pa.int64()).cast(pa.string())
    if kind == "texts":
        return _joined(column)
    return column.cast(pa.string())


def _joined(lists: pa.ListArray) -> pa.StringArray:
    """Return each list as one text that no other list has: its length, then what is in it."""
    lengths = pc.list_value_length(lists)
    marked = pc.fill_null(pc.binary_join_element_wise("+", lists.flatten(), ""), "-")  # a null is no text
    # Where each list begins: what lies under a null list is not flattened.
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(pc.fill_null(lengths, 0))])
    nested = pa.ListArray.from_arrays(offsets, marked, mask=lists.is_null())
    return pc.binary_join_element_wise(
        lengths.cast(pa.string()), pc.binary_join(nested, _SEPARATOR), _SEPARATOR
    )
