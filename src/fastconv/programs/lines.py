"""Lines as long as COLUMNS or the terminal says; where neither does, text is not broken."""

from __future__ import annotations

import shutil
import textwrap

LEAST = 20
"""Characters of a line, or of what stands beside a name in it, at least: less cannot be read."""


def width() -> int | None:
    """Characters of a line of standard output; None where nothing says how many."""
    columns = shutil.get_terminal_size((0, 0)).columns
    return max(columns, LEAST) if columns else None


def folded(text: str, name: str = "") -> list[str]:
    """``text`` in lines, beside ``name`` where there is room for it, and else below."""
    columns = width()
    if columns is None or len(name) + len(text) <= columns:
        return [name + text]
    if columns - len(name) < LEAST:
        return [name.rstrip(), *_wrapped(text, columns, "    ", "    ")]
    return _wrapped(text, columns, name, " " * len(name))


def _wrapped(text: str, columns: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, columns, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )
