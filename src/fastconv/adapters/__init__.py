"""Array libraries that borrow the kernels of another: PyTorch's tensors, over DLPack."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from fastconv._backends import imported

P = ParamSpec("P")
R = TypeVar("R")


def adapted(operation: Callable[P, R]) -> Callable[P, R]:
    """Let ``operation`` take tensors: they are lent to NumPy or CuPy, and its results lent back."""

    @wraps(operation)
    def call(*args: P.args, **options: P.kwargs) -> R:
        if "torch" in sys.modules:
            tensors = imported("fastconv.adapters.torch_tensors")
            found = tensors.tensors_in((*args, *options.values()))
            if found:
                result: R = tensors.call(operation, found, args, options)
                return result
        return operation(*args, **options)

    return call
