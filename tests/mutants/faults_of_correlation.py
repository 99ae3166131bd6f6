"""Faults that the tests of correlation must find."""

from faults import KEEP_OUT, Fault, of

BATCHES = "test_correlation.py::test_batches_broadcast[numpy]"
FLIPPED = "test_correlation.py::test_convolution_is_correlation_with_the_flipped_kernel[numpy]"
SEVERAL_TILES = "test_correlation.py::test_images_of_several_tiles_equal_scipy"
FLOAT_TILES = "test_correlation.py::test_tiles_of_every_dtype_equal_reference[numpy-9-shape0-f4]"
FACTORED_TILES = "test_correlation.py::test_tiles_of_every_dtype_equal_reference[numpy-1-shape0-f4]"
BLOCKS = "test_correlation_layer.py::test_conv2d_in_many_blocks_equals_reference"
LAYER = "test_correlation_layer.py::test_conv2d_equals_reference"

FAULTS: list[Fault] = [
    *of(
        "cpu/_border.py",
        (
            "symmetric borders skip the edge",
            "2 * n - 1 - folded",
            "max(2 * n - 2 - folded, 0)",
            SEVERAL_TILES,
        ),
        ("wrapped borders are off by one", "return position % n", "return (position + 1) % n", FLOAT_TILES),
        (
            "the kernel fits one column too far",
            "_inside(j, n, frame[LEFT], width - kw + 1)",
            "_inside(j, n, frame[LEFT], width - kw + 2)",
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
    ),
    *of(
        "cpu/_filter.py",
        (
            "infinite tiles are not done again",
            "if careful and not _finite",
            "if careful and _finite",
            FACTORED_TILES,
        ),
        (
            "every image meets the first kernel",
            "images[batch[b, 0]], taps[batch[b, 1]]",
            "images[batch[b, 0]], taps[0]",
            BATCHES,
        ),
        (
            "all workers pad in one strip",
            "frame, fill, strips[worker],",
            "frame, fill, strips[0],",
            KEEP_OUT + "[correlate2d, tiles]",
        ),
        (
            "the last tile is forgotten",
            "return out.shape[0] * -(-out",
            "return -1 + out.shape[0] * -(-out",
            SEVERAL_TILES,
        ),
    ),
    *of(
        "cpu/correlation.py",
        (
            "convolution flips rows alone",
            "kernel[..., ::-1, ::-1], plan, out",
            "kernel[..., ::-1, :], plan, out",
            BATCHES,
        ),
        (
            "complex kernels are not conjugated",
            'kernel.conj() if kernel.dtype.kind == "c" else kernel',
            "kernel",
            FLIPPED,
        ),
        (
            "swapped inputs are mirrored by rows alone",
            "sums = sums[..., ::-1, ::-1].copy()",
            "sums = sums[..., ::-1, :].copy()",
            KEEP_OUT + "[correlate2d, mirrored]",
        ),
        ("every group has the first one's bias", "bias[own, None]", "bias[:o, None]", BLOCKS),
    ),
    *of(
        "correlation.py",
        (
            "'same' begins one further for even kernels",
            'centre = (kh // 2, kw // 2) if operation == "correlate2d"',
            'centre = (kh // 2, kw // 2) if operation == "convolve2d"',
            BATCHES,
        ),
    ),
    *of(
        "_rank1.py",
        (
            "a kernel is of rank 1 if one tap is",
            "if close.all() else None",
            "if close.any() else None",
            FLOAT_TILES,
        ),
    ),
    *of(
        "cpu/_float_layer.py",
        (
            "every group has the first one's bias",
            "own = bias[filter : filter + count]",
            "own = bias[:count]",
            LAYER,
        ),
        (
            "dilation is forgotten where taps share a strip",
            "b * dilation if strips == 1",
            "b if strips == 1",
            LAYER,
        ),
        (
            "padding is counted in pixels, not in strides",
            "inside = min(max(0, -(column // stride[1])), n)",
            "inside = min(max(0, -column), n)",
            LAYER,
        ),
        (
            "weights of a block of channels begin at the first",
            "channels * taps + c * taps",
            "channels * taps",
            "test_correlation_layer.py",
        ),
    ),
]
