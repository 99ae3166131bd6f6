"""Train a binary residual network on handwritten digits, deploy it, and read it back from its file.

    python -m pip install -e ".[torch]"
    python examples/shortcuts.py

The network is a class with blocks, as such a network is mostly written: a shortcut around each binary
convolution (Bi-Real-Net); before it a number that is learned for each channel, and behind the sum a PReLU
(ReActNet); average pooling and a 1 x 1 float convolution where the image gets smaller. Its twin in floats has
convolutions in the same places. Each score of the deployed network must be the trained one's to the last bit,
and so must be those of the network that is read back.
"""

from __future__ import annotations

if __name__ == "__main__":
    from fastconv.programs.ending import begin

    begin("shortcuts")

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from comparing import CLASSES, compared, digits, parser_of, printed
from fastconv.nn import BinaryConv2d, load
from fastconv.programs.ending import run, say
from training import make_folder, scores

NAME = "shortcuts"


class Shift(nn.Module):
    """A number added to each channel: where its sign changes is learned."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class Block(nn.Module):
    """A 3 x 3 convolution and its shortcut. With a stride of 2, images become half as large."""

    def __init__(self, channels: int, filters: int, stride: int, binary: bool) -> None:
        super().__init__()
        self.shift = Shift(channels)
        if binary:
            self.convolution: nn.Module = BinaryConv2d(
                channels, filters, 3, stride=stride, padding=1, scale="alpha"
            )
        else:
            self.convolution = nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(filters)
        self.activation = nn.PReLU(filters)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(channels, filters, 1, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convolution(self.shift(x)))
        return self.activation(y + self.shortcut(x))


class Network(nn.Module):
    """A float convolution, six blocks, and a float layer for the classes."""

    def __init__(self, binary: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64))
        self.blocks = nn.Sequential(
            Block(64, 64, 1, binary),
            Block(64, 64, 1, binary),
            Block(64, 128, 2, binary),
            Block(128, 128, 1, binary),
            Block(128, 256, 2, binary),
            Block(256, 256, 1, binary),
        )
        self.classifier = nn.Linear(256, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.classifier(x.mean(dim=(2, 3)))


def main(arguments: Sequence[str] | None = None) -> int:
    return run("shortcuts", partial(_command, arguments))


def _command(arguments: Sequence[str] | None) -> int:
    options = parser_of(
        "Train a binary residual network on digits and deploy it.", output="shortcuts-output"
    ).parse_args(arguments)
    make_folder(options.output, [f"{NAME}.safetensors"])
    with printed() as rows:
        trained, deployed, file = compared(Network, NAME, options, rows)
    images = digits()[1].images
    # the layout that deployed networks compute in: PyTorch's float layers round otherwise in another
    expected = scores(trained.to(memory_format=torch.channels_last), images)
    differ = 0
    for what, network in (("deployed", deployed), (f"read back from {file}", load(file))):
        other = int((scores(network, images) != expected).any(dim=1).sum())
        say(f"test images with other scores than the trained network's, {what}: {other}")
        differ += other
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
