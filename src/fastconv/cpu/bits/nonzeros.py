"""Nonzeros as bits, and bits as zeros and ones."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from numba import carray

from fastconv._specs.bits import PackBits, UnpackBits
from fastconv.cpu.arrays import Array, deliver, native, result
from fastconv.cpu.bits.pack import chunks_of_words, key_range, packed_shape, packing
from fastconv.cpu.bits.vectors import reverse64, unpack_block
from fastconv.cpu.kernels import Job, kernel, record, share
from fastconv.cpu.threads import SMALL


def plan_packbits(spec: PackBits) -> Callable[..., Array]:
    memory, axis = spec.memory, spec.axis
    last, packed = axis == len(memory.shape) - 1, packed_shape(memory.shape, axis)
    pack = packing(memory, axis)
    low, span = key_range(memory.dtype, 1, 2 ** (8 * memory.dtype.itemsize) - 1)
    reverse = _reversal(prod(packed)) if spec.bitorder == "big" else None

    def run(x: Array, out: Array | None = None) -> Array:
        words = result(out if last else None, packed, np.uint64, x)
        pack(x=x, low=low, span=span, words=words)
        if reverse is not None:
            reverse(words=words)
        return deliver(words, out) if last else _moved_back(words, axis, out)

    return run


def _reversal(size: int) -> Job:
    return Job(reverse_words, chunks_of_words(size, 8 * size <= SMALL), size=size)


def plan_unpackbits(spec: UnpackBits) -> Callable[..., Array]:
    axis, count = spec.axis, spec.length
    shape, last = spec.memory.shape, axis == len(spec.memory.shape) - 1
    rows, width = prod(shape[:axis] + shape[axis + 1 :]), -(-count // 64)
    unpacked = (*shape[:axis], *shape[axis + 1 :], count)
    job = Job(
        unpack_rows,
        chunks_of_words(rows * width, rows * count <= SMALL),
        rows=rows,
        pitch=shape[axis],
        length=count,
        reverse=spec.bitorder == "big",
    )

    def run(words: Array, out: Array | None = None) -> Array:
        bits = result(out if last else None, unpacked, np.uint8, words)
        job(words=native(words if last else np.moveaxis(words, axis, -1)), bits=bits)
        return deliver(bits, out) if last else _moved_back(bits, axis, out)

    return run


def _moved_back(rows: Array, axis: int, out: Array | None) -> Array:
    moved = np.moveaxis(rows, -1, axis)
    if out is None:
        return moved.copy()
    out[...] = moved
    return out


@kernel(record("words", "size"), words=np.uint64)
def reverse_words(p, chunk, worker):
    """Reverse the bits of each word."""
    first, last = share(p, chunk, p.size)
    words = carray(p.words, p.size)[first:last]
    for i in range(words.size):
        words[i] = reverse64(words[i])


@kernel(record("words bits", "rows pitch length reverse"), words=np.uint64, bits=np.uint8)
def unpack_rows(p, chunk, worker):
    """bits (rows, length) of words (rows, pitch)."""
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
