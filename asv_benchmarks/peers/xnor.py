"""Rows of binary convolution and of binary matrix products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastconv import Threshold, correlate2d, pack_filters, pack_signs, xnor_conv2d, xnor_matmul
from fastconv.demo import convacc
from fastconv.demo.measure import seconds_in_turn
from peers import libraries, openvino_models
from peers.ceilings import popcount_rate
from peers.compare import BLAS_REST, Comparison, Rival, compared, pace, rounding
from peers.table import Array, Line, Mean, Row, Settings, Target, judged

SHAPES = ((64, 56, 64), (128, 28, 128), (256, 14, 256), (512, 7, 512), (256, 56, 256))  # C, H = W, O
DEPTHWISE_SHAPES = ((128, 56), (256, 14))  # C, H = W
BATCHES, LAYOUTS = (1, 8), ("NCHW", "NHWC")
OPENVINO, INT8 = "OpenVINO BinaryConvolution", "PyTorch int8"
FLOAT_LAST, FLOAT = "PyTorch float32, channels last", "PyTorch float32, contiguous"
IM2COL = "NumPy float32 im2col + matmul"
ENDS, PACKED, DEPTHWISE, OTHERS, PHASES, BESIDE = (
    "Binary convolution: float32 in, int32 out, 3×3, padding 1",
    "Binary convolution: packed in, packed out",
    "Depthwise binary convolution: NHWC, 3×3, padding 1",
    "Other binary operations",
    "Phases of xnor_conv2d (batch 1, NCHW)",
    "xnor_conv2d beside NumPy",
)


class Layer:
    """A 3×3 layer with padding 1: random images and filters, their signs in all forms that are needed."""

    def __init__(self, settings: Settings, batch: int, shape: tuple[int, int, int]) -> None:
        c, full, o = shape
        h = min(full, settings.pick(full, 7))
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((batch, c, h, h), np.float32)
        self.weight = rng.standard_normal((o, c, 3, 3), np.float32)
        self.filters = pack_filters(self.weight)
        self.signs = np.where(self.x >= 0, np.float32(1), np.float32(-1))
        self.weight_signs = np.where(self.weight >= 0, np.float32(1), np.float32(-1))
        self.products = batch * o * c * 9 * h * h

    def image(self, layout: str) -> Array:
        return np.ascontiguousarray(self.x.transpose(0, 2, 3, 1)) if layout == "NHWC" else self.x

    def threshold(self) -> Threshold:
        o = len(self.weight)
        return Threshold(np.zeros(o, np.int32), np.zeros(o, np.bool_))


def rows() -> list[Row]:
    ends = [
        compared(ENDS, layer_name(batch, shape, layout), partial(end_to_end, batch, shape, layout), group)
        for batch in BATCHES
        for layout in LAYOUTS
        for group in [group_name(batch, layout)]
        for shape in SHAPES
    ]
    packed = [
        compared(PACKED, layer_name(batch, shape, "packed"), partial(packed_to_packed, batch, shape))
        for batch in BATCHES
        for shape in SHAPES
    ]
    depthwise = [
        compared(DEPTHWISE, depthwise_name(batch, shape, kind), partial(one_by_one, batch, shape, kind))
        for batch in BATCHES
        for shape in DEPTHWISE_SHAPES
        for kind in DEPTHWISE_KINDS
    ]
    phases = [
        Row(PHASES, f"phases of {layer_name(1, shape, 'NCHW')}", partial(phases_of, shape))
        for shape in SHAPES
    ]
    others = [
        compared(OTHERS, "xnor_matmul 1024×1024×1024, real inputs", matmul),
        compared(OTHERS, 'xnor_conv2d grey 1024², 3×3, scale="xnor"', grey_image),
    ]
    beside = [
        compared(
            BESIDE, f"{layer_name(1, shape, 'NCHW')}, beside NumPy", partial(against_im2col, shape), BESIDE
        )
        for shape in SHAPES
    ]
    return [*ends, *packed, *depthwise, *others, *phases, *beside]


def means() -> list[Mean]:
    targets = {OPENVINO: 1.5, INT8: 5.0, FLOAT_LAST: 15.0}
    ends = [
        Mean(group_name(batch, layout), peer, Target(bound))
        for batch in BATCHES
        for layout in LAYOUTS
        for peer, bound in targets.items()
    ]
    return [*ends, Mean(BESIDE, IM2COL, None)]


def layer_name(batch: int, shape: tuple[int, int, int], layout: str) -> str:
    c, h, o = shape
    return f"xnor_conv2d {batch}×{c}×{h}²→{o}, {layout}"


def group_name(batch: int, layout: str) -> str:
    return f"xnor_conv2d batch {batch}, {layout}"


def end_to_end(batch: int, shape: tuple[int, int, int], layout: str, settings: Settings) -> Comparison:
    """float32 in, int32 out, weights packed once; the same layout going in and coming out.

    PyTorch's results do not depend on ``layout``: it gets the one that its name says, and signs in place
    of numbers. Its int8 side begins with 8-bit numbers and ends with them.
    """
    layer = Layer(settings, batch, shape)
    x = layer.image(layout)
    out = xnor_conv2d(x, layer.filters, padding=1, data_format=layout)
    step = float(np.abs(out).max()) / 120 or 1.0
    bits = (layer.weight_signs > 0).astype(np.uint8)

    def read_torch(result: Any) -> Array:
        values: Array = (result.dequantize() if result.is_quantized else result).numpy()
        return values.transpose(0, 2, 3, 1) if layout == "NHWC" else values

    float_last = libraries.torch_convolution(layer.signs, layer.weight_signs, channels_last=True)
    float_first = libraries.torch_convolution(layer.signs, layer.weight_signs, channels_last=False)
    int8 = libraries.torch_int8_convolution(layer.signs, layer.weight_signs, step)
    return Comparison(
        lambda: xnor_conv2d(x, layer.filters, padding=1, data_format=layout, out=out),
        [
            Rival(OPENVINO, openvino_models.binary_convolution(x, bits, layout), Target(1.0)),
            Rival(INT8, int8, read=read_torch, tolerance=0.501 * step),
            Rival(FLOAT_LAST, float_last, read=read_torch),
            Rival(FLOAT, float_first, read=read_torch),
        ],
    )


def packed_to_packed(batch: int, shape: tuple[int, int, int], settings: Settings) -> Comparison:
    """Signs in, signs out by a threshold, as a share of the rate at which registers alone could count."""
    layer = Layer(settings, batch, shape)
    signs, threshold = pack_signs(layer.x, axis=1), layer.threshold()
    out = xnor_conv2d(signs, layer.filters, padding=1, threshold=threshold).words
    target = Target(90 if shape == SHAPES[-1] else 75, "%")
    return Comparison(
        lambda: xnor_conv2d(signs, layer.filters, padding=1, threshold=threshold, out=out),
        [Rival("popcount bound", layer.products / popcount_rate(), target)],
    )


DEPTHWISE_KINDS = {"float32 in, int32 out": 1.0, "float32 in, α·y out": 1.0, "packed in, packed out": 5.0}
"""What goes in and comes out, and how many times as fast as float32 that is to be."""


def depthwise_name(batch: int, shape: tuple[int, int], kind: str) -> str:
    c, h = shape
    return f"xnor_conv2d {batch}×{c}×{h}², depthwise, {kind}"


def one_by_one(batch: int, shape: tuple[int, int], kind: str, settings: Settings) -> Comparison:
    """Each channel by a filter of its own, beside PyTorch's float32 on signs, channels last."""
    c, full = shape
    h = min(full, settings.pick(full, 7))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, h, h, c), np.float32)
    weight = rng.standard_normal((c, 1, 3, 3), np.float32)
    filters, signs = pack_filters(weight), pack_signs(x)
    options: dict[str, Any] = {"padding": 1, "groups": c, "data_format": "NHWC"}
    threshold = Threshold(np.zeros(c, np.int32), np.zeros(c, np.bool_))
    image, ending = {
        "float32 in, int32 out": (x, {}),
        "float32 in, α·y out": (x, {"scale": "alpha"}),
        "packed in, packed out": (signs, {"threshold": threshold}),
    }[kind]

    def read(result: Any) -> Array:
        sums: Array = result.numpy().transpose(0, 2, 3, 1)
        return pack_signs(sums).words if "threshold" in ending else sums * (filters.alpha if ending else 1)

    first, second = (
        np.where(a >= 0, np.float32(1), np.float32(-1)) for a in (x.transpose(0, 3, 1, 2), weight)
    )
    rival = libraries.torch_convolution(first, second, channels_last=True, groups=c)
    return Comparison(
        lambda: xnor_conv2d(image, filters, **options, **ending),
        [Rival(FLOAT_LAST, rival, Target(DEPTHWISE_KINDS[kind]), read=read)],
    )


