"""Numbers on a command line: those that cannot be meant are refused before any work."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """An argument's ``type``: a whole number from ``least`` to ``most``."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text}")
        return value

    return number


def positive_number(most: float) -> Callable[[str], float]:
    """An argument's ``type``: a number above 0 and at most ``most``."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= most:  # not so for NaN
            raise argparse.ArgumentTypeError(f"must be a number above 0 and at most {most:g}, got {text}")
        return value

    return number
