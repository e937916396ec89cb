"""What a table, a view, a macro and a column are declared as; what there is of each is said elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from dispatchlake.lake.record_types import Pii


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its DuckDB type, its meaning, and the class of personal information it may carry.

    Attributes:
        source_field: What the source calls it; "" where it is ours.
        is_additive: Whether its values may be added up: a count of something that no two rows share.
    """

    name: str
    type: str
    comment: str
    pii: Pii = "none"
    source_field: str = ""
    is_additive: bool = False

    @property
    def full_comment(self) -> str:
        """Return the comment as the catalog shows it."""
        return self.comment if self.pii == "none" else f"{self.comment} [personal: {self.pii}]"


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its grain in words, its columns and how its files are partitioned.

    Attributes:
        inlines: Whether a small load may stay in the catalog until flushed, instead of as a file each.
        key: The columns that tell a row from any other.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    inlines: bool = True
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """One view: its grain in words, its columns, and the query beside which they are declared.

    Attributes:
        key: The columns that tell a row from any other.
        example: A question to ask of it, as a whole statement.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    query: str
    key: tuple[str, ...]
    example: str


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro: a view with parameters, or a function.

    DuckLake keeps no comment on one: only the dictionary explains it.

    Attributes:
        parameters: What it is asked with, in order; none has a default, which DuckLake 1.5.5 would not keep.
        columns: Of a view with parameters; of a function, the one column is what it answers.
        is_table: Whether it is a view with parameters.
    """

    name: str
    comment: str
    parameters: tuple[Column, ...]
    columns: tuple[Column, ...]
    query: str
    example: str
    key: tuple[str, ...] = ()
    is_table: bool = True

    @property
    def call(self) -> str:
        """Return it with the names of its parameters, as one calls it."""
        return f"{self.name}({', '.join(one.name for one in self.parameters)})"
