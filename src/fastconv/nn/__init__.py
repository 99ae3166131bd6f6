"""PyTorch layers that train in floats and infer in bits."""

from fastconv._backends import optional

optional("fastconv.nn", "torch", "torch")

from fastconv.nn.deployment.deploy import deploy  # noqa: E402
from fastconv.nn.files import load, save  # noqa: E402
from fastconv.nn.layers import BinaryConv2d, BinaryLinear  # noqa: E402
from fastconv.nn.signs import BinaryMaxPool2d, Sign  # noqa: E402

__all__ = ["BinaryConv2d", "BinaryLinear", "BinaryMaxPool2d", "Sign", "deploy", "load", "save"]
