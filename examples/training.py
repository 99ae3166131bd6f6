"""What the examples share: options, training that tells how far it is, and measuring a trained network."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from fastconv.programs.ending import said_of
from fastconv.programs.files import check, folder
from fastconv.programs.numbers import positive_number, whole_number
from fastconv.programs.steps import steps

BATCH = 64
"""Images of a step. Those left over wait for another epoch: a few would upset batch normalization."""


def options_of(description: str, *, epochs: int, rate: float, output: str) -> argparse.ArgumentParser:
    """The options of every example, with the defaults of one."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=whole_number(1, 100_000), default=epochs)
    parser.add_argument("--rate", type=positive_number(1), default=rate, help="first learning rate")
    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), default=1)
    parser.add_argument("--output", type=folder, default=Path(output), help="folder for what is written")
    return parser


def make_folder(output: Path, files: Iterable[str]) -> None:
    """Make the folder ``output``, and try whether ``files`` can be written there."""
    with said_of(f"to --output {output}"):
        output.mkdir(parents=True, exist_ok=True)
    for name in files:
        check(output / name)


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    rate: float,
    title: str,
    augment: bool = False,
) -> None:
    """Train with Adam, its rate falling along a cosine. Same seed, same weights.

    Parameters
    ----------
    images : floating tensor (N, ...)
    labels : integer tensor (N,)
    rate : float
        Adam's first learning rate.
    augment : bool
        Mirror half of the images, and move each by up to 4 pixels.
    """
    used = max(len(images) // BATCH, 1) * BATCH
    number = epochs * (used // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(number, 1))
    model.train()
    so_far = ""
    with steps(number) as step:
        for epoch in range(1, epochs + 1):
            for chosen in torch.randperm(len(images))[:used].split(BATCH):
                step(f"{title}: epoch {epoch} of {epochs}{so_far}")
                batch = _moved(images[chosen]) if augment else images[chosen]
                loss = nn.functional.cross_entropy(model(batch), labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            so_far = f", loss {loss.item():.3f}"
    model.eval()


def _moved(images: Tensor, reach: int = 4) -> Tensor:
    n, _, height, width = images.shape
    wide = nn.functional.pad(images, (reach,) * 4)
    top, left = (torch.randint(0, 2 * reach + 1, (n, 1, 1)) for _ in range(2))
    columns = torch.arange(width).expand(n, 1, width)
    columns = torch.where(torch.rand(n, 1, 1) < 0.5, columns, width - 1 - columns)
    rows = torch.arange(height).view(1, height, 1) + top
    return wide.permute(0, 2, 3, 1)[torch.arange(n).view(n, 1, 1), rows, columns + left].permute(0, 3, 1, 2)


@torch.inference_mode()
def scores(model: nn.Module, images: Tensor) -> Tensor:
    """What the network says of each image, (N, classes)."""
    return torch.cat([model(batch) for batch in images.split(256)])


def accuracy(scored: Tensor, labels: Tensor) -> float:
    return (scored.argmax(dim=1) == labels).double().mean().item()


@torch.inference_mode()
def milliseconds(model: nn.Module, images: Tensor, calls: int = 30) -> float:
    """Median time of one call with ``images``, after one that is not counted."""
    model(images)
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        model(images)
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def kilobytes(model: nn.Module) -> float:
    """Of parameters and buffers."""
    return sum(t.nbytes for t in (*model.parameters(), *model.buffers())) / 1e3
