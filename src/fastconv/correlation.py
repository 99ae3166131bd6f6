"""Correlation and convolution of real and complex images."""

from __future__ import annotations

from operator import index
from typing import Any, NamedTuple, SupportsComplex, SupportsFloat, SupportsIndex

import numpy as np

from fastconv._backends import BACKENDS, Array, adapted_keeping_dtype, backend_of
from fastconv._checks import (
    Pair,
    as_array,
    as_dtype,
    broadcast_shapes,
    check_groups,
    check_out,
    choice,
    pair,
    warn,
)
from fastconv._geometry import image_layout, window
from fastconv._remember import remembered
from fastconv._specs.correlation import LAST, Filter, Layer, filter_extent, planar

Kind = tuple[tuple[int, ...], np.dtype[Any]]  # of an array: shape and dtype

BOUNDARIES = {
    "fill": "fill",
    "pad": "fill",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symm",
    "symmetric": "symm",
}
"""SciPy's names of the boundaries, and ours."""


@adapted_keeping_dtype
def correlate2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    method: str = "auto",
    axes: Pair | None = None,
    dtype: Any = None,
    out: Array | None = None,
) -> Array:
    """Cross-correlate images with a kernel: :func:`scipy.signal.correlate2d`, also on batches.

    Parameters
    ----------
    in1 : array, shape (..., H, W)
        Integers, floats or complex; float16 too (summed in float32).
    in2 : array, shape (..., kh, kw)
        The kernel, conjugated. Leading dimensions broadcast against those of ``in1``.
    mode : {"full", "valid", "same"}
        The full correlation (H + kh - 1, W + kw - 1); only where no padding is needed; or as large as
        ``in1``, starting at (kh // 2, kw // 2) of the full one. In "valid" mode the two inputs change
        places if ``in2`` is the larger.
    boundary : {"fill", "wrap", "symm"}
        What lies outside the image: ``fillvalue``, the image again, or its mirror image.
        SciPy's other names "pad", "circular" and "symmetric" work too.
    fillvalue : number
        Or an array or sequence of one. None is NaN, as in SciPy, for floats and complex results.
    method : {"auto", "direct", "separable", "fft"}
        "direct" sums every tap. "separable" filters rows, then columns; only for kernels of rank 1.
        "fft" multiplies spectra (in double precision); for floats its error is relative to the largest
        values of the image, not to those nearby. "auto" picks the fastest of the methods that keep
        the accuracy and the NaN and inf of "direct"; on CuPy arrays it is "direct".
    axes : (int, int), optional
        Rows and columns of ``in1`` and of the result, the last two axes if not given: (0, 1) for a photograph
        (H, W, 3). They are those of ``in2`` too, unless it has 2 dimensions, which are its rows and columns.
        All other axes are batch dimensions, and broadcast in the order in which they stand.
    dtype : dtype, optional
        Accumulate and return in this type: the cure for small integers that wrap around.
    out : array, optional
        Of the result's shape and dtype.

    Returns
    -------
    array, shape (..., Ho, Wo)
        In the common dtype of the inputs, or ``dtype``; rows and columns at ``axes``. Integers wrap around,
        as in SciPy.

    Raises
    ------
    TypeError
        For bool without ``dtype``, objects or long doubles, a ``dtype`` the inputs do not cast to, or a
        ``fillvalue`` that is no number.
    ValueError
        For unknown names, fewer than 2 dimensions, shapes that do not fit, axes that an input has not, two
        inputs that are both empty along an axis in "full" mode, a ``fillvalue`` that the result's dtype
        cannot hold, or a kernel that ``method`` cannot handle.

    Warns
    -----
    UserWarning
        Without ``axes``, for images like photographs with 3 or 4 colours last, of which columns and colours
        are filtered. ``axes=(-2, -1)`` says that this is meant.

    Notes
    -----
    Rounding error is at most 4 sqrt(T) eps sum(|a| |b|), T = kh * kw.

    On CuPy arrays, "separable" waits for the kernel to reach the host, and "fft" of integers for two norms.

    Examples
    --------
    >>> import numpy as np
    >>> correlate2d(np.eye(3), np.array([[1.0, 2.0]]), mode="valid")
    array([[1., 0.],
           [2., 1.],
           [0., 2.]])
    """
    return _filter("correlate2d", in1, in2, (mode, boundary, fillvalue, method, axes), dtype, out)


