"""Functions that a deployed network may call, by the names that its file has for them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.nn import functional


def _named(prefix: str, owner: Any, names: str) -> dict[str, Callable[..., Any]]:
    return {f"{prefix}{name}": getattr(owner, name) for name in names.split()}


BUILTINS: dict[str, Callable[..., Any]] = {"getattr": getattr}
OPERATORS = "add sub mul truediv floordiv neg pow getitem ge gt le lt eq ne"
OF_TORCH = (
    "abs add amax argmax cat chunk clamp clip div exp flatten log matmul max maximum mean min minimum "
    "mul neg permute relu reshape sigmoid sign softmax split sqrt squeeze stack std sub sum swapaxes tanh "
    "transpose unsqueeze var where"
)
OF_FUNCTIONAL = (
    "adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d batch_norm conv2d elu gelu hardsigmoid hardswish "
    "hardtanh interpolate layer_norm leaky_relu linear log_softmax max_pool2d mish normalize pad "
    "pixel_shuffle pixel_unshuffle prelu relu relu6 sigmoid silu softmax softplus tanh upsample"
)
METHODS = (
    "abs add add_ amax argmax chunk clamp clamp_ contiguous detach dim div exp expand expand_as flatten "
    "float mean mul mul_ permute pow relu relu_ reshape sigmoid sign size softmax split sqrt squeeze sub sum "
    "tanh to transpose type_as unflatten unsqueeze view"
)

FUNCTIONS: dict[str, Callable[..., Any]] = (
    BUILTINS
    | _named("operator.", operator, OPERATORS)
    | _named("torch.", torch, OF_TORCH)
    | _named("functional.", functional, OF_FUNCTIONAL)
    | _named("Tensor.", torch.Tensor, METHODS)
)

ATTRIBUTES = (
    "shape", "dtype", "device", "layout", "ndim", "data", "real", "imag", "T", "mT", "H", "mH",
    "is_cuda", "is_sparse", "is_quantized", "requires_grad",
)  # fmt: skip
"""What "getattr" may ask for."""

NAMES = {function: name for name, function in FUNCTIONS.items()}


def name_of(function: Any) -> str:
    """What a network calls ``function``: its name in a file, or else where it is found."""
    known = NAMES.get(function) if callable(function) else None
    module: ModuleType | str | None = getattr(function, "__module__", None)
    return known or f"{module}.{getattr(function, '__qualname__', repr(function))}"
