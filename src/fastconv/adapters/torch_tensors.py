"""PyTorch's tensors: lent to NumPy's kernels or CuPy's without a copy, and results lent back.

bfloat16, which neither of them has, is the exception: it is widened to float32, which is exact, and results
that would have it are rounded to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch

from fastconv._advice import LENT_BY
from fastconv._backends import Array, backend_of, optional
from fastconv.packed import Packed, PackedSigns

NO_TENSOR = {np.ndarray, int, float, bool, str, type(None)}
"""What most arguments are: calls without tensors are looked through, too, and PyTorch is slow to say no."""

NESTED = ("activation", "signs")
"""Options that may be sequences which hold tensors."""

LENT = {
    getattr(torch, dtype)
    for dtype in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    )
}
"""Dtypes that NumPy and CuPy have, and bfloat16."""


class _Lending:
    """While arrays of the CPU are lent."""

    def __enter__(self) -> None:
        LENT_BY.set("torch")

    def __exit__(self, *_: object) -> None:
        LENT_BY.set("")


ON_CPU = _Lending()

COMPILERS = "torch._dynamo"
"""The module with which PyTorch's compilers are loaded, if they are."""


def tensors_in(values: Iterable[Any]) -> list[torch.Tensor]:
    """Those of ``values`` that are tensors, and those that packed values and sequences hold."""
    found = []
    for value in values:
        if type(value) in NO_TENSOR:
            continue
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, Packed):
            found += tensors_in(value.arrays())
        elif isinstance(value, (list, tuple)) and not _is_of_numbers(value):
            found += tensors_in(value)
    return found


def _is_of_numbers(value: Any) -> bool:
    """Whether a list begins with a number: nested numbers may be many, and are not all looked at."""
    return isinstance(value, list) and bool(value) and type(value[0]) in (bool, int, float)


