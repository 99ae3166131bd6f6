"""Bits: from what the innermost caches hold to what only main memory does."""

import numpy as np

import fastconv

SIZES = [2**16, 2**20, 2**24]


def words(n):
    return np.random.default_rng(0).integers(0, 2**64, n, np.uint64)


class Popcount:
    params, param_names = SIZES, ["words"]

    def setup(self, n):
        self.x, self.out = words(n), np.empty(n, np.uint8)
        self.time_popcount(n)

    def time_popcount(self, n):
        fastconv.popcount(self.x, out=self.out)


class PopcountSum:
    params, param_names = SIZES, ["words"]

    def setup(self, n):
        self.x = words(n)
        self.time_popcount_sum(n)

    def time_popcount_sum(self, n):
        fastconv.popcount_sum(self.x)


class Packbits64:
    params, param_names = SIZES, ["elements"]

    def setup(self, n):
        self.x = words(n) > 2**63
        self.time_packbits64(n)

    def time_packbits64(self, n):
        fastconv.packbits64(self.x)


class Unpackbits64:
    params, param_names = SIZES, ["elements"]

    def setup(self, n):
        self.words = words(n // 64)
        self.time_unpackbits64(n)

    def time_unpackbits64(self, n):
        fastconv.unpackbits64(self.words)


class PackSigns:
    """Along the contiguous axis, and across planes as in NCHW images."""

    params, param_names = [SIZES, [0, 1]], ["elements", "axis"]

    def setup(self, n, axis):
        self.x = np.random.default_rng(0).standard_normal((n // 256, 256), np.float32)
        self.time_pack_signs(n, axis)

    def time_pack_signs(self, n, axis):
        fastconv.pack_signs(self.x, axis=axis)


class PackSignsDtype:
    params, param_names = ["float64", "float16", "int8", "int32"], ["dtype"]

    def setup(self, dtype):
        self.x = (words(2**20) % 200).astype(dtype)
        self.time_pack_signs(dtype)

    def time_pack_signs(self, dtype):
        fastconv.pack_signs(self.x)


class SmallCall:
    """256 elements: what is left is checks and dispatch."""

    params, param_names = ["popcount", "pack_signs", "packbits64"], ["operation"]

    def setup(self, operation):
        self.x = words(256).astype(np.int8).reshape(16, 16)
        self.time_call(operation)

    def time_call(self, operation):
        getattr(fastconv, operation)(self.x)


class HammingDistance:
    params, param_names = SIZES, ["words"]

    def setup(self, n):
        self.a, self.b = words(n).reshape(2, -1, 16)
        self.time_hamming_distance(n)

    def time_hamming_distance(self, n):
        fastconv.hamming_distance(self.a, self.b)
