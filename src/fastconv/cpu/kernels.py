"""Kernels, which are compiled functions of one record, and jobs, which are kernels with a filled record.

A kernel is written as a plain function of a record ``p``, the number of a chunk of its work, and the number
of the worker that does it. The record is a NumPy structured dtype: addresses of arrays, and integers, by
name. In compiled code ``p.x`` of an address is a pointer to elements of the dtype that the job says, of which
``carray(p.x, shape)`` makes an array."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core.datamodel import models
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, register_model
from numpy.typing import NDArray

from fastconv.cpu import threads
from fastconv.cpu.cache import compile_c

Array = NDArray[Any]
Values = Mapping[str, Any]

HEAD = object.__basicsize__
"""Where an array object holds the address of its elements: right after the head of every object, as NumPy's C
interface lays down. Asking NumPy takes ten times as long, for each array of each call."""

_address_at = ctypes.c_void_p.from_address
_probe = np.empty(1)
if _address_at(id(_probe) + HEAD).value != _probe.ctypes.data:
    raise ImportError("fastconv.cpu: arrays of this NumPy do not begin with the address of their elements")


def record(addresses: str, integers: str, base: np.dtype[Any] | None = None) -> np.dtype[Any]:
    """The dtype of a record: the fields of ``base``, then more by their names.

    Every record begins with the number of ``chunks`` that its work is cut into, and the bytes from one
    worker's scratch to the next one's (``apart``), see :func:`own`.
    """
    fields: list[tuple[str, Any]] = [("chunks", np.int64), ("apart", np.int64)]
    if base is not None:
        fields = [(name, base[name]) for name in base.names or ()]
    fields += [(name, np.uintp) for name in addresses.split()]
    fields += [(name, np.int64) for name in integers.split()]
    return np.dtype(fields, align=True)


def kernel(
    fields: np.dtype[Any], arguments: int = 2, **elements: Any
) -> Callable[[Callable[..., None]], Kernel]:
    """Make a kernel of a function; ``elements`` are dtypes behind addresses that are always the same, bytes
    where nothing is said. What kernels call by its address takes other ``arguments`` than chunk and
    worker."""
    return lambda function: Kernel(function, fields, arguments, elements)


class Kernel:
    """A function of a record and integers, compiled for the dtypes behind the record's addresses."""

    def __init__(
        self, function: Callable[..., None], fields: np.dtype[Any], arguments: int, elements: Values
    ) -> None:
        self.function, self.fields, self.name = function, fields, function.__name__
        self.__doc__ = function.__doc__
        self._arguments = arguments
        addresses = (name for name in fields.names or () if fields[name] == np.uintp)
        self._elements = {**dict.fromkeys(addresses, np.dtype(np.uint8)), **_dtypes(elements)}
        self._compiled: dict[tuple[Any, ...], Any] = {}
        places = [(name, np.ctypeslib.as_ctypes_type(fields[name])) for name in fields.names or ()]
        # without room for other attributes: a misspelt field is an error
        self.structure: Any = type(self.name, (ctypes.Structure,), {"_fields_": places, "__slots__": ()})

    def elements(self, chosen: Values) -> dict[str, np.dtype[Any]]:
        """The dtype behind each address."""
        unknown = chosen.keys() - self._elements.keys()
        if unknown:
            raise TypeError(f"{self.name}: the record has no addresses {sorted(unknown)}")
        return {**self._elements, **_dtypes(chosen)}

    def compiled(self, elements: Values) -> int:
        """The address of the C function for these ``elements``."""
        kinds = self.elements(elements)
        key = tuple(kinds.values())
        found = self._compiled.get(key)
        if found is None:
            integers = [types.intp] * self._arguments
            signature = types.void(RecordType(self.fields, kinds), *integers)
            found = self._compiled[key] = compile_c(self.function, signature)  # which keeps its code
        return int(found.address)


def _dtypes(elements: Values) -> dict[str, np.dtype[Any]]:
    return {name: np.dtype(kind) for name, kind in elements.items()}


