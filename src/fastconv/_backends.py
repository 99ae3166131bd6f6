"""Which code runs for which array library: the one table, and its one error."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np
from array_api_compat import array_namespace

Array = Any  # of any supported namespace
P = ParamSpec("P")
R = TypeVar("R")

undisturbed = np.errstate(all="ignore")
"""Decorates every entrance to what computes with NumPy: overflow, NaN and the like on the way to a result are
no errors, whatever the caller's error state says."""

imported = cache(importlib.import_module)  # which waits for another thread's import of the same to end


def optional(user: str, module: str, *extras: str) -> ModuleType:
    """A ``module`` of a library that may be missing: then an error that says which ``extras`` bring it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name not in (library, module):
            raise
        install = " or ".join(f'pip install "fastconv[{extra}]"' for extra in extras)
        raise ModuleNotFoundError(f"{user}: {library} is not installed; {install}", name=library) from None


@dataclass(frozen=True)
class Backend:
    """What fastconv knows about one array library.

    ``package`` holds the implementation (``bits``, ``correlation``, ``patches``, ``xnor``, each with a
    ``plan``), or ``lender`` lends its arrays to another library's (see :func:`adapted`), if there is either;
    ``support`` says so. ``conversion`` turns an array ``x`` of it into a NumPy one. If ``has_devices``, the
    package's ``check_current`` looks at where the arrays of a call are.
    """

    namespace: str
    package: str | None
    conversion: str
    support: str = "not supported"
    has_devices: bool = False
    lender: str | None = None

    @property
    def supported(self) -> bool:
        return bool(self.package or self.lender)

    def module(self, noun: str) -> ModuleType:
        return imported(f"{self.package}.{noun}")

    def plan(self, spec: Any) -> Any:
        """What computes ``spec``: called with arrays and ``out``."""
        return imported(f"{self.package}.{spec.noun}").plan(spec)

    def view(self, x: Array) -> Array:
        """``x`` as an array that NumPy's or CuPy's functions take, in the same memory."""
        return imported(self.lender).to_array(x) if self.lender else x

    def adopt(self, x: Array) -> Array:
        """The array that ``view`` gave, back in this library."""
        return imported(self.lender).to_tensor(x) if self.lender else x


NUMPY = Backend("numpy", "fastconv.cpu", "x", "supported")
BACKENDS = {
    backend.namespace: backend
    for backend in (
        NUMPY,
        Backend("cupy", "fastconv.cuda", "cupy.asnumpy(x)", "supported, but not yet run on a GPU", True),
        Backend(
            "torch", None, "x.detach().cpu().numpy()", "supported", lender="fastconv.adapters.torch_tensors"
        ),
        Backend("dask.array", None, "x.compute()", "not supported yet"),
        Backend("jax.numpy", None, "numpy.asarray(x)"),
        Backend("sparse", None, "x.todense()"),
        Backend("scipy.sparse", None, "x.toarray()"),
        Backend("numpy.ma", None, "x.filled(0)"),
    )
}
LENDERS = tuple(backend for backend in BACKENDS.values() if backend.lender)

_OF_TYPES: dict[type, Backend] = {}
"""What was found of arrays met before, since looking at one takes 1 us."""

_LOADED: dict[str, ModuleType] = {}
"""Lenders by their namespace. Compilers follow this look-up, and would warn of the cache of ``imported``."""


def _loaded(backend: Backend) -> ModuleType:
    lender = _LOADED[backend.namespace] = importlib.import_module(str(backend.lender))
    return lender


def adapted(operation: Callable[P, R], keeps_dtype: bool = False) -> Callable[P, R]:
    """Let ``operation`` take arrays that are lent: its results are given back as such, too. It is
    :data:`undisturbed`.

    ``keeps_dtype`` says that they are of the dtype of its inputs, be it one that only the lent arrays have. A
    library whose module is not loaded has no arrays in any call.
    """

    quiet = undisturbed(operation)

    @wraps(operation)
    def call(*args: P.args, **options: P.kwargs) -> R:
        for backend in LENDERS:
            if backend.namespace in sys.modules:
                lender = _LOADED.get(backend.namespace) or _loaded(backend)
                result: R = lender.call(quiet, keeps_dtype, args, options)
                return result
        return quiet(*args, **options)

    return call


def unfollowed(function: Callable[P, R]) -> Callable[P, R]:
    """Let no compiler of a library that lends look into ``function``, which takes its arrays as they are.

    It is :data:`undisturbed`."""
    quiet = undisturbed(function)

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        for backend in LENDERS:
            if backend.namespace in sys.modules:
                lender = _LOADED.get(backend.namespace) or _loaded(backend)
                result: R = lender.unfollowed(quiet, *args, **options)
                return result
        return quiet(*args, **options)

    return call


def adapted_keeping_dtype(operation: Callable[P, R]) -> Callable[P, R]:
    """:func:`adapted`, of an operation whose results have the dtype of its inputs."""
    return adapted(operation, keeps_dtype=True)


# Our own types, where an operation wants an array.
PACKED = {
    "PackedSigns": "x.unpack(), or x.words where words are wanted",
    "PackedFilters": "PackedSigns(x.words, x.channels), or its unpack()",
    "Threshold": "x.tau and x.flip, or pass threshold=x where that is a parameter",
}

SCALARS = (bool, int, float, complex, str, bytes, np.generic)

MEANINGS = ("mask", "unit", "units")
"""Properties of arrays without which their numbers mean something else: NumPy drops them in silence."""

PLAIN_FORMS = {"filled": "x.filled(0)", "magnitude": "x.magnitude", "value": "x.value", "data": "x.data"}
"""How arrays that have a meaning give their numbers alone, by what they have for that."""

ASARRAY = "numpy.asarray(x)"
PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")
ON_CPU = (1, 3)
"""DLPack's numbers for memory of the CPU, and for such that is shared with CUDA."""


