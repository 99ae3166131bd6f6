"""The one table of right calls of every operation, for tests of what all of them have to do.

``CALLS[name]`` is the call of ``name`` with every argument given; ``CALLS["name, in words"]`` is another of
the same operation, which takes another way. ``LARGE`` holds calls that give every thread some work. A call
works with ``fastconv`` and with its reference, on arrays of any library.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv import PackedFilters, PackedSigns, Threshold, reference
from strategies import values


@dataclass(frozen=True)
class Operand:
    """What an argument is made from: its shape and dtype, and what is made of an array of these."""

    shape: tuple[int, ...]
    dtype: str = "f4"
    made: str = "array"

    def parts(self, seed: int) -> list[np.ndarray]:
        """The arrays that it consists of."""
        x = values(seed, self.shape, self.dtype)
        match self.made:
            case "signs":
                return [reference.pack_signs(x).words]
            case "filters":
                return leaves(reference.pack_filters(x))
            case "threshold" | "signs of numbers":
                return [x, np.rint(x) % 3 == 0]
            case "positive":
                return [np.abs(x)]
            case "whole":
                return [np.clip(np.rint(x), -9, 9)]
            case "turned":
                return [np.asfortranarray(x)]
        return [x]

    def whole(self, parts: Iterator[Any]) -> Any:
        """The argument itself, of its ``parts``."""
        match self.made:
            case "signs":
                return PackedSigns(next(parts), self.shape[-1])
            case "filters":
                return PackedFilters(next(parts), self.shape[1], next(parts))
            case "threshold":
                return Threshold(next(parts), next(parts))
            case "prelu":
                return "prelu", next(parts)
            case "signs of numbers":
                return next(parts), next(parts)
        return next(parts)


@dataclass(frozen=True)
class Call:
    """A call: the operation, its operands by parameter, and its other arguments."""

    operation: str
    operands: dict[str, Operand]
    options: dict[str, Any] = field(default_factory=dict)

    def arrays(self, seed: int = 0) -> list[np.ndarray]:
        return [part for i, o in enumerate(self.operands.values()) for part in o.parts(seed + i)]

    def arguments(self, *arrays: Any) -> dict[str, Any]:
        """All arguments by name, made of ``arrays``."""
        parts = iter(arrays)
        return {name: operand.whole(parts) for name, operand in self.operands.items()} | self.options

    def call(self, library: Any, *arrays: Any, **more: Any) -> Any:
        return call_by_name(getattr(library, self.operation), self.arguments(*arrays) | more)


def call_by_name(function: Any, arguments: dict[str, Any]) -> Any:
    """Call ``function`` with arguments by name, whether it takes them by name or not."""
    bound = inspect.signature(function).bind_partial()
    bound.arguments.update(arguments)
    return function(*bound.args, **bound.kwargs)


def array(*shape: int, dtype: str = "f4") -> Operand:
    return Operand(shape, dtype)


def words(*shape: int) -> Operand:
    return Operand(shape, "u8")


def signs(*shape: int) -> Operand:
    return Operand(shape, "f4", "signs")


def whole(*shape: int) -> Operand:
    return Operand(shape, "f4", "whole")


def turned(*shape: int) -> Operand:
    return Operand(shape, "u1", "turned")


def filters(*shape: int) -> Operand:
    return Operand(shape, "f4", "filters")


def threshold(channels: int) -> Operand:
    return Operand((channels,), "i4", "threshold")


def prelu(channels: int) -> Operand:
    return Operand((channels,), "f4", "prelu")


def signs_of_numbers(channels: int) -> Operand:
    return Operand((channels,), "f4", "signs of numbers")


WINDOW = {"kernel_size": 3, "dilation": 1, "padding": 1, "stride": 1}
LAYER = {"dilation": 1, "padding": 1, "stride": 1, "groups": 2, "data_format": "NCHW"}
NAMES = {"mode": "full", "boundary": "fill", "fillvalue": 0, "method": "auto", "axes": None, "dtype": None}
X, WEIGHT = array(2, 4, 6, 7), array(8, 2, 3, 3)
DEEP, DEEP_WEIGHT = array(2, 66, 6, 7), array(5, 66, 3, 3)
IMAGE, KERNEL = array(2, 40, 33), array(5, 4)
NORMALIZATION = {name: array(5) for name in ("gamma", "beta", "mean")}
NORMALIZATION["var"] = Operand((5,), "f4", "positive")


def _called(name: str, operands: dict[str, Operand], **options: Any) -> tuple[str, Call]:
    return name, Call(name.partition(",")[0], operands, options)


CALLS = dict(
    [
        _called("popcount", {"x": array(3, 4, dtype="i4")}),
        _called("popcount, words", {"x": words(7, 90)}),
        _called("popcount_sum", {"x": array(3, 4, dtype="i4")}, axis=1, keepdims=False),
        _called("popcount_sum, down", {"x": words(7, 90)}, axis=0),
        _called("packbits64", {"x": array(3, 70, dtype="u1")}, axis=1, bitorder="little"),
        _called("packbits64, down", {"x": array(70, 9, dtype="i2")}, axis=0, bitorder="big"),
        _called("unpackbits64", {"words": words(3, 2)}, axis=1, count=70, bitorder="little"),
        _called("unpackbits64, down", {"words": words(3, 7)}, axis=0, count=130),
        _called("pack_signs", {"x": array(3, 70), "threshold": array(3, 1)}, axis=1, zero=1),
        _called("pack_signs, images", {"x": DEEP}, axis=1),
        _called("hamming_distance", {"a": words(3, 2), "b": words(2)}, dtype="i4"),
        _called("hamming_distance, rows", {"a": words(7, 1, 9), "b": words(40, 9)}),
        _called("hamming_distance, pairs", {"a": words(40, 3), "b": words(40, 3)}, dtype="u1"),
        _called("correlate2d", {"in1": array(2, 6, 7, dtype="i2"), "in2": array(3, 3, dtype="i2")}, **NAMES),
        _called(
            "correlate2d, direct",
            {"in1": IMAGE, "in2": KERNEL},
            mode="same", boundary="symm", method="direct",
        ),
        _called(
            "correlate2d, separable",
            {"in1": IMAGE, "in2": array(1, 5)},
            boundary="symm", method="separable",
        ),
        _called("correlate2d, fft", {"in1": IMAGE, "in2": KERNEL}, method="fft"),
        _called("correlate2d, float16", {"in1": array(6, 8, dtype="f2"), "in2": array(3, 3, dtype="f2")}),
        _called("correlate2d, mirrored", {"in1": array(3, 3), "in2": array(6, 8)}, mode="valid"),
        _called("convolve2d", {"in1": array(2, 6, 7, dtype="i2"), "in2": array(3, 3, dtype="i2")}, **NAMES),
        _called(
            "correlate2d, colours",
            {"in1": array(9, 30, 3), "in2": array(3, 3)},
            mode="same", boundary="symm", method="direct", axes=(0, 1),
        ),
        _called("convolve2d, along planes", {"in1": array(9, 2, 30), "in2": array(3, 3)}, axes=(-1, 0)),
        _called(
            "convolve2d, kernels of colours", {"in1": array(9, 8, 3), "in2": array(3, 3, 3)}, axes=(0, 1)
        ),
        _called("convolve2d, wrapped", {"in1": IMAGE, "in2": KERNEL}, mode="same", boundary="wrap"),
        _called("conv2d", {"x": X, "weight": WEIGHT, "bias": array(8)}, **LAYER),
        _called("conv2d, NHWC", {"x": array(2, 5, 6, 3), "weight": array(4, 3, 3, 3)}, data_format="NHWC"),
        _called("conv2d, deep", {"x": DEEP, "weight": DEEP_WEIGHT, "bias": array(5)}, padding=1),
        _called("im2col", {"x": X}, **WINDOW),
        _called("im2col, strided", {"x": DEEP}, kernel_size=3, padding=1, stride=2),
        _called("col2im", {"cols": array(36, 42)}, output_size=(6, 7), **WINDOW),
        _called("xnor_matmul", {"a": array(3, 70), "b": array(70, 5)}),
        _called(
            "xnor_linear",
            {"x": array(3, 70), "weight": array(5, 70), "residual": array(3, 5)}
            | {"bias": array(5), "scale": array(5)},
            activation="relu",
        ),
        _called("xnor_linear, alpha", {"x": array(9, 70), "weight": array(5, 70)}, scale="alpha"),
        _called("xnor_linear, signs", {"x": signs(9, 70), "weight": signs(5, 70), "threshold": threshold(5)}),
        _called("pack_filters", {"weight": WEIGHT}, zero=1),
        _called("pack_filters, deep", {"weight": DEEP_WEIGHT}),
        _called(
            "xnor_conv2d",
            {"x": X, "weight": WEIGHT, "bias": array(8), "scale": array(8)}
            | {"residual": array(2, 8, 6, 7), "activation": prelu(8)},
            pad_value=0, **LAYER,
        ),
        _called("xnor_conv2d, integers", {"x": DEEP, "weight": DEEP_WEIGHT}, padding=1),
        _called(
            "xnor_conv2d, K",
            {"x": DEEP, "weight": DEEP_WEIGHT, "bias": array(5)},
            padding=1, scale="xnor",
        ),
        _called(
            "xnor_conv2d, packed",
            {"x": signs(2, 6, 7, 66), "weight": filters(5, 66, 3, 3), "threshold": threshold(5)},
            padding=1,
        ),
        _called(
            "xnor_conv2d, numbers and signs",
            {"x": DEEP, "weight": DEEP_WEIGHT, "scale": array(5), "residual": array(2, 5, 6, 7)}
            | {"signs": signs_of_numbers(5)},
            padding=1, activation=["relu", ("clamp", -1, 2)],
        ),
        _called(
            "xnor_conv2d, one image",
            {"x": array(9, 12), "weight": array(3, 3)},
            padding="same", pad_value=-1,
        ),
        _called("activation_scale", {"x": X}, kernel_size=3, **LAYER),
        _called("activation_scale, deep", {"x": DEEP}, kernel_size=3, padding=1),
        _called("fold_batchnorm", NORMALIZATION | {"alpha": array(5), "bias": array(5)}, eps=1e-5, n=9),
        _called("binary_max_pool2d", {"x": signs(2, 6, 7, 70)}, kernel_size=2, stride=1, padding=1),
        _called("binarize_residual", {"x": array(3, 70)}, bits=2, axis=1),
    ]
)  # fmt: skip

LARGE = dict(
    [
        _called("popcount", {"x": words(700, 1000)}),
        _called("popcount, turned", {"x": turned(700, 1000)}),
        _called("popcount_sum", {"x": words(32, 128, 128)}, axis=2),
        _called("popcount_sum, down", {"x": words(2, 3000, 120)}, axis=1),
        _called("packbits64", {"x": array(2, 16, 128, 128, dtype="?")}, axis=1),
        _called("unpackbits64", {"words": words(500, 130)}),
        _called("unpackbits64, down", {"words": words(5, 3000)}, axis=0),
        _called("pack_signs", {"x": array(2, 70, 128, 128)}, axis=1),
        _called("hamming_distance", {"a": words(200, 1, 40), "b": words(2000, 40)}),
        _called("hamming_distance, pairs", {"a": words(9000, 3), "b": words(9000, 3)}),
        _called(
            "correlate2d",
            {"in1": whole(4, 128, 640), "in2": whole(3, 3)},
            mode="same", method="direct",
        ),
        _called(
            "correlate2d, tiles",
            {"in1": whole(3, 400, 1500), "in2": whole(9, 9)},
            boundary="symm", method="direct",
        ),
        _called(
            "correlate2d, filled",
            {"in1": whole(300, 400), "in2": whole(4, 5)},
            fillvalue=3, method="direct",
        ),
        _called(
            "correlate2d, colours",
            {"in1": whole(200, 500, 3), "in2": whole(5, 5)},
            method="direct", axes=(0, 1),
        ),
        _called(
            "correlate2d, mirrored",
            {"in1": whole(4, 5), "in2": whole(300, 400)},
            mode="valid", method="direct",
        ),
        _called("conv2d", {"x": whole(2, 40, 66, 70), "weight": whole(40, 40, 3, 3)}, padding=1),
        _called("conv2d, few filters", {"x": whole(2, 40, 66, 70), "weight": whole(4, 40, 3, 3)}, padding=1),
        _called(
            "conv2d, depthwise",
            {"x": whole(2, 40, 66, 70), "weight": whole(40, 1, 3, 3)},
            padding=1, stride=2, groups=40,
        ),
        _called("im2col", {"x": array(2, 16, 128, 128)}, kernel_size=3),
        _called("col2im", {"cols": whole(24, 9, 126 * 126)}, output_size=128, kernel_size=3),
        _called("xnor_matmul", {"a": array(300, 500), "b": array(500, 300)}),
        _called("xnor_conv2d", {"x": array(4, 16, 128, 128), "weight": array(32, 16, 3, 3)}, padding=1),
        _called(
            "xnor_conv2d, one channel",
            {"x": array(4, 1, 300, 300), "weight": array(2, 1, 3, 3)},
            padding=1,
        ),
        _called(
            "xnor_conv2d, depthwise",
            {"x": array(4, 130, 50, 60), "weight": array(130, 1, 3, 3)},
            padding=1, groups=130,
        ),
        _called(
            "xnor_conv2d, depthwise, packed",
            {"x": signs(4, 50, 60, 130), "weight": array(130, 1, 3, 3), "threshold": threshold(130)},
            padding=1, groups=130,
        ),
        _called("activation_scale", {"x": array(8, 3, 200, 300)}, kernel_size=3, padding=1),
        _called("binary_max_pool2d", {"x": signs(4, 128, 300, 130)}, kernel_size=3, stride=1),
    ]
)  # fmt: skip


def leaves(result: Any) -> list[Any]:
    """The arrays that a result is made of."""
    match result:
        case PackedSigns():
            return [result.words]
        case PackedFilters():
            return [result.words, result.alpha]
        case Threshold():
            return [result.tau, result.flip]
        case list() | tuple():
            return [leaf for part in result for leaf in leaves(part)]
    return [result]


def assert_agree(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Whole numbers are equal; floats nearly, on these few."""
    assert len(actual) == len(expected)
    for mine, theirs in zip(actual, map(np.asarray, expected), strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        if np.array_equal(mine, theirs):
            continue
        assert theirs.dtype.kind not in "biu"
        tolerance = 1000 * float(np.finfo(theirs.dtype).eps)
        largest = float(np.abs(theirs).max(initial=0))
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance * largest)
