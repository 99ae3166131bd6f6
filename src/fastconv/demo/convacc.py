"""The ConvAcc notebook's own methods, for the demo to compare with: one grey image, one small filter.

Every method takes an image (H, W) and a filter (kh, kw), both float32 and C-contiguous, and gives the
"valid" region (H - kh + 1, W - kw + 1). They are kept as the notebook has them, slow parts included,
except that the image need not be square.
Source: https://github.com/anilsathyan7/ConvAcc.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import guvectorize, njit, prange, stencil

from fastconv._backends import Array

# Sobel's filter turned by 45 degrees. Small weights stand where it has zeros: the notebook gives 0 the
# sign -1, fastconv +1, and the two are to be compared on the same signs.
FILTER = np.array([[-2, -1, -0.25], [-1, 0.25, 1], [0.25, 1, 2]], np.float32)

WINDOWS_PER_WORD = 7  # of 9 bits each, in a word of 64


def correlate_python(image: Array, weight: Array) -> Array:
    """Correlation by two Python loops over the output."""
    return _loops(image, weight, _empty_result(image, weight))


def correlate_numba(image: Array, weight: Array) -> Array:
    """The same two loops, compiled."""
    return _compiled_loops(image, weight, _empty_result(image, weight))


def correlate_numba_parallel(image: Array, weight: Array) -> Array:
    """The same two loops, compiled and shared among threads."""
    return _parallel_loops(image, weight, _empty_result(image, weight))


def _empty_result(image: Array, weight: Array) -> Array:
    return np.empty([n - k + 1 for n, k in zip(image.shape, weight.shape, strict=True)], np.float32)


def _loops(image: Array, weight: Array, result: Array) -> Array:
    kh, kw = weight.shape
    rows, columns = result.shape
    for row in range(rows):
        for column in range(columns):
            result[row, column] = np.sum(image[row : row + kh, column : column + kw] * weight)
    return result


_compiled_loops = njit(_loops)


@njit(parallel=True)
def _parallel_loops(image: Array, weight: Array, result: Array) -> Array:
    kh, kw = weight.shape
    rows, columns = result.shape
    for row in prange(rows):
        for column in prange(columns):
            result[row, column] = np.sum(image[row : row + kh, column : column + kw] * weight)
    return result


def correlate_stencil(image: Array) -> Array:
    """Correlation with :data:`FILTER` by ``numba.stencil``, which wants the filter to be a constant."""
    return _parallel_stencil(image)[:-2, :-2]


@njit(parallel=True)
def _parallel_stencil(image: Array) -> Array:
    return _weigh(image)


@stencil
def _weigh(pixel: Array) -> Any:
    return (
        pixel[0, 0] * FILTER[0, 0]
        + pixel[0, 1] * FILTER[0, 1]
        + pixel[0, 2] * FILTER[0, 2]
        + pixel[1, 0] * FILTER[1, 0]
        + pixel[1, 1] * FILTER[1, 1]
        + pixel[1, 2] * FILTER[1, 2]
        + pixel[2, 0] * FILTER[2, 0]
        + pixel[2, 1] * FILTER[2, 1]
        + pixel[2, 2] * FILTER[2, 2]
    )


def correlate_matmul(image: Array, weight: Array) -> Array:
    """Correlation as the product of the filter and the matrix of all windows, by NumPy."""
    product = weight.reshape(1, -1) @ columns_of(image, weight.shape)
    return product.reshape(_empty_result(image, weight).shape)


def correlate_guvectorize(image: Array, weight: Array) -> Array:
    """The same product by the notebook's own ``guvectorize`` function."""
    result = np.zeros_like(_empty_result(image, weight))
    _vector_times_matrix()(weight.reshape(-1), columns_of(image, weight.shape), result.reshape(-1))
    return result


@cache
def _vector_times_matrix() -> Any:
    # Made at its first use, because guvectorize compiles when it decorates.
    @guvectorize(["void(float32[:], float32[:,:], float32[:])"], "(n),(n,p)->(p)", target="parallel")
    def vector_times_matrix(vector: Array, matrix: Array, result: Array) -> None:
        n, p = matrix.shape
        for k in range(n):
            for j in range(p):
                result[j] += vector[k] * matrix[k, j]

    return vector_times_matrix


def columns_of(image: Array, kernel_size: tuple[int, int]) -> Array:
    """Every window of the image as a column, (kh * kw, L): a strided view, copied by ``reshape``."""
    kh, kw = kernel_size
    rows, columns = (n - k + 1 for n, k in zip(image.shape, kernel_size, strict=True))
    view = np.lib.stride_tricks.as_strided(image, (kh, kw, rows, columns), image.strides * 2)
    return view.reshape(kh * kw, -1)


def sign_sums_unpacked(columns: Array, weight: Array) -> Array:
    """Dot products (L,) of signs, with a byte for each sign: 2 * (how many are equal) - (how many)."""
    equal = np.logical_not(np.logical_xor(_bits(weight.reshape(-1, 1)), _bits(columns)))
    return 2 * np.sum(equal, axis=0) - len(equal)


def sign_sums_packed(columns: Array, weight: Array) -> Array:
    """Dot products (L,) of the signs of 3x3 windows, seven windows to a 64-bit word, first bit highest."""
    windows = columns.shape[1]
    filter_words = _pack_windows(np.repeat(_bits(weight.reshape(1, -1)), WINDOWS_PER_WORD, axis=0))
    image_words = _pack_windows(_bits(columns).T.copy())
    equal = np.bitwise_not(np.bitwise_xor(filter_words, image_words))
    return _unpack_sums(equal, _NINE_BITS)[:windows]


def xnor_scaled(sums: Array, columns: Array, weight: Array) -> Array:
    """``sums`` times alpha (the mean of abs(weight)) and K (the mean of abs(each window))."""
    return sums * np.mean(np.abs(columns), axis=0) * np.mean(np.abs(weight))


def _bits(values: Array) -> Array:
    return np.uint8(values > 0)


def _pack_windows(bits: Array) -> Array:
    """Words of seven rows of ``bits`` (windows, 9) each, with zeros for missing rows and the last bit."""
    missing = -len(bits) % WINDOWS_PER_WORD
    rows = np.concatenate([bits, np.zeros((missing, 9), np.uint8)]).reshape(-1, WINDOWS_PER_WORD * 9)
    rows = np.concatenate([rows, np.zeros((len(rows), 1), np.uint8)], axis=1)
    return np.packbits(rows).view(">u8").astype(np.uint64)


# The nine bits of each window of a word.
_NINE_BITS = np.array([(2**9 - 1) << (64 - 9 * (i + 1)) for i in range(WINDOWS_PER_WORD)], np.uint64)


@njit
def _unpack_sums(equal: Array, nine_bits: Array) -> Array:
    sums = np.zeros(len(equal) * len(nine_bits), np.float32)
    for i in range(len(equal)):
        for j in range(len(nine_bits)):
            sums[i * len(nine_bits) + j] = 2 * _bit_count(equal[i] & nine_bits[j]) - 9
    return sums


@njit
def _bit_count(word: Any) -> int:
    count = 0
    while word:
        word &= word - np.uint64(1)
        count += 1
    return count