def against_im2col(shape: tuple[int, int, int], settings: Settings) -> Comparison:
    """What NumPy alone can do: a copy of every window, and a float32 product."""
    layer = Layer(settings, 1, shape)
    out = xnor_conv2d(layer.x, layer.filters, padding=1)
    weight = layer.weight_signs.reshape(len(layer.weight), -1)

    def numpy_convolution() -> Array:
        padded = np.pad(layer.signs[0], ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        columns = windows.transpose(0, 3, 4, 1, 2).reshape(weight.shape[1], -1)
        return (weight @ columns).reshape(out.shape)

    return Comparison(
        lambda: xnor_conv2d(layer.x, layer.filters, padding=1, out=out),
        [Rival(IM2COL, numpy_convolution)],
        BLAS_REST,
    )


def matmul(settings: Settings) -> Comparison:
    """Both operands are packed in every call."""
    n = settings.pick(1024, 64)
    a, b = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
    signs = [np.where(v >= 0, 1, -1) for v in (a, b)]

    def product(name: str, dtype: Any) -> libraries.Call | None:
        def prepare(torch: Any) -> libraries.Call:
            left, right = (torch.from_numpy(v.astype(dtype)) for v in signs)
            return lambda: getattr(torch, name)(left, right)

        return libraries.torch_call(prepare)

    return Comparison(
        lambda: xnor_matmul(a, b),
        [
            Rival("torch.mm float32", product("mm", np.float32), Target(40)),
            Rival("torch._int_mm", product("_int_mm", np.int8), Target(4.5)),
        ],
    )


def grey_image(settings: Settings) -> Comparison:
    """ConvAcc's case: one image, one filter, scaled by α and K."""
    side = settings.pick(1024, 64) + 2
    image = np.random.default_rng(0).uniform(-1, 1, (side, side)).astype(np.float32)
    weight = convacc.FILTER

    def notebook() -> Array:
        columns = convacc.columns_of(image, weight.shape)
        sums = convacc.sign_sums_packed(columns, weight)
        return convacc.xnor_scaled(sums, columns, weight).reshape(side - 2, side - 2)

    magnitude = correlate2d(np.abs(image), np.ones_like(weight), "valid") * np.abs(weight).mean()
    return Comparison(
        lambda: xnor_conv2d(image, weight, scale="xnor"),
        [
            Rival("ConvAcc's packed bits", notebook, Target(60), tolerance=rounding(9) * magnitude),
            Rival(
                "our correlate2d",
                lambda: correlate2d(image, weight, "valid"),
                Target(3, at_most=True),
                read=None,  # another operation: only its time is of interest
            ),
        ],
    )


def phases_of(shape: tuple[int, int, int], settings: Settings, row: Row) -> list[Line]:
    """Each phase is seen from outside, by a call that does it and as little else as can be.

    The kernel cannot be had without storing something: signs are the least. What other results take more
    than that is their epilogue, and for NCHW the change of layout.
    """
    layer = Layer(settings, 1, shape)
    filters, threshold = layer.filters, layer.threshold()
    signs, bias = pack_signs(layer.x, axis=1), np.zeros(len(layer.weight), np.float32)
    parts: dict[str, Callable[[], Any]] = {
        "whole call": lambda: xnor_conv2d(layer.x, filters, padding=1),
        "pack alone": lambda: pack_signs(layer.x, axis=1),
        "kernel, signs out": lambda: xnor_conv2d(signs, filters, padding=1, threshold=threshold),
        "kernel, int32 NHWC out": lambda: xnor_conv2d(signs, filters, padding=1, data_format="NHWC"),
        "kernel, int32 NCHW out": lambda: xnor_conv2d(signs, filters, padding=1),
        "kernel, α·y + bias in NCHW": lambda: xnor_conv2d(
            signs, filters, padding=1, scale="alpha", bias=bias
        ),
    }
    rival = libraries.torch_convolution(layer.signs, layer.weight_signs, channels_last=True)
    calls = [*parts.values(), *([rival] if rival else [])]
    for call in calls:
        call()
    names = [*parts, *([FLOAT_LAST] if rival else [])]
    seconds = dict(zip(names, seconds_in_turn(calls, pace(settings, len(calls))), strict=True))
    whole, theirs = seconds["whole call"], seconds.get(FLOAT_LAST)
    return [
        judged(
            replace(row, name=f"{layer_name(1, shape, 'NCHW')}: {part}"),
            FLOAT_LAST,
            100 * seconds[part] / whole,
            None,
            unit="% of the call",
            ours=seconds[part],
            theirs=theirs,
        )
        for part in parts
    ]
