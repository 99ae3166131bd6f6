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

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from fastconv.nn import BinaryConv2d, BinaryLinear, BinaryMaxPool2d, Sign, deploy, save
from fastconv.programs.ending import run, said_of, say
from fastconv.programs.files import check, folder, replacing
from fastconv.programs.numbers import positive_number, whole_number
from fastconv.programs.tables import Entry, table
from training import accuracy, fit, kilobytes, milliseconds, scores

SEED = 1
CLASSES = 10
HEADINGS = ("network", "accuracy", "kB", "ms for 1", "ms for all")
FILES = ("convnet.safetensors", "mlp.safetensors", "filters.png", "confusion.png")


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) from -1 to 1 and labels (N,)."""

    images: Tensor
    labels: Tensor


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
    parser = argparse.ArgumentParser(description="Train binary networks on digits and deploy them.")
    parser.add_argument("--epochs", type=whole_number(1, 100_000), default=20)
    parser.add_argument("--rate", type=positive_number(1), default=3e-3, help="first learning rate")
    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), default=SEED)
    parser.add_argument("--calls", type=whole_number(1, 10**6), default=20, help="how many calls to time")
    parser.add_argument(
        "--output", type=folder, default=Path("digits-output"), help="folder for what is written"
    )
    options = parser.parse_args(arguments)
    with said_of(f"to --output {options.output}"):
        options.output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        check(options.output / name)
    rows: list[Entry] = []
    try:
        differ = _train(options, rows)
    finally:
        if rows:
            say(table(HEADINGS, rows, otherwise=100, numbers=HEADINGS[1:]))
    say(f"test images that a trained network and its deployed copy see differently: {differ}")
    say(f"networks, learned filters and the convnet's confusion matrix: {options.output}")
    return 1 if differ else 0


def _train(options: argparse.Namespace, rows: list[Entry]) -> int:
    """Train and deploy both networks, and add to ``rows`` of the table. How many images a deployed one sees
    in another way than the trained one."""
    training, test = digits()
    differ, threads = 0, torch.get_num_threads()
    for make in (convnet, mlp):
        name = make.__name__
        torch.manual_seed(options.seed)
        models = {"float": make(binary=False), "binary": make(binary=True)}
        for kind, model in models.items():
            torch.set_num_threads(1)  # batches are too small to share
            fit(model, *training, epochs=options.epochs, rate=options.rate, title=f"{name}, {kind}")
            torch.set_num_threads(threads)
        trained = models["binary"]
        deployed, report = deploy(trained)
        models["deployed"] = deployed
        with replacing(options.output / f"{name}.safetensors") as file:
            save(deployed, file)
        say(f"\n{name}, deployed:\n{report}\n")
        rows += [_row(name, kind, model, test, options.calls) for kind, model in models.items()]
        given = scores(deployed, test.images)
        differ += int((given.argmax(dim=1) != scores(trained, test.images).argmax(dim=1)).sum())
        if make is convnet:
            draw_filters(options.output / "filters.png", trained)
            draw_confusion(options.output / "confusion.png", given.argmax(dim=1), test.labels)
    return differ


def digits() -> tuple[Digits, Digits]:
    """Training and test images: three quarters and one, the digits in the same proportions."""
    given = load_digits()
    images = torch.from_numpy(given.images).float()[:, None] / 8 - 1
    parts = train_test_split(
        images, torch.from_numpy(given.target), test_size=0.25, stratify=given.target, random_state=SEED
    )
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


def _row(name: str, kind: str, model: nn.Module, test: Digits, calls: int) -> Entry:
    right = accuracy(scores(model, test.images), test.labels)
    times = [milliseconds(model, images, calls) for images in (test.images[:1], test.images)]
    cells = [f"{right:.2%}", f"{kilobytes(model):.1f}", *(f"{time:.2f}" for time in times)]
    return Entry(name, [kind, *cells])


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
