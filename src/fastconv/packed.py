"""Packed values: signs, filters and thresholds, one bit where a float stood."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastconv._advice import how_to_words
from fastconv._backends import BACKENDS, NUMPY, SCALARS, Array, Backend, adapted, backend_of, unfollowed
from fastconv._checks import as_array, as_dtype, flag, integer
from fastconv._specs.bits import UnpackBits, memory_of

P = TypeVar("P", bound="Packed")


class Packed:
    """What packed values have in common: arrays to be looked at, and to be exchanged for others."""

    _arrays: ClassVar[tuple[str, ...]] = ()

    def arrays(self) -> list[Array]:
        """The arrays that the value holds."""
        return [getattr(self, name) for name in self._arrays]

    def _taken(self) -> Backend:
        """The library of the arrays, of which those that are arrays to NumPy alone become its own."""
        owner = type(self).__name__
        backend = backend_of(owner, *self.arrays())
        if backend is NUMPY:
            for name in self._arrays:
                value = getattr(self, name)
                if value is not None and not isinstance(value, (np.ndarray, list, tuple, *SCALARS)):
                    object.__setattr__(self, name, as_array(owner, name, value))
        return backend

    def mapped(self: P, function: Callable[[Array], Array]) -> P:
        """The same value with ``function`` of each array in its place."""
        changed: P = replace(self, **{name: function(getattr(self, name)) for name in self._arrays})  # type: ignore[type-var]
        return changed


@dataclass(frozen=True, eq=False)
class PackedSigns(Packed):
    """Signs (+1 or -1), 64 to a word, packed along the last axis.

    Parameters
    ----------
    words : array of uint64, shape (..., ceil(length / 64))
        Bit ``i % 64`` of word ``i // 64`` is 1 where sign ``i`` is +1. Bits from ``length`` on are 0.
    length : int
        Number of signs along the last axis.
    check : bool, default False
        Also read the words, on a GPU after waiting for them, and refuse any whose tail bits are not 0.

    Raises
    ------
    TypeError
        If ``words`` is not an array of uint64.
    ValueError
        If the number of words does not fit ``length``, or (with ``check``) a tail bit is 1.

    Examples
    --------
    >>> import numpy as np
    >>> signs = PackedSigns(np.array([0b101], np.uint64), 3)
    >>> signs.unpack()
    array([ 1, -1,  1], dtype=int8)
    >>> signs
    PackedSigns(shape=(3,), nbytes=8)
    """

    _arrays = ("words",)

    words: Array
    length: int
    check: bool = field(default=False, repr=False)

    @unfollowed
    def __post_init__(self) -> None:
        backend = self._taken()
        _require_words("PackedSigns", self.words, 1)
        object.__setattr__(self, "length", integer("PackedSigns", "length", self.length, 0))
        expected = -(-self.length // 64)
        if self.words.shape[-1] != expected:
            raise ValueError(
                f"PackedSigns: {self.length} signs take {expected} words along the last axis, "
                f"got words of shape {tuple(self.words.shape)}"
            )
        tail = self.length % 64
        if flag("PackedSigns", "check", self.check) and tail:
            last = backend.view(self.words)[..., -1]
            if (last >> np.uint64(tail)).any():
                raise ValueError(f"PackedSigns: bits beyond length {self.length} must be 0")

    @property
    def shape(self) -> tuple[int, ...]:
        """Logical shape: that of the signs, not of the words."""
        return (*self.words.shape[:-1], self.length)

    @property
    def nbytes(self) -> int:
        """Bytes the words take."""
        return int(self.words.nbytes)

    @adapted
    def unpack(self, dtype: Any = np.int8) -> Array:
        """The signs as an array of +1 and -1 of ``dtype``, of shape :attr:`shape`."""
        dtype = as_dtype("PackedSigns.unpack", dtype)
        if dtype.kind not in "ifc":
            raise TypeError(f"PackedSigns.unpack: dtype must hold -1 and 1, got {dtype}")
        spec = UnpackBits(memory_of(self.words), self.words.ndim - 1, self.length)
        ones = backend_of("PackedSigns.unpack", self.words).plan(spec)(self.words)
        return (ones.view(np.int8) * np.int8(2) - np.int8(1)).astype(dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (PackedSigns, *_pickled(self.words), self.length)

    def __repr__(self) -> str:
        return f"PackedSigns(shape={self.shape}, nbytes={self.nbytes})"


def made_signs(words: Array, length: int) -> PackedSigns:
    """The signs in words that a plan made: what is not to be checked takes a fifth of the time."""
    signs = object.__new__(PackedSigns)
    for name, value in (("words", words), ("length", length), ("check", False)):
        object.__setattr__(signs, name, value)
    return signs


@dataclass(frozen=True, eq=False)
class PackedFilters(Packed):
    """The signs of convolution filters, and the mean magnitude of each filter.

    Made by :func:`fastconv.pack_filters`; pickles, and its three fields are all there is to save. Kernels
    keep what they derive from the words at the first call, so the words must not be changed after it.

    Parameters
    ----------
    words : array of uint64, shape (O, kh, kw, ceil(channels / 64))
        Signs of the filters' channels, packed as in :class:`PackedSigns`.
    channels : int
        Input channels of each filter (C / groups).
    alpha : array of float32, shape (O,)
        mean(abs(filter)), the scale of XNOR-Net.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import pack_filters
    >>> filters = pack_filters(np.ones((8, 3, 5, 5), np.float32))
    >>> filters
    PackedFilters(shape=(8, 3, 5, 5), nbytes=1632)
    """

    _arrays = ("words", "alpha")

    words: Array
    channels: int
    alpha: Array
    _derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    @unfollowed
    def __post_init__(self) -> None:
        self._taken()
        _require_words("PackedFilters", self.words, 4)
        object.__setattr__(self, "channels", integer("PackedFilters", "channels", self.channels, 0))
        o, *_, width = self.words.shape
        if self.words.ndim != 4 or width != -(-self.channels // 64):
            raise ValueError(
                f"PackedFilters: words must have shape (O, kh, kw, {-(-self.channels // 64)}) "
                f"for {self.channels} channels, got {tuple(self.words.shape)}"
            )
        _require_array("PackedFilters", "alpha", self.alpha, "float32")
        if tuple(self.alpha.shape) != (o,):
            raise ValueError(f"PackedFilters: alpha must have shape ({o},), got {tuple(self.alpha.shape)}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Logical shape (O, C / groups, kh, kw)."""
        o, kh, kw, _ = self.words.shape
        return o, self.channels, kh, kw

    @property
    def nbytes(self) -> int:
        """Bytes the words and the scales take."""
        return int(self.words.nbytes + self.alpha.nbytes)

    def derived(self, key: Any, make: Callable[[], Any]) -> Any:
        """``make()``, computed at the first call with this ``key`` and kept: a kernel's own weight layout."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    def mapped(self, function: Callable[[Array], Array]) -> PackedFilters:
        """As of :class:`Packed`, and kept, since kernels keep what they derive from filters."""
        changed: PackedFilters = self.derived(("mapped", function), partial(super().mapped, function))
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (PackedFilters, *_pickled(self.words), self.channels, self.alpha)

    def __repr__(self) -> str:
        return f"PackedFilters(shape={self.shape}, nbytes={self.nbytes})"


@dataclass(frozen=True, eq=False)
class Threshold(Packed):
    """A binary activation on integers: bit = (y >= tau) xor flip, per output channel.

    A channel with tau = -2**31 is always 1, with flip always 0.

    Parameters
    ----------
    tau : array of int32, shape (O,)
        Smallest y on the other side of the step.
    flip : array of bool, shape (O,)
        True where the bit falls as y grows.

    Examples
    --------
    >>> import numpy as np
    >>> Threshold(np.array([0, 5], np.int32), np.array([False, True]))
    Threshold(channels=2)
    """

    _arrays = ("tau", "flip")

    tau: Array
    flip: Array

    @unfollowed
    def __post_init__(self) -> None:
        self._taken()
        _require_array("Threshold", "tau", self.tau, "int32")
        _require_array("Threshold", "flip", self.flip, "bool")
        tau, flip = tuple(self.tau.shape), tuple(self.flip.shape)
        if len(tau) != 1 or tau != flip:
            raise ValueError(f"Threshold: tau and flip must both have shape (O,), got {tau} and {flip}")

    def __repr__(self) -> str:
        return f"Threshold(channels={self.tau.shape[0]})"


def _pickled(words: Array) -> tuple[str, Array]:
    """A library's name, and the words as NumPy or CuPy has them: PyTorch cannot read uint64 back."""
    backend = backend_of("pickle", words)
    return backend.namespace, backend.view(words)


