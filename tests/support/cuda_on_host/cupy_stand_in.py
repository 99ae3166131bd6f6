"""A stand-in for CuPy on machines without a GPU: ``install()`` it before anything imports cupy.

Its arrays are NumPy's underneath, in memory that ends at a guard page, but nothing may take them for NumPy's:
as with CuPy, only ``get`` and ``asnumpy`` bring them to the host. Raw kernels are compiled by g++, and every
launch runs three times from the same state, its threads in three orders; if the results differ, it fails.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from typing import Any

import numpy as np

from . import compiler
from .device_stand_in import RUNTIME, Device, Event, Graph, Stream
from .guard import guarded

NAMES = (
    "abs", "add", "all", "any", "arange", "array_equal", "broadcast_to", "clip", "concatenate", "empty_like",
    "equal", "expand_dims", "finfo", "full", "greater", "greater_equal", "iinfo", "isfinite", "isnan", "less",
    "logical_and", "logical_not", "logical_xor", "matmul", "maximum", "mean", "minimum", "moveaxis",
    "multiply", "negative", "ones", "pad", "reciprocal", "reshape", "result_type", "rint", "shares_memory",
    "may_share_memory", "sqrt", "stack", "subtract", "sum", "take", "transpose", "where", "zeros",
    "zeros_like", "dtype", "float16", "float32", "float64", "complex64", "complex128", "int8", "int16",
    "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_", "newaxis", "pi", "inf", "nan",
)  # fmt: skip
"""What the stand-in has of CuPy besides what is written out below; a test compares it with the real one."""

ABSENT = ("ctypes", "getfield", "resize", "setfield", "setflags", "to_device")
"""What arrays of NumPy have and those of CuPy have not; the same test compares."""

WAITING = ("item", "tobytes", "tolist", "dump", "dumps")
"""Methods that wait for the device."""


class ndarray:  # noqa: N801  (the name it has in CuPy)
    """An array on the device that is not there."""

    __array_priority__ = 100

    def __init__(self, host: np.ndarray) -> None:
        self._host = host
        self._device = Device()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ABSENT:
            raise AttributeError(f"cupy.ndarray has no {name}")
        if name in WAITING:
            Stream._check_no_capture(name)
        value = getattr(self._host, name)
        return _wrapped(value) if callable(value) else _device(value)

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return _wrapped(getattr(ufunc, method))(*inputs, **options)

    def __getitem__(self, key: Any) -> Any:
        return _device(self._host[_host(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        self._host[_host(key)] = _host(value)

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        Stream._check_no_capture("bool")
        return bool(self._host)

    def __int__(self) -> int:
        Stream._check_no_capture("int")
        return int(self._host)

    def __float__(self) -> float:
        Stream._check_no_capture("float")
        return float(self._host)

    def __repr__(self) -> str:
        return repr(self._host)

    @property
    def device(self) -> Device:
        return self._device

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self._host.ctypes.data)

    @property
    def flags(self) -> Any:
        flags = self._host.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata
        )

    def get(self) -> np.ndarray:
        Stream._check_no_capture("get")
        return np.array(self._host, order="C")


def _operator(name: str) -> Any:
    def operate(self: ndarray, *others: Any) -> Any:
        if any(isinstance(o, np.ndarray) for o in others):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        return _device(getattr(self._host, name)(*map(_host, others)))

    return operate


OPERATORS = (
    "abs", "add", "and", "eq", "floordiv", "ge", "gt", "iadd", "iand", "imul", "invert", "ior", "isub",
    "ixor", "le", "lshift", "lt", "matmul", "mod", "mul", "ne", "neg", "or", "pow", "radd", "rmul", "rshift",
    "rsub", "sub", "truediv", "xor",
)  # fmt: skip
for _name in OPERATORS:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
ndarray.__hash__ = None  # type: ignore[assignment]
ndarray.__module__ = "cupy"


class RawModule:
    """CUDA C++ for g++: as CuPy's, it keeps the source until a kernel is asked for."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        self._source = code
        self._defines = tuple(option for option in options if option.startswith("-D"))
        from cuda_variants import check_listed  # which imports what imports this

        check_listed(code, tuple(define.removeprefix("-D") for define in self._defines))

    def get_function(self, name: str) -> Any:
        def run(grid: Any, block: Any, arguments: Any, *, shared_mem: int = 0) -> None:
            if any(isinstance(a, ndarray) and a.device != Device() for a in arguments):
                raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an array is on another device")
            arrays = [a._host for a in arguments if isinstance(a, ndarray)]
            given = [a._host if isinstance(a, ndarray) else _by_value(a) for a in arguments]
            before = [a.copy() for a in arrays]
            first: list[bytes] = []
            for order in range(compiler.ORDERS):
                for array, content in zip(arrays, before, strict=True):
                    if array.flags.writeable:  # NumPy's broadcast arrays are not
                        np.copyto(array, content)
                compiler.launch(self._source, self._defines, name, grid, block, given, shared_mem, order)
                results = [a.tobytes() for a in arrays]
                if order and results != first:
                    raise RuntimeError(f"{name}: the result depends on the order in which threads run")
                first = results

        return run