@adapted_keeping_dtype
def convolve2d(
    in1: Any,
    in2: Any,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
    *,
    method: str = "auto",
    axes: Pair | None = None,
    dtype: Any = None,
    out: Array | None = None,
) -> Array:
    """Convolve images with a kernel: :func:`scipy.signal.convolve2d`, also on batches.

    The kernel is flipped and not conjugated, and in "same" mode the output starts at
    ((kh - 1) // 2, (kw - 1) // 2) of the full one. Everything else is as in :func:`correlate2d`.

    Parameters
    ----------
    in1 : array, shape (..., H, W)
    in2 : array, shape (..., kh, kw)
    mode : {"full", "valid", "same"}
    boundary : {"fill", "wrap", "symm"}
    fillvalue : scalar
    method : {"auto", "direct", "separable", "fft"}
    axes : (int, int), optional
    dtype : dtype, optional
    out : array, optional

    Returns
    -------
    array, shape (..., Ho, Wo)

    Raises
    ------
    TypeError, ValueError
        As :func:`correlate2d`.

    Examples
    --------
    >>> import numpy as np
    >>> convolve2d(np.eye(3), np.array([[1.0, 2.0]]), mode="valid")
    array([[2., 0.],
           [1., 2.],
           [0., 1.]])
    """
    return _filter("convolve2d", in1, in2, (mode, boundary, fillvalue, method, axes), dtype, out)


@adapted_keeping_dtype
def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: int | Pair = 1,
    padding: Any = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    data_format: str = "NCHW",
    out: Array | None = None,
) -> Array:
    """The convolution layer of neural networks (a correlation): ``torch.nn.functional.conv2d``.

    Parameters
    ----------
    x : array, shape (N, C, H, W) or (C, H, W); channels last with ``data_format="NHWC"``
        Integers, floats or complex.
    weight : array, shape (O, C / groups, kh, kw)
    bias : array, shape (O,), optional
    stride, dilation : int or (rows, columns)
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        Zeros around the image; "same" gives ceil(H / stride) rows, the odd one at the bottom.
    groups : int
        Divides C and O.
    data_format : {"NCHW", "NHWC"}
    out : array, optional
        Of the result's shape and dtype.

    Returns
    -------
    array, shape (N, O, Ho, Wo), or as ``x``
        In the common dtype of the inputs; float16 is summed in float32.

    Raises
    ------
    TypeError
        For bool, objects or long doubles.
    ValueError
        For shapes that do not fit each other.

    Notes
    -----
    On NumPy arrays, depthwise layers are correlated channel by channel, layers that are matrix products go
    to BLAS, and float32 and float64, if both operands are the same, are multiplied where the pixels of a few
    rows stand in cache; otherwise windows are copied into a matrix block by block (im2col) and multiplied by
    the namespace's ``matmul``. The memory needed beside input and output stays below 64 MiB, unless a weight
    that is not contiguous has to be copied.

    Examples
    --------
    >>> import numpy as np
    >>> conv2d(np.ones((1, 2, 3, 3)), np.ones((1, 2, 3, 3)), np.array([0.5]))
    array([[[[18.5]]]])
    """
    backend = backend_of("conv2d", x, weight, bias, out)
    x, weight = as_array("conv2d", "x", x), as_array("conv2d", "weight", weight)
    if bias is not None:
        bias = as_array("conv2d", "bias", bias)
    arrays = (x, weight) if bias is None else (x, weight, bias)
    kinds = [(array.shape, array.dtype) for array in arrays]
    options = (data_format, groups, stride, padding, dilation)
    spec, plan = _plan_layer(options, backend.namespace, *kinds)
    if out is not None:
        check_out("conv2d", out, spec.shape, spec.dtype)
    return plan(x, weight, bias, out)


@remembered
def _plan_layer(
    options: tuple[Any, ...], namespace: str, x: Kind, weight: Kind, bias: Kind | None = None
) -> tuple[Layer, Any]:
    """Spec and plan of conv2d for arrays of these shapes and dtypes."""
    data_format, groups, *sliding = options
    layout = image_layout("conv2d", x[0], data_format, (3, 4))
    if len(weight[0]) != 4:
        raise ValueError(f"conv2d: weight must have shape (O, C / groups, kh, kw), got {weight[0]}")
    n, c, h, w = layout.sizes(x[0])
    groups = check_groups("conv2d", groups, c, weight[0])
    if bias is not None and bias[0] != weight[0][:1]:
        raise ValueError(f"conv2d: bias must have shape ({weight[0][0]},), got {bias[0]}")
    arrays = {"x": x[1], "weight": weight[1]} | ({} if bias is None else {"bias": bias[1]})
    dtype = _result_dtype("conv2d", arrays, "convert the inputs")
    geometry = window("conv2d", (h, w), weight[0][2:], *sliding)
    shape = layout.shape(n, weight[0][0], *geometry.output)
    check_out("conv2d", None, shape, dtype)
    spec = Layer(*x, *weight, bias is not None, layout, geometry, groups, shape, dtype)
    return spec, BACKENDS[namespace].plan(spec)


