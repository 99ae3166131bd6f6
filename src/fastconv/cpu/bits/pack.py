"""Packing bits into words, and what is packed: nonzeros, signs, comparisons.

Whatever is packed is read as keys, integers in the order of the numbers, and a bit says whether a key lies
in a range: see :func:`fastconv.cpu.bits.vectors.in_range`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv._specs.bits import Memory, Shape
from fastconv.cpu.arrays import Array, blocks, key_type, native, one_run
from fastconv.cpu.bits.count import COPIED
from fastconv.cpu.bits.vectors import channel_bits, in_range, range_bits, range_bits_each
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import BLOCK, PIXELS
from fastconv.cpu.threads import SMALL, chunks_of

CHUNK = 64
"""Words that are worth a chunk."""

RUN = 4
"""Words of a row from which on a loop of their own pays, which costs 10 ns to enter."""

SMALL_PACKED = 1 << 20
"""Bytes in long rows up to which one thread packs them sooner than two: 1 MiB of bool takes it 17 us, and two
threads 24 us."""

Bounds = tuple[Array, Array]
"""Least keys and lengths of ranges of keys: of one for all channels, or of one for each, a multiple of 64."""

Pack = Callable[..., None]
"""Packs ``x`` as ``words`` (..., w), the packed axis last, by the bounds ``low`` and ``span``, by name."""


def packed_shape(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :], -(-shape[axis] // 64))


def chunks_of_words(words: int, serially: bool) -> int:
    return chunks_of(-(-words // CHUNK), serially=serially)


def packing(memory: Memory, axis: int, differ: bool = False) -> Pack:
    """What packs arrays with such memory along ``axis``, with bounds that ``differ`` between indices or not:
    where they are, with their axes in whatever order, or else copied block by block."""
    shape = memory.shape
    if 0 in shape:
        return lambda x, low, span, words: None
    if one_run(memory):
        return packing_run(shape, memory.dtype, axis, differ)
    order = sorted(range(len(shape)), key=lambda d: -memory.strides[d])  # from slow to fast
    turned = memory._replace(
        shape=tuple(shape[d] for d in order), strides=tuple(memory.strides[d] for d in order)
    )
    if not one_run(turned):
        return _packing_copies(memory, axis, differ)
    pack = packing_run(turned.shape, memory.dtype, order.index(axis), differ)
    others = [d for d in order if d != axis]
    if others == sorted(others):
        return pack
    back = (*np.argsort(others), len(others))

    def run(x: Array, low: Array, span: Array, words: Array) -> None:
        packed = np.empty((*(shape[d] for d in others), words.shape[-1]), np.uint64)
        pack(x=x, low=low, span=span, words=packed)
        words[...] = packed.transpose(back)

    return run


def packing_run(shape: Shape, dtype: np.dtype[Any], axis: int, differ: bool) -> Job:
    """What packs contiguous arrays along ``axis``: rows of keys, or else planes of them."""
    n, outer, inner = shape[axis], prod(shape[:axis]), prod(shape[axis + 1 :])
    kind, nbytes = key_type(dtype).newbyteorder("="), prod(shape) * dtype.itemsize
    if inner == 1 and not differ:
        rows, length = (outer, n) if n % 64 else (1, outer * n)  # whole words follow one another
        small = nbytes <= (SMALL_PACKED if length >= RUN * 64 else SMALL)
        chunks = chunks_of_words(rows * -(-length // 64), small)
        return Job(pack_rows, chunks, dict.fromkeys(("x", "low", "span"), kind), rows=rows, length=length)
    images, columns = (1, outer) if inner == 1 else (outer, inner)
    return image_job(
        kind,
        nbytes <= SMALL,
        size=outer * n * inner,
        differ=differ,
        images=images,
        groups=1,
        channels=n,
        rows=1,
        columns=columns,
        image_step=n * inner,
        channel_step=inner,
        pixel_step=n if inner == 1 else 1,
        padded_rows=1,
        padded_columns=columns,
    )


def _packing_copies(memory: Memory, axis: int, differ: bool) -> Pack:
    """What packs arrays that kernels cannot read."""
    shape = memory.shape
    # One for each shape of a block.
    job_of = cache(partial(packing_run, dtype=memory.dtype, axis=axis, differ=differ))

    def run(x: Array, low: Array, span: Array, words: Array) -> None:
        def pack(index: tuple[slice, ...], packed: Array) -> None:
            block = native(x[index])
            own_low, own_span = (low[index[axis]], span[index[axis]]) if differ else (low, span)
            job_of(block.shape)(x=block, low=own_low, span=own_span, words=packed)

        each_block(shape, axis, pack, words)

    return run


def each_block(
    shape: Shape, axis: int, pack: Callable[[tuple[slice, ...], Array], None], words: Array
) -> None:
    """Fill ``words`` with what ``pack(index, packed)`` packs, block by block, each of whole words but the
    last."""
    for index in blocks(shape, COPIED, axis):
        taken = slice(index[axis].start // 64, -(-index[axis].stop // 64))
        target = words[(*index[:axis], *index[axis + 1 :], taken)]
        packed = np.empty(target.shape, np.uint64)
        pack(index, packed)
        target[...] = packed


@lru_cache(maxsize=256)
def key_range(dtype: np.dtype[Any], low: int, top: int) -> Bounds:
    """The keys of ``dtype`` from ``low`` to ``top``."""
    unsigned = np.array([low % 2 ** (8 * dtype.itemsize), top - low], f"u{dtype.itemsize}")
    return unsigned[:1], unsigned[1:]


IMAGES = record(
    "x low span words scratch",
    "size differ images groups channels rows columns "
    "origin image_step channel_step row_step pixel_step padded_rows padded_columns above left",
)
"""Keys x: flat memory of ``size`` of them, in which images (N, C, H, W) lie from ``origin`` on with these
steps; the step of a channel or of a pixel is 1. ``channels`` are those of a group.

