"""Images and filters as the kernels of binary products take them: packed, padded, side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np
from numba import carray

from fastconv._geometry import ImageLayout
from fastconv._shared import expressions
from fastconv._specs.bits import PackBits, UnpackBits, memory_of
from fastconv._specs.xnor import BinaryConv, PackFilters
from fastconv.cpu import bits
from fastconv.cpu.arrays import Array, aligned, flat_image, native, sign_keys
from fastconv.cpu.bits.pack import Bounds, image_job
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.simd import LANES
from fastconv.cpu.threads import SMALL, chunks_of

LAY = record("words tiles", "groups filters depth blocks")


@kernel(LAY, words=np.uint64, tiles=np.uint64)
def lay_tiles(p, chunk, worker):
    """tiles (G, blocks, depth, 8) = words (G, O, depth) with 8 filters side by side, 0 for those missing."""
    filters, depth = p.filters, p.depth
    words = carray(p.words, (p.groups, filters, depth))
    tiles = carray(p.tiles, (p.groups, p.blocks, depth, LANES))
    start, stop = share(p, chunk, p.groups * p.blocks)
    for task in range(start, stop):
        g, block = divmod(task, p.blocks)
        first = block * LANES
        tile, rows = tiles[g, block], words[g, first : first + LANES]
        if filters - first >= LANES:
            for d in range(depth):
                for k in range(LANES):
                    tile[d, k] = rows[k, d]
        else:
            for d in range(depth):
                for k in range(LANES):
                    tile[d, k] = rows[k, d] if first + k < filters else np.uint64(0)


def filter_tiles(words: Array, groups: int) -> Array:
    """Filters (O, kh, kw, w) as blocks of 8 side by side: (groups, blocks, kh * kw * w, 8), flat."""
    o, depth = words.shape[0] // groups, prod(words.shape[1:])
    tiles = aligned((groups, -(-o // LANES), depth, LANES), np.uint64)
    if tiles.size:
        laying(groups, o, depth)(words=native(words), tiles=tiles)
    return tiles.reshape(-1)


@lru_cache(256)
def laying(groups: int, filters: int, depth: int) -> Job:
    """The job of :func:`filter_tiles` for filters of a group with so many words."""
    blocks = -(-filters // LANES)
    chunks = chunks_of(groups * blocks, serially=8 * groups * filters * depth <= SMALL)
    return Job(lay_tiles, chunks, groups=groups, filters=filters, depth=depth, blocks=blocks)


class PaddedWords:
    """Signs of the images of a convolution as words (N, groups, Hp, Wp, w), each group packed by itself, in
    the middle of zeros."""

    def __init__(self, spec: BinaryConv) -> None:
        self.spec, geometry = spec, spec.geometry
        depth = -(-spec.channels // 64)
        self.source = (spec.images, 1 if spec.groups == 1 else spec.groups, *geometry.size, depth)
        self.shape = (spec.images, spec.groups, *geometry.padded, depth)
        self.padded = geometry.padded != geometry.size
        (self.top, _), (self.left, _) = geometry.padding
        self.job: Job | None = None
        if spec.dtype is not None and 0 not in self.shape:
            h, w = geometry.size
            nbytes = spec.images * spec.groups * spec.channels * h * w * spec.dtype.itemsize
            self.low, self.span = sign_bounds(spec.dtype)
            self.job = image_job(
                self.low.dtype, nbytes <= SMALL, differ=0, images=spec.images, groups=spec.groups,
                channels=spec.channels, rows=h, columns=w, **self._places(),
            )  # fmt: skip
            shape = spec.source.shape(spec.images, spec.groups * spec.channels, h, w)
            self.keys = Keys(shape, spec.dtype, spec.source, "pixel_step")

    def _places(self) -> dict[str, int]:
        _, groups, height, width, depth = self.shape
        row, plane = width * depth, height * width * depth
        return {
            "first": self.top * row + self.left * depth, "image_place": groups * plane, "group_place": plane,
            "row_place": row, "pixel_place": depth, "word_place": 1,
        }  # fmt: skip

    def of_numbers(self, x: Array) -> Array:
        """The words of real numbers."""
        words = np.zeros(self.shape, np.uint64) if self.padded else np.empty(self.shape, np.uint64)
        if not self.job:
            return words
        where = self.keys(x)
        if where["channel_step"] != 1 and where["pixel_step"] != 1:
            where = self.keys(native(x))
        self.job(low=self.low, span=self.span, words=words, **where)
        return words

    def of_words(self, words: Array) -> Array:
        """The words of words whose groups are packed together."""
        if self.spec.groups > 1:
            words = self._regrouped(words)
        if not self.padded:
            return native(words)
        (h, w), padded = self.spec.geometry.size, np.zeros(self.shape, np.uint64)
        inside = padded[:, :, self.top : self.top + h, self.left : self.left + w]
        inside[...] = words.reshape(self.source)
        return padded

    def _regrouped(self, words: Array) -> Array:
        """Words packed over all channels, packed anew for each group."""
        spec = self.spec
        shape = spec.images, *spec.geometry.size, spec.groups, spec.channels
        unpack = UnpackBits(memory_of(words), words.ndim - 1, spec.groups * spec.channels)
        ones = bits.plan(unpack)(words).reshape(shape).transpose(0, 3, 1, 2, 4)
        regrouped: Array = bits.plan(PackBits(memory_of(ones), 4))(ones)
        return regrouped


def packing_padded(spec: BinaryConv) -> Callable[[Array], Array]:
    """What makes :class:`PaddedWords` of the x of a convolution."""
    padded = PaddedWords(spec)
    return padded.of_words if spec.dtype is None else padded.of_numbers


class Keys:
    """Where kernels find the keys of images: arrays of ``shape`` and ``dtype`` in a ``layout``; ``column`` is
    what their records call the step from pixel to pixel."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], layout: ImageLayout, column: str
    ) -> None:
        self.layout, self.native = layout, dtype.isnative
        self.names = "image_step", "channel_step", "row_step", column
        self.contiguous = self._places(np.empty(shape, np.bool_))
        del self.contiguous["x"]

    def __call__(self, x: Array) -> dict[str, Any]:
        """Their memory ``x``, its ``size``, the ``origin`` of the first image in it, and steps."""
        flags = x.flags
        if flags.c_contiguous and flags.aligned and self.native:
            return {**self.contiguous, "x": x}
        return self._places(sign_keys(x)[0])

    def _places(self, keys: Array) -> dict[str, Any]:
        flat, origin, steps = flat_image(keys, self.layout)
        return {"x": flat, "size": flat.size, "origin": origin, **dict(zip(self.names, steps, strict=True))}


def unpacked(words: Array, length: int) -> Array:
    """Signs as int8."""
    ones = bits.plan(UnpackBits(memory_of(words), words.ndim - 1, length))(words)
    signs: Array = ones.view(np.int8) * np.int8(2) - np.int8(1)
    return signs


@cache
def sign_bounds(dtype: np.dtype[Any]) -> Bounds:
    """The range of keys of ``dtype`` whose sign is +1, as kernels take it."""
    keys, low, span = sign_keys(np.empty(0, dtype.newbyteorder("=")))
    return np.full(1, low, keys.dtype), np.full(1, span, keys.dtype)


class PackFiltersPlan:
    """The plan of :func:`fastconv.pack_filters`."""

    def __init__(self, spec: PackFilters) -> None:
        self.zero = spec.zero

    def __call__(self, weight: Array) -> tuple[Array, Array]:
        return bits.pack_signs(weight, 1, self.zero), expressions.mean_magnitude(np, weight)
