"""Networks for the tests of deployment: filled with numbers, run in a layout, and operator by operator."""

from __future__ import annotations

import torch
from torch import nn

from fastconv.nn import BinaryConv2d, BinaryLinear


def filled(model, seed):
    """``model`` with statistics and parameters that put numbers on either side of 0, and often on it."""
    generator = torch.Generator().manual_seed(seed)

    def choice(values, size):
        return torch.tensor(values)[torch.randint(len(values), size, generator=generator)]

    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            size = (module.num_features,)
            module.running_mean.copy_(torch.randint(-9, 10, size, generator=generator))
            module.running_var.copy_(choice([0.3, 1.0, 7.0], size))
            if module.affine:
                module.weight.data.copy_(choice([-1.5, -0.3, 0.0, 0.7, 1.0, 2.0], size))
                module.bias.data.copy_(choice([-1.1, -0.0, 0.0, 0.0, 0.6], size))
        elif isinstance(module, nn.PReLU):
            module.weight.data.copy_(choice([-0.5, 0.0, 0.25, 1.0], module.weight.shape))
        elif isinstance(module, (BinaryConv2d, BinaryLinear)):
            module.weight.data.copy_(torch.randn(module.weight.shape, generator=generator))
            if module.learned_scale is not None:
                module.learned_scale.data.copy_(choice([-0.8, 0.0, 0.1, 1.0], module.learned_scale.shape))
            if module.bias is not None:
                module.bias.data.copy_(choice([-3.0, 0.0, 0.5], module.bias.shape))
        elif "bias" in module._parameters and module.bias is not None and module.bias.dim() == 4:
            module.bias.data.copy_(choice([-1.5, -0.5, 0.0, 0.25, 2.0], module.bias.shape))
    return model.eval()


class Follower(torch.utils._python_dispatch.TorchDispatchMode):
    """Sees every operator, so that a deployed model calls them."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.seen.append(str(operator))
        return operator(*args, **(kwargs or {}))


def by_operators(deployed, x):
    with Follower(), torch.no_grad():
        return deployed(x)


def in_layout(x, layout):
    last = layout == "channels_last" and x.dim() == 4
    return x.contiguous(memory_format=torch.channels_last) if last else x
