"""conv2d of all dtypes: windows as columns of a matrix (im2col), and matrix products, block by block."""

from __future__ import annotations

from itertools import product

import numpy as np

from fastconv._specs.correlation import Layer
from fastconv.cpu.arrays import Array, deliver, result
from fastconv.cpu.patches.im2col import Gather, carrier

BLOCK_BYTES = 8 * 1024 * 1024
"""Bytes of im2col per matrix product: the product, not the gathering, wants large blocks. 256 x 56 x 56 by
256 filters of 3 x 3, one thread, with 0.5, 2, 8 and 16 MiB: 73, 66, 51 and 48 ms in float16, 175, 129, 123
and 120 in complex64."""


def supports(spec: Layer) -> bool:
    """Any layer."""
    return True


FEW_POSITIONS = 64
"""Windows of an image up to which several images are multiplied at once, if they fit into a block: a product
reads all weights, whatever it is multiplied with."""


class Blocks:
    """The plan of a layer: how many channels (``planes``) and windows (``length``) are in a block, or how
    many whole images (``together``)."""

    def __init__(self, spec: Layer) -> None:
        self.spec = spec
        self.work = np.dtype(np.float32) if spec.dtype == np.float16 else spec.dtype
        n, c, _, _ = spec.layout.sizes(spec.x)
        window, groups = spec.window, spec.groups
        self.images, self.filters, self.channels = n, spec.weight[0] // groups, c // groups
        taps, pixels, self.together = window.taps, window.positions, 1
        if not (n * spec.weight[0] * pixels * self.channels):
            return
        itemsize = max(self.work.itemsize, spec.x_dtype.itemsize)
        copied = spec.weight_dtype != self.work
        columns_at_least = max(16, self.filters) if copied else 16  # or a copy of filters grows
        self.planes = max(1, min(self.channels, BLOCK_BYTES // (columns_at_least * itemsize * taps)))
        elements = max(self.planes * taps, self.filters)
        self.length = max(1, min(pixels, BLOCK_BYTES // (itemsize * elements)))
        self.bits = carrier(spec.x_dtype)
        self.gather = Gather(self.bits, window, self.planes, self.length)
        if self.planes == self.channels and self.length == pixels <= FEW_POSITIONS:
            self.together = max(1, min(n, BLOCK_BYTES // (itemsize * pixels * elements)))

    def takes(self, x: Array) -> bool:
        """Any image: no more than a block of it is copied."""
        return True

    def __call__(self, x: Array, weight: Array, bias: Array | None, out: Array | None) -> Array:
        spec = self.spec
        target = result(out, spec.shape, spec.dtype, *([x, weight] if bias is None else [x, weight, bias]))
        pixels = spec.window.positions
        if spec.layout.channels_last:
            results = target.reshape(self.images, pixels, len(weight)).transpose(0, 2, 1)
        else:
            results = target.reshape(self.images, len(weight), pixels)
        matrices = weight.reshape(spec.groups, self.filters, self.channels * spec.window.taps)
        images = spec.layout.nchw(x)
        for first, g in product(range(0, self.images, self.together), range(spec.groups)):
            some, own = slice(first, first + self.together), slice(g * self.filters, (g + 1) * self.filters)
            parts, y = images[some, g * self.channels : (g + 1) * self.channels], results[some, own]
            if len(parts) > 1:
                self._multiply_together(parts, matrices[g], y)
            else:
                self._multiply(parts[0], matrices[g], y[0])
            if bias is not None:
                y += bias[own, None].astype(spec.dtype)
        return deliver(target, out)

    def _multiply_together(self, images: Array, filters: Array, y: Array) -> None:
        """y (N, O, L) = ``filters`` (O, C * taps) times all windows of ``images`` (N, C, H, W)."""
        n, _, length = y.shape
        columns = np.empty((n, filters.shape[1], length), self.bits)
        for image, part in zip(images.view(self.bits), columns, strict=True):
            self.gather(image, 0, part)
        rows = columns.view(images.dtype).transpose(0, 2, 1).astype(self.work, order="C", copy=False)
        sums = rows.reshape(n * length, -1) @ filters.astype(self.work, copy=False).T
        y[...] = sums.reshape(n, length, -1).transpose(0, 2, 1)

    def _multiply(self, image: Array, filters: Array, y: Array) -> None:
        """y (O, L) = ``filters`` (O, C * taps) times windows of ``image`` (C, H, W)."""
        if not filters.shape[1] or not y.size:
            y[...] = 0
            return
        taps = self.spec.window.taps
        for first in range(0, y.shape[1], self.length):
            block = y[:, first : first + self.length]
            for plane in range(0, len(image), self.planes):
                part = filters[:, plane * taps : (plane + self.planes) * taps].astype(self.work, copy=False)
                windows = self._windows(image[plane : plane + self.planes], first, block.shape[1])
                if plane == 0 and y.dtype == self.work:
                    sums = np.matmul(part, windows, out=block)
                elif plane == 0:
                    sums = part @ windows
                else:
                    sums += part @ windows
            if sums is not block:
                block[...] = sums

    def _windows(self, image: Array, first: int, count: int) -> Array:
        """Windows first ... first + count of ``image`` (C, H, W) as columns (C * taps, count)."""
        columns = np.empty((len(image) * self.spec.window.taps, count), self.bits)
        self.gather(image.view(self.bits), first, columns)
        return columns.view(image.dtype).astype(self.work, copy=False)


plan = Blocks
