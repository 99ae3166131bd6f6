"""How images and results lie in memory, whichever two axes are filtered."""

from __future__ import annotations

from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv._specs.correlation import Filter, planar


class Lines(NamedTuple):
    """Rows that kernels read and write where they lie.

    ``spacing`` images are interleaved in a row, number by number, as colours are: the neighbours of a pixel
    lie ``spacing`` numbers beside it, and a row is filtered like a longer one of a single image. From row to
    row it is ``pitch`` numbers in images and ``out_pitch`` in results. ``which`` (B, 3) holds, of each result
    of so many images, where its image begins, which kernel it meets, and where it begins itself.
    """

    spacing: int
    pitch: int
    out_pitch: int
    which: NDArray[np.int64]


def lines(spec: Filter) -> Lines | None:
    """The lines of C-contiguous images and results; None if they have to be laid out as planes.

    Batch axes after the columns are interleaved, and what has them all must be one kernel.
    """
    *out_steps, out_pitch, out_step = planar(_steps(spec.shape), spec.axes)
    *image_steps, pitch, step = planar(_steps(spec.image_given), spec.image_axes)
    outside = len(spec.batch) - (len(spec.shape) - 1 - spec.axes[1] % len(spec.shape))
    spacing = int(np.prod(spec.batch[outside:], dtype=np.int64))
    image_batch, kernel_batch = _padded(spec.image[:-2], spec), _padded(spec.kernel[:-2], spec)
    image_steps = [0] * (len(spec.batch) - len(image_steps)) + image_steps
    for d in range(outside, len(spec.batch)):
        if spec.batch[d] > 1 and (
            kernel_batch[d] > 1 or image_batch[d] == 1 or image_steps[d] != out_steps[d]
        ):
            return None
    if step != spacing or out_step != spacing:
        return None
    own = [
        _starts(image_batch[:outside], image_steps),
        _starts(kernel_batch[:outside], _steps(kernel_batch[:outside])),
        _starts(spec.batch[:outside], out_steps),
    ]
    which = [np.broadcast_to(starts, spec.batch[:outside]).reshape(-1) for starts in own]
    return Lines(spacing, pitch, out_pitch, np.stack(which, axis=1))


def _steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """From element to element along each axis of a C-contiguous array, in elements."""
    return tuple(accumulate(shape[:0:-1], mul, initial=1))[::-1] if shape else ()


def _padded(batch: tuple[int, ...], spec: Filter) -> tuple[int, ...]:
    """``batch`` with as many dimensions as that of the result."""
    return (1,) * (len(spec.batch) - len(batch)) + batch


def _starts(batch: tuple[int, ...], steps: Any) -> NDArray[np.int64]:
    """Where each element of a ``batch`` begins."""
    total = np.zeros(batch, np.int64)
    for d, n in enumerate(batch):
        total += (np.arange(n) * steps[d]).reshape([-1 if axis == d else 1 for axis in range(len(batch))])
    return total