def _unpickled(kind: Callable[..., Any], namespace: str, words: Array, *rest: Any) -> Any:
    return kind(BACKENDS[namespace].adopt(words), *rest)


def _require_array(owner: str, name: str, value: Any, dtype: str) -> None:
    """Refuse all but arrays of ``dtype``, of either byte order."""
    given = getattr(value, "dtype", None)
    if given is None or _name(given) != dtype:
        got = type(value).__name__ if given is None else given
        raise TypeError(f"{owner}: {name} must be an array of {dtype}, got {got}")


def _how_to_words(words: Any) -> str:
    """:func:`how_to_words` of what may be a tensor, which nobody has lent yet."""
    backend = backend_of("words", words)
    with suppress(TypeError, RuntimeError):  # what cannot be lent has no advice either
        if backend.lender:
            return how_to_words(words, backend.view(words.detach()), backend.namespace)
        return how_to_words(words, words if hasattr(words, "dtype") else np.asarray(words))
    return ""


@cache
def _name(dtype: Any) -> str:
    """What a library calls its ``dtype``; PyTorch's have no name, but print as "torch.uint64"."""
    return getattr(dtype, "name", None) or str(dtype).removeprefix("torch.")


def _require_words(owner: str, words: Any, ndim: int) -> None:
    try:
        _require_array(owner, "words", words, "uint64")
    except TypeError as error:
        raise TypeError(f"{error}{_how_to_words(words)}") from None
    if words.ndim < ndim:
        raise ValueError(
            f"{owner}: words must have at least {ndim} dimensions, got shape {tuple(words.shape)}"
        )
