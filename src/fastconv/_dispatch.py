"""Which code runs for which array library: the one table, and its one error."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import array_namespace

Array = Any
"""An array of any supported namespace."""


@dataclass(frozen=True)
class Backend:
    """What fastconv knows about one array library.

    ``package`` holds the implementation (modules ``bits``, ``correlation``, ``patches``, ``xnor``);
    None where there is none yet. ``conversion`` turns an array ``x`` of this library into a NumPy one.
    """

    namespace: str
    package: str | None
    conversion: str

    def module(self, noun: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{noun}")


BACKENDS = {
    backend.namespace: backend
    for backend in (
        Backend("numpy", "fastconv.cpu", "x"),
        Backend("cupy", None, "cupy.asnumpy(x)"),
        Backend("torch", None, "x.detach().cpu().numpy()"),
        Backend("dask.array", None, "x.compute()"),
        Backend("jax.numpy", None, "numpy.asarray(x)"),
        Backend("sparse", None, "x.todense()"),
        Backend("scipy.sparse", None, "x.toarray()"),
        Backend("numpy.ma", None, "x.filled(0)"),
    )
}

NUMPY = BACKENDS["numpy"]


def supported_namespaces() -> list[str]:
    """Names of the array libraries that have an implementation."""
    return [name for name, backend in BACKENDS.items() if backend.package]


def backend_of(operation: str, *operands: object) -> Backend:
    """The backend that all ``operands`` share.

    None, Python scalars and nested sequences have no say; if nothing else is given, NumPy is meant.

    Raises
    ------
    TypeError
        For an unsupported array library, or operands of two libraries.
    """
    found = NUMPY
    first: object = None
    for operand in operands:
        if type(operand) is np.ndarray:
            backend = NUMPY
        elif operand is None or isinstance(operand, (list, tuple, bool, int, float, complex, np.generic)):
            continue
        else:
            backend = _backend(operation, operand)
        if first is not None and backend is not found:
            raise TypeError(
                f"{operation}: got arrays of both {found.namespace} and {backend.namespace}; "
                "all arrays of one call must come from one library, because fastconv never copies "
                f"between them silently. Convert one with {backend.conversion}."
            )
        found, first = backend, operand
    return found


def _backend(operation: str, operand: object) -> Backend:
    name = _namespace_name(operand)
    backend = BACKENDS.get(name)
    if backend is None or backend.package is None:
        conversion = backend.conversion if backend else "numpy.asarray(x)"
        raise TypeError(
            f"{operation}: arrays of {name} are not supported; supported: "
            f"{', '.join(supported_namespaces())}. Convert with {conversion}."
        )
    return backend


def _namespace_name(operand: object) -> str:
    module = type(operand).__module__
    if isinstance(operand, np.ma.MaskedArray):
        return "numpy.ma"
    if module.startswith("scipy.sparse"):
        return "scipy.sparse"
    try:
        namespace = array_namespace(operand)
    except TypeError:
        return f"{module}.{type(operand).__qualname__}"
    return str(namespace.__name__).removeprefix("array_api_compat.")
