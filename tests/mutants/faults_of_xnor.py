"""Faults that the tests of xnor must find."""

from faults import KEEP_OUT, Fault, of

CONV = "test_xnor.py::test_conv2d_equals_reference"
LINEAR = "test_xnor_products.py::test_linear_equals_reference"
MATMUL = "test_xnor_products.py::test_matmul_equals_reference"
MEANS = "test_xnor_magnitudes.py::test_activation_scale_equals_reference[numpy]"
ALPHA = "test_xnor_magnitudes.py::test_pack_filters_equals_reference[numpy]"
RESIDUAL = "test_xnor_magnitudes.py::test_residual_terms_equal_reference[numpy]"
FOLD = "test_xnor_thresholds.py::test_folded_batchnorm_equals_the_float_chain_for_every_integer[numpy]"
POOL = "test_xnor_thresholds.py::test_max_pool_equals_reference[numpy]"

FAULTS: list[Fault] = [
    *of(
        "cpu/_planes.py",
        (
            "rows step as columns do",
            "y = i * shape[DOWN] - shape[ABOVE]",
            "y = i * shape[ACROSS] - shape[ABOVE]",
            CONV,
        ),
        (
            "taps are a stride apart, not a dilation",
            "row // band * shape[DILATION]",
            "row // band * shape[DOWN]",
            CONV,
        ),
        ("padding on the right counts as nothing", "line[hi:] = image[OUTSIDE]", "line[hi:] = 0", CONV),
        (
            "every filter sees the first group",
            "at = ((o + k) // filters - group) * channels * plane",
            "at = 0",
            CONV,
        ),
        ("strides are forgotten left of the image", "(first + lo * shape[ACROSS])", "(first + lo)", CONV),
        (
            "all workers add in one place",
            "orders[worker], scratch[worker],",
            "orders[worker], scratch[0],",
            KEEP_OUT + "[xnor_conv2d, one channel]",
        ),
    ),
    *of(
        "cpu/_binary.py",
        (
            "borders above and below are taken for the inside",
            "j * problem[ACROSS], rows[i]",
            "j * problem[ACROSS], rows[0]",
            CONV,
        ),
        ("borders beside are taken for the inside", "(base + kinds[k]) * pitch", "base * pitch", CONV),
        (
            "totals of a group begin where its filters do",
            "column = g * padded + f",
            "column = g * filters + f",
            CONV,
        ),
        (
            "images and groups are confused",
            "origin = (image * groups + g) * plane",
            "origin = (image + g) * plane",
            CONV,
        ),
        (
            "the last task is forgotten",
            "tasks * worker // workers, tasks * (worker + 1) // workers",
            "tasks * worker // workers, (tasks * (worker + 1) - 1) // workers",
            CONV,
        ),
        (
            "all workers add in one place",
            "                scratch[worker],",
            "                scratch[0],",
            KEEP_OUT + "[xnor_conv2d]",
        ),
    ),
    *of(
        "cpu/_store.py",
        (
            "K of a pixel ignores its group",
            "(image * numbers[GROUPS] + g) * numbers[POSITIONS] + first + p",
            "image * numbers[GROUPS] * numbers[POSITIONS] + first + p",
            CONV,
        ),
        (
            "K of a line ignores its group",
            "(image * numbers[GROUPS] + g) * numbers[POSITIONS] + first\n",
            "image * numbers[GROUPS] * numbers[POSITIONS] + first\n",
            CONV,
        ),
        (
            "all filters have the first one's bias",
            "* (scale[k] * each) + bias[k]",
            "* (scale[k] * each) + bias[0]",
            CONV,
        ),
        ("all pixels of a line have the first one's K", "(scale * factor[p])", "(scale * factor[0])", CONV),
        (
            "bias stands inside the scale",
            "line.dtype.type(row[p]) * scale + bias",
            "(line.dtype.type(row[p]) + bias) * scale",
            CONV,
        ),
        (
            "tail bits of packed signs are not 0",
            "threshold_word(y, p * UNIT, tau, flip, o) & mask",
            "threshold_word(y, p * UNIT, tau, flip, o)",
            CONV,
        ),
        (
            "a word's overflow is shifted the wrong way",
            "bits >> (np.uint64(64) - shift)",
            "bits >> shift",
            CONV,
        ),
        (
            "filters of two groups have one K",
            "min(width, (g + 1) * numbers[FILTERS] - o) if factor.size else width",
            "width",
            CONV,
        ),
    ),
    *of(
        "cpu/_tiles.py",
        (
            "a sum at its threshold is below it",
            'builder.icmp_signed(">=", values',
            'builder.icmp_signed(">", values',
            CONV,
        ),
        (
            "negative taps are added",
            "add_taps(between, high, builder.sub)",
            "add_taps(between, high, builder.add)",
            CONV,
        ),
        ("int8 holds more terms than it can", "longest = _i64(127)", "longest = _i64(200)", "test_xnor.py"),
    ),
    *of(
        "cpu/_images.py",
        (
            "all workers pool in one row",
            "line = scratch[worker, : w * depth]",
            "line = scratch[0, : w * depth]",
            KEEP_OUT + "[binary_max_pool2d]",
        ),
        ("pooling leaves out the first row", "if 0 <= row < h:", "if 0 < row < h:", POOL),
        (
            "K counts the rows of a kernel twice",
            "terms = channels * kernel[0] * kernel[1]",
            "terms = channels * kernel[0] * kernel[0]",
            MEANS,
        ),
        ("K ignores its group", "image * steps[1] + g * channels * steps[2]", "image * steps[1]", MEANS),
        (
            "K takes the dilation of rows",
            "_add_columns(sums, b * dilation[1]",
            "_add_columns(sums, b * dilation[0]",
            MEANS,
        ),
        (
            "all workers add magnitudes in one row",
            "columns[worker, :w], scratch[worker, :width]",
            "columns[0, :w], scratch[worker, :width]",
            KEEP_OUT + "[activation_scale]",
        ),
        (
            "tail bits of packed pixels are not 0",
            "range_bits(x, at, low, span, first) & tail",
            "range_bits(x, at, low, span, first)",
            CONV,
        ),
        (
            "rows of padded words are too short",
            "(width - image[COLUMNS]) * depth",
            "(width - image[COLUMNS])",
            CONV,
        ),
    ),
    *of(
        "cpu/_operands.py",
        ("the sign of what lies outside is turned", "(1 + pad_value)", "(1 - pad_value)", CONV),
        ("corners are counted twice", "+ sums[np.ix_(a0, b0)]", "- sums[np.ix_(a0, b0)]", CONV),
    ),
    *of(
        "cpu/_plans.py",
        (
            "borders are those of the other side",
            "- geometry.padding[axis][0]",
            "- geometry.padding[axis][1]",
            CONV,
        ),
    ),
    *of(
        "cpu/_products.py",
        (
            "totals of one pad value serve another",
            '("totals", plan.kinds, groups, pad_value)',
            '("totals", plan.kinds, groups)',
            "test_xnor.py",
        ),
        ("bool has magnitude 0", "np.broadcast_to(np.float32(1)", "np.broadcast_to(np.float32(0)", MEANS),
    ),
    *of(
        "cpu/xnor.py",
        (
            "the sign of 0 is -1 in folded chains",
            "(values(middle) >= 0) == last",
            "(values(middle) > 0) == last",
            FOLD,
        ),
        ("eps counts twice", "np.sqrt(var + eps)", "np.sqrt(var + 2 * eps)", FOLD),
        ("tau is one too low", "np.iinfo(np.int32).min, high)", "np.iinfo(np.int32).min, low)", FOLD),
        (
            "one product's operands serve all",
            "right = np.broadcast_to(right, (*batch, n, depth))",
            "right = np.broadcast_to(right[..., :1, :, :][(0,) * (right.ndim - 2)], (*batch, n, depth))",
            MATMUL,
        ),
        (
            "K of rows is forgotten",
            "words = packed_rows(x, -1).reshape(1, 1, 1",
            "factor = None\n        words = packed_rows(x, -1).reshape(1, 1, 1",
            LINEAR,
        ),
    ),
    *of(
        "_agnostic.py",
        ("alpha is divided by one too many", "/ terms).astype", "/ (terms + 1)).astype", ALPHA),
        ("residuals are added", "rest = rest - xp", "rest = rest + xp", RESIDUAL),
    ),
]