def _filter(
    operation: str, in1: Any, in2: Any, options: tuple[Any, ...], dtype: Any, out: Array | None
) -> Array:
    """``options`` are mode, boundary, fill value, method and axes."""
    backend = backend_of(operation, in1, in2, out)
    image, kernel = as_array(operation, "in1", in1), as_array(operation, "in2", in2)
    found = _plan_filter(
        options, operation, backend.namespace, (image.shape, image.dtype), (kernel.shape, kernel.dtype), dtype
    )
    if out is not None:
        check_out(operation, out, found.shape, found.dtype)
    if found.doubtful:
        shape = kernel.shape if found.swapped else image.shape
        last = len(shape)
        warn(
            f"{operation}: an image of shape {shape} is filtered along its last two axes, columns and "
            f"colours if it is a photograph: pass axes=({last - 3}, {last - 2}) for its rows and columns, or "
            "axes=(-2, -1) if the last two are meant"
        )
    return found.plan(kernel, image, out) if found.swapped else found.plan(image, kernel, out)


class _Planned(NamedTuple):
    """A plan, shape and dtype of its result, whether in1 and in2 change places, and whether it is doubtful
    that the last two axes are meant."""

    plan: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    swapped: bool
    doubtful: bool


def _looks_like_colours(spec: Filter) -> bool:
    """Whether the last axis of an image is likely one of colours, and the kernel mixes them. One that has
    kernels of its own for what would be the rows has been thought about."""
    if len(spec.image) < 3 or spec.image[-1] not in (3, 4) or spec.kernel[-1] == 1:
        return False
    own = len(spec.kernel) > 2 and spec.kernel[-3] > 1
    return min(spec.image[-3:-1]) > spec.image[-1] and not own


@remembered
def _plan_filter(
    options: tuple[Any, ...], operation: str, namespace: str, image: Kind, kernel: Kind, dtype: Any
) -> _Planned:
    """What computes a filter for arrays of these shapes and dtypes."""
    mode, boundary, fillvalue, method, axes = options
    if len(image[0]) < 2 or len(kernel[0]) < 2:
        raise ValueError(
            f"{operation}: in1 and in2 must have shape (..., H, W), got {image[0]} and {kernel[0]}"
        )
    choice(operation, "mode", mode, ("full", "valid", "same"))
    choice(operation, "boundary", boundary, tuple(BOUNDARIES))
    choice(operation, "method", method, ("auto", "direct", "separable", "fft"))
    where = _Axes(LAST, LAST, LAST) if axes is None else _axes(operation, axes, image[0], kernel[0])
    image, kernel = (planar(image[0], where.image), image[1]), (planar(kernel[0], where.kernel), kernel[1])
    batch, size, before, swapped = _extent(operation, mode, image[0], kernel[0])
    result = _result_dtype(
        operation, {"in1": image[1], "in2": kernel[1]}, "pass dtype= or convert the inputs",
        dtype if dtype is None else as_dtype(operation, dtype),
    )  # fmt: skip
    if swapped:
        image, kernel = kernel, image
        where = where._replace(image=where.kernel, kernel=where.image)
    check_out(operation, None, (*batch, *size), result)
    name = BOUNDARIES[boundary]
    if name != "fill" and 0 in image[0][-2:] and 0 not in (*size, *kernel[0][-2:]):
        raise ValueError(f"{operation}: boundary {boundary!r} has nothing to repeat in an empty image")
    fill = _fillvalue(operation, fillvalue, result) if name == "fill" else result.type(0)
    mirrored = swapped and operation == "correlate2d"  # SciPy's order of the result
    spec = Filter(
        operation,
        *image,
        *kernel,
        result,
        batch,
        size,
        before,
        name,
        fill.tobytes(),
        method,
        mirrored,
        *where,
    )
    doubtful = axes is None and _looks_like_colours(spec)
    return _Planned(BACKENDS[namespace].plan(spec), spec.shape, result, swapped, doubtful)


class _Axes(NamedTuple):
    """Rows and columns of an image, a kernel and their result."""

    image: Pair
    kernel: Pair
    result: Pair


