"""Faults that the tests of xnor must find."""

from faults import OWN_SCRATCH, Fault, of

NARROW = "test_correlation.py::test_rows_and_columns_are_exchanged"
CONV = "test_xnor.py::test_conv2d_equals_reference"
ODD_GROUPS = "test_xnor.py::test_groups_that_fill_no_word_and_no_vector_equal_reference"
GROUPED_K = f"{ODD_GROUPS} & {CONV}[numpy-depthwise-xnor]"
PADDED = "test_xnor.py::test_filters_serve_calls_of_every_padding_in_turn[numpy]"
INTEGERS = f"{CONV}[numpy-whole-integers] & {CONV}[numpy-groups-integers]"
GROUPED = f"{CONV}[numpy-groups-integers] & {CONV}[numpy-depthwise-integers]"
BIASED = f"{CONV}[numpy-whole-array and bias] & {CONV}[numpy-whole-alpha and bias]"
K = f"{CONV}[numpy-whole-xnor]"
PACKED = f"{CONV}[numpy-groups-signs] & {CONV}[numpy-whole-signs]"
EPILOGUE = "test_xnor_epilogue.py::test_convolution_equals_reference"
NUMBERS = f"{EPILOGUE}[numpy-NCHW-numbers]"
BY_PIXEL = f"{EPILOGUE}[numpy-NHWC-numbers]"
SIGNED = f"{EPILOGUE}[numpy-NHWC-numbers and signs]"
STEPS = "test_xnor_epilogue.py::test_a_list_of_activations_may_be_long"
LONG_ROWS = "test_xnor_epilogue.py::test_rows_longer_than_a_tile"
ROUNDED = "test_xnor_epilogue.py::test_products_and_sums_are_rounded_twice_or_once"
LINEAR = "test_xnor_products.py::test_linear_equals_reference"
SLICED = "test_xnor_depthwise.py::test_words_of_one_pixel_and_of_several_in_a_vector"
FEW_CHANNELS = "test_xnor_depthwise.py::test_groups_of_few_channels_and_of_more_filters"
EVERY_SUM = "test_xnor_depthwise.py::test_thresholds_at_every_sum_and_beyond"
LONG_STRIPS = "test_xnor_depthwise.py::test_rows_longer_than_a_strip_and_images_higher"
SLICED_CALLS = f"{CONV}[numpy-depthwise-integers] & {CONV}[numpy-depthwise-signs]"
MATMUL = "test_xnor_products.py::test_matmul_equals_reference"
MEANS = "test_xnor_magnitudes.py::test_activation_scale_equals_reference[numpy]"
ALPHA = "test_xnor_magnitudes.py::test_pack_filters_equals_reference[numpy]"
RESIDUAL = "test_xnor_magnitudes.py::test_residual_terms_equal_reference[numpy]"
BETWEEN = "test_xnor_channelwise.py::test_numbers_and_signs_are_those_of_numpy[numpy]"
FOLD = "test_xnor_thresholds.py::test_folded_batchnorm_equals_the_float_chain_for_every_integer[numpy]"
POOL = "test_xnor_thresholds.py::test_max_pool_equals_reference[numpy]"

ADDED = '        residual = check.residual(asked.residual, shape)\n        steps.append(Step("add"))\n'
ACTIVATED = "    steps += _activations(check, asked.activation)\n"