def unfollowed(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call ``function`` where no compiler of PyTorch looks: it breaks its graph here."""
    if COMPILERS in sys.modules:
        return (_hidden or _hide())(function, *args, **options)
    return function(*args, **options)


_hidden: Callable[..., Any] | None = None


def _hide() -> Callable[..., Any]:
    """What calls functions without compilers: made as late as that because PyTorch then imports them, which
    takes seconds."""
    global _hidden
    _hidden = torch.compiler.disable(lambda function, *args, **options: function(*args, **options))
    return _hidden


def call(
    operation: Callable[..., Any], keeps_dtype: bool, args: tuple[Any, ...], options: Mapping[str, Any]
) -> Any:
    """``operation`` on the arrays that share the memory of tensors among its arguments, if there are any; its
    results as tensors, of bfloat16 if it ``keeps_dtype`` and that is what was given."""
    return unfollowed(_call, operation, keeps_dtype, args, options)


def _call(
    operation: Callable[..., Any], keeps_dtype: bool, args: tuple[Any, ...], options: Mapping[str, Any]
) -> Any:
    tensors = tensors_in((*args, *options.values()))
    if not tensors:
        return operation(*args, **options)
    name = operation.__qualname__
    _check(name, tensors, args, options)
    narrow = _is_bfloat16(keeps_dtype, args, options)
    out = options.get("out")
    with placed(tensors[0].device):
        place = _place_for(name, out, narrow, tensors) if isinstance(out, torch.Tensor) else out
        try:
            arrays = [_lent(value) for value in args]
            lent = {key: _lent(place if key == "out" else value) for key, value in options.items()}
        except RuntimeError as error:
            raise TypeError(
                f"{name}: a tensor was given whose numbers cannot be read where they lie (masked, nested, or "
                f"of a compiler, an export or vmap); pass an ordinary one. PyTorch says: {error}"
            ) from error
        result = operation(*arrays, **lent)
        if not isinstance(out, torch.Tensor):
            given_back = _given_back(result)
            return given_back.to(torch.bfloat16) if narrow else given_back
        if place is not out:
            out.copy_(place)
        elif not torch.is_inference(out):
            torch.autograd.graph.increment_version(out)  # as PyTorch's own operations do when they write
        return _given_out(out, result)


def to_array(tensor: torch.Tensor) -> Array:
    """The NumPy or CuPy array in ``tensor``'s memory."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    tensor = tensor.resolve_conj().resolve_neg()
    if tensor.is_cuda:
        return _cupy().from_dlpack(tensor)
    return tensor.numpy()


def to_tensor(array: Array) -> torch.Tensor:
    """The tensor in the memory of a NumPy or CuPy array."""
    if isinstance(array, (np.ndarray, np.generic)):
        return torch.from_numpy(np.asarray(array))
    return torch.from_dlpack(array)


def _check(name: str, tensors: list[torch.Tensor], args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Refuse what cannot be lent, and tensors of two devices or beside other arrays."""
    values = [*args, *(value for key, value in options.items() if key not in NESTED)]
    for value in values:
        if isinstance(value, (list, tuple)) and tensors_in(value):
            shapes = {getattr(part, "shape", None) for part in value}
            stacked = ", torch.stack(x)" if len(shapes) == 1 and None not in shapes else ""
            raise TypeError(f"{name}: got a sequence of tensors; pass one tensor{stacked}")
    for tensor in tensors:
        if tensor.requires_grad and torch.is_grad_enabled():
            raise TypeError(
                f"{name}: no gradient flows through it, and a tensor that requires one was given; train with "
                "the layers of fastconv.nn, or call it under torch.no_grad(), or pass x.detach()"
            )
        if tensor.is_nested:
            raise TypeError(f"{name}: tensors must not be nested; pass x.to_padded_tensor(0)")
        if tensor.layout != torch.strided:
            raise TypeError(f"{name}: tensors must be strided, got {tensor.layout}; pass x.to_dense()")
        if tensor.device.type not in ("cpu", "cuda"):
            raise TypeError(f"{name}: tensors must be on the CPU or a CUDA device, got {tensor.device}")
        if tensor.dtype not in LENT:
            raise TypeError(f"{name}: tensors of {tensor.dtype} are not supported{_how_to_lend(tensor)}")
    if any(tensor.device != tensors[0].device for tensor in tensors[1:]):
        devices = " and ".join(sorted({str(tensor.device) for tensor in tensors}))
        raise TypeError(f"{name}: all tensors of one call must be on one device, got {devices}")
    backend_of(name, *_arrays_in(values), *_arrays_in(_parts(options.get(key) for key in NESTED)))


def _how_to_lend(tensor: torch.Tensor) -> str:
    """What makes a tensor of a dtype that NumPy has, if anything does: the end of a sentence."""
    if tensor.is_quantized:
        return "; convert with x.dequantize()"
    if tensor.is_complex():
        return "; convert with x.to(torch.complex64)"
    return "; convert with x.to(torch.float32)" if tensor.is_floating_point() else ""


def conversion(tensor: torch.Tensor) -> str:
    """How ``tensor`` becomes an array of NumPy."""
    widened = ".float()" if tensor.dtype == torch.bfloat16 else ""
    resolved = ".resolve_conj().resolve_neg()" if tensor.is_conj() or tensor.is_neg() else ""
    return f"x.detach().cpu(){widened}{resolved}.numpy()"


def _arrays_in(values: Iterable[Any]) -> list[Any]:
    """``values`` with what packed ones hold in their place: what has a say in the choice of a backend."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, Packed):
            found += value.arrays()
        elif not isinstance(value, (str, torch.dtype, np.dtype, type)):
            found.append(value)
    return found


def _parts(values: Iterable[Any]) -> Iterator[Any]:
    """``values`` with the parts of sequences in their place."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _parts(value)
        else:
            yield value


def _is_bfloat16(keeps_dtype: bool, args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    """Whether the result is to be bfloat16: the type asked for, or that of all floating inputs."""
    asked = [options["dtype"]] if options.get("dtype") is not None else []
    asked += [value for value in args if isinstance(value, torch.dtype)]
    if asked:
        return asked[0] is torch.bfloat16
    if not keeps_dtype:
        return False
    inputs = tensors_in((*args, *(value for key, value in options.items() if key != "out")))
    kinds = {t.dtype for t in inputs if t.dtype.is_floating_point or t.dtype.is_complex}
    return kinds == {torch.bfloat16}


def _place_for(name: str, out: torch.Tensor, narrow: bool, tensors: list[torch.Tensor]) -> torch.Tensor:
    """``out``, or a tensor of its shape where kernels cannot write into its memory what it is to hold."""
    if narrow != (out.dtype == torch.bfloat16):
        needed = "bfloat16" if narrow else "that of the result, which is not bfloat16"
        raise TypeError(f"{name}: out must have dtype {needed}, got {out.dtype}")
    if narrow:
        integers = [t.dtype for t in tensors if not t.dtype.is_floating_point]
        wide = np.result_type(np.float32, *map(_dtype, integers))
        return torch.empty(out.shape, dtype=getattr(torch, wide.name), device=out.device)
    if out.is_conj() or out.is_neg():
        return torch.empty(out.shape, dtype=out.dtype, device=out.device)
    return out


def _dtype(value: torch.dtype) -> np.dtype[Any]:
    return np.dtype(str(torch.float32 if value == torch.bfloat16 else value).removeprefix("torch."))


def _lent(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, Packed)):
        return _converted(value, to_array)
    if isinstance(value, (list, tuple)) and tensors_in(value):
        return type(value)(map(_lent, value))
    return _dtype(value) if isinstance(value, torch.dtype) else value


def _given_out(out: torch.Tensor, result: Any) -> Any:
    """``result`` as tensors, where the arrays that came first were written to ``out``."""
    if isinstance(result, tuple):
        return out, *map(_given_back, result[1:])
    return PackedSigns(out, result.length) if isinstance(result, PackedSigns) else out


def _given_back(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_given_back, value))
    return _converted(value, to_tensor)


def _converted(value: Any, convert: Callable[[Any], Any]) -> Any:
    """``convert`` of an array, or a packed value with ``convert`` of its arrays."""
    return value.mapped(convert) if isinstance(value, Packed) else convert(value)


def placed(device: torch.device) -> AbstractContextManager[None]:
    """Kernels and their arrays, which are lent, on ``device`` and PyTorch's current stream."""
    return ON_CPU if device.type == "cpu" else _on_current_stream(device)


@contextmanager
def _on_current_stream(device: torch.device) -> Iterator[None]:
    cupy = _cupy()
    stream = torch.cuda.current_stream(device).cuda_stream
    with ON_CPU, cupy.cuda.Device(device.index), cupy.cuda.ExternalStream(stream, device.index):
        yield


def _cupy() -> Any:
    return optional("tensors on CUDA", "cupy", "cuda13x", "cuda12x")
