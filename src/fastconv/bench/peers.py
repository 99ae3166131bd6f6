"""The libraries we compare with: None in place of a call where one is not installed.

Every function prepares all that can be prepared once (weights, plans, tensors) and returns the call that
is timed. All run on as many threads as fastconv does.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fastconv._dispatch import Array
from fastconv.cpu._threads import threads

Call = Callable[[], Any]

PACKAGES = {"torch": "torch", "OpenVINO": "openvino", "OpenCV": "opencv-python-headless", "SciPy": "scipy"}


@cache
def torch() -> Any:
    module = _optional("torch")
    if module is not None:
        module.set_num_threads(threads())
    return module


@cache
def opencv() -> Any:
    module = _optional("cv2")
    if module is not None:
        module.setNumThreads(threads())
    return module


@cache
def openvino() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report its import
    return _optional("openvino")


def _optional(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        return None


def torch_call(prepare: Callable[[Any], Call]) -> Call | None:
    """``prepare(torch)``, a call to be made without gradients."""
    module = torch()
    if module is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its quantized tensors are deprecated, and what is there to compare
        call = prepare(module)

    def run() -> Any:
        with module.inference_mode():
            return call()

    return run


def torch_convolution(x: Array, weight: Array, *, channels_last: bool) -> Call | None:
    """float32 convolution with padding 1 of x (N, C, H, W)."""

    def prepare(module: Any) -> Call:
        layout = module.channels_last if channels_last else module.contiguous_format
        image, filters = (module.from_numpy(a).to(memory_format=layout) for a in (x, weight))
        return lambda: module.nn.functional.conv2d(image, filters, padding=1)

    return torch_call(prepare)


def torch_int8_convolution(x: Array, weight: Array, step: float) -> Call | None:
    """oneDNN's convolution of signs in 8 bits; results are multiples of ``step``, in 8 bits too."""

    def prepare(module: Any) -> Call:
        module.backends.quantized.engine = "onednn"
        image = module.from_numpy(x).contiguous(memory_format=module.channels_last)
        image = module.quantize_per_tensor(image, 1.0, 64, module.quint8)
        o = len(weight)
        filters = module.quantize_per_channel(
            module.from_numpy(weight), module.ones(o), module.zeros(o, dtype=module.int64), 0, module.qint8
        )
        packed = module.ops.quantized.conv2d_prepack(filters, None, [1, 1], [1, 1], [1, 1], 1)
        return lambda: module.ops.quantized.conv2d(image, packed, step, 128)

    return torch_call(prepare)


def openvino_convolution(x: Array, bits: Array, layout: str) -> Call | None:
    """BinaryConvolution with zero padding 1 of the signs of float x in ``layout``, result float in it.

    ``bits`` (O, C, 3, 3) of 0 and 1 stand for weights -1 and +1. The result lies in OpenVINO's own tensor.
    NHWC is an NCHW network between two transpositions, which OpenVINO's compiler makes disappear.
    """
    ov = openvino()
    if ov is None:
        return None
    op, opset8 = (importlib.import_module(f"openvino.{name}") for name in ("op", "opset8"))

    def constant(value: float, channels: int = 1) -> Any:
        return opset8.constant(np.full((1, channels, 1, 1), value, np.float32))

    source = opset8.parameter(list(x.shape), np.float32, name="x")
    image = source if layout == "NCHW" else opset8.transpose(source, np.array([0, 3, 1, 2], np.int32))
    zero = constant(0, bits.shape[1])
    signs = opset8.fake_quantize(image, zero, zero, constant(0), constant(1), 2)
    stored = np.unpackbits(np.packbits(bits.reshape(-1), bitorder="little"))  # it reads each byte backwards
    weight = op.Constant(ov.Type.u1, ov.Shape(list(bits.shape)), stored)
    ones = [1, 1]
    result = opset8.binary_convolution(signs, weight, ones, ones, ones, ones, "xnor-popcount", 0.0)
    if layout == "NHWC":
        result = opset8.transpose(result, np.array([0, 2, 3, 1], np.int32))
    options = {"INFERENCE_NUM_THREADS": threads(), "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(ov.Model([result], [source]), "CPU", options)
    request = compiled.create_infer_request()
    request.set_tensor("x", ov.Tensor(x, shared_memory=True))

    def run(keep: Array = x) -> Any:  # OpenVINO holds no reference to the array it shares
        return request.infer(share_outputs=True)[0]

    return run


def opencv_filter(image: Array, weight: Array) -> Call | None:
    """filter2D with zeros outside, into an array of its own that is used again."""
    cv = opencv()
    if cv is None:
        return None
    out = np.empty_like(image)
    return lambda: cv.filter2D(image, -1, weight, dst=out, borderType=cv.BORDER_CONSTANT)


def opencv_separable(image: Array, column: Array, row: Array) -> Call | None:
    cv = opencv()
    if cv is None:
        return None
    out = np.empty_like(image)
    return lambda: cv.sepFilter2D(image, -1, row, column, dst=out, borderType=cv.BORDER_CONSTANT)