def backend_of(operation: str, *operands: object) -> Backend:
    """The backend that all ``operands`` share; TypeError for an unsupported one (in a sequence, too) or two.

    None, scalars and nested sequences have no say; if nothing else is given, NumPy is meant. So it is by what
    has no namespace of its own and is an array to ``numpy.asarray``, unless that would drop a meaning.
    """
    found: Backend | None = None
    first: object = None
    for operand in operands:
        if type(operand) is np.ndarray:
            backend = NUMPY
        elif isinstance(operand, (list, tuple)):
            backend_of(operation, *(x for x in operand if hasattr(x, "__len__")))  # numbers have none
            continue
        elif operand is None or isinstance(operand, SCALARS):
            continue
        else:
            backend = _backend(operation, operand)
        if found is not None and backend is not found:
            raise TypeError(
                f"{operation}: got arrays of both {found.namespace} and {backend.namespace}; "
                "all arrays of one call must come from one library, because fastconv never copies between "
                f"them silently. Convert {_conversions((found, first), (backend, operand))}."
            )
        found, first = backend, operand
    if found is not None and found.has_devices:
        imported(str(found.package)).check_current(operation, operands)
    return found or NUMPY


def _conversions(*given: tuple[Backend, object]) -> str:
    """How arrays of two libraries become arrays of one, NumPy."""
    ways = [
        imported(backend.lender).conversion(x) if backend.lender else backend.conversion
        for backend, x in given
        if backend is not NUMPY
    ]
    return f"one with {ways[0]}" if len(ways) == 1 else f"them with {' and '.join(ways)}"


def _backend(operation: str, operand: object) -> Backend:
    known = _OF_TYPES.get(type(operand))
    if known is not None:
        return known
    backend, always = _look_at(operand)
    if not backend.supported:
        supported = ", ".join(known.namespace for known in BACKENDS.values() if known.supported)
        raise TypeError(
            f"{operation}: arrays of {backend.namespace} are {backend.support}; supported: {supported}. "
            f"Convert with {backend.conversion}."
        )
    if always:
        _OF_TYPES[type(operand)] = backend
    return backend


def _look_at(operand: object) -> tuple[Backend, bool]:
    """The row of an operand, and whether all of its type have the same."""
    name = _namespace_name(operand)
    row = BACKENDS.get(name)
    if row is not None and row is not NUMPY:
        return row, True
    kind = type(operand)
    # The type is asked, since what stands on one object may be its user's note, as in xarray, or a field of
    # records; but subclasses of NumPy's arrays may keep the unit on each array.
    subclass = isinstance(operand, np.ndarray) and operand.dtype.names is None
    found = {part: getattr(operand if subclass else kind, part, None) for part in MEANINGS}
    meanings = [part for part, value in found.items() if value is not None and not callable(value)]
    lost = [part for part in meanings if getattr(operand, part) is not None]
    if lost:
        plain = next((form for part, form in PLAIN_FORMS.items() if hasattr(kind, part)), ASARRAY)
        support = f"not supported, because their {lost[0]} would be lost"
        return Backend(_type_name(operand), None, plain, support), False
    if row is None and not _is_array_like(operand):
        conversion = ASARRAY if not hasattr(kind, "__cuda_array_interface__") else "cupy.asarray(x)"
        return Backend(name, None, PACKED.get(name.removeprefix("fastconv.packed."), conversion)), False
    return NUMPY, not (subclass or meanings or hasattr(kind, "__dlpack_device__"))


def _is_array_like(operand: object) -> bool:
    """Whether ``numpy.asarray`` makes an array of numbers of ``operand``, which is on the CPU."""
    kind = type(operand)
    if hasattr(kind, "__array_namespace__") or hasattr(kind, "__cuda_array_interface__"):
        return False
    if hasattr(kind, "__dlpack_device__") and operand.__dlpack_device__()[0] not in ON_CPU:  # type: ignore[attr-defined]
        return False
    if any(hasattr(kind, protocol) for protocol in PROTOCOLS) or kind is range:
        return True
    try:
        memoryview(operand)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _namespace_name(operand: object) -> str:
    if isinstance(operand, np.ma.MaskedArray):
        return "numpy.ma"
    if str(type(operand).__module__).startswith("scipy.sparse"):
        return "scipy.sparse"
    if isinstance(operand, np.ndarray):
        return "numpy"
    try:
        namespace = array_namespace(operand, use_compat=False)
    except TypeError:
        return _type_name(operand)
    return str(namespace.__name__)


def _type_name(operand: object) -> str:
    return f"{type(operand).__module__}.{type(operand).__qualname__}"
