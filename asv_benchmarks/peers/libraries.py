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

from peers.table import Array
from peers.threads import threads

Call = Callable[[], Any]


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
    sys.modules.setdefault("openvino_telemetry", None)  # which would report the import
    return _optional("openvino")


@cache
def nncf() -> Any:
    openvino()
    return _optional("nncf")


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


def torch_convolution(x: Array, weight: Array, *, channels_last: bool, groups: int = 1) -> Call | None:
    """float32 convolution with padding 1 of x (N, C, H, W)."""

    def prepare(module: Any) -> Call:
        layout = module.channels_last if channels_last else module.contiguous_format
        image, filters = (module.from_numpy(a).to(memory_format=layout) for a in (x, weight))
        return lambda: module.nn.functional.conv2d(image, filters, padding=1, groups=groups)

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
