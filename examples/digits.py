"""Train binary networks on handwritten digits, and deploy them on packed bits.

    python -m pip install -e ".[torch]"
    python examples/digits.py

The digits are scikit-learn's, 1797 images of 8 x 8 pixels, which come with it. Two networks are trained
twice, once binary and once with floats in the same places: a convnet, and an MLP of the widths that the XNOR
GEMM extension for PyTorch has in its example. The table compares them with the deployed ones, whose every
prediction must be the trained one's. Two pictures go to the output folder: filters that were learned, and a
confusion matrix.
"""

from __future__ import annotations

if __name__ == "__main__":
    from fastconv.programs.ending import begin

    begin("digits")

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from comparing import CLASSES, compared, digits, parser_of, printed
from fastconv.nn import BinaryConv2d, BinaryLinear, BinaryMaxPool2d, Sign
from fastconv.programs.ending import run, say
from fastconv.programs.files import replacing
from training import make_folder, scores

FILES = ("convnet.safetensors", "mlp.safetensors", "filters.png", "confusion.png")


def convnet(binary: bool) -> nn.Sequential:
    """One float convolution, two binary ones, a binary linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        *_activation(binary),
        _convolution(binary, 64, 128),
        nn.BatchNorm2d(128),
        *_activation(binary),
        _pool(binary),
        _convolution(binary, 128, 128),
        nn.BatchNorm2d(128),
        *_activation(binary),
        _pool(binary),
        nn.Flatten(),
        _linear(binary, 128 * 2 * 2, CLASSES),
        nn.BatchNorm1d(CLASSES),
    )


def mlp(binary: bool) -> nn.Sequential:
    """1024, 768, 512 and 10 units, the first and the last layer float."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 1024, bias=False),
        nn.BatchNorm1d(1024),
        *_activation(binary),
        _linear(binary, 1024, 768),
        nn.BatchNorm1d(768),
        *_activation(binary),
        _linear(binary, 768, 512),
        nn.BatchNorm1d(512),
        *_activation(binary),
        nn.Linear(512, CLASSES),
    )


def _activation(binary: bool) -> list[nn.Module]:
    return [Sign() if binary else nn.ReLU()]


def _convolution(binary: bool, channels: int, filters: int) -> nn.Module:
    if binary:
        return BinaryConv2d(channels, filters, 3, padding=1)
    return nn.Conv2d(channels, filters, 3, padding=1, bias=False)


def _linear(binary: bool, features: int, units: int) -> nn.Module:
    return BinaryLinear(features, units) if binary else nn.Linear(features, units, bias=False)


def _pool(binary: bool) -> nn.Module:
    return BinaryMaxPool2d(2) if binary else nn.MaxPool2d(2)


def main(arguments: Sequence[str] | None = None) -> int:
    return run("digits", partial(_command, arguments))


def _command(arguments: Sequence[str] | None) -> int:
    options = parser_of(
        "Train binary networks on digits and deploy them.", output="digits-output"
    ).parse_args(arguments)
    make_folder(options.output, FILES)
    _, test = digits()
    differ = 0
    with printed() as rows:
        for make in (convnet, mlp):
            trained, deployed, _ = compared(make, make.__name__, options, rows)
            predicted = scores(deployed, test.images).argmax(dim=1)
            differ += int((predicted != scores(trained, test.images).argmax(dim=1)).sum())
            if make is convnet:
                draw_filters(options.output / "filters.png", trained)
                draw_confusion(options.output / "confusion.png", predicted, test.labels)
    say(f"test images that a trained network and its deployed copy see differently: {differ}")
    say(f"networks, learned filters and the convnet's confusion matrix: {options.output}")
    return 1 if differ else 0


def draw_filters(path: Path, model: nn.Sequential) -> None:
    """A PNG of the float filters of the first layer, and the signs of the second's first channels."""
    first, second = (model[layer].weight.detach().numpy()[:, 0] for layer in (0, 3))
    signs = np.where(second[:32] >= 0, 1, -1)
    figure = Figure(figsize=(10, 6.4), dpi=100, layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(2, 1))
    for part, title, filters in (
        (parts[0], "first layer: 64 float filters", first),
        (parts[1], "second layer: signs of 32 filters, for one of their 64 channels", signs),
    ):
        part.suptitle(title)
        limit = np.abs(filters).max()
        for axis, values in zip(part.subplots(len(filters) // 16, 16).ravel(), filters, strict=True):
            axis.imshow(values, cmap="gray", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
    with replacing(path) as file:
        figure.savefig(file, format="png")


def draw_confusion(path: Path, predicted: Tensor, labels: Tensor) -> None:
    """A PNG of how many images of each digit were taken for each digit."""
    counts = np.zeros((CLASSES, CLASSES), int)
    np.add.at(counts, (labels.numpy(), predicted.numpy()), 1)
    figure = Figure(figsize=(6, 6), dpi=100, layout="constrained")
    axis = figure.subplots()
    axis.imshow(np.log1p(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        axis.text(
            column, row, str(count or ""), ha="center", va="center", color="w" if row == column else "k"
        )
    axis.set(xticks=range(CLASSES), yticks=range(CLASSES), xlabel="predicted", ylabel="digit")
    axis.set_title(f"deployed convnet, {len(labels)} test images")
    with replacing(path) as file:
        figure.savefig(file, format="png")


if __name__ == "__main__":
    raise SystemExit(main())
