"""Faults that the tests of bits must find."""

from faults import OWN_SCRATCH, Fault, of

POPCOUNT = "test_bits.py::test_popcount_equals_reference[numpy]"
PACKBITS = "test_bits.py::test_packbits64_equals_reference[numpy]"
UNPACKBITS = "test_bits.py::test_unpackbits64_equals_reference[numpy]"
SUMS = "test_bits.py::test_popcount_sum_equals_reference[numpy]"
LONG_SUMS = "test_bits.py::test_popcount_sum_of_long_axes_equals_reference"
SIGNS = "test_bits_signs.py::test_pack_signs_equals_reference[numpy]"
OF_CHANNELS = "test_bits_signs.py::test_signs_at_a_threshold_for_each_channel"
OF_HALVES = "test_bits_signs.py::test_signs_of_every_float16"
OF_INTEGERS = "test_bits_signs.py::test_signs_of_integers_at_thresholds_of_every_kind"
COMPARISONS = "test_bits_signs.py::test_comparisons_with_a_number_for_each_channel"
DISTANCES = "test_bits_distances.py"
MEMORY_OF_COUNTS = "test_bits_memory.py::test_counts_in_any_memory_equal_reference[numpy]"

OF_ERRORS = "test_error_state.py::test_error_states_change_no_result[numpy-binarize_residual]"
OF_UNSIGNED = "test_signs_of_unsigned.py::test_nothing_is_said_where_zero_is_minus_one"
OF_WORDS = "test_signs_of_unsigned.py::test_words_are_refused_and_sent_to_where_they_belong"

