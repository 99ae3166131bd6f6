"""What OpenVINO computes beside us: each function gives the call that is timed, None without OpenVINO.

Signs are packed by a ``FakeQuantize`` of two levels, to 0 and 1, which ``BinaryConvolution`` takes for -1
and +1. NHWC is an NCHW network between two transpositions, which OpenVINO's compiler makes disappear.
Results lie in OpenVINO's own tensors.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import Threshold
from peers import libraries
from peers.table import Array
from peers.threads import threads

BELOW_ZERO = -np.finfo(np.float32).tiny
"""x > this is x >= 0, for all but subnormal numbers. FakeQuantize has no other comparison."""
SAMPLES = 4
"""Images that NNCF sees: enough for networks of random weights, whose accuracy nobody measures."""


def binary_convolution(x: Array, bits: Array, layout: str) -> libraries.Call | None:
    """Zero padding 1 of the signs of float x in ``layout``, result float in it.

    ``bits`` (O, C, 3, 3) of 0 and 1 stand for weights -1 and +1.
    """
    if libraries.openvino() is None:
        return None
    source, image = _source(x, layout)
    return _call(x, source, _products(_signs(image, bits.shape[1]), bits, [1, 1]), layout)


def trunk(x: Array, trained: Any, thresholds: Sequence[Threshold]) -> libraries.Call | None:
    """The binary trunk of :mod:`peers.trunk` for images (N, H, W, 3), numbers (N, H, W, C) out.

    ``trained`` are PyTorch's modules. ``thresholds`` stand for all of the batch normalizations but the stem's
    and the last: in this form alone does a BinaryConvolution store packed bits for the next one.
    """
    if libraries.openvino() is None:
        return None
    stem, stem_norm, _, *rest = trained
    layers, last_norm = rest[::2], rest[-1]
    source, image = _source(x, "NHWC")
    image = _opset().convolution(image, _numpy(stem.weight), [2, 2], [3, 3], [3, 3], [1, 1])
    image = _normalized(image, stem_norm)
    image = _opset().max_pool(image, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    for layer, threshold in zip(layers, [None, *thresholds], strict=True):
        signs = _signs(image, layer.weight.shape[1], threshold)
        image = _products(signs, _numpy(layer.weight) >= 0, layer.stride)
    return _call(x, source, _normalized(image, last_norm), "NHWC")


def converted(model: Any, image: Sequence[int]) -> Any:
    """A network of PyTorch as one of OpenVINO, for any number of images, or rows, of that shape."""
    torch, ov = libraries.torch(), libraries.openvino()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of what tracing takes for constant
        return ov.convert_model(
            model, example_input=torch.zeros(2, *image), input=[ov.PartialShape([-1, *image])]
        )


def quantized(model: Any, image: Sequence[int]) -> Any:
    """The network with its layers in 8 bits, by NNCF, which learns ranges of numbers from random images; None
    without it."""
    nncf = libraries.nncf()
    if nncf is None:
        return None
    samples = np.random.default_rng(0).standard_normal((SAMPLES, 1, *image), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nncf.quantize(model, nncf.Dataset(list(samples)), subset_size=SAMPLES)


def call_of(model: Any, x: Array, precision: str) -> libraries.Call:
    """A call of a network of OpenVINO on ``x``, whose numbers it may round to ``precision``."""
    model = model.clone()
    model.reshape(list(x.shape))
    request = _for_this_cpu(model, precision).create_infer_request()
    request.set_input_tensor(libraries.openvino().Tensor(x, shared_memory=True))

    def run(keep: Array = x) -> Any:  # OpenVINO holds no reference to the array it shares
        return request.infer(share_outputs=True)[0]

    return run


def compiled(source: Any, result: Any) -> Any:
    """In float32, which OpenVINO leaves for bfloat16 on its own where the CPU has that."""
    return _for_this_cpu(libraries.openvino().Model([result], [source]), "f32")


def _for_this_cpu(model: Any, precision: str) -> Any:
    options = {
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    return libraries.openvino().Core().compile_model(model, "CPU", options)


def _call(x: Array, source: Any, result: Any, layout: str) -> libraries.Call:
    if layout == "NHWC":
        result = _opset().transpose(result, np.array([0, 2, 3, 1], np.int32))
    request = compiled(source, result).create_infer_request()
    request.set_tensor("x", libraries.openvino().Tensor(x, shared_memory=True))

    def run(keep: Array = x) -> Any:  # OpenVINO holds no reference to the array it shares
        return request.infer(share_outputs=True)[0]

    return run


def _source(x: Array, layout: str) -> tuple[Any, Any]:
    """The network's parameter, and the same as NCHW."""
    source = _opset().parameter(list(x.shape), np.float32, name="x")
    nchw = np.array([0, 3, 1, 2], np.int32)
    return source, source if layout == "NCHW" else _opset().transpose(source, nchw)


def _signs(image: Any, channels: int, threshold: Threshold | None = None) -> Any:
    """Bits of x >= 0, or of what ``threshold`` says of integers.

    Each constant is a node of its own: OpenVINO lets the convolution before pack the bits only if no other
    node has the same constants.
    """
    if threshold is None:
        over, high = np.full(channels, BELOW_ZERO), np.ones(channels)
    else:
        over, high = threshold.tau - 0.5, ~threshold.flip
    bounds = [_per_channel(values) for values in (over, over, 1.0 - high, high)]
    return _opset().fake_quantize(image, *bounds, 2)


def _products(signs: Any, bits: Array, stride: Sequence[int]) -> Any:
    openvino, op = libraries.openvino(), importlib.import_module("openvino.op")
    stored = np.unpackbits(np.packbits(bits.reshape(-1), bitorder="little"))  # it reads each byte backwards
    weight = op.Constant(openvino.Type.u1, openvino.Shape(list(bits.shape)), stored)
    ones = [1, 1]
    return _opset().binary_convolution(signs, weight, list(stride), ones, ones, ones, "xnor-popcount", 0.0)


def _normalized(image: Any, norm: Any) -> Any:
    parameters = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return _opset().batch_norm_inference(image, *map(_numpy, parameters), norm.eps)


def _per_channel(values: Array) -> Any:
    return _opset().constant(np.asarray(values, np.float32).reshape(1, -1, 1, 1))


def _numpy(tensor: Any) -> Array:
    values: Array = np.ascontiguousarray(tensor.detach().numpy())
    return values


def _opset() -> Any:
    return importlib.import_module("openvino.opset8")
