"""PyTorch's tensors: lent to NumPy's kernels or CuPy's without a copy, and results lent back.

bfloat16, which neither of them has, is the exception: it is widened to float32, which is exact, and results
that would have it are rounded to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from fastconv._dispatch import Array, backend_of
from fastconv.packed import PackedFilters, PackedSigns, Threshold

PACKED = (PackedSigns, PackedFilters, Threshold)
OF_THE_INPUTS_TYPE = ("fastconv.correlation", "fastconv.patches")
"""Modules whose results have the dtype of their inputs, bfloat16 included."""


def tensors_in(values: Iterable[Any]) -> list[torch.Tensor]:
    """Those of ``values`` that are tensors, and those that packed values hold."""
    found = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, PACKED):
            found += tensors_in(getattr(value, f.name) for f in fields(value) if f.init)
    return found


def call(
    operation: Callable[..., Any],
    tensors: list[torch.Tensor],
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Any:
    """``operation`` on the arrays that share the tensors' memory; its results as tensors."""
    name = operation.__qualname__
    for tensor in tensors:
        _check(name, tensor)
    devices = sorted({str(tensor.device) for tensor in tensors})
    if len(devices) > 1:
        raise TypeError(f"{name}: all tensors of one call must be on one device, got {' and '.join(devices)}")
    backend_of(name, *_arrays_in((*args, *options.values())))
    out = options.get("out")
    narrow = _is_bfloat16(operation, args, options)
    later = out if narrow and isinstance(out, torch.Tensor) else None
    lent = {key: _lent(value) for key, value in options.items() if later is None or key != "out"}
    with _placed(tensors[0].device):
        result = operation(*map(_lent, args), **lent)
    if later is not None:
        return _rounded_into(name, later, result)
    if isinstance(out, torch.Tensor):
        return PackedSigns(out, result.length) if isinstance(result, PackedSigns) else out
    given_back = _given_back(result)
    return given_back.to(torch.bfloat16) if narrow and given_back.dtype == torch.float32 else given_back


def to_array(tensor: torch.Tensor) -> Array:
    """The NumPy or CuPy array in ``tensor``'s memory."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    tensor = tensor.resolve_conj().resolve_neg()
    if tensor.is_cuda:
        import cupy

        return cupy.from_dlpack(tensor)
    return tensor.numpy()


def to_tensor(array: Array) -> torch.Tensor:
    """The tensor in the memory of a NumPy or CuPy array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return torch.from_numpy(np.asarray(array))
    return torch.from_dlpack(array)


def _check(name: str, tensor: torch.Tensor) -> None:
    if tensor.requires_grad:
        raise TypeError(
            f"{name}: no gradient flows through it, and a tensor that requires one was given; "
            "train with the layers of fastconv.nn, or pass x.detach()"
        )
    if tensor.layout != torch.strided or tensor.device.type not in ("cpu", "cuda"):
        raise TypeError(
            f"{name}: tensors must be strided and on the CPU or a CUDA device, got layout {tensor.layout} on "
            f"{tensor.device}; convert with x.to_dense() or x.cpu()"
        )


def _arrays_in(values: Iterable[Any]) -> list[Any]:
    """``values`` with what packed ones hold in their place: what has a say in the choice of a backend."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, PACKED):
            found += [getattr(value, f.name) for f in fields(value) if f.type == "Array"]
        elif not isinstance(value, (str, torch.dtype, np.dtype, type)):
            found.append(value)
    return found


def _is_bfloat16(operation: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    """Whether the result is to be bfloat16: the type asked for, or that of all floating inputs."""
    for value in (*args, *options.values()):
        if isinstance(value, torch.dtype):
            return bool(value == torch.bfloat16)
    if operation.__module__ not in OF_THE_INPUTS_TYPE:
        return False
    inputs = tensors_in((*args, *(value for key, value in options.items() if key != "out")))
    kinds = {t.dtype for t in inputs if t.dtype.is_floating_point or t.dtype.is_complex}
    return kinds == {torch.bfloat16}


def _lent(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return to_array(value)
    if isinstance(value, PackedSigns):
        return PackedSigns(_lent(value.words), value.length)
    if isinstance(value, PackedFilters):  # kept, since kernels keep what they derive from it
        return value.derived(
            "lent", lambda: PackedFilters(_lent(value.words), value.channels, _lent(value.alpha))
        )
    if isinstance(value, Threshold):
        return Threshold(_lent(value.tau), _lent(value.flip))
    if isinstance(value, torch.dtype):
        return np.dtype(str(torch.float32 if value == torch.bfloat16 else value).removeprefix("torch."))
    return value


def _given_back(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_given_back, value))
    if isinstance(value, PackedSigns):
        return PackedSigns(_given_back(value.words), value.length)
    if isinstance(value, PackedFilters):
        return PackedFilters(_given_back(value.words), value.channels, _given_back(value.alpha))
    if isinstance(value, Threshold):
        return Threshold(_given_back(value.tau), _given_back(value.flip))
    return to_tensor(value)


def _rounded_into(name: str, out: torch.Tensor, result: Array) -> torch.Tensor:
    """``out`` holding ``result``, if it is as it would have had to be."""
    if out.dtype != torch.bfloat16:
        raise TypeError(f"{name}: out must have dtype bfloat16, got {out.dtype}")
    if out.shape != result.shape:
        raise ValueError(f"{name}: out must have shape {result.shape}, got {tuple(out.shape)}")
    return out.copy_(_given_back(result))


@contextmanager
def _placed(device: torch.device) -> Iterator[None]:
    """Kernels and their arrays on ``device`` and PyTorch's current stream."""
    if device.type == "cpu":
        yield
        return
    import cupy

    stream = torch.cuda.current_stream(device).cuda_stream
    with cupy.cuda.Device(device.index), cupy.cuda.ExternalStream(stream, device.index):
        yield
