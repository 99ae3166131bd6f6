"""How operators are registered, and what they give."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.library import custom_op

from fastconv.adapters.torch_tensors import to_tensor


def operator(name: str, schema: str) -> Any:
    """Register what is decorated; older PyTorch cannot read a schema from annotations kept as strings."""
    return custom_op(f"fastconv::{name}", mutates_args=(), schema=schema)


def tensors(results: Any) -> list[Tensor]:
    return [to_tensor(result) for result in (results if isinstance(results, tuple) else (results,))]