class Job:
    """A kernel, and its record with all that is known before the arrays of a call.

    Parameters
    ----------
    kernel : Kernel
    chunks : int
        Pieces that threads take one after the other; 1 if one thread is done before another would be awake.
    elements : dict
        Dtypes behind addresses.
    scratch : dict
        Elements of scratch that each worker has of its own, by the name of the address.
    **values
        Integers and arrays of the record that are the same in every call.
    """

    def __init__(
        self,
        kernel: Kernel,
        chunks: int,
        elements: Values | None = None,
        scratch: Mapping[str, int] | None = None,
        **values: Any,
    ) -> None:
        kinds = kernel.elements(elements or {})
        self.kernel, self.chunks = kernel, max(chunks, 1)
        self.function = kernel.compiled(kinds)
        self._arrays = values  # whose memory the record points to
        filled = kernel.structure()
        at = 0
        self.scratch: list[tuple[str, int]] = []
        for name, length in (scratch or {}).items():
            self.scratch.append((name, at))
            at += -(-length * kinds[name].itemsize // threads.LINE) * threads.LINE
        self.apart = at + threads.APART if at else 0
        self._nanoseconds = np.zeros(1, np.int64)
        self.took: int = self._nanoseconds.ctypes.data
        for name, value in {**values, "chunks": self.chunks, "apart": self.apart}.items():
            _fill(filled, name, value)
        self._structure, self._filled = kernel.structure, filled

    def __call__(self, **values: Any) -> None:
        """Run on arrays (and integers) that only now are known."""
        p = self._structure.from_buffer_copy(self._filled)
        for name, value in values.items():
            setattr(p, name, _address_at(id(value) + HEAD).value if isinstance(value, np.ndarray) else value)
        threads.launch(self, p)


def _fill(p: Any, name: str, value: Any) -> None:
    if not hasattr(p, name):
        raise TypeError(f"a record has no field {name!r}")
    setattr(p, name, value.ctypes.data if isinstance(value, np.ndarray) else int(value))


class RecordType(types.Type):
    """numba's type of a record: the address of a C structure, whose addresses are pointers to
    ``elements``."""

    def __init__(self, fields: np.dtype[Any], elements: Mapping[str, np.dtype[Any]]) -> None:
        self.places = {name: fields.fields[name][1] for name in fields.names}  # type: ignore[index, union-attr]
        self.kinds: dict[str, Any] = {
            name: types.CPointer(numba.from_dtype(elements[name]))
            if name in elements
            else numba.from_dtype(fields[name])
            for name in self.places
        }
        described = ", ".join(f"{name}@{self.places[name]}: {kind}" for name, kind in self.kinds.items())
        super().__init__(name=f"Record({described})")


@register_model(RecordType)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(8).as_pointer())


@infer_getattr
class _RecordFields(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, kind: Any, name: str) -> Any:
        return kind.kinds.get(name)


@lower_getattr_generic(RecordType)
def load_field(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    """The number, or pointer, in a field; records do not change while kernels run."""
    wanted = context.get_value_type(kind.kinds[name])
    place = builder.gep(value, [ir.IntType(64)(kind.places[name])])
    loaded = builder.load(builder.bitcast(place, wanted.as_pointer()), typ=wanted)
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


@intrinsic
def _moved(typing: Any, pointer: Any, distance: Any) -> Any:
    """``pointer``, ``distance`` bytes further."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = builder.bitcast(args[0], ir.IntType(8).as_pointer())
        return builder.bitcast(builder.gep(byte, [args[1]]), args[0].type)

    return pointer(pointer, types.intp), generate


@numba.njit(error_model="numpy", inline="always")
def own(p, pointer, worker, length):
    """The scratch of ``worker`` behind ``pointer``, one of the addresses in ``p``."""
    return carray(_moved(pointer, worker * p.apart), length)


@numba.njit(error_model="numpy", inline="always")
def part_of(pointer, start, shape):
    """An array of ``shape`` that begins ``start`` elements behind ``pointer``, one of the addresses in a
    record."""
    return carray(_moved(pointer, start * carray(pointer, 1).itemsize), shape)


@numba.njit(error_model="numpy", inline="always")
def share(p, chunk, total):
    """The first of ``total`` tasks that a chunk consists of, and the first that is not in it any more."""
    return total * chunk // p.chunks, total * (chunk + 1) // p.chunks


@intrinsic
def call_with(typing: Any, function: Any, p: Any, integers: Any) -> Any:
    """Call what is compiled of a kernel, at the address ``function``, with the record p and a tuple of
    integers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, structure, numbers = args
        given = [builder.extract_value(numbers, k) for k in range(len(integers))]
        kind = ir.FunctionType(ir.VoidType(), [structure.type, *(number.type for number in given)])
        builder.call(builder.inttoptr(target, kind.as_pointer()), [structure, *given])
        return context.get_dummy_value()

    return types.void(types.intp, p, integers), generate
