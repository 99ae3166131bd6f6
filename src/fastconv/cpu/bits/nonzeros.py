"""Nonzeros as bits, and bits as zeros and ones."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from numba import carray

from fastconv._specs.bits import PackBits, UnpackBits
from fastconv.cpu.arrays import Array, contiguous_steps, deliver, native, result
from fastconv.cpu.bits.layouts import packed_shape, packing
from fastconv.cpu.bits.pack import chunks_of_words, key_range
from fastconv.cpu.bits.turn import SPARE, TILE, turn_tile
from fastconv.cpu.bits.vectors import reverse64, unpack_block
from fastconv.cpu.kernels import Job, kernel, own, record, share
from fastconv.cpu.simd import BLOCK, peek
from fastconv.cpu.threads import SMALL


def plan_packbits(spec: PackBits) -> Callable[..., Array]:
    memory, axis = spec.memory, spec.axis
    packed = packed_shape(memory.shape, axis)
    pack = packing(memory, axis, contiguous_steps(packed))
    low, span = key_range(memory.dtype, 1, 2 ** (8 * memory.dtype.itemsize) - 1)
    reverse = _reversal(prod(packed)) if spec.bitorder == "big" else None

    def run(x: Array, out: Array | None = None) -> Array:
        words = result(out, packed, np.uint64, x)
        pack(x=x, low=low, span=span, words=words)
        if reverse is not None:
            reverse(words=words)
        return deliver(words, out)

    return run


def _reversal(size: int) -> Job:
    return Job(reverse_words, chunks_of_words(size, 8 * size <= SMALL), size=size)


def plan_unpackbits(spec: UnpackBits) -> Callable[..., Array]:
    shape, axis, count = spec.memory.shape, spec.axis, spec.length
    unpacked = (*shape[:axis], count, *shape[axis + 1 :])
    job = _unpacking(spec) if prod(unpacked) else None

    def run(words: Array, out: Array | None = None) -> Array:
        bits = result(out, unpacked, np.uint8, words)
        if job is not None:
            job(words=native(words), bits=bits)
        return deliver(bits, out)

    return run


def _unpacking(spec: UnpackBits) -> Job:
    """Words are few beside their bits: kernels read a contiguous copy of those that are not."""
    shape, axis, count = spec.memory.shape, spec.axis, spec.length
    outer, inner, width = prod(shape[:axis]), prod(shape[axis + 1 :]), -(-count // 64)
    serially = outer * inner * count <= SMALL
    unpack, scratch = (unpack_rows, 0) if inner == 1 else (unpack_columns, TILE + SPARE)
    chunks = chunks_of_words(outer * width * inner, serially)
    return Job(
        unpack, chunks, scratch={"tile": scratch}, rows=outer, pitch=shape[axis], length=count, inner=inner,
        reverse=spec.bitorder == "big",
    )  # fmt: skip


@kernel(record("words", "size"), words=np.uint64)
def reverse_words(p, chunk, worker):
    """Reverse the bits of each word."""
    first, last = share(p, chunk, p.size)
    words = carray(p.words, p.size)[first:last]
    for i in range(words.size):
        words[i] = reverse64(words[i])


UNPACKING = record("words bits tile", "rows pitch length inner reverse")


@kernel(UNPACKING, words=np.uint64, bits=np.uint8)
def unpack_rows(p, chunk, worker):
    """bits (rows, length) of words (rows, pitch); inner is 1."""
    n, width = p.length, -(-p.length // 64)
    words, bits = carray(p.words, (p.rows, p.pitch)), carray(p.bits, p.rows * n)
    first, last = share(p, chunk, p.rows * width)
    row, k = divmod(first, width)
    end = last // width * n + min(n, last % width * 64)
    for _ in range(first, last):
        word = reverse64(words[row, k]) if p.reverse else words[row, k]
        start = row * n + k * 64
        if start + 64 <= end:  # what is beyond the row is overwritten by the next
            unpack_block(word, bits, start)
        else:
            for j in range(end - start):
                bits[start + j] = (word >> np.uint64(j)) & np.uint64(1)
        k += 1
        if k == width:
            row, k = row + 1, 0


@kernel(UNPACKING, words=np.uint64, bits=np.uint8, tile=np.uint8)
def unpack_columns(p, chunk, worker):
    """bits (rows, length, inner) of words (rows, pitch, inner). tile: scratch of TILE + SPARE."""
    n, inner, width, height = p.length, p.inner, -(-p.length // 64), min(BLOCK, p.inner)
    words, bits = carray(p.words, p.rows * p.pitch * inner), carray(p.bits, p.rows * n * inner)
    tile = own(p, p.tile, worker, TILE + SPARE)
    across = -(-inner // BLOCK)
    start, stop = share(p, chunk, p.rows * width * across)
    for task in range(start, stop):
        line, column = divmod(task, across)
        row, k = divmod(line, width)
        i = min(column * BLOCK, inner - height)  # the last tile is whole, too
        at = (row * p.pitch + k) * inner + i
        for j in range(height):
            word = peek(words, at + j)
            unpack_block(reverse64(word) if p.reverse else word, tile, j * BLOCK)
        count = min(64, n - k * 64)
        turn_tile(tile, BLOCK, height, count, bits, (row * n + k * 64) * inner + i, inner)
