"""Faults that the tests of bits must find."""

from faults import KEEP_OUT, Fault, of

BITS = "test_bits.py"
PACKBITS = "test_bits.py::test_packbits64_equals_reference[numpy]"
UNPACKBITS = "test_bits.py::test_unpackbits64_equals_reference[numpy]"
SUMS = "test_bits.py::test_popcount_sum_equals_reference[numpy]"
LONG_SUMS = "test_bits.py::test_popcount_sum_of_long_axes_equals_reference"
OF_CHANNELS = "test_bits_signs.py::test_signs_at_a_threshold_for_each_channel"
OF_HALVES = "test_bits_signs.py::test_signs_of_every_float16"
OF_INTEGERS = "test_bits_signs.py::test_signs_of_integers_at_thresholds_of_every_kind"
DISTANCES = "test_bits_distances.py"

FAULTS: list[Fault] = [
    *of(
        "cpu/bits.py",
        ("big bit order is forgotten", 'if bitorder == "big":', 'if bitorder == "":', PACKBITS),
        (
            "a tail mask keeps a bit too few",
            "np.uint64(count)) - np.uint64(1)",
            "np.uint64(count - 1)) - np.uint64(1)",
            PACKBITS,
        ),
        (
            "the last word is not reversed",
            "in numba.prange(words.size):",
            "in numba.prange(words.size - 1):",
            PACKBITS,
        ),
        (
            "bits of the last word move by one",
            "(word >> np.uint64(j))",
            "(word >> np.uint64(j + 1))",
            UNPACKBITS,
        ),
        (
            "an infinite threshold accepts nothing",
            "least > greatest, -(",
            "least >= greatest, -(",
            OF_CHANNELS,
        ),
        (
            "NaN counts as +1 under thresholds of channels",
            "least, np.full(least.shape, infinity_key(dtype))",
            "least, np.full(least.shape, 2 ** (8 * dtype.itemsize - 1) - 1)",
            OF_CHANNELS,
        ),
        (
            "words of unpacked rows are not moved back",
            "moved = np.moveaxis(rows, -1, axis)",
            "moved = np.moveaxis(rows, -1, 0)",
            PACKBITS,
        ),
    ),
    *of(
        "_thresholds.py",
        (
            "a threshold between two floats is rounded down",
            "nearest < exact, np",
            "nearest > exact, np",
            OF_HALVES,
        ),
        (
            "floor and ceiling are swapped",
            "floor(number) if strict else ceil(number)",
            "ceil(number) if strict else floor(number)",
            OF_INTEGERS,
        ),
        ("strict comparison skips a number", "(strict & (nearest == exact))", "strict", OF_HALVES),
    ),
    *of(
        "cpu/_counting.py",
        (
            "the last element of a row is not counted",
            "in range(begin + vectors * lanes, end):",
            "in range(begin + vectors * lanes, end - 1):",
            SUMS,
        ),
        ("only the first piece of a row counts", "else partial.sum(axis=1)", "else partial[:, 0]", LONG_SUMS),
        ("rows side by side are taken for one", "total += sums[row * inner + i]", "total += sums[i]", SUMS),
        (
            "bits of negative numbers are those of their two's complement",
            "else np.uint64(-np.int64(v))",
            "else np.uint64(v)",
            BITS,
        ),
        (
            "a chunk ends one element early",
            "end = min(n, (chunk + 1) * CHUNK)",
            "end = min(n, (chunk + 1) * CHUNK - 1)",
            BITS,
        ),
        (
            "axes that are left over are summed wrongly",
            "a - (a >= end) * (end - begin)",
            "a - (a > end) * (end - begin)",
            SUMS,
        ),
    ),
    *of(
        "cpu/_distances.py",
        (
            "the last word of a row is not compared",
            "for k in range(vectors, width):",
            "for k in range(vectors, width - 1):",
            DISTANCES,
        ),
        (
            "steps are not swapped with the operands",
            "outer = [(n, j, i) for n, i, j in outer]",
            "outer = [(n, i, j) for n, i, j in outer]",
            DISTANCES,
        ),
        ("turned rows are kept for others", "if j != held:", "if held < 0:", DISTANCES),
        (
            "all workers turn rows in one place",
            "tile = tiles[worker]",
            "tile = tiles[0]",
            KEEP_OUT + "[hamming_distance]",
        ),
    ),
]