Bounds low and span, see :func:`fastconv.cpu.bits.vectors.in_range`: if they ``differ``, one for each channel
of a group, their number rounded up to a multiple of 64; if not, one element for all.

Words (images, groups, padded_rows, padded_columns, ceil(channels / 64)): images begin at row ``above`` and
column ``left``; what is around them is left as it is. Scratch are 64 words."""


def image_job(keys: np.dtype[Any], serially: bool, **numbers: int) -> Job:
    """A job of :func:`pack_image` with the ``numbers`` of :data:`IMAGES`, to be called with x, low, span and
    words."""
    planes = numbers["images"] * numbers["groups"]
    tasks = planes * -(-numbers["rows"] * numbers["columns"] // BLOCK)
    elements = dict.fromkeys(("x", "low", "span"), keys)
    return Job(pack_image, chunks_of(tasks, serially=serially), elements, {"scratch": BLOCK}, **numbers)


@kernel(IMAGES, words=np.uint64, scratch=np.uint64)
def pack_image(p, chunk, worker):
    """The bits of images, see :data:`IMAGES`."""
    groups, channels, h, w = p.groups, p.channels, p.rows, p.columns
    depth = -(-channels // 64)
    packed = own(p, p.scratch, worker, BLOCK)
    # Rows of neighbours: the whole plane, if its rows follow one another.
    rows, length = (1, h * w) if p.row_step == w * p.pixel_step or h == 1 else (h, w)
    by_plane = p.pixel_step == 1 and (channels == 1 or p.channel_step != 1)
    blocks = -(-length // BLOCK)
    start, stop = share(p, chunk, p.images * groups * rows * blocks)
    for task in range(start, stop):
        rest, block = divmod(task, blocks)
        plane, row = divmod(rest, rows)
        n, g = divmod(plane, groups)
        first = max(0, min(block * BLOCK, length - BLOCK))  # the last block is whole, too
        m = min(BLOCK, length - first)
        at = (
            p.origin
            + n * p.image_step
            + g * channels * p.channel_step
            + row * p.row_step
            + first * p.pixel_step
        )
        for word in range(depth):
            c = word * 64
            if by_plane:
                _pack_planes(p, at + c * p.channel_step, c, m, packed)
            else:
                _pack_pixels(p, at + c * p.channel_step, c, m, packed)
            _place(p, plane, row * length + first, word, m, packed)


@numba.njit(error_model="numpy", inline="always")
def _pack_planes(p, at, c, m, words):
    """words[k] = the bits of up to 64 channels from ``c`` on, the first at x[at + k], for k < m."""
    count = min(64, p.channels - c)
    if m == BLOCK:
        channel_bits(p, at, count, c, 4, words, 0)
    elif m >= PIXELS:
        for k in range(0, m, PIXELS):
            k = min(k, m - PIXELS)
            channel_bits(p, at + k, count, c, 1, words, k)
    else:
        for k in range(m):
            words[k] = _pack_word(p, at + k, p.channel_step, count, c)


@numba.njit(error_model="numpy", inline="always")
def _pack_pixels(p, at, c, m, words):
    """words[k] = the bits of up to 64 channels from ``c`` on, from x[at + k * p.pixel_step] on, for k < m."""
    x, step, count = carray(p.x, p.size), p.pixel_step, min(64, p.channels - c)
    low, span = carray(p.low, 1), carray(p.span, 1)
    least, length = low[0], span[0]
    tail = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - count)
    for k in range(m):
        start = at + k * step
        if start + 64 > p.size:
            words[k] = _pack_word(p, start, 1, count, c)
        elif p.differ:
            words[k] = range_bits_each(x, start, low, span, c) & tail
        else:
            words[k] = range_bits(x, start, least, length) & tail


@numba.njit(error_model="numpy")
def _pack_word(p, at, step, count, c):
    """The bits of ``count`` channels from ``c`` on."""
    x, bounds = carray(p.x, p.size), p.channels * p.differ + 1
    low, span = carray(p.low, bounds), carray(p.span, bounds)
    word = np.uint64(0)
    for i in range(count):
        channel = (c + i) * p.differ
        word |= np.uint64(in_range(x[at + i * step], low[channel], span[channel])) << np.uint64(i)
    return word


@numba.njit(error_model="numpy")
def _place(p, plane, first, word, m, packed):
    """Write the words of m pixels from ``first`` on to their places in a padded plane."""
    height, width, columns, depth = p.padded_rows, p.padded_columns, p.columns, -(-p.channels // 64)
    words = carray(p.words, p.images * p.groups * height * width * depth)
    i, j = divmod(first, columns)
    at = ((plane * height + p.above + i) * width + p.left + j) * depth + word
    for k in range(m):
        words[at] = packed[k]
        at += depth
        j += 1
        if j == columns:
            j = 0
            at += (width - columns) * depth


@kernel(record("x low span words", "rows length"), words=np.uint64)
def pack_rows(p, chunk, worker):
    """words (rows, ceil(length / 64)) of the keys x (rows, length); low and span are one element each."""
    n, width = p.length, -(-p.length // 64)
    x, words = carray(p.x, p.rows * n), carray(p.words, p.rows * width)
    low, span = carray(p.low, 1)[0], carray(p.span, 1)[0]
    i, end = share(p, chunk, p.rows * width)
    row, word = divmod(i, width)
    while i < end:
        start = row * n + word * 64
        done, count = min(n // 64 - word, end - i), min(n - word * 64, 64)
        if done >= RUN:
            _pack_words(x, start, low, span, words[i : i + done])
        elif start + 64 <= x.size:
            done, bits = 1, range_bits(x, start, low, span)
            if count < 64:  # the rest is the next row's
                bits &= (np.uint64(1) << np.uint64(count)) - np.uint64(1)
            words[i] = bits
        else:
            done, bits = 1, np.uint64(0)
            for k in range(count):
                bits |= np.uint64(in_range(x[start + k], low, span)) << np.uint64(k)
            words[i] = bits
        i, word = i + done, word + done
        if word == width:
            row, word = row + 1, 0


@numba.njit(error_model="numpy")
def _pack_words(x, start, low, span, words):
    """Whole words from x[start] on, without a condition: 17 us for 1 MiB of bool in L2, in place of 32."""
    for k in range(words.size):
        words[k] = range_bits(x, start + k * 64, low, span)
