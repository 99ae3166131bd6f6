"""PyTorch layers that train in floats and infer in bits."""

from fastconv.nn.deployment.deploy import deploy
from fastconv.nn.files import load, save
from fastconv.nn.layers import BinaryConv2d, BinaryLinear
from fastconv.nn.signs import BinaryMaxPool2d, Sign

__all__ = ["BinaryConv2d", "BinaryLinear", "BinaryMaxPool2d", "Sign", "deploy", "load", "save"]
