"""Faults that the tests of correlation must find."""

from faults import KEEP_OUT, OWN_SCRATCH, Fault, of

AXES = "test_correlation_axes.py::test_any_two_axes_equal_reference[numpy-correlate2d]"
COLOURS = "test_correlation_axes.py::test_colours_under_kernels_of_several_pieces_equal_reference"
BATCHES = "test_correlation.py::test_batches_broadcast[numpy]"
FLIPPED = "test_correlation.py::test_convolution_is_correlation_with_the_flipped_kernel[numpy]"
SEVERAL_TILES = "test_correlation.py::test_images_of_several_tiles_equal_scipy"
FLOAT_TILES = "test_correlation.py::test_tiles_of_every_dtype_equal_reference[numpy-9-shape0-f4]"
FACTORED_TILES = "test_correlation.py::test_tiles_of_every_dtype_equal_reference[numpy-1-shape0-f4]"
BLOCKS = "test_correlation_layer.py::test_conv2d_in_many_blocks_equals_reference"
RANK_1 = "test_correlation_rank_1.py::"
GAUSSIANS = RANK_1 + "test_gaussians_with_vanishing_corners_are_of_rank_1"
LARGE = "test_correlation_layer.py::test_large_layers_equal_reference"
LAYER = "test_correlation_layer.py::test_conv2d_equals_reference"
LAYERS = "test_correlation_layer.py::test_layers_of_every_kind_equal_reference"
FILTERS = "test_correlation_filters.py::test_layers_with_vectors_of_filters_equal_reference"
GROUPED = "test_correlation_filters.py::test_layers_in_groups_of_few_channels_equal_reference"
DEPTHWISE = "test_correlation_layer.py::test_depthwise_layers_equal_reference"

