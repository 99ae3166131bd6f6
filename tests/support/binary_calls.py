"""What the tests of binary layers draw: operands in every form, every output, and the bounds that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from closeness import assert_same, assert_within, rounding_of_sums
from fastconv import PackedFilters, PackedSigns, Threshold, reference
from strategies import FEW, FLOATS, SIGNED, arrays, seeds, tall_windows, windows

CHANNELS = (1, 2, 3, 5, 12, 13, 24, 63, 64, 65, 130)
FILTERS = (1, 2, 7, 8, 9, 33, 64, 70)
GROUPS = {
    1: (CHANNELS, FILTERS),
    2: ((1, 3, 5, 33, 64, 66), (1, 2, 8, 9, 33, 64, 65)),
    3: ((1, 2, 22, 65), (1, 3, 24)),
}
"""For each number of groups, the channels and filters of one."""

GROUPINGS = ("whole", "groups", "depthwise")
DEPTHWISE = (2, 3, 9, 64, 65, 70, 130)
OF_FEW = ((1, 1), (1, 1), (1, 1), (1, 2), (1, 8), (2, 2), (2, 4), (4, 4), (8, 8), (2, 3), (3, 3))
"""Groups of one channel or a few, and the channels and filters of one."""

WEIGHTS = ("?", "i1", "i8", *FLOATS)
OUTPUTS = (
    "integers", "signs", "bias", "alpha", "alpha and bias", "array", "array and bias",
    "xnor", "xnor and bias",
)  # fmt: skip


@dataclass(frozen=True)
class Convolution:
    """A call of ``xnor_conv2d``: NCHW images, real filters, where the window lies, what comes out."""

    x: np.ndarray
    weight: np.ndarray
    place: dict[str, Any]
    output: dict[str, Any] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        return self.place | self.output

    @property
    def terms(self) -> int:
        return int(np.prod(self.weight.shape[1:]))


@st.composite
def convolutions(
    draw: st.DrawFn, outputs: tuple[str, ...] = OUTPUTS, kinds: tuple[str, ...] = GROUPINGS
) -> Convolution:
    """Any number of channels, filters and groups; images small enough for the reference."""
    kind = draw(st.sampled_from(kinds))
    groups = draw(st.sampled_from([2, 3])) if kind == "groups" else 1
    if kind == "depthwise":
        groups, (channels, filters) = draw(st.sampled_from(DEPTHWISE)), draw(st.sampled_from(OF_FEW))
    else:
        channels, filters = (draw(st.sampled_from(sizes)) for sizes in GROUPS[groups])
    products = groups * channels * filters
    room = (8, 66) if products <= 300 else (4, 17) if products <= 4000 else (2, 5)
    size, kernel, place = draw(windows(room=room) | tall_windows(room=room))
    output = draw(outputs_of(groups * filters, channels * kernel[0] * kernel[1], outputs))
    special = 0 if by_windows(output) else FEW
    x = draw(arrays((draw(st.integers(1, 2)), groups * channels, *size), SIGNED, special=special))
    weight = draw(arrays((groups * filters, channels, *kernel), WEIGHTS, magnitude=1.0))
    place |= {"groups": groups, "pad_value": draw(st.sampled_from([0, 1, -1]))}
    return Convolution(x, weight, place, output)


@st.composite
def outputs_of(
    draw: st.DrawFn, filters: int, terms: int, outputs: tuple[str, ...] = OUTPUTS
) -> dict[str, Any]:
    """Keyword arguments for what becomes of the integers."""
    kind = draw(st.sampled_from(outputs))
    if kind == "signs":
        return {"threshold": threshold(draw(seeds), filters, terms)}
    found: dict[str, Any] = {}
    if "array" in kind:
        found["scale"] = draw(arrays((filters,), FLOATS, magnitude=1.0))
    elif kind.split()[0] in ("alpha", "xnor"):
        found["scale"] = kind.split()[0]
    if "bias" in kind:
        found["bias"] = draw(arrays((filters,), (*FLOATS, "i2")))
    return found


def threshold(seed: int, filters: int, terms: int) -> Threshold:
    """Thresholds among the sums of ``terms`` signs, so that many are met exactly; some channels constant."""
    rng = np.random.default_rng(seed)
    tau = np.rint(rng.standard_normal(filters) * np.sqrt(terms)).astype(np.int32)
    tau[rng.random(filters) < 0.05] = np.iinfo(np.int32).min
    tau[rng.random(filters) < 0.05] = np.iinfo(np.int32).max
    return Threshold(tau, rng.random(filters) < 0.5)


def by_windows(output: dict[str, Any]) -> bool:
    """Whether K, the mean magnitude under each window, is among the factors."""
    return isinstance(output.get("scale"), str) and output["scale"] == "xnor"


@st.composite
def given_forms(draw: st.DrawFn, call: Convolution) -> tuple[Any, Any, str]:
    """The operands as a caller may give them, and the format: packed or real, one image or several."""
    x, weight = call.x, call.weight
    weight = reference.pack_filters(weight) if draw(st.booleans()) else weight
    data_format = draw(st.sampled_from(["NCHW", "NHWC"]))
    if not by_windows(call.output) and draw(st.booleans()):
        x = reference.pack_signs(x, axis=1)
        return (PackedSigns(x.words[0], x.length) if draw(st.booleans()) else x), weight, data_format
    if data_format == "NHWC":
        x = x.transpose(0, 2, 3, 1)
        x = np.ascontiguousarray(x) if draw(st.booleans()) else x
    return (x[0] if draw(st.booleans()) else x), weight, data_format


def to_backend(backend: Any, value: Any) -> Any:
    """``value`` with its arrays in the library under test."""
    if isinstance(value, PackedSigns):
        return PackedSigns(backend.asarray(value.words), value.length)
    if isinstance(value, PackedFilters):
        return PackedFilters(backend.asarray(value.words), value.channels, backend.asarray(value.alpha))
    if isinstance(value, Threshold):
        return Threshold(backend.asarray(value.tau), backend.asarray(value.flip))
    return backend.asarray(value) if isinstance(value, np.ndarray) else value


def assert_result(backend: Any, actual: Any, expected: Any, bound: Any = 0) -> None:
    """Signs and integers are equal, numbers within their ``bound``."""
    if isinstance(expected, PackedSigns):
        assert actual.shape == expected.shape
        assert_same(backend.asnumpy(actual.words), expected.words)
    else:
        assert_within(backend.asnumpy(actual), expected, bound)


def bound_of_scaling(expected: Any, output: dict[str, Any], unbiased: Any, axis: int, terms: int) -> Any:
    """How far each number may be from ``expected``: ``unbiased`` is what it would be without bias.

    Both sides round alpha, K, their product, the product with the sum, the bias, and the sum of the two, each
    by half an eps at most; and K is a mean of ``terms`` numbers. ``axis`` is that of the filters.
    """
    if isinstance(expected, PackedSigns) or expected.dtype == np.int32:
        return 0
    eps = np.finfo(expected.dtype).eps
    by_window = by_windows(output)
    size = np.abs(np.asarray(unbiased, np.float64))
    bound = (4 if by_window else 2) * eps * size
    if by_window:
        bound = bound + rounding_of_sums(size, terms, expected.dtype)
    if output.get("bias") is not None:
        shape = [-1 if d == axis % expected.ndim else 1 for d in range(expected.ndim)]
        bound = bound + 2 * eps * (size + np.abs(output["bias"].astype(np.float64)).reshape(shape))
    return bound


def expected_of_convolution(
    x: Any, weight: Any, options: dict[str, Any], terms: int, data_format: str = "NCHW"
) -> tuple[Any, Any]:
    """What the reference says, and how far each number may be from it."""
    with np.errstate(all="ignore"):
        expected = unbiased = reference.xnor_conv2d(x, weight, data_format=data_format, **options)
        if "bias" in options:
            others = {name: value for name, value in options.items() if name != "bias"}
            unbiased = reference.xnor_conv2d(x, weight, data_format=data_format, **others)
    axis = -1 if data_format == "NHWC" else 0 if len(expected.shape) == 2 else -3
    return expected, bound_of_scaling(expected, options, unbiased, axis, terms)


def expected_of_linear(x: Any, weight: Any, output: dict[str, Any], terms: int) -> tuple[Any, Any]:
    with np.errstate(all="ignore"):
        expected = unbiased = reference.xnor_linear(x, weight, **output)
        if "bias" in output:
            unbiased = reference.xnor_linear(x, weight, scale=output.get("scale"))
    return expected, bound_of_scaling(expected, output, unbiased, -1, terms)
