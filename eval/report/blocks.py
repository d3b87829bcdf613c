"""What a report is made of."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column names the row."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """An SVG element and what it shows."""

    svg: str
    caption: str


Block = str | Table | Chart


@dataclass(frozen=True)
class Section:
    """One numbered part of the report; `blocks` are paragraphs, tables and charts in reading order."""

    title: str
    blocks: list[Block] = field(default_factory=list)
