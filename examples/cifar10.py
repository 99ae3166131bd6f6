"""Train CNTK's binary network on CIFAR-10, and deploy it on packed bits.

    python -m pip install -e ".[torch]"
    python examples/cifar10.py --data cifar-10-python.tar.gz

The archive is the official python version; nothing is downloaded. The network is that of CNTK's example of
binary convolution: a float convolution of 64 filters, two binary ones of 3 x 3 x 128, a binary one of 1 x 1
for the classes, each with bias and PReLU; max-pooling and batch normalization in between.
"""

from __future__ import annotations

if __name__ == "__main__":
    from fastconv.programs.ending import begin

    begin("cifar10")

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import cifar_archive
from fastconv.nn import BinaryConv2d, deploy, save
from fastconv.programs.ending import run, say
from fastconv.programs.files import replacing
from training import accuracy, fit, kilobytes, make_folder, options_of, scores


def network(classes: int = 10) -> nn.Sequential:
    """CNTK's network for images (N, 3, 32, 32) from 0 to 1."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.BatchNorm2d(64),
        *_binary(64, 128, 3),
        nn.MaxPool2d(3, 2),
        nn.BatchNorm2d(128),
        *_binary(128, 128, 3),
        nn.MaxPool2d(3, 2),
        nn.BatchNorm2d(128),
        *_binary(128, classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _binary(channels: int, filters: int, kernel: int) -> tuple[nn.Module, ...]:
    layer = BinaryConv2d(channels, filters, kernel, padding=kernel // 2, bias=True, scale="alpha")
    return layer, nn.PReLU(filters)


def main(arguments: Sequence[str] | None = None) -> int:
    return run("cifar10", partial(_command, arguments))


def _command(arguments: Sequence[str] | None) -> int:
    parser = options_of(
        "Train a binary network on CIFAR-10 and deploy it.", epochs=80, rate=1e-3, output="cifar10-output"
    )
    parser.add_argument("--data", type=Path, required=True, help="cifar-10-python.tar.gz")
    options = parser.parse_args(arguments)
    network_file = options.output / "network.safetensors"
    try:
        training, test = (_tensors(part) for part in cifar_archive.load(options.data))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    make_folder(options.output, [network_file.name])
    torch.manual_seed(options.seed)
    model = network()
    fit(model, *training, epochs=options.epochs, rate=options.rate, title="binary network", augment=True)
    deployed, report = deploy(model)
    with replacing(network_file) as file:
        save(deployed, file)

    images, labels = test
    trained, packed = scores(model, images), scores(deployed, images)
    differ = int((trained.argmax(dim=1) != packed.argmax(dim=1)).sum())
    say(
        f"{report}\n"
        f"test accuracy: trained {accuracy(trained, labels):.2%}, deployed {accuracy(packed, labels):.2%}; "
        f"{differ} of {len(labels)} predictions differ\n"
        f"size: trained {kilobytes(model):.0f} kB, deployed {kilobytes(deployed):.0f} kB: {network_file}"
    )
    return 0


def _tensors(images: cifar_archive.Images) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images.pixels).float() / 255, torch.from_numpy(images.labels)


if __name__ == "__main__":
    raise SystemExit(main())
