"""An address to the block, as SQL: no house number's last two digits, and no part of a house.

A number stays whole only where it is sure to be a name, as of a highway or a numbered street. In doubt it is
taken for a house's.
"""

from __future__ import annotations

_BETWEEN = r"[^a-z0-9\x{AA}-\x{1FFF}\x{2C00}-\x{2FFF}\x{3001}-\x{10FFFF}]"
"""Blanks, dashes, dots and the like."""

_END = "(?:[^a-z]|$)"
_SHORT_NUMBER = rf"{_BETWEEN}*\p{{N}}+[a-z]?{_END}"
_PART = "apt|apartment|unit|ste|suite|room|lot|trlr|trailer|bldg|building"
_NUMBERED_PART = (
    rf"(?:(?:{_PART}|apts|apartments|units|suites|rooms|lots|flat)"
    rf"(?:{_BETWEEN}*\p{{N}}|{_BETWEEN}+[a-df-mo-rt-vx-z]{_END})"
    rf"|(?:n[o\x{{B0}}\x{{BA}}]|floor|flr|space|spc|ph){_SHORT_NUMBER}"
    rf"|\p{{N}}+(?:st|nd|rd|th){_BETWEEN}+(?:floor|flr|fl){_END})"
)
"""A word that names a part of a house only together with what follows it: a number, or a letter that is no
direction. `APTS W GULF BANK RD` keeps its road, `SPACE CENTER BLVD` and `NO 5TH ST` their names."""

_UNIT = (
    rf"(?is)(?:{_BETWEEN}*[#\x{{FF03}}\x{{2116}}]|^{_NUMBERED_PART}|(?:(\p{{N}}){_BETWEEN}*|{_BETWEEN}+)"
    rf"(?:{_NUMBERED_PART}|(?:{_PART}|rm){_END}|flat{_BETWEEN}+[a-z]{_END}|fl{_SHORT_NUMBER})).*$"
)
"""From here on an address says which part of a house. At the beginning a word alone does not: many a place is
called `APT` and its name. The digit before, if there is one, stays."""

_BLANK = r"[_\p{Cc}\p{Cf}\p{Zl}\p{Zp}\x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]"
"""What is looked at as a blank and is another character; and `_`, which marks the numbers that stay."""

_DIRECTION = "(?:[nsew]|[ns][ew]|north|south|east|west)"
_BOUND = f"(?:[nsewio]b|{_DIRECTION}bound)"
_ROAD = (
    r"(?:hwy|highway|[nsew]?(?:fm|sh|us|ih|bw)|u\.s\.|rm|i|sr|(?:state|county|co) (?:road|rd)|state route"
    "|route|rt|rte|loop|lp|spur|cr|interstate|beltway|exit|bus|[nsew]b)[ .-]*"
)
_BEFORE_ROAD = (
    rf"(?:(?:{_DIRECTION}|{_BOUND}|us|u\.s\.|state|county|old|at|and|on|off|of|near|to|from|blk|block) +)*"
)
_ROAD_WORD = (
    f"(?:{_BOUND}|fwy|freeway|hwy|twy|tollway|toll|expy|expressway|rd|road|ramp|off|on|exit|entr|entrance"
    "|hovr?|byp|bypass|upass|underpass|overpass|bridge|mile|feeder|frontage|service|access|business|alt|mm"
    "|at|and|to|near|from|between|btwn)"
)
_AFTER_ROAD = (
    rf"[a-z]?(?:(?: *{_DIRECTION}\b)? *(?:$|[/&@,;()]|- *[a-z]{{2}})"
    rf"|(?:{_BOUND}|(?: +{_DIRECTION})? +{_ROAD_WORD})\b)"
)
_RANGE = r"[0-9]+[a-z]? *(?:[/&@,;()-]|and|or|to) *[0-9]+[a-z]?(?:[^0-9a-z]|$)"
_STREET_I = r"(?:ave?(?:nue|nida)?|calle|street)\.? +i"
_ORDINARY_ROAD = rf"(?:[\p{{L}}\p{{M}}]\.? +(?:hwy|highway|loop|lp|spur|cr)|{_STREET_I})(?:[^a-z]|$)"
_NUMBERED = r"\b[0-9]{0,2}(?:1st|2nd|3rd|[0-9]th|[0-9][nsew]b)\b|[0-9]+xx"
_NAMED_BY_NUMBER = (
    rf"(?i)(\b{_ROAD}{_RANGE})|\b({_BEFORE_ROAD}{_ROAD})([0-9]{{1,4}}{_AFTER_ROAD})"
    rf"|({_ORDINARY_ROAD}|{_NUMBERED})"
)
"""A road that has a number for a name, a numbered street (`100TH`), a road in one direction (`101NB`); and
what the center itself shows to the block (`14XX`). Passed by is what only looks like such a road: one with a
name or another number after its own (`US 1412 Blake`), and a street that has a name (`Blake Loop 34`)."""

_HOUSE = (
    r"(^|[^\p{N}_])(?:\b[A-DF-MO-RT-VX-Za-df-mo-rt-vx-z]-?)?"
    r"(?:(\p{Nd}+)\p{Nd}{2}|\p{Nd}{1,2}|[\p{Nl}\p{No}])"
    r"(?:[-./]?[A-Za-z]?\p{N}+)*(?:-?[A-Za-z]\b)?(?: +(?:[0-9]/[0-9]|\p{No})\p{N}*)?"
)
"""Any other number, a house's or a unit's, also within a word. Its last two digits go, and what belongs to
it: a letter that is no direction, a range, a fraction."""


def to_block(column: str) -> str:
    """Return what a column of addresses is to the block."""
    text = f"regexp_replace(regexp_replace({column}, '{_BLANK}', ' ', 'g'), '{_UNIT}', '\\1')"
    # A number that is a name keeps its digits: `_HOUSE` passes by what has this before it.
    text = f"regexp_replace({text}, '{_NAMED_BY_NUMBER}', '\\2_\\3\\1\\4', 'g')"
    return f"replace(regexp_replace({text}, '{_HOUSE}', '\\1\\2xx', 'g'), '_', '')"
