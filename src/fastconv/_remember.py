"""What checked arguments led to, remembered by exactly these arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from marshal import dumps
from typing import Any

MOST = 256
"""Results that a function remembers; then it forgets them all."""

EXACT = (int, float, complex, bool, str, type(None))
"""Types of values that are the same if, and only if, ``marshal`` writes the same bytes for them."""

FORMAT = 2
"""The last format of ``marshal`` in which equal values give equal bytes, whoever else refers to them."""

REMEMBERED: list[dict[Hashable, Any]] = []
"""What all functions remember, for those who want it forgotten."""


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember results of ``function(options, *more)``: ``options``, a tuple of whatever a user gave, tell 1
    from 1.0 and True, which are equal but not accepted alike; ``more`` are shapes, dtypes and words.

    Options other than numbers, words and tuples and lists of them are taken, and not remembered."""
    known: dict[Hashable, Any] = {}
    REMEMBERED.append(known)

    @wraps(function)
    def call(options: tuple[Any, ...], *more: Any) -> Any:
        try:
            key = (dumps(options, FORMAT), *more)
            found = known.get(key)
        except (ValueError, TypeError):  # what marshal cannot write, or is not hashable
            return function(options, *more)
        if found is None:
            found = function(options, *more)
            if exact(options):
                if len(known) >= MOST:
                    known.clear()
                known[key] = found
        return found

    return call


def exact(value: Any) -> bool:
    """Whether bytes of ``marshal`` say all of ``value``; of an array, say, they are just its elements."""
    kind = type(value)
    return kind in EXACT or (kind in (tuple, list) and all(map(exact, value)))
