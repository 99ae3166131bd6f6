"""What the examples share that learn scikit-learn's digits: the images, options, and a table of networks in
floats, binary and deployed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from fastconv.nn import deploy, save
from fastconv.programs.ending import say
from fastconv.programs.files import replacing
from fastconv.programs.numbers import whole_number
from fastconv.programs.tables import Entry, table
from training import accuracy, fit, kilobytes, milliseconds, options_of, scores

SEED = 1
CLASSES = 10
HEADINGS = ("network", "accuracy", "kB", "ms for 1", "ms for all")


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) from -1 to 1 and labels (N,)."""

    images: Tensor
    labels: Tensor


class Comparison(NamedTuple):
    """A trained binary network, what it was deployed as, and the file of that."""

    trained: nn.Module
    deployed: nn.Module
    file: Path


def parser_of(description: str, *, output: str) -> argparse.ArgumentParser:
    """The options of a program that compares networks."""
    parser = options_of(description, epochs=20, rate=3e-3, output=output)
    parser.add_argument("--calls", type=whole_number(1, 10**6), default=20, help="how many calls to time")
    return parser


def digits() -> tuple[Digits, Digits]:
    """Training and test images: three quarters and one, the digits in the same proportions."""
    given = load_digits()
    images = torch.from_numpy(given.images).float()[:, None] / 8 - 1
    parts = train_test_split(
        images, torch.from_numpy(given.target), test_size=0.25, stratify=given.target, random_state=SEED
    )
    return Digits(parts[0], parts[2]), Digits(parts[1], parts[3])


@contextmanager
def printed() -> Iterator[list[Entry]]:
    """Rows to fill, which are printed at the end, or before it if that comes early."""
    rows: list[Entry] = []
    try:
        yield rows
    finally:
        if rows:
            say(table(HEADINGS, rows, otherwise=100, numbers=HEADINGS[1:]))


def compared(
    make: Callable[[bool], nn.Module],
    name: str,
    options: argparse.Namespace,
    rows: list[Entry],
) -> Comparison:
    """Train a network in floats and a binary one, deploy that and save it, and add three rows to the table.

    Parameters
    ----------
    make : callable
        The network, binary or in floats.
    """
    training, test = digits()
    threads = torch.get_num_threads()
    torch.manual_seed(options.seed)
    models = {"float": make(False), "binary": make(True)}
    for kind, model in models.items():
        torch.set_num_threads(1)  # batches are too small to share
        fit(model, *training, epochs=options.epochs, rate=options.rate, title=f"{name}, {kind}")
        torch.set_num_threads(threads)
    trained = models["binary"]
    deployed, report = deploy(trained)
    models["deployed"] = deployed
    path = options.output / f"{name}.safetensors"
    with replacing(path) as file:
        save(deployed, file)
    say(f"\n{name}, deployed:\n{report}\n")
    rows += [_row(name, kind, model, test, options.calls) for kind, model in models.items()]
    return Comparison(trained, deployed, path)


def _row(name: str, kind: str, model: nn.Module, test: Digits, calls: int) -> Entry:
    right = accuracy(scores(model, test.images), test.labels)
    times = [milliseconds(model, images, calls) for images in (test.images[:1], test.images)]
    cells = [f"{right:.2%}", f"{kilobytes(model):.1f}", *(f"{time:.2f}" for time in times)]
    return Entry(name, [kind, *cells])