def _axes(operation: str, axes: object, image: tuple[int, ...], kernel: tuple[int, ...]) -> _Axes:
    """``axes`` of in1 and in2, counted from the first, rows before columns: it makes no difference which are
    called rows, if it is the same in both."""
    accepted = "a pair of different axes"
    rows, columns = pair(operation, "axes", axes, None, accepted)
    ranks = {"in1": len(image), "in2": len(kernel)}
    own = []
    for name, rank in ranks.items():
        if name == "in2" and rank == 2:
            own.append((0, 1))
            continue
        if not all(-rank <= axis < rank for axis in (rows, columns)) or (rows - columns) % rank == 0:
            raise ValueError(
                f"{operation}: axes must be {accepted} of {name}, which has {rank} dimensions, got {axes!r}"
            )
        own.append((rows % rank, columns % rank))
    rank = max(ranks.values())
    own.append((rows % rank, columns % rank))
    return _Axes(*own) if own[-1][0] < own[-1][1] else _Axes(*(both[::-1] for both in own))


def _extent(
    operation: str, mode: str, image: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], Pair, Pair, bool]:
    """Batch and size of the result, ``before`` of :class:`Filter`, and whether the inputs change places."""
    (*_, h, w), (*_, kh, kw) = image, kernel
    swapped = mode == "valid" and _swapped(operation, (h, w), (kh, kw))
    if swapped:
        (h, w), (kh, kw) = (kh, kw), (h, w)
    centre = (kh // 2, kw // 2) if operation == "correlate2d" else ((kh - 1) // 2, (kw - 1) // 2)
    size, before = filter_extent(mode, (h, w), (kh, kw), centre)
    if min(size) < 0:
        raise ValueError(
            f"{operation}: in 'full' mode, in1 and in2 must not both be empty along an axis, "
            f"got sizes {(h, w)} and {(kh, kw)}"
        )
    return broadcast_shapes(operation, image[:-2], kernel[:-2]), size, before, swapped


def _swapped(operation: str, image: Pair, kernel: Pair) -> bool:
    pairs = list(zip(image, kernel, strict=True))
    if all(n >= k for n, k in pairs):
        return False
    if all(n <= k for n, k in pairs):
        return True
    raise ValueError(
        f"{operation}: in 'valid' mode one input must be at least as large as the other in every "
        f"dimension, got {image} and {kernel}"
    )


def _result_dtype(
    operation: str, arrays: dict[str, np.dtype[Any]], cure: str, asked: np.dtype[Any] | None = None
) -> np.dtype[Any]:
    for name, given in arrays.items():
        if given.kind not in "biufc" or given.char in "gG":
            raise TypeError(
                f"{operation}: {name} must be integers, float16/32/64 or complex64/128, got dtype {given}"
            )
    common = np.result_type(*(given.newbyteorder("=") for given in arrays.values()))
    result = common if asked is None else asked
    if not np.can_cast(common, result, "same_kind"):
        raise TypeError(f"{operation}: inputs of dtype {common} do not cast to dtype {result}")
    if result.kind not in "iufc" or result.char in "gG":
        cure = cure if asked is None else "pass another dtype="
        raise TypeError(f"{operation}: cannot compute in dtype {result}; {cure}")
    return result


def _fillvalue(operation: str, value: Any, dtype: np.dtype[Any]) -> Any:
    if type(value) is int and value == 0:
        return dtype.type(0)
    if value is None and dtype.kind in "fc":  # as NumPy has it, and so SciPy
        return dtype.type(np.nan)
    number = _number(operation, value)
    misfit = f"{operation}: fillvalue {value!r} does not fit the result's dtype {dtype}"
    if dtype.kind != "c":
        if number.imag != 0:
            raise ValueError(misfit)
        number = number.real
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        whole = number if isinstance(number, int) else int(number) if np.isfinite(number) else None
        if whole is None or not limits.min <= whole <= limits.max:
            raise ValueError(misfit)
        return dtype.type(whole)
    try:
        return dtype.type(number)
    except OverflowError:  # of integers beyond all floats
        raise ValueError(misfit) from None


def _number(operation: str, value: Any) -> Any:
    """The one number in a fill value: a Python number of any kind, or an array or sequence of one."""
    refusal = f"{operation}: fillvalue must be one number, got {value!r}"
    given = as_array(operation, "fillvalue", value)
    if given.size != 1 or value is None:
        raise ValueError(refusal)
    lost = isinstance(value, np.ma.MaskedArray) or not isinstance(given, np.ndarray)  # a mask, or a device
    if given.dtype.kind in "biufc" and not lost:
        return given.reshape(())[()]
    number = given.item() if given.dtype == object and not hasattr(value, "dtype") else None
    if isinstance(number, SupportsIndex):  # beyond 64 bits, say
        return index(number)
    if isinstance(number, (SupportsFloat, SupportsComplex)):
        return complex(number)
    raise TypeError(refusal)
