"""Objects that are arrays to NumPy: small ones with the protocols of h5py, pandas, xarray, Pillow and the
libraries of units and masks."""

from __future__ import annotations

from typing import Any

import numpy as np


class Labelled:
    """As h5py's datasets, pandas' columns and xarray's arrays: ``__array__``, and words of its own."""

    def __init__(self, x: Any) -> None:
        self._numbers = np.asarray(x)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._numbers, dtype) if copy else np.asarray(self._numbers, dtype)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getattr__(self, name: str) -> Any:
        """What users wrote on this array, among it what looks like a unit."""
        if name in ("units", "mask"):
            return "metres"
        if name in ("shape", "ndim", "dtype", "size"):
            return getattr(self._numbers, name)
        raise AttributeError(name)


class Series(Labelled):
    """As pandas': what replaces elements is called ``mask``."""

    def mask(self, where: Any) -> None:
        raise AssertionError("nobody asks for it")


class Picture:
    """As Pillow's: memory described by a dictionary."""

    def __init__(self, x: Any) -> None:
        self._numbers = np.ascontiguousarray(x)

    @property
    def __array_interface__(self) -> Any:
        return self._numbers.__array_interface__


class Named(np.ndarray):
    """A subclass that only adds behaviour."""


class Column(np.ndarray):
    """As astropy's columns of tables, most of which have no unit."""

    @property
    def unit(self) -> None:
        return None


class Quantity(np.ndarray):
    """As astropy's."""

    unit = property(lambda self: "m")
    value = property(np.asarray)


class Unyt(np.ndarray):
    """As unyt's: each array has its units."""

    units: str | None = None
    value = property(np.asarray)

    @classmethod
    def of(cls, x: Any) -> Unyt:
        made = x.view(cls)
        made.units = "m"
        return made


class Masked(np.ndarray):
    """As astropy's."""

    mask = property(lambda self: np.zeros(self.shape, bool))

    def filled(self, number: Any) -> Any:
        return np.asarray(self)


class Pint(Labelled):
    """As pint's: no subclass, and ``__array__`` strips the units."""

    units = property(lambda self: "m")
    magnitude = property(lambda self: self._numbers)


class CCD(Labelled):
    """As astropy's pictures of telescopes."""

    mask = property(lambda self: None)
    unit = property(lambda self: "adu")
    data = property(lambda self: self._numbers)


class OnDevice(Labelled):
    """As numba's arrays on a GPU, which NumPy copies to the host."""

    __cuda_array_interface__ = property(lambda self: {})


class Elsewhere(Labelled):
    """On a device that only DLPack speaks of."""

    device = 2

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


class Beside(Elsewhere):
    """The same on the CPU."""

    device = 1


class Foreign(Labelled):
    """Of a library with a namespace of its own."""

    def __array_namespace__(self, api_version: Any = None) -> Any:
        import math

        return math


def in_file(x: Any, folder: Any) -> np.memmap:
    """The numbers in a file."""
    mapped = np.memmap(folder / "numbers", x.dtype, "w+", shape=x.shape or (1,))
    mapped[...] = x
    return mapped if x.ndim else mapped.reshape(())


TAKEN = {
    "labelled": Labelled, "series": Series, "picture": Picture, "on the CPU": Beside, "memory": memoryview,
    "subclass": lambda x: x.view(Named), "records": lambda x: x.view(np.recarray),
    "column": lambda x: x.view(Column), "unitless": lambda x: x.view(Unyt),
}  # fmt: skip
"""What is taken as ``numpy.asarray`` takes it."""

REFUSED = {
    "x.filled(0)": lambda x: x.view(Masked), "x.value": lambda x: x.view(Quantity),
    "x.value, too": Unyt.of, "x.magnitude": Pint, "x.data": CCD,
    "cupy.asarray(x)": OnDevice, "numpy.asarray(x)": Elsewhere, "numpy.asarray(x), too": Foreign,
}  # fmt: skip
"""What is not, by how it is to be converted."""
