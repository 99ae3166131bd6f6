"""Rows of a whole network: a binary trunk of ResNet-18's shape, deployed, beside OpenVINO and PyTorch.

A float stem (7×7 convolution with stride 2 of 3 to 64 channels, batch normalization, 3×3 max-pooling with
stride 2), then ResNet-18's sixteen 3×3 convolutions, one after another, each with a batch normalization. The
shortcuts and their 1×1 convolutions are left out, and so are the average and the linear layer at the end.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastconv import Threshold, fold_batchnorm
from peers import libraries, openvino_models
from peers.compare import Comparison, Rival, compare, rounding
from peers.elsewhere import measured_elsewhere
from peers.table import Array, Line, Row, Settings, Target

BATCHES = (1, 8)
SECTION = "Deployed trunk of ResNet-18's shape"
LAST, FIRST = "PyTorch float32, channels last", "PyTorch float32, contiguous"
COMPILED, TRAINED = "PyTorch float32, torch.compile", "the binary trunk as trained, in floats"
OPENVINO = "the binary trunk in OpenVINO"
PEERS = {LAST: Target(8), FIRST: Target(8), COMPILED: None, TRAINED: None, OPENVINO: None}
STEP = 1 / 256
"""All numbers in images and in the stem are multiples, as the pixels of a photograph are."""


class Convolution(NamedTuple):
    inputs: int
    outputs: int
    stride: int


def rows() -> list[Row]:
    """Each in a process of its own, where PyTorch is loaded first, as by those who deploy a model."""
    return [replace(row, measure=_elsewhere) for row in rows_here()]


def rows_here() -> list[Row]:
    return [Row(SECTION, f"deployed trunk {batch}×3×224²", partial(measured, batch)) for batch in BATCHES]


def _elsewhere(settings: Settings, row: Row) -> list[Line]:
    if libraries.torch() is None:
        return _not_installed(row)
    only = f"^{re.escape(row.name)}$"
    return measured_elsewhere(only, settings, rows="trunk", first="import torch")[1]


def measured(batch: int, settings: Settings, row: Row) -> list[Line]:
    return compare(row, comparison(batch, settings), settings)


def _not_installed(row: Row) -> list[Line]:
    reason = "a deployed model needs PyTorch"
    return [Line(row.section, row.name, peer, "not installed", note=reason) for peer in PEERS]


def comparison(batch: int, settings: Settings) -> Comparison:
    """Images in, the numbers of the last batch normalization out.

    The deployed trunk must give exactly what the trained one computes in floats. OpenVINO computes the same
    trunk, and the last batch normalization in an order of its own. The float32 trunk has other weights in
    the same places, and ReLU after each batch normalization: only its time is of interest.
    """
    trained, deployed, real = models(settings)
    x = images(batch, settings)
    floats = {
        LAST: _call(real, x, channels_last=True),
        FIRST: _call(_laid_out(real, channels_last=False), x, channels_last=False),
        COMPILED: _compiled(real, x),
    }
    last_to_first = partial(np.moveaxis, source=-1, destination=1)
    rivals = [
        *(Rival(peer, run, PEERS[peer], read=None) for peer, run in floats.items()),
        Rival(TRAINED, _call(trained, x, channels_last=True)),
        Rival(OPENVINO, _openvino(trained, x), read=last_to_first, tolerance=tolerance(trained)),
    ]
    ours: Any = _call(deployed, x, channels_last=True)
    return Comparison(ours, rivals)


def tolerance(trained: Any) -> Array:
    """What rounding in the last batch normalization may change; a single wrong sign changes far more."""
    binary, norm = trained[-2:]
    gamma, beta, mean, var = (
        t.detach().numpy() for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    largest = binary.weight[0].numel() + np.abs(mean)
    magnitude = np.abs(gamma) / np.sqrt(var + norm.eps) * largest + np.abs(beta)
    return magnitude[:, None, None] * rounding(2)


def convolutions(settings: Settings) -> list[Convolution]:
    """Four of each width; the first of a width that is new has stride 2."""
    widths = [settings.pick(64, 8) << stage for stage in range(4) for _ in range(settings.pick(4, 1))]
    return [Convolution(i, o, 1 if i == o else 2) for i, o in pairwise([widths[0], *widths])]


def images(batch: int, settings: Settings) -> Array:
    side = settings.pick(224, 32)
    numbers = np.random.default_rng(batch).standard_normal((batch, 3, side, side), np.float32)
    return np.round(numbers / STEP) * np.float32(STEP)


@cache
def models(settings: Settings) -> tuple[Any, Any, Any]:
    """The binary trunk as trained and deployed, and the float32 one, in PyTorch's layout channels last."""
    torch = libraries.torch()
    from fastconv.nn import BinaryConv2d, deploy  # which need PyTorch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        trained = _trunk(torch.nn, settings, BinaryConv2d, ())
        real = _trunk(torch.nn, settings, partial(torch.nn.Conv2d, bias=False), (torch.nn.ReLU,))
        for module in trained:
            if isinstance(module, torch.nn.BatchNorm2d):
                _pretend_training(torch.nn.init, module)
        _make_exact(*trained[:2])
    trained, real = (_laid_out(model.eval(), channels_last=True) for model in (trained, real))
    return trained, deploy(trained)[0], real


