"""The table, for the terminal and for Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fastconv.programs.lines import folded
from fastconv.programs.tables import Entry, table
from peers.table import Line

HEADINGS = ("what", "ours", "beside", "theirs", "ratio", "target", "verdict")
STYLES = {"met": "green", "missed": "bold red", "failed": "bold red", "not installed": "dim"}
BAR = "\\|"  # in a cell of Markdown
WIDTH = 150  # where nothing says how wide lines can be


def text(facts: dict[str, str], lines: Sequence[Line]) -> str:
    """The table, and what there is to know of it."""
    entries = [
        Entry(line.section, cells, STYLES.get(line.status, ""))
        for line, cells in zip(lines, _cells(lines), strict=True)
    ]
    parts = ["\n".join(folded(f"{name}: {fact}")) for name, fact in facts.items()]
    if entries:
        numbers = ("ours", "theirs", "ratio", "target")
        parts.append(table(HEADINGS, entries, otherwise=WIDTH, numbers=numbers))
    return "\n".join([*parts, summary(lines)])


def markdown(facts: dict[str, str], lines: Sequence[Line]) -> str:
    """The same, to be included in a page."""
    page = [*(f"- {name}: {fact}" for name, fact in facts.items()), "", summary(lines)]
    section = ""
    plain = [line for line in lines if not line.cell]
    for line, cells in zip(plain, _cells(plain), strict=True):
        if line.section != section:
            section = line.section
            page += ["", f"**{section}**", "", _markdown_row(HEADINGS), "|---|---:|---|---:|---:|---:|---|"]
        page.append(_markdown_row([*cells[:-1], _emphasized(cells[-1], line)]))
    for section in dict.fromkeys(line.section for line in lines if line.cell):
        page += _grid(section, [line for line in lines if line.cell and line.section == section])
    return "\n".join([*page, ""])


def _grid(section: str, lines: Sequence[Line]) -> list[str]:
    """Values by the names of their cells; those that missed a target in bold."""
    names, columns = (list(dict.fromkeys(line.cell[at] for line in lines)) for at in (0, 1))
    values = {tuple(line.cell): _emphasized(amount(line.value, line.unit), line) for line in lines}
    peers = ", ".join(dict.fromkeys(line.peer for line in lines))
    text = ["", f"**{section}**, beside {peers}", "", _markdown_row(["", *columns])]
    text.append("|---|" + "---:|" * len(columns))
    return text + [_markdown_row([name, *(values.get((name, c), "") for c in columns)]) for name in names]


def _emphasized(text: str, line: Line) -> str:
    return f"**{text}**" if line.status == "missed" else text


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def summary(lines: Sequence[Line]) -> str:
    """How many targets were met, and how many not; and what could not be measured."""
    counts = Counter(line.status for line in lines)
    text = f"Targets met: {counts['met']}, missed: {counts['missed']}"
    for status in ("failed", "not installed"):
        if counts[status]:
            text += f"; lines {status}: {counts[status]}"
    return text + "."


def _cells(lines: Sequence[Line]) -> list[list[str]]:
    """One row of text for each line; a name and a time of ours that repeat are left out."""
    rows = []
    before: Line | None = None
    for line in lines:
        is_new = before is None or (before.section, before.what, before.ours) != (
            line.section,
            line.what,
            line.ours,
        )
        rows.append(
            [
                line.what if is_new else "",
                duration(line.ours) if is_new else "",
                line.peer,
                duration(line.theirs),
                amount(line.value, line.unit),
                ""
                if line.target is None
                else ("≤ " if line.at_most else "≥ ") + _bound(line.target, line.unit),
                _verdict(line),
            ]
        )
        before = line
    return rows


def _verdict(line: Line) -> str:
    status = "" if line.status == "measured" else line.status
    return ": ".join(filter(None, [status, line.note]))


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_rounded(seconds / size)} {unit}"
    return f"{_rounded(seconds / 1e-6)} µs"


def amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{_rounded(value)}{'' if unit == '×' else ' '}{unit}"


def _bound(value: float, unit: str) -> str:
    return f"{value:g}{'' if unit == '×' else ' '}{unit}"


def _rounded(number: float) -> str:
    digits = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
    return f"{number:,.{digits}f}"
