"""Packing bits into words, and what is packed: nonzeros, signs, comparisons.

Whatever is packed is read as keys, integers in the order of the numbers, and a bit says whether a key lies
in a range: see :func:`fastconv.cpu.bits.vectors.in_range`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import carray

from fastconv.cpu.arrays import Array
from fastconv.cpu.bits.lines import line_start
from fastconv.cpu.bits.vectors import channel_bits, in_range, range_bits, range_bits_each
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import BLOCK, PIXELS, poke
from fastconv.cpu.threads import chunks_of

CHUNK = 64
"""Words that are worth a chunk."""

RUN = 4
"""Words of a row from which on a loop of their own pays, which costs 10 ns to enter."""

Bounds = tuple[Array, Array]
"""Least keys and lengths of ranges of keys: of one for all channels, or of one for each, a multiple of 64."""


def chunks_of_words(words: int, serially: bool) -> int:
    return chunks_of(-(-words // CHUNK), serially=serially)


@lru_cache(maxsize=256)
def key_range(dtype: np.dtype[Any], low: int, top: int) -> Bounds:
    """The keys of ``dtype`` from ``low`` to ``top``."""
    unsigned = np.array([low % 2 ** (8 * dtype.itemsize), top - low], f"u{dtype.itemsize}")
    return unsigned[:1], unsigned[1:]


IMAGES = record(
    "x low span words scratch",
    "size differ images groups channels rows columns "
    "origin image_step channel_step row_step pixel_step "
    "first image_place group_place row_place pixel_place word_place",
)
"""Keys x: flat memory of ``size`` of them, in which images (N, C, H, W) lie from ``origin`` on with these
steps; the step of a channel or of a pixel is 1. ``channels`` are those of a group.

Bounds low and span, see :func:`fastconv.cpu.bits.vectors.in_range`: if they ``differ``, one for each channel
of a group, their number rounded up to a multiple of 64; if not, one element for all.

Words of each group of channels of each image: from the ``first`` on, they are these places apart. What lies
between them is left as it is. Scratch are 64 words."""


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
    """Write the words of m pixels of a plane, from ``first`` on, to their places."""
    words, step = carray(p.words, 1), p.pixel_place
    (n, g), (i, j) = divmod(plane, p.groups), divmod(first, p.columns)
    at = p.first + n * p.image_place + g * p.group_place + i * p.row_place + j * step + word * p.word_place
    for k in range(m):
        poke(words, at, packed[k])
        at += step
        j += 1
        if j == p.columns:
            j = 0
            at += p.row_place - p.columns * step


@kernel(
    record(
        "x low span words outer",
        "size origin lines rows row_step row_place length word_place dimensions",
    ),
    words=np.uint64, outer=np.int64,
)  # fmt: skip
def pack_rows(p, chunk, worker):
    """The words of rows of ``length`` keys x, flat memory of ``size`` of them; low and span are one element
    each. ``rows`` are these steps apart, and ``lines`` of them as
    :func:`fastconv.cpu.bits.lines.line_start` says."""
    n, width, apart = p.length, -(-p.length // 64), p.word_place
    x, words = carray(p.x, p.size), carray(p.words, 1)
    low, span = carray(p.low, 1)[0], carray(p.span, 1)[0]
    task, end = share(p, chunk, p.lines * p.rows * width)
    rest, word = divmod(task, width)
    line, row = divmod(rest, p.rows)
    at, to = line_start(p, line)
    while task < end:
        start, place = at + p.origin + row * p.row_step + word * 64, to + row * p.row_place + word * apart
        done, count = min(n // 64 - word, end - task), min(n - word * 64, 64)
        if done >= RUN:
            for k in range(done):  # without a condition: 17 us for 1 MiB of bool in L2, in place of 32
                poke(words, place + k * apart, range_bits(x, start + k * 64, low, span))
        elif start + 64 <= x.size:
            done, bits = 1, range_bits(x, start, low, span)
            if count < 64:  # the rest is the next row's
                bits &= (np.uint64(1) << np.uint64(count)) - np.uint64(1)
            poke(words, place, bits)
        else:
            done, bits = 1, np.uint64(0)
            for k in range(count):
                bits |= np.uint64(in_range(x[start + k], low, span)) << np.uint64(k)
            poke(words, place, bits)
        task, word = task + done, word + done
        if word == width:
            row, word = row + 1, 0
        if row == p.rows:
            line, row = line + 1, 0
            at, to = line_start(p, line)