def _trunk(
    nn: Any, settings: Settings, convolution: Callable[..., Any], activation: tuple[Callable[[], Any], ...]
) -> Any:
    layers = convolutions(settings)
    first = layers[0].inputs
    modules = [nn.Conv2d(3, first, 7, 2, 3, bias=False), nn.BatchNorm2d(first), *(a() for a in activation)]
    modules.append(nn.MaxPool2d(3, 2, 1))
    for inputs, outputs, stride in layers:
        modules += [convolution(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs)]
        modules += [a() for a in activation]
    return nn.Sequential(*modules)


def _pretend_training(init: Any, norm: Any) -> None:
    """Numbers of either sign, so that thresholds differ from 0 and some comparisons point downwards."""
    init.normal_(norm.weight, 0.5)
    for numbers in (norm.bias, norm.running_mean):
        init.normal_(numbers)


def _make_exact(convolution: Any, norm: Any) -> None:
    """The stem in multiples of STEP: no sum of its products is rounded, in whatever order a library adds.

    Otherwise some signs would depend on the library, and each of them turns others in the layers after.
    """
    norm.weight.sign_()
    norm.eps = 0.0
    for numbers in (convolution.weight, norm.bias, norm.running_mean):
        numbers.div_(STEP).round_().mul_(STEP)


def _laid_out(model: Any, *, channels_last: bool) -> Any:
    """A copy of the model, its filters in that layout."""
    return copy.deepcopy(model).to(memory_format=_layout(channels_last))


def _layout(channels_last: bool) -> Any:
    torch = libraries.torch()
    return torch.channels_last if channels_last else torch.contiguous_format


def _call(model: Any, x: Array, *, channels_last: bool) -> libraries.Call | None:
    def prepare(torch: Any) -> libraries.Call:
        image = torch.from_numpy(x).to(memory_format=_layout(channels_last))
        return lambda: model(image).numpy()

    return libraries.torch_call(prepare)


def _compiled(model: Any, x: Array) -> libraries.Call | None:
    """None where PyTorch finds no C++ compiler that works."""

    def prepare(torch: Any) -> libraries.Call:
        image = torch.from_numpy(x).to(memory_format=_layout(channels_last=True))
        call = partial(torch.compile(model, dynamic=False), image)
        with torch.inference_mode():
            call()
        return call

    try:
        return libraries.torch_call(prepare)
    except libraries.torch()._dynamo.exc.BackendCompilerFailed:
        return None


def _openvino(trained: Any, x: Array) -> libraries.Call | None:
    """Images with channels last, as the deployed trunk has them; batch-norms in between are comparisons."""
    binary = trained[3:]
    thresholds = [_threshold(*pair) for pair in zip(binary[:-2:2], binary[1:-2:2], strict=True)]
    return openvino_models.trunk(np.ascontiguousarray(np.moveaxis(x, 1, -1)), trained, thresholds)


def _threshold(convolution: Any, norm: Any) -> Threshold:
    parameters = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    largest = convolution.weight[0].numel()
    return fold_batchnorm(*(t.detach().numpy() for t in parameters), norm.eps, n=largest)
