"""How fast this machine moves bytes, measured: what is copied and what is written by plain ``np.copyto``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from peers.table import Array
from peers.threads import shared, threads


def copier(source: Array) -> Callable[[], None]:
    """A call that copies ``source``, a share on each of as many threads as we use."""
    target = np.empty_like(source)
    target.fill(0)
    return shared(np.copyto, list(zip(_shares(target), _shares(source), strict=True)))


def filler(array: Array) -> Callable[[], None]:
    """A call that writes one number to all of ``array``, shared in the same way."""
    return shared(np.copyto, [(share, 0) for share in _shares(array)])


def _shares(array: Array) -> list[Array]:
    return np.array_split(array.reshape(-1), threads())