FAULTS: list[Fault] = [
    *of(
        "cpu/exchange.py",
        (
            "pieces of a plane begin at its first row",
            "start, to = plane + row, plane + row * width",
            "start, to = plane + row % 1024, plane + row * width",
            NARROW,
        ),
        (
            "what does not fill a vector is forgotten",
            "for i in range(row, end):",
            "for i in range(row, end - 1):",
            NARROW,
        ),
    ),
    *of(
        "cpu/xnor/pixels.py",
        (
            "rows step as columns do",
            "y = i * p.stride_rows - p.top",
            "y = i * p.stride_columns - p.top",
            INTEGERS,
        ),
        (
            "taps are a stride apart, not a dilation",
            "row // p.band * p.dilation_rows",
            "row // p.band * p.stride_rows",
            INTEGERS,
        ),
        ("padding on the right counts as nothing", "line[hi:] = outside", "line[hi:] = 0", INTEGERS),
        (
            "every filter sees the first group",
            "at = ((o + k) // p.filters - group) * p.channels * plane",
            "at = (o - o) * p.channels * plane",
            GROUPED,
        ),
        (
            "strides are forgotten left of the image",
            "(first + lo * p.stride_columns) * p.column_step",
            "(first + lo) * p.column_step",
            INTEGERS,
        ),
        (
            "all workers add in one place",
            "sums = own(p, p.sums, worker, p.sums_size)",
            "sums = own(p, p.sums, 0, p.sums_size)",
            OWN_SCRATCH + "[xnor_conv2d, one channel]",
        ),
    ),
    *of(
        "cpu/xnor/depthwise.py",
        (
            "windows that reach out on the left are taken for the inside",
            "if kind == 0 and q + v >= p.left_words:",
            "if kind == 0:",
            SLICED,
        ),
        (
            "windows that reach out above and below are taken for the inside",
            "if kind == 0 and q + v >= p.left_words:",
            "if q + v >= p.left_words:",
            SLICED,
        ),
        (
            "windows that reach out on the right are taken for the inside",
            "min(p.right_words - q, -(-words",
            "min(p.right_words, -(-words",
            LONG_STRIPS,
        ),
        (
            "long rows end with the masks of their middle",
            "q + v - p.skipped)",
            "q + v - p.skipped - p.depth)",
            LONG_STRIPS,
        ),
        (
            "all vectors of a row begin with the first word of filters",
            "(q + v) % p.depth, inside,",
            "0, inside,",
            SLICED,
        ),
        (
            "the last words of a row are compared with the first thresholds",
            "limits, whole % p.depth, counted, 0)",
            "limits, 0, counted, 0)",
            SLICED,
        ),
        (
            "strides between rows of a strip are forgotten",
            "line = p.stride_rows * p.shift_count * p.pitch",
            "line = p.shift_count * p.pitch",
            SLICED_CALLS,
        ),
        (
            "all workers count in one place",
            "own(p, p.counted, worker, p.counted_size)",
            "own(p, p.counted, 0, p.counted_size)",
            OWN_SCRATCH + "[xnor_conv2d, depthwise]",
        ),
    ),
    *of(
        "cpu/xnor/counting.py",
        (
            "twos are counted twice",
            "self._full(builder.load(counters[1]), twos, carry)",
            "self._full(builder.load(counters[1]), twos, twos)",
            SLICED,
        ),
        (
            "terms outside count as terms that differ",
            "starts = [self._outside(s) if self.edge else zero for s in range(count + 1)]",
            "starts = [zero for s in range(count + 1)]",
            SLICED,
        ),
    ),
    *of(
        "cpu/xnor/slices.py",
        (
            "no sum is above all thresholds",
            "low, high = builder.neg(terms), builder.add(terms, _i32(1))",
            "low, high = builder.neg(terms), terms",
            EVERY_SUM,
        ),
        (
            "filters beyond the last have signs",
            "builder.select(builder.or_(beyond, outside), high, values)",
            "builder.select(beyond, high, values)",
            SLICED,
        ),
        (
            "flips are those of the first word",
            "flips = row(theirs, phase, pitches[1], count + 1)",
            "flips = row(theirs, zero, pitches[1], count + 1)",
            SLICED,
        ),
    ),
    *of(
        "cpu/xnor/strips.py",
        (
            "rows step as columns do",
            "y = i * p.stride_rows - p.top",
            "y = i * p.stride_columns - p.top",
            SLICED_CALLS,
        ),
        (
            "what is outside is +1 if it is a sign",
            "if p.outside > 0 else np.uint64(0)",
            "if p.outside != 0 else np.uint64(0)",
            SLICED,
        ),
        (
            "channels of a group are seen by the filters of the group before",
            "word >> np.uint64(c) & np.uint64(p.lowest)",
            "word >> np.uint64(c)",
            FEW_CHANNELS,
        ),
        (
            "all filters of a word see its first groups",
            "(k & (p.multiplier - 1)) << (6 - p.doublings)",
            "0",
            FEW_CHANNELS,
        ),
    ),
    *of(
        "cpu/xnor/strips.py",
        (
            "a tap outside counts once for all channels",
            "(b1 - b0)) * channels",
            "(b1 - b0))",
            FEW_CHANNELS,
        ),
        (
            "fewer pixels than fill a vector are between the edges in tables",
            "middle = -(-AT_ONCE // depth)",
            "middle = AT_ONCE // depth // 2",
            LONG_STRIPS,
        ),
        compiled=False,
    ),
    *of(
        "cpu/xnor/words.py",
        (
            "borders above and below are taken for the inside",
            "j * across, rows[i]",
            "j * across, rows[0]",
            PADDED,
        ),
        (
            "borders beside are taken for the inside",
            "(base + columns[j + k]) * p.totals_step",
            "base * p.totals_step",
            PADDED,
        ),
        (
            "totals of a group begin where its filters do",
            "p.group_step, g * p.padded + f,",
            "p.group_step, g * p.filters + f,",
            ODD_GROUPS,
        ),
        (
            "images and groups are confused",
            "image * p.image_step + g * p.group_step,",
            "image * p.group_step + g * p.group_step,",
            ODD_GROUPS,
        ),
        (
            "the last task is forgotten",
            "share(p, chunk, p.images * p.parts * p.splits)",
            "share(p, chunk, p.images * p.parts * p.splits - 1)",
            INTEGERS,
        ),
        (
            "all workers add in one place",
            "own(p, p.sums, worker, p.sums_size)",
            "own(p, p.sums, 0, p.sums_size)",
            OWN_SCRATCH + "[xnor_conv2d]",
        ),
    ),
    *of(
        "cpu/xnor/words.py",
        (
            "totals of one pad value serve another",
            "spec.groups, spec.pad_value, terms",
            "spec.groups, terms",
            PADDED,
        ),
        compiled=False,
    ),
    *of(
        "cpu/xnor/steps.py",
        (
            "scales are added",
            "v = product(v, _parameter(parameters, row, by_line))\n        elif kind == SHIFT",
            "v = total(v, _parameter(parameters, row, by_line))\n        elif kind == SHIFT",
            BIASED,
        ),
        (
            "a shift is that of the filter before",
            "v = total(v, _parameter(parameters, row, by_line))",
            "v = total(v, _parameter(parameters, max(row - 1, 0), by_line))",
            BIASED,
        ),
        (
            "affine steps shift by their scale",
            "v = total(scaled, _parameter(parameters, row + p.parameter_step, by_line))",
            "v = total(scaled, _parameter(parameters, row, by_line))",
            ROUNDED,
        ),
        (
            "fused steps are rounded twice",
            "v = fused(v, _parameter(parameters, row, by_line), shift)",
            "v = total(product(v, _parameter(parameters, row, by_line)), shift)",
            ROUNDED,
        ),
        (
            "all pixels of a line have the first one's K",
            "load_some(window, window_at, count) if window_as_row else repeat(window, window_at)",
            "repeat(window, window_at)",
            K,
        ),
        (
            "residuals are factors",
            "v = total(v, load_some(residual, at, count))",
            "v = product(v, load_some(residual, at, count))",
            STEPS,
        ),
        (
            "slopes are those of positive numbers",
            "v = where_negative(v, product(v, _parameter(parameters, row, by_line)), v)",
            "v = where_negative(v, v, product(v, _parameter(parameters, row, by_line)))",
            STEPS,
        ),
        (
            "relu keeps what is negative",
            "v = where_negative(v, zeros_like(v), v)",
            "v = where_negative(v, v, zeros_like(v))",
            NUMBERS,
        ),
        (
            "the lower bound of a clamp is its upper",
            "v = where_less(v, _parameter(parameters, row, by_line))",
            "v = where_less(v, _parameter(parameters, row + p.parameter_step, by_line))",
            STEPS,
        ),
        (
            "every step has one row of parameters",
            "row += p.parameter_step * ROWS[kind]",
            "row += p.parameter_step",
            STEPS,
        ),
        (
            "K of a pixel ignores its group",
            "k_at = (image * p.groups + group) * p.positions + pixel",
            "k_at = image * p.groups * p.positions + pixel",
            GROUPED_K,
        ),
        (
            "K of a line ignores its group",
            "k_at = (image * p.groups + (o + k) // p.filters) * p.positions + pixel",
            "k_at = image * p.groups * p.positions + pixel",
            GROUPED_K,
        ),
        (
            "filters of all groups in a word have the first one's K",
            "window[k_at + ((o + k) // p.filters - group) * p.positions + q]",
            "window[k_at + q]",
            GROUPED_K,
        ),
        (
            "no word of filters spans groups",
            "(o + width - 1) // p.filters != group",
            "o // p.filters != group",
            GROUPED_K,
        ),
        (
            "residuals are turned over in lines of pixels",
            "fetch_turned(residual, (begin, p.filter_stride), m, width, spare)",
            "fetch_turned(residual, (begin, p.pixel_stride), m, width, spare)",
            STEPS,
        ),
        (
            "all pixels have the first one's residual",
            "added = (spare, q * UNIT) if turned else (residual, to)",
            "added = (spare, q * UNIT) if turned else (residual, begin)",
            BY_PIXEL,
        ),
        (
            "long lines begin with one residual again and again",
            "(residual, begin + q, window, k_at + q)",
            "(residual, begin, window, k_at + q)",
            LONG_ROWS,
        ),
        (
            "long lines begin with one K again and again",
            "(residual, begin + q, window, k_at + q)",
            "(residual, begin + q, window, k_at)",
            LONG_ROWS,
        ),
        (
            "signs of numbers are not turned",
            "word = reached(v, load_row(bounds, o)) ^ nonzero(load_row(flip, o))",
            "word = reached(v, load_row(bounds, o))",
            SIGNED,
        ),
        (
            "filters beyond 64 have the bounds of the first",
            "word = reached(v, load_row(bounds, o))",
            "word = reached(v, load_row(bounds, 0))",
            "test_xnor_epilogue.py::test_more_filters_than_a_word_has_bits_have_bounds_of_their_own",
        ),
        (
            "tail bits of packed signs are not 0",
            "word &= np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(UNIT - width)",
            "word &= np.uint64(0xFFFFFFFFFFFFFFFF)",
            PACKED,
        ),
        (
            "a word's overflow is shifted the wrong way",
            "word >> (np.uint64(UNIT) - shift)",
            "word >> shift",
            PACKED,
        ),
    ),
    *of(
        "cpu/xnor/channelwise.py",
        (
            "the last row is never the largest",
            "min(row + p.kernel_rows, p.rows)",
            "min(row + p.kernel_rows, p.rows - 1)",
            BETWEEN,
        ),
        ("steps after pooling take the numbers of those before", "o + p.rows_before)", "o)", BETWEEN),
        ("every comparison is the first", "at = k * p.parameter_step + o", "at = o", BETWEEN),
        ("NaN has a sign", "wanted = reached(v, v) & (np.uint64", "wanted = (np.uint64", BETWEEN),
        ("windows move by one", "i * p.stride_rows - p.top", "i - p.top", BETWEEN),
    ),
    *of(
        "cpu/vectors.py",
        (
            "pooling loses a NaN",
            'builder.or_(above, builder.fcmp_unordered("uno", other, other))',
            "above",
            BETWEEN,
        ),
        (
            "the last number of a tail is not loaded",
            "given = [pointer, _i32(_bytes(x)), _first(builder, number), zeros]",
            "given = [pointer, _i32(_bytes(x)), _first(builder, builder.sub(number, _i64(1))), zeros]",
            NUMBERS,
        ),
        (
            "the last number of a tail is not stored",
            "_i32(_bytes(x)), _first(builder, number)]",
            "_i32(_bytes(x)), _first(builder, builder.sub(number, _i64(1)))]",
            BIASED,
        ),
        (
            "a tail is one number longer",
            'builder.icmp_signed("<", lanes',
            'builder.icmp_signed("<=", lanes',
            "test_public.py::test_nothing_is_written_beside_out",
        ),
        ("a number at its bound is below it", 'compare(">=", *args)', 'compare(">", *args)', SIGNED),
    ),
    *of(
        "cpu/xnor/tiles.py",
        (
            "a sum at its threshold is below it",
            'builder.icmp_signed(">=", values',
            'builder.icmp_signed(">", values',
            PACKED,
        ),
        (
            "signs of sums are not turned",
            "builder.xor(builder.bitcast(bits, _i64), builder.bitcast(other, _i64))",
            "builder.or_(builder.bitcast(bits, _i64), builder.bitcast(other, _i64))",
            PACKED,
        ),
        (
            "negative taps are added",
            "add_taps(between, high, builder.sub)",
            "add_taps(between, high, builder.add)",
            INTEGERS,
        ),
        (
            "int8 holds more terms than it can",
            "longest = _i64(127)",
            "longest = _i64(200)",
            "test_xnor.py::test_equal_signs_add_up_to_their_number",
        ),
        (
            "the rest of a block is turned over wrongly",
            "out[begin + k * step + q] = y[q * pitch + k]\n",
            "out[begin + k * step + q] = y[k * pitch + q]\n",
            ODD_GROUPS,
        ),
        (
            "residuals are laid out a line too close",
            "lines[k * UNIT : k * UNIT + m]",
            "lines[k * PIXELS : k * PIXELS + m]",
            STEPS,
        ),
    ),
    *of(
        "cpu/xnor/pool.py",
        (
            "all workers pool in one row",
            "line = own(p, p.line, worker, width)",
            "line = own(p, p.line, 0, width)",
            OWN_SCRATCH + "[binary_max_pool2d]",
        ),
        ("pooling leaves out the first row", "if 0 <= row < p.rows:", "if 0 < row < p.rows:", POOL),
    ),
    *of(
        "cpu/xnor/means.py",
        (
            "K counts the rows of a kernel twice",
            "1 / max(p.channels * p.kernel_rows * p.kernel_columns, 1)",
            "1 / max(p.channels * p.kernel_rows * p.kernel_rows, 1)",
            MEANS,
        ),
        ("K ignores its group", "+ g * p.channels * p.channel_step", "+ 0 * g * p.channel_step", MEANS),
        (
            "K takes the dilation of rows",
            "add_columns(columns, b * p.dilation_columns",
            "add_columns(columns, b * p.dilation_rows",
            MEANS,
        ),
        (
            "K's portion is a float32",
            "portion = totals.dtype.type(1 / max",
            "portion = out.dtype.type(1 / max",
            "test_empties.py::test_layers_of_nothing[numpy]",
        ),
        (
            "all workers add magnitudes in one row",
            "own(p, p.columns, worker, width)",
            "own(p, p.columns, 0, width)",
            OWN_SCRATCH + "[activation_scale]",
        ),
        (
            "a block of K does not see the rows that windows reach",
            "min(below + (p.kernel_rows - 1) * p.dilation_rows + 1, p.rows)",
            "min(below + 1, p.rows)",
            MEANS,
        ),
        (
            "channels that are neighbours have no magnitudes",
            "abs(np.float64(x[k]))",
            "np.float64(x[k])",
            MEANS,
        ),
    ),
    *of(
        "cpu/xnor/means.py",
        ("bool has magnitude 0", "np.broadcast_to(np.float32(1)", "np.broadcast_to(np.float32(0)", MEANS),
        compiled=False,
    ),
    *of(
        "cpu/xnor/borders.py",
        ("the sign of what lies outside is turned", "(1 + pad_value)", "(1 - pad_value)", PADDED),
        ("corners are counted twice", "+ sums[np.ix_(a0, b0)]", "- sums[np.ix_(a0, b0)]", PADDED),
        (
            "borders are those of the other side",
            "- geometry.padding[axis][0]",
            "- geometry.padding[axis][1]",
            PADDED,
        ),
        compiled=False,
    ),
    *of(
        "cpu/xnor/pack.py",
        (
            "tiles of all groups are the first one's",
            "words[g, first : first + LANES]",
            "words[0, first : first + LANES]",
            ODD_GROUPS,
        ),
    ),
    *of(
        "cpu/xnor/pack.py",
        ("images are moved down by their left padding", "self.top * row", "self.left * row", ODD_GROUPS),
        compiled=False,
    ),
    *of(
        "cpu/xnor/epilogue.py",
        (
            "numbers of steps are those of integers",
            "row[: self.filters] = numbers\n        if self.outcome.signs",
            "row[: self.filters] = np.rint(numbers)\n        if self.outcome.signs",
            BIASED,
        ),
        (
            "flip is forgotten",
            'found["flip"] = self._row(epilogue.flip, np.uint8)',
            'found["flip"] = self._row(False, np.uint8)',
            PACKED,
        ),
        compiled=False,
    ),
    *of(
        "_epilogue.py",
        (
            "the residual comes after the activation",
            f"{ADDED}{ACTIVATED}",
            f"    {ACTIVATED}{ADDED}    else:\n    {ACTIVATED}",
            NUMBERS,
        ),
        (
            "K comes without alpha",
            'return [alpha, Step("window")] if scale == "xnor"',
            'return [Step("window")] if scale == "xnor"',
            K,
        ),
        compiled=False,
    ),
    *of(
        "_shared/thresholds.py",
        (
            "signs of integers are at the integer below",
            "next_integer = np.ceil(tau",
            "next_integer = np.floor(tau",
            "test_xnor_epilogue.py::test_integers_reach_any_number[numpy]",
        ),
        (
            "all integers reach what none does",
            "return least.astype(np.int32), flip ^ ~within",
            "return least.astype(np.int32), flip",
            "test_xnor_epilogue.py::test_integers_reach_any_number[numpy]",
        ),
        compiled=False,
    ),
    *of(
        "cpu/xnor/thresholds.py",
        (
            "the sign of 0 is -1 in folded chains",
            "(values(middle) >= 0) == last",
            "(values(middle) > 0) == last",
            FOLD,
        ),
        ("eps counts twice", "np.sqrt(var + eps)", "np.sqrt(var + 2 * eps)", FOLD),
        ("tau is one too low", "np.iinfo(np.int32).min, high)", "np.iinfo(np.int32).min, low)", FOLD),
        compiled=False,
    ),
    *of(
        "cpu/xnor/rows.py",
        (
            "one product's operands serve all",
            "right = np.broadcast_to(right, (*self.spec.batch, self.n, self.depth))",
            "right = np.broadcast_to(right[(0,) * (right.ndim - 2)], (*self.spec.batch, self.n, self.depth))",
            MATMUL + "[numpy-a stack of each]",
        ),
        (
            "K of rows is that of ones",
            "self.means(x.reshape(1, 1, self.rows, self.k))",
            "self.means(np.ones_like(x).reshape(1, 1, self.rows, self.k))",
            LINEAR + "[numpy-xnor]",
        ),
        compiled=False,
    ),
    *of(
        "_shared/expressions.py",
        ("alpha is divided by one too many", "/ terms).astype", "/ (terms + 1)).astype", ALPHA),
        ("residuals are added", "rest = rest - xp", "rest = rest + xp", RESIDUAL),
        compiled=False,
    ),
    *of(
        "cpu/xnor/means.py",
        ("K of narrow images walks down rows", "row, pixel = pixel, row", "row, pixel = row, pixel", MEANS),
        compiled=False,
    ),
    *of(
        "cpu/xnor/pool.py",
        ("narrow words are not turned", "words=native(words.swapaxes(-3, -2))", "words=native(words)", POOL),
        compiled=False,
    ),
    *of(
        "cpu/xnor/turned.py",
        ("filters of narrow images keep their rows", "filters.words.swapaxes(1, 2)", "filters.words", CONV),
        compiled=False,
    ),
]