FAULTS: list[Fault] = [
    *of(
        "cpu/correlation/tiles.py",
        (
            "symmetric borders skip the edge",
            "2 * n - spacing - folded",
            "max(2 * n - 2 * spacing - folded, 0)",
            SEVERAL_TILES,
        ),
        (
            "mirrored colours change places",
            " + 2 * (folded % spacing)",
            " + spacing - 1",
            COLOURS,
        ),
        (
            "taps of interleaved images are neighbours",
            "source.address + (a * source.pitch + b * source.step + j)",
            "source.address + (a * source.pitch + b + j)",
            COLOURS,
        ),
        ("wrapped borders are off by one", "return position % n", "return (position + 1) % n", FLOAT_TILES),
        (
            "the kernel fits one column too far",
            "_inside(j, n, p.left, p.width - reach)",
            "_inside(j, n, p.left, p.width - reach + 1)",
            KEEP_OUT + "[correlate2d]",
        ),
        (
            "pieces of a kernel replace each other",
            "min(lanes, n), k > 0, stream",
            "min(lanes, n), False, stream",
            SEVERAL_TILES,
        ),
        (
            "the fill value is 0",
            "line[c] = fill",
            "line[c] = fill - fill",
            KEEP_OUT + "[correlate2d, filled]",
        ),
        (
            "infinite tiles are not done again",
            "return (x - x != 0) |",
            "return (x - x > 0) |",
            FACTORED_TILES,
        ),
        (
            "results that taps far off may matter in are not done again",
            "((size < least[0]) &",
            "((size < 0) &",
            GAUSSIANS + "[numpy-normalised-f4-31-1.5]",
        ),
        (
            "every image meets the first kernel",
            "Taps(taps[which[b, 1]], passes)",
            "Taps(taps[0], passes)",
            BATCHES,
        ),
        (
            "all workers pad in one strip",
            "    strip = own(p, p.strip, worker, p.length)",
            "    strip = own(p, p.strip, 0, p.length)",
            OWN_SCRATCH + "[correlate2d, tiles]",
        ),
        (
            "the last tile is forgotten",
            "return p.results * -(-p.out",
            "return -1 + p.results * -(-p.out",
            BATCHES,
        ),
    ),
    *of(
        "cpu/correlation/methods.py",
        (
            "convolution flips rows alone",
            "kernel = kernel[..., ::-1, ::-1]",
            "kernel = kernel[..., ::-1, :]",
            BATCHES,
        ),
        (
            "complex kernels are not conjugated",
            "kernel.conj() if self.conjugates else kernel",
            "kernel",
            FLIPPED,
        ),
        (
            "swapped inputs are mirrored by rows alone",
            "sums = np.flip(sums, self.spec.axes).copy()",
            "sums = np.flip(sums, self.spec.axes[:1]).copy()",
            KEEP_OUT + "[correlate2d, mirrored]",
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/lines.py",
        (
            "every row of a batch between rows and columns is one image's",
            "_starts(image_batch[:outside], image_steps)",
            "_starts(image_batch[:outside], [0] * len(image_steps))",
            AXES,
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/blocks.py",
        ("every group has the first one's bias", "bias[own, None]", "bias[: self.filters, None]", BLOCKS),
        (
            "only the last block of channels counts",
            "sums += part @ windows",
            "sums = part @ windows",
            BLOCKS,
        ),
        (
            "windows of images that are multiplied together are taken for filters",
            "sums.reshape(n, length, -1).transpose(0, 2, 1)",
            "sums.reshape(n, -1, length)",
            LAYERS,
        ),
        compiled=False,
    ),
    *of(
        "correlation.py",
        (
            "'same' begins one further for even kernels",
            'centre = (kh // 2, kw // 2) if operation == "correlate2d"',
            'centre = (kh // 2, kw // 2) if operation == "convolve2d"',
            BATCHES,
        ),
        compiled=False,
    ),
    *of(
        "_shared/rank1.py",
        (
            "taps may be off by twice their size",
            "TAP_ERROR * unit * sizes",
            "TAP_ERROR * sizes",
            RANK_1 + "test_a_tap_that_matters_makes_a_kernel_of_higher_rank[numpy]",
        ),
        (
            "columns are not scaled down",
            "- 1, 0)[:, None, None]",
            "- 1, 0)[:, None, None] * 0",
            RANK_1 + "test_two_passes_lose_nothing_at_wild_magnitudes[f4]",
        ),
        (
            "kernels are remembered by their shape",
            "return _remembered(kernels.tobytes(),",
            "return _remembered(kernels.tobytes()[:1] * kernels.nbytes,",
            RANK_1 + "test_factors_are_remembered_until_a_kernel_is_written_to[1]",
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/dense.py",
        (
            "dilation is forgotten where taps share a strip",
            "+ b * window.dilation[1]",
            "+ b",
            LARGE,
        ),
        (
            "weights of a turned layer keep their rows",
            "row, column, weight = column, row, weight.swapaxes(-2, -1)",
            "row, column = column, row",
            LARGE,
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/dense.py",
        ("every group has the first one's bias", "bias[filter + f]", "bias[f]", LARGE),
        (
            "a pixel beyond the right edge is taken",
            "min(n, p.width - column)",
            "min(n, p.width - column + 1)",
            LARGE,
        ),
        (
            "weights of a block of channels begin at the first",
            "((filter + f) * p.channels + c) * taps",
            "(filter + f) * p.channels * taps",
            LARGE,
        ),
        (
            "all workers lay pixels out in one place",
            "panel = own(p, p.panel, worker,",
            "panel = own(p, p.panel, 0,",
            OWN_SCRATCH + "[conv2d, few filters]",
        ),
    ),
    *of(
        "cpu/correlation/__init__.py",
        (
            "the first way takes what it cannot read",
            "if self.plans[k].takes(x):",
            "if self.plans[k].takes(x) or x.itemsize == 4:",
            "test_correlation_layer.py::test_conv2d_needs_little_memory",
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/filters.py",
        (
            "later images of a task have the bias of the first",
            "for q in range(count * pixels):",
            "for q in range(pixels):",
            FILTERS,
        ),
        (
            "weights of a later run are those of the first",
            "* p.depth + k * wide) * LANES",
            "* p.depth) * LANES",
            FILTERS,
        ),
        (
            "every group has the first one's channels",
            "+ group * p.channels * p.plane_step",
            "+ 0 * group * p.channels * p.plane_step",
            FILTERS,
        ),
        (
            "the last images of all are as many as the others",
            "min(p.together, p.images - image), min(p.band",
            "p.together, min(p.band",
            FILTERS,
        ),
        (
            "all workers keep sums in one place",
            "own(p, p.sums, worker, p.sums_size)",
            "own(p, p.sums, 0, p.sums_size)",
            OWN_SCRATCH + "[conv2d]",
        ),
    ),
    *of(
        "cpu/correlation/packing.py",
        (
            "a narrower last tile is packed as the others",
            "step = min(p.wide, p.blocks - first) * LANES",
            "step = p.wide * LANES",
            FILTERS,
        ),
        (
            "the last block of channels has the weights of none before",
            "if p.overlap != 0 else block * LANES",
            "if p.overlap == 2 else block * LANES",
            DEPTHWISE,
        ),
    ),
    *of(
        "cpu/correlation/panels.py",
        (
            "columns beyond the image are not zeros",
            "panel[begin + hi * pitch : begin + wide * pitch] = zero",
            "panel[begin + hi * pitch : begin + hi * pitch] = zero",
            FILTERS,
        ),
        (
            "taps down are as far apart as taps across",
            "a * (down * row) + b * (across * pixel)",
            "a * (across * row) + b * (across * pixel)",
            GROUPED,
        ),
        (
            "all workers turn pixels over in one place",
            "turned = own(p, p.turned, worker,",
            "turned = own(p, p.turned, 0,",
            OWN_SCRATCH + "[conv2d, depthwise]",
        ),
    ),
    *of(
        "cpu/correlation/lanes.py",
        (
            "lanes of a group meet the same channel",
            "_i32(k // count * count + c) for k",
            "_i32(k // count * count) for k",
            GROUPED,
        ),
    ),
    *of(
        "cpu/correlation/products.py",
        (
            "sums of filters begin anew",
            "builder.fadd(before, builder.load(total))",
            "builder.load(total)",
            FILTERS,
        ),
    ),
    *of(
        "cpu/correlation/channels.py",
        (
            "a later chain of products begins anew",
            "before = place if tap > 0 else",
            "before = place if tap < 0 else",
            DEPTHWISE,
        ),
        (
            "the last tile begins where there is no pixel any more",
            "pixels, pixels - TILE)",
            "pixels, pixels)",
            "test_correlation_filters.py::test_nothing_is_written_beyond_a_result",
        ),
        (
            "a filter looks at the channel of its own number",
            "(filter + lane) // p.multiplier * p.plane_step",
            "(filter + lane) * p.plane_step // p.multiplier",
            DEPTHWISE,
        ),
    ),
    *of(
        "cpu/correlation/planes.py",
        (
            "planes are padded above as on the left",
            "window.output, (top, left),",
            "window.output, (left, top),",
            DEPTHWISE,
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/matrix.py",
        (
            "every group has the first one's weights",
            "weights.transpose(0, 2, 1), out",
            "weights[:1].transpose(0, 2, 1), out",
            LAYERS,
        ),
        compiled=False,
    ),
    *of(
        "cpu/correlation/turned.py",
        (
            "what is turned begins where it began",
            "before=spec.before[::-1]",
            "before=spec.before",
            "test_correlation.py::test_correlation_equals_reference",
        ),
        compiled=False,
    ),
]
