"""Rows of patches, whose limit is memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import im2col
from peers import libraries
from peers.bandwidth import filler
from peers.bits import SECTION
from peers.compare import Comparison, Rival, compared
from peers.table import Array, Row, Settings, Target


def rows() -> list[Row]:
    return [
        compared(SECTION, "im2col 8×64×56², 3×3", patches),
        compared(SECTION, "im2col 8×64×56², 3×3, out=", patches_written),
    ]


def _image(settings: Settings) -> Array:
    n, c, h = settings.pick((8, 64, 56), (1, 2, 7))
    return np.random.default_rng(0).standard_normal((n, c, h, h), np.float32)


def patches(settings: Settings) -> Comparison:
    """Both sides make a new array for every result."""
    x = _image(settings)

    def unfold(torch: Any) -> libraries.Call:
        image = torch.from_numpy(x)
        return lambda: torch.nn.functional.unfold(image, 3, padding=1)

    return Comparison(
        lambda: im2col(x, 3, padding=1), [Rival("torch unfold", libraries.torch_call(unfold), Target(5))]
    )


def patches_written(settings: Settings) -> Comparison:
    """Write bandwidth is that of ``np.copyto`` of one number to an array of the result's size."""
    x = _image(settings)
    out = im2col(x, 3, padding=1)
    fill = filler(np.empty_like(out))
    return Comparison(
        lambda: im2col(x, 3, padding=1, out=out),
        [Rival("write bandwidth, np.copyto on all threads", fill, Target(80, "%"), read=None)],
    )
