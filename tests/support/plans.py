"""Plans are made once for the shapes of a call; a test that changes what they depend on needs new ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

from fastconv import _remember

NOUNS = ("bits", "correlation", "patches", "xnor")


def forget() -> None:
    """Forget all plans that were made in this process."""
    for known in _remember.REMEMBERED:
        known.clear()
    exchange = sys.modules.get("fastconv.cpu.exchange")
    if exchange is not None:
        exchange.plan.cache_clear()
    for package, noun in product(("cpu", "cuda"), NOUNS):
        planner = sys.modules.get(f"fastconv.{package}.{noun}")
        if planner is not None:
            planner.plan.cache_clear()


@contextmanager
def planned_anew() -> Iterator[None]:
    """No plan from before is used inside, and none from inside after."""
    forget()
    try:
        yield
    finally:
        forget()
