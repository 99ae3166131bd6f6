"""What im2col and col2im are asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv._geometry import Window


class Im2col(NamedTuple):
    """The windows of images of shape ``x`` (..., C, H, W) or (H, W), as columns of ``shape``
    (..., C * taps, positions)."""

    x: tuple[int, ...]
    dtype: np.dtype[Any]
    window: Window
    shape: tuple[int, ...]
    noun: str = "patches"


class Col2im(NamedTuple):
    """Columns of shape ``cols`` (..., C * taps, positions) put back into images of ``shape``
    (..., C, H, W)."""

    cols: tuple[int, ...]
    dtype: np.dtype[Any]
    window: Window
    shape: tuple[int, ...]
    noun: str = "patches"
