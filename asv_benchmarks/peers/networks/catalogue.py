"""The networks by name: how each is made, at its published size and at one that only has to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from peers.networks.alexnet import AlexNet
from peers.networks.bireal import BiReal
from peers.networks.densenet import DenseNet
from peers.networks.mlp import MLP, BinaryMLP, binary_mlp_in_one_row, mlp_in_one_row
from peers.networks.parts import BINARY, FLOAT, filled
from peers.networks.quicknet import QuickNet
from peers.networks.reactnet import ReActNet
from peers.networks.unet import UNet
from peers.networks.vgg import VGG, vgg_in_one_row

CLASS, ROW = "as a class", "as one Sequential"


class Maker(NamedTuple):
    """``forms`` of one network by name, the first of which has a float twin; an image of it, and a small one
    with the options that make the network small."""

    forms: Mapping[str, Callable[..., nn.Module]]
    image: tuple[int, ...]
    small_image: tuple[int, ...]
    small: Mapping[str, Any]


class Made(NamedTuple):
    """Trained networks by form, with the same numbers, and the float twin; in the layout channels last."""

    trained: dict[str, nn.Module]
    twin: nn.Module
    image: tuple[int, ...]


SMALL_UNITS = (30, 70, 65, 64, 10)

MAKERS = {
    "Bi-Real-18": Maker({"": BiReal}, (3, 224, 224), (3, 64, 64), {"width": 8, "blocks": 2, "classes": 10}),
    "ReActNet-A": Maker(
        {"": ReActNet}, (3, 224, 224), (3, 32, 32), {"width": 16, "widths": (1, 2, 4, 4, 8), "classes": 10}
    ),
    "QuickNet": Maker({"": QuickNet}, (3, 224, 224), (3, 64, 64), {"width": 16, "blocks": 2, "classes": 10}),
    "BinaryDenseNet-28": Maker(
        {"": DenseNet},
        (3, 224, 224),
        (3, 40, 40),
        {"layers": (3, 2), "reductions": (2.7,), "classes": 10},
    ),
    "XNOR-AlexNet": Maker({"": AlexNet}, (3, 227, 227), (3, 227, 227), {"narrower": 16, "classes": 10}),
    "BinaryNet-VGG": Maker(
        {CLASS: VGG, ROW: vgg_in_one_row}, (3, 32, 32), (3, 16, 16), {"width": 8, "side": 16}
    ),
    "MLP of the XNOR-GEMM extension": Maker(
        {CLASS: MLP, ROW: mlp_in_one_row}, (784,), SMALL_UNITS[:1], {"units": SMALL_UNITS}
    ),
    "MLP with binary hidden layers": Maker(
        {CLASS: BinaryMLP, ROW: binary_mlp_in_one_row}, (784,), SMALL_UNITS[:1], {"units": SMALL_UNITS}
    ),
    "U-Net": Maker({"": UNet}, (3, 128, 128), (3, 16, 16), {"width": 64, "sizes": 3}),
}


def made(name: str, small: bool) -> Made:
    """The network of that name in all of its forms, and its twin; random, and the same every time."""
    maker = MAKERS[name]
    image, options = (maker.small_image, maker.small) if small else (maker.image, {})
    first, *others = maker.forms
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trained = {first: _filled(partial(maker.forms[first], BINARY, **options), image)}
        twin = _filled(partial(maker.forms[first], FLOAT, **options), image)
        for form in others:
            trained[form] = _alike(maker.forms[form](BINARY, **options), trained[first])
    return Made(trained, twin, image)


def _filled(make: Callable[[], nn.Module], image: tuple[int, ...]) -> nn.Module:
    return filled(make(), image).to(memory_format=torch.channels_last)


def _alike(model: nn.Module, other: nn.Module) -> nn.Module:
    """``model`` with the tensors of ``other``, which has the same ones in the same order."""
    values = other.state_dict().values()
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
