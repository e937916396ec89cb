"""The dictionary as a page of Markdown: docs/data-dictionary.md, made of the declarations alone."""

from __future__ import annotations

from itertools import groupby

from dispatchlake.lake.dictionary import Entry, entries

_INTRODUCTION = """\
# Data dictionary

Every table, view and macro of the lake, with every column. The same is in the lake's table `dictionary`, and
`dispatchlake dictionary OBJECT` prints it. What to ask of the views: [analysts.md](analysts.md).

This page is made from the declarations (`make dictionary`); do not edit it.

- **key**: the columns that tell a row from any other. All keys begin with `center_id` where there is one.
- **not summed**: numbers whose sum means nothing. Other numbers are counts that no two rows share.
- **personal**: what the column may reveal of a person; the records are those of emergency callers.
- Instants are in UTC. A name that begins with `local_` is by the center's clock.
"""

_TITLES = {"table": "Tables", "view": "Views", "macro": "Macros"}
_HEADINGS = ("column", "type", "unit", "meaning", "at the source", "")


def page() -> str:
    """Return the page."""
    lines = [_INTRODUCTION]
    for kind, of_kind in groupby(entries(), key=lambda entry: entry.kind):
        lines += [f"## {_TITLES[kind]}", ""]
        for _, of_object in groupby(of_kind, key=lambda entry: entry.object):
            lines += _object(list(of_object))
    return "\n".join(lines).rstrip() + "\n"


def _object(described: list[Entry]) -> list[str]:
    head, *columns = described
    parameters = [entry for entry in columns if entry.role == "parameter"]
    answered = [entry for entry in columns if entry.role != "parameter"]
    call = f"({', '.join(str(entry.column_name) for entry in parameters)})" if head.kind == "macro" else ""
    lines = [f"### {head.object}{call}", "", _escaped(head.meaning), ""]
    if head.example:
        lines += ["```sql", head.example, "```", ""]
    for entry in parameters:
        lines.append(f"- `{entry.column_name}` {entry.type}: {_escaped(entry.meaning)}")
    if parameters:
        lines.append("")
    lines += [f"| {' | '.join(_HEADINGS)} |", "|" + " --- |" * len(_HEADINGS)]
    lines += [f"| {' | '.join(_row(entry))} |" for entry in answered]
    return [*lines, ""]


def _row(entry: Entry) -> list[str]:
    marks = [
        *(["**key**"] if entry.is_key else []),
        *(["not summed"] if entry.must_not_be_summed else []),
        *([f"**personal: {entry.pii}**"] if entry.pii != "none" else []),
    ]
    source = f"`{entry.source_field}`" if entry.source_field else ""
    cells = [f"`{entry.column_name}`", str(entry.type), entry.unit or "", _escaped(entry.meaning), source]
    return [*cells, ", ".join(marks)]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