def _by_value(argument: Any) -> Any:
    """What CuPy passes to a kernel by value: scalars, and NumPy arrays of one element."""
    if isinstance(argument, np.ndarray) and argument.size != 1:
        raise TypeError("Only numpy.ndarrays of size one can be passed by value")
    return argument.reshape(())[()] if isinstance(argument, np.ndarray) else argument


def empty(shape: Any, dtype: Any = float) -> ndarray:
    kind = np.dtype(dtype)
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    count = int(np.prod(sizes, dtype=np.int64))
    return ndarray(guarded(count * kind.itemsize).view(kind).reshape(sizes))


def _host(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, (tuple, list)):
        return type(value)(map(_host, value))
    return value


def _device(value: Any) -> Any:
    """Results of NumPy as results of CuPy, which has no scalars; new ones go to guarded memory."""
    if isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, np.dtype):
        if isinstance(value, np.ndarray) and value.base is not None:
            return ndarray(value)  # a view
        moved = empty(value.shape, value.dtype)
        np.copyto(moved._host, value)
        return moved
    if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
        return type(value)(map(_device, value))
    return value


def _wrapped(function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        if any(isinstance(a, np.ndarray) and a.ndim for a in (*args, *options.values())):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        given = [_host(a) for a in args]
        out = options.get("out")
        result = function(*given, **{k: _host(v) for k, v in options.items()})
        if isinstance(out, ndarray):
            return out
        if isinstance(result, np.ndarray) and any(result is g for g in given):
            return ndarray(result)
        return _device(result)

    return call


def asarray(x: Any, dtype: Any = None, order: str | None = None) -> ndarray:
    if isinstance(x, ndarray) and _same(x, dtype):
        return x
    if not isinstance(x, ndarray):
        Stream._check_no_capture("a copy from the host")
    host = np.asarray(_host(x))
    result = empty(host.shape, host.dtype.newbyteorder("=") if dtype is None else dtype)
    np.copyto(result._host, host, casting="unsafe")
    return result


def ascontiguousarray(x: ndarray, dtype: Any = None) -> ndarray:
    return x if x.flags.c_contiguous and _same(x, dtype) else asarray(ndarray(x._host.copy()), dtype)


def _same(x: ndarray, dtype: Any) -> bool:
    return dtype is None or bool(x.dtype == dtype)  # float64 == None


def asnumpy(x: ndarray) -> np.ndarray:
    return x.get()


def copyto(target: ndarray, source: Any, casting: str = "same_kind") -> None:
    np.copyto(target._host, _host(source), casting=casting)


def install() -> types.ModuleType:
    """Make ``import cupy`` give the stand-in."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "0+stand-in"
    cupy.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
    for name in NAMES:
        value = getattr(np, name)
        setattr(cupy, name, _wrapped(value) if callable(value) and not isinstance(value, type) else value)
    for value in (ndarray, RawModule, empty, asarray, ascontiguousarray, asnumpy, copyto):
        setattr(cupy, value.__name__, value)
    cupy.array = asarray
    cupy.fft = types.SimpleNamespace(
        **{name: _wrapped(getattr(np.fft, name)) for name in ("fft2", "ifft2", "rfft2", "irfft2")}
    )
    cupy.linalg = types.SimpleNamespace(norm=_wrapped(np.linalg.norm))
    cupy.cuda = types.SimpleNamespace(
        Device=Device, Event=Event, Graph=Graph, Stream=Stream, runtime=RUNTIME,
        get_current_stream=Stream,
        get_elapsed_time=lambda begin, end: 1e3 * (end._seconds - begin._seconds),
    )  # fmt: skip
    sys.modules["cupy"] = cupy
    return cupy
