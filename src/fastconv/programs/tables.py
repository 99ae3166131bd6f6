"""Tables for people: of columns where there is room for them, else a few lines for each row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fastconv.programs.lines import width

UNLIMITED = 10_000
"""Characters that no table is wide: what it would need at least is found out where it has room."""

WORDS = 18
"""Characters of a column of words at least: in a narrower one, lines of a word each cannot be read."""


class Entry(NamedTuple):
    """A row: its section, whose name stands above the first of them, and its cells."""

    section: str
    cells: Sequence[str]
    style: str = ""
    """Of the last cell."""


def _printed(parts: Sequence[Text | Table | Padding], columns: int) -> str:
    """``parts`` below each other in so many columns, with colours where standard output shows them."""
    console = Console(width=columns, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, overflow="fold")
    return captured.get().rstrip("\n")


def table(
    headings: Sequence[str],
    entries: Sequence[Entry],
    *,
    otherwise: int,
    numbers: Collection[str] = (),
    title: str = "",
    caption: str = "",
) -> str:
    """The text of a table, or of paragraphs where lines are too short for one.

    Parameters
    ----------
    headings : sequence of str
        Of the columns; the first of them names the rows. Without a heading, a cell stands for itself.
    entries : sequence of Entry
    otherwise : int
        Characters of a line where neither COLUMNS nor a terminal says how many.
    numbers : collection of str
        Headings of columns that are set to the right and never broken.
    title, caption : str
        Above and below.
    """
    columns = width() or otherwise
    wide = _table(headings, entries, numbers, title, caption)
    if Console(width=UNLIMITED).measure(wide).minimum <= columns:
        return _printed([wide], columns)
    parts = [Text(title, "bold"), *_paragraphs(headings, entries, columns), Text(""), Text(caption, "dim")]
    return _printed(parts[not title : len(parts) - 2 * (not caption)], columns)


def _table(
    headings: Sequence[str], entries: Sequence[Entry], numbers: Collection[str], title: str, caption: str
) -> Table:
    made = Table(title=Text(title) if title else None, caption=caption or None)
    for place, heading in enumerate(headings):
        is_number = heading in numbers
        longest = max((cell_len(entry.cells[place]) for entry in entries), default=0)
        made.add_column(
            heading,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number,
            min_width=None if is_number else min(WORDS, longest),
        )
    section = ""
    for entry in entries:
        if entry.section != section:
            section = entry.section
            made.add_section()
            made.add_row(Text(section, "bold"))
        *cells, last = entry.cells
        made.add_row(*map(Text, cells), Text(last, entry.style))
    return made


def _paragraphs(headings: Sequence[str], entries: Sequence[Entry], columns: int) -> list[Text | Padding]:
    parts: list[Text | Padding] = []
    section = ""
    for entry in entries:
        if entry.section != section:
            section = entry.section
            parts += [Text(""), Text(section, "bold")]
        name, *cells = entry.cells
        if name:
            parts.append(Text(name))
        *others, last = (
            f"{heading} {cell}".strip() for heading, cell in zip(headings[1:], cells, strict=True)
        )
        items = [Text(item) for item, cell in zip(others, cells, strict=False) if cell]
        items += [Text(last, entry.style)] if cells[-1] else []
        parts += [Padding(line, (0, 0, 0, 2), expand=False) for line in _lines_of(items, columns - 2)]
    return parts


def _lines_of(items: Sequence[Text], columns: int) -> list[Text]:
    """``items`` in as few lines as they fit in, none of them broken that is shorter than a line."""
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + len(" · ") + item.cell_len <= columns:
            lines[-1] = Text.assemble(lines[-1], " · ", item)
        else:
            lines.append(item)
    return lines