FAULTS: list[Fault] = [
    *of(
        "_backends.py",
        (
            "the caller's error state holds inside",
            'undisturbed = np.errstate(all="ignore")',
            "undisturbed = np.errstate()",
            OF_ERRORS,
        ),
    ),
    *of(
        "_checks.py",
        (
            "masks are warned of",
            "    if zero == 1:\n        warn(",
            "    if zero:\n        warn(",
            OF_UNSIGNED,
        ),
        (
            "words are taken for numbers",
            "if dtype.itemsize == 8:",
            "if dtype.itemsize == 16:",
            OF_WORDS,
        ),
    ),
    *of(
        "cpu/bits/nonzeros.py",
        (
            "big bit order is forgotten",
            'if spec.bitorder == "big" else',
            'if spec.bitorder == "" else',
            PACKBITS,
        ),
        compiled=False,
    ),
    *of(
        "cpu/bits/nonzeros.py",
        (
            "the last word is not reversed",
            "words = carray(p.words, p.size)[first:last]",
            "words = carray(p.words, p.size)[first : last - 1]",
            PACKBITS,
        ),
        (
            "the last tile of bits begins where a whole one would",
            "i = min(column * BLOCK, inner - height)",
            "i = column * BLOCK",
            "test_bits.py::test_packing_large_arrays_equals_reference",
        ),
        (
            "all workers unpack in one place",
            "tile = own(p, p.tile, worker, TILE + SPARE)",
            "tile = own(p, p.tile, 0, TILE + SPARE)",
            OWN_SCRATCH + "[unpackbits64, down]",
        ),
        (
            "bits of the last word move by one",
            "(word >> np.uint64(j))",
            "(word >> np.uint64(j + 1))",
            UNPACKBITS,
        ),
    ),
    *of(
        "cpu/bits/pack.py",
        (
            "a tail mask keeps a bit too few",
            "np.uint64(count)) - np.uint64(1)",
            "np.uint64(count - 1)) - np.uint64(1)",
            PACKBITS,
        ),
        (
            "tail bits of packed pixels are not 0",
            "range_bits(x, start, least, length) & tail",
            "range_bits(x, start, least, length)",
            "test_xnor.py::test_groups_that_fill_no_word_and_no_vector_equal_reference",
        ),
        (
            "tail bits of pixels with bounds of their own are not 0",
            "range_bits_each(x, start, low, span, c) & tail",
            "range_bits_each(x, start, low, span, c)",
            COMPARISONS,
        ),
        (
            "the last pixels of a row are not packed",
            "k = min(k, m - PIXELS)",
            "k = max(min(k, m - 2 * PIXELS), 0)",
            SIGNS,
        ),
        (
            "every image is packed from the first one",
            "+ n * p.image_step",
            "+ n * 0",
            "test_xnor.py::test_groups_that_fill_no_word_and_no_vector_equal_reference",
        ),
        (
            "groups begin a channel apart",
            "+ g * channels * p.channel_step",
            "+ g * p.channel_step",
            "test_xnor.py::test_groups_that_fill_no_word_and_no_vector_equal_reference",
        ),
        (
            "rows of padded words are too short",
            "at += p.row_place - p.columns * step",
            "at += p.row_place - p.columns",
            "test_xnor.py::test_groups_that_fill_no_word_and_no_vector_equal_reference",
        ),
    ),
    *of(
        "cpu/bits/signs.py",
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
            "turned comparisons accept their bound",
            "np.where(flipped, least - 1, top)",
            "np.where(flipped, least, top)",
            COMPARISONS,
        ),
        compiled=False,
    ),
    *of(
        "_shared/thresholds.py",
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
        compiled=False,
    ),
    *of(
        "cpu/bits/count.py",
        (
            "only the first piece of a row counts",
            "else partial_sums.sum(axis=1)",
            "else partial_sums[:, 0]",
            LONG_SUMS,
        ),
        (
            "axes that are left over are summed wrongly",
            "a - (a >= end) * (end - begin)",
            "a - (a > end) * (end - begin)",
            SUMS,
        ),
        compiled=False,
    ),
    *of(
        "cpu/bits/count.py",
        (
            "the last element of a row is not counted",
            "in range(begin + vectors * lanes, end):",
            "in range(begin + vectors * lanes, end - 1):",
            SUMS,
        ),
        ("rows side by side are taken for one", "total += sums[row * inner + i]", "total += sums[i]", SUMS),
        (
            "all workers add in one place",
            "sums = own(p, p.running, worker, width)",
            "sums = own(p, p.running, 0, width)",
            OWN_SCRATCH + "[popcount_sum, down]",
        ),
    ),
    *of(
        "cpu/bits/each.py",
        (
            "bits of negative numbers are those of their two's complement",
            "else np.uint64(-np.int64(v))",
            "else np.uint64(v)",
            POPCOUNT,
        ),
        (
            "a line ends one element early",
            "min(n, (block + last - task) * BLOCK)",
            "min(n, (block + last - task) * BLOCK) - 1",
            POPCOUNT,
        ),
        (
            "rows of a tile are taken from the first one",
            "at += p.origin + j * p.step + i * p.row_step",
            "at += p.origin + j * p.step",
            MEMORY_OF_COUNTS,
        ),
        (
            "all workers turn bytes in one place",
            "tile = own(p, p.tile, worker, TILE + SPARE)",
            "tile = own(p, p.tile, 0, TILE + SPARE)",
            OWN_SCRATCH + "[popcount, turned]",
        ),
    ),
    *of(
        "cpu/bits/turn.py",
        (
            "the last columns of a tile are those before them",
            "row = load_row(scratch, TILE + PIXELS + j * BLOCK)",
            "row = load_row(scratch, TILE + PIXELS)",
            MEMORY_OF_COUNTS,
        ),
    ),
    *of(
        "cpu/bits/lines.py",
        (
            "axes are merged whatever their places",
            "found[-1][1:] == (n * step, n * place)",
            "found[-1].step == n * step",
            MEMORY_OF_COUNTS,
        ),
        compiled=False,
    ),
    *of(
        "cpu/bits/layouts.py",
        (
            "pixels in reverse order are placed from the first word on",
            "(pixel.length - 1) * -pixel.place",
            "0",
            "test_bits_memory.py::test_packing_in_any_memory_equals_reference[numpy]",
        ),
        (
            "the last word of one element has ones beyond its end",
            "words[last] &= np.uint64(2 ** (n % 64) - 1)",
            "words[last] &= np.uint64(2**64 - 1)",
            "test_bits_memory.py::test_one_element_may_stand_for_many",
        ),
        compiled=False,
    ),
    *of(
        "cpu/bits/distances.py",
        (
            "steps are not swapped with the operands",
            "[axis.swapped() for axis in outer]",
            "outer",
            DISTANCES,
        ),
        (
            "bytes of swapped words are taken as they are",
            "swapped_a=one.swapped",
            "swapped_a=False",
            "test_bits_memory.py::test_words_a_byte_off_or_swapped_are_as_any",
        ),
        compiled=False,
    ),
    *of(
        "cpu/bits/pairs.py",
        (
            "the last word of a row is not compared",
            "for k in range(vectors * 8, width):",
            "for k in range(vectors * 8, width - 1):",
            DISTANCES,
        ),
        ("turned rows are kept for others", "j == held)", "held >= 0)", DISTANCES),
        (
            "distances of the last rows are those before them",
            "poke(found, place + (r + k) * step, found.dtype.type(line[k]))",
            "poke(found, place + k * step, found.dtype.type(line[k]))",
            DISTANCES,
        ),
        (
            "all workers turn rows in one place",
            "own(p, p.tile_b, worker, room)",
            "own(p, p.tile_b, 0, room)",
            OWN_SCRATCH + "[hamming_distance]",
        ),
    ),
]
