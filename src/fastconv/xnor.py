"""XNOR: products, convolutions and pooling of signs, 64 to a word."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._backends import Array, Backend, adapted, backend_of
from fastconv._checks import (
    Pair,
    broadcast_shapes,
    check_out,
    check_signs,
    float_result,
    integer,
    normalize_axis,
    real_array,
    sign,
)
from fastconv._epilogue import NOTHING, PLAIN, Outcome, asked_for, check_result, epilogue_of
from fastconv._geometry import image_layout, window
from fastconv._specs.xnor import (
    BinarizeResidual,
    BinaryLinear,
    BinaryMatmul,
    FoldBatchnorm,
    PackFilters,
    WindowMeans,
    check_terms,
    completed,
    conv_spec,
    linear_shape,
    pool_spec,
)
from fastconv.packed import PackedFilters, PackedSigns, Threshold, made_signs


@adapted
def xnor_matmul(a: Any, b: Any, /, *, out: Array | None = None) -> Array:
    """Matrix product of signs: ``sign(a) @ sign(b)``, where sign(v) is +1 if v >= 0, else -1.

    Parameters
    ----------
    a : real array, shape (..., m, k) or (k,), or PackedSigns of that logical shape
    b : real array, shape (..., k, n) or (k,), or PackedSigns packed along k
        That is ``pack_signs(b, axis=-2)``, of logical shape (..., n, k).
    out : array of int32, optional
        Of the result's shape.

    Returns
    -------
    array of int32, shape (..., m, n)
        1-D operands as in :func:`numpy.matmul`; leading dimensions broadcast.

    Raises
    ------
    TypeError
        For complex operands, or operands of uint64 (words become ``PackedSigns(words, length)``).
    ValueError
        If the shapes do not fit, or k >= 2**31.

    Warns
    -----
    UserWarning
        For other unsigned integers, whose signs are all +1.

    Notes
    -----
    n - 2 popcount(a xor b) is the product of n signs (XNOR-Net, Rastegari et al. 2016).

    Examples
    --------
    >>> import numpy as np
    >>> xnor_matmul(np.array([[1.5, -2.0, 0.0]]), np.array([[-1.0], [-1.0], [3.0]]))
    array([[1]], dtype=int32)
    """
    operation = "xnor_matmul"
    backend = backend_of(operation, *_words_of(a, b), out)
    a, b = _signs(operation, "a", a), _signs(operation, "b", b)
    rank_a, rank_b = len(a.shape), len(b.shape)
    if rank_a == 0 or rank_b == 0:
        raise ValueError(f"{operation}: a and b must have at least 1 dimension, got a scalar")
    k = a.shape[-1]
    along = b.shape[-1] if isinstance(b, PackedSigns) or rank_b == 1 else b.shape[-2]
    if k != along:
        raise ValueError(f"{operation}: a has {k} columns and b has {along} rows; they must be equal")
    check_terms(operation, k)
    batch = broadcast_shapes(operation, a.shape[:-2], b.shape[:-2])
    n = () if rank_b == 1 else (b.shape[-2 if isinstance(b, PackedSigns) else -1],)
    shape = (*batch, *a.shape[-2:-1], *n)
    check_out(operation, out, shape, np.int32)
    spec = BinaryMatmul(a.shape, b.shape, _dtype(a), _dtype(b), batch, shape)
    return backend.plan(spec)(_words(a), _words(b), out)


@adapted
def xnor_linear(
    x: Any,
    weight: Any,
    bias: Any = None,
    *,
    scale: Any = None,
    threshold: Threshold | None = None,
    residual: Any = None,
    activation: Any = None,
    signs: Any = None,
    out: Array | None = None,
) -> Any:
    """The binary linear layer: scale * (sign(x) @ sign(weight).T) + bias.

    Parameters
    ----------
    x : real array or PackedSigns, shape (..., in)
    weight : real array or PackedSigns, shape (out, in), or PackedFilters of shape (out, in, 1, 1)
        PackedFilters, as ``pack_filters(weight[:, :, None, None])`` gives, serve repeated calls best:
        they keep alpha, and the layout the kernels want.
    bias : array, shape (out,), optional
        Added after scaling.
    scale : {"alpha", "xnor"} or array of shape (out,), optional
        "alpha": mean(abs(weight)) of each output. "xnor": that times mean(abs(x)) of each row.
    threshold : Threshold, optional
        Return signs instead of numbers. Excludes all the others.
    residual : array of the result's shape, optional
        Added after scale and bias.
    activation : str, tuple or list, optional
        After the residual, as in :func:`xnor_conv2d`.
    signs : number, array (out,), or a pair of such tau and flip, optional
        Return the signs of the numbers, too, as in :func:`xnor_conv2d`.
    out : array, optional
        Of the result's shape and dtype; for ``threshold``, the words.

    Returns
    -------
    array of int32, shape (..., out)
        Or of float32 (float64 for float64 ``x``) with ``scale``, ``bias``, ``residual`` or ``activation``;
        or PackedSigns with ``threshold``; with ``signs``, numbers and PackedSigns.

    Raises
    ------
    TypeError
        For complex operands, operands of uint64 (words become ``PackedSigns(words, length)``), or a
        ``threshold`` that is not a Threshold.
    ValueError
        For shapes that do not fit, or a scale that needs magnitudes packing has dropped.

    Warns
    -----
    UserWarning
        For other unsigned integers, whose signs are all +1.

    Examples
    --------
    >>> import numpy as np
    >>> xnor_linear(np.array([1.0, -3.0]), np.array([[0.5, 0.5], [1.0, -1.0]]), scale="alpha")
    array([0., 2.])
    """
    operation = "xnor_linear"
    asked = asked_for(scale, bias, threshold, residual, activation, signs)
    backend = backend_of(operation, *_words_of(x, weight), *asked.arrays, out)
    x = _signs(operation, "x", x)
    if isinstance(weight, PackedFilters):
        if weight.shape[2:] != (1, 1):
            raise ValueError(f"{operation}: weight must have shape (out, in, 1, 1), got {weight.shape}")
        rows = weight.shape[:2]
    else:
        weight = _signs(operation, "weight", weight)
        rows = weight.shape
    shape = linear_shape(operation, x.shape, rows)
    if not isinstance(weight, (PackedFilters, PackedSigns)):
        weight = _packed(backend, weight.reshape(*rows, 1, 1))
    epilogue = epilogue_of(operation, x, weight, shape, asked)
    check_result(operation, out, shape, shape, epilogue.outcome)
    spec = BinaryLinear(x.shape, _dtype(x), rows[0], epilogue.outcome)
    found = backend.plan(spec)(_words(x), weight, epilogue, out)
    return _given_out(found, epilogue.outcome, rows[0])


@adapted
def pack_filters(weight: Any, /, *, zero: int = 1) -> PackedFilters:
    """Pack the signs of convolution filters once, for use by every call.

    Parameters
    ----------
    weight : real array, shape (O, C / groups, kh, kw)
    zero : {1, -1}
        The sign of 0.

    Returns
    -------
    PackedFilters
        With ``alpha`` = mean(abs(weight)) of each filter.

    Raises
    ------
    TypeError
        For complex weights, or weights of uint64 (words become ``PackedFilters(words, channels, alpha)``).
    ValueError
        For another number of dimensions.

    Warns
    -----
    UserWarning
        For other unsigned integers, whose signs are all +1, if ``zero`` is 1.

    Examples
    --------
    >>> import numpy as np
    >>> filters = pack_filters(np.array([-1.0, 3.0]).reshape(1, 2, 1, 1))
    >>> filters.words.ravel(), filters.alpha
    (array([2], dtype=uint64), array([2.], dtype=float32))
    """
    operation = "pack_filters"
    backend = backend_of(operation, weight)
    weight = real_array(operation, "weight", weight)
    if weight.ndim != 4:
        raise ValueError(f"{operation}: weight must have shape (O, C / groups, kh, kw), got {weight.shape}")
    zero = sign(operation, "zero", zero, (1, -1))
    check_signs(operation, "weight", weight.dtype, zero, cure="")
    return _packed(backend, weight, zero)


@adapted
def xnor_conv2d(
    x: Any,
    weight: Any,
    /,
    *,
    stride: int | Pair = 1,
    padding: Any = 0,
    pad_value: int = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    scale: Any = None,
    bias: Any = None,
    threshold: Threshold | None = None,
    residual: Any = None,
    activation: Any = None,
    signs: Any = None,
    data_format: str = "NCHW",
    out: Array | None = None,
) -> Any:
    """Binary convolution: the correlation of the signs of ``x`` with the signs of ``weight``.

    Parameters
    ----------
    x : real array or PackedSigns
        Shape (N, C, H, W) or (C, H, W), channels last with ``data_format="NHWC"``; or one image
        (H, W); or PackedSigns of logical shape (N, H, W, C) or (H, W, C), as
        ``pack_signs(x, axis=-3)`` gives.
    weight : real array or PackedFilters, shape (O, C / groups, kh, kw)
        For one image (H, W), a real array (kh, kw) will do.
    stride, dilation : int or (rows, columns)
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        "same" gives ceil(H / stride) rows, the odd one at the bottom.
    pad_value : {0, 1, -1}
        What lies outside: nothing (exactly: those taps do not count), or a sign.
    groups : int
        Divides C and O.
    scale : {"alpha", "xnor"} or array of shape (O,), optional
        "alpha": mean(abs(weight)) of each filter. "xnor": that times :func:`activation_scale`.
    bias : array, shape (O,), optional
        Added after scaling.
    threshold : Threshold, optional
        Return signs instead of numbers, with no float in between. Excludes all the others.
    residual : array of the result's shape, optional
        Added after scale and bias, in the type of the result.
    activation : str, tuple or list, optional
        What follows the residual: "relu", ("clamp", lo, hi), ("prelu", slope), ("shift", b), or a list of
        these in order. ``slope``, ``b``, ``lo`` and ``hi`` are numbers or arrays (O,).
    signs : number, array (O,), or a pair (tau, flip), optional
        Return signs, too: bits (v >= tau) xor flip of the numbers v, flip a bool or bools (O,). Of the
        integers, if there is nothing to make numbers of them.
    data_format : {"NCHW", "NHWC"}
        Of ``x``, unless it is packed, and of the result.
    out : array, optional
        Of the result's shape and dtype, also where signs come with it; for ``threshold``, the words.

    Returns
    -------
    array of int32, shape (N, O, Ho, Wo), (N, Ho, Wo, O), or without N, or (Ho, Wo) for one image
        scale * y + bias, and so on, in float32 (float64 for float64 ``x``) if any of them is given. With
        ``threshold``, PackedSigns of logical shape (N, Ho, Wo, O); with ``signs``, both.

    Raises
    ------
    TypeError
        For complex operands, operands of uint64 (words become ``PackedSigns(words, length)``), or a
        ``threshold`` that is not a Threshold.
    ValueError
        For shapes that do not fit, or a scale that needs magnitudes packing has dropped.

    Warns
    -----
    UserWarning
        For other unsigned integers, whose signs are all +1.

    Notes
    -----
    The sign of v is +1 if v >= 0, else -1. XNOR-Net: Rastegari et al. 2016, equation 11.

    Examples
    --------
    >>> import numpy as np
    >>> xnor_conv2d(np.ones((1, 2, 3, 3)), -np.ones((1, 2, 3, 3)), padding=1)
    array([[[[ -8, -12,  -8],
             [-12, -18, -12],
             [ -8, -12,  -8]]]], dtype=int32)
    """
    operation = "xnor_conv2d"
    asked = asked_for(scale, bias, threshold, residual, activation, signs)
    packed, made = isinstance(x, PackedSigns), isinstance(weight, PackedFilters)
    words = x.words if isinstance(x, (PackedSigns, PackedFilters)) else x
    packed_weight = weight.words if isinstance(weight, (PackedSigns, PackedFilters)) else weight
    backend = backend_of(operation, words, packed_weight, *asked.arrays, out)
    if not packed:
        words = x = _signs(operation, "x", x)
    if not made:
        weight = _signs(operation, "weight", weight, cure="")
    if isinstance(weight, PackedSigns):
        raise TypeError(f"{operation}: weight must be a real array or PackedFilters, got PackedSigns")
    options = data_format, stride, padding, dilation, groups, pad_value
    spec = conv_spec(options, operation, x.shape, packed, weight.shape)
    if not made:
        weight = _packed(backend, weight.reshape(spec.filters, spec.channels, *spec.geometry.kernel))
    epilogue = PLAIN if asked is NOTHING else epilogue_of(operation, x, weight, spec.shape, asked)
    if out is not None:
        check_result(operation, out, spec.shape, spec.logical, epilogue.outcome)
    spec = completed(spec, None if packed else x.dtype, epilogue.outcome)
    found = backend.plan(spec)(words, weight, epilogue, out)
    return _given_out(found, epilogue.outcome, spec.filters) if epilogue.outcome.signs else found


@adapted
def activation_scale(
    x: Any,
    kernel_size: int | Pair,
    *,
    stride: int | Pair = 1,
    padding: Any = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    data_format: str = "NCHW",
) -> Array:
    """K of XNOR-Net: the mean of abs(x) under each window, over all channels of a group.

    Parameters
    ----------
    x : real array, shape (N, C, H, W) or (C, H, W), channels last with "NHWC", or (H, W)
        bool counts as signs, so abs(x) is 1.
    kernel_size, stride, dilation : int or (rows, columns)
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        Zeros around the image, which count in the mean.
    groups : int
    data_format : {"NCHW", "NHWC"}

    Returns
    -------
    array of float32 (float64 for float64 ``x``), shape (N, groups, Ho, Wo)
        In the axis order of ``x``; (Ho, Wo) for one image.

    Raises
    ------
    TypeError
        For complex or packed ``x``.
    ValueError
        For shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> activation_scale(np.array([[1.0, -3.0]]), (1, 2))
    array([[2.]])
    """
    operation = "activation_scale"
    backend = backend_of(operation, x)
    x = real_array(operation, "x", x)
    layout = image_layout(operation, x.shape, data_format, (2, 4))
    n, c, h, w = layout.sizes(x.shape)
    groups = integer(operation, "groups", groups, 1)
    if c % groups:
        raise ValueError(f"{operation}: groups {groups} must divide the {c} channels")
    geometry = window(operation, (h, w), kernel_size, stride, padding, dilation)
    shape = layout.shape(n, groups, *geometry.output)
    check_out(operation, None, shape, float_result(x.dtype))
    return backend.plan(WindowMeans(layout, x.shape, x.dtype, groups, geometry, shape))(x)


@adapted
def fold_batchnorm(
    gamma: Any,
    beta: Any,
    mean: Any,
    var: Any,
    eps: float = 1e-5,
    *,
    alpha: Any = None,
    bias: Any = None,
    n: int,
) -> Threshold:
    """Fold scale, bias, batch normalization and sign into one integer comparison a channel.

    Parameters
    ----------
    gamma, beta, mean, var : arrays, shape (O,)
        The layer's parameters and running statistics.
    eps : float
    alpha, bias : array of shape (O,) or scalar, optional
        What the integers are multiplied by, and what is added, before normalization.
    n : int
        The largest abs(y): channels times taps of the convolution before.

    Returns
    -------
    Threshold
        Its bit equals ``BN(alpha * y + bias) >= 0`` for every integer y in [-n, n], evaluated in
        float32 as t = alpha * y + bias, s = gamma * (1 / sqrt(var + eps)), BN = t * s + (beta - mean * s),
        rounded after each operation. Negative and zero gamma included.

    Raises
    ------
    TypeError
        For parameters that are not real.
    ValueError
        For shapes that differ, NaN or infinite parameters, negative variances, or a chain that
        overflows float32.

    Notes
    -----
    On a GPU this waits for the device, which must say whether all parameters are finite.

    Examples
    --------
    >>> import numpy as np
    >>> threshold = fold_batchnorm([1.0, -1.0], [0.0, 0.0], [2.5, 2.5], [1.0, 1.0], n=9)
    >>> threshold.tau, threshold.flip
    (array([3, 3], dtype=int32), array([False,  True]))
    """
    operation = "fold_batchnorm"
    given = {"gamma": gamma, "beta": beta, "mean": mean, "var": var, "eps": eps}
    given |= {"alpha": 1.0 if alpha is None else alpha, "bias": 0.0 if bias is None else bias}
    backend = backend_of(operation, *given.values())
    parameters = {name: _parameter(operation, name, value) for name, value in given.items()}
    shapes = {name: parameter.shape for name, parameter in parameters.items() if parameter.ndim}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{operation}: parameters must all have the same shape (O,), got {shapes}")
    if parameters["eps"] == 0 and (parameters["var"] == 0).any():
        raise ValueError(f"{operation}: var + eps must be positive, got 0 in float32 for eps={eps}")
    n = integer(operation, "n", n, 0)
    check_terms(operation, n)
    tau, flip = backend.plan(FoldBatchnorm(n))(**parameters)
    return Threshold(tau, flip)


@adapted
def binary_max_pool2d(
    x: PackedSigns,
    kernel_size: int | Pair,
    *,
    stride: int | Pair | None = None,
    padding: Any = 0,
) -> PackedSigns:
    """Max-pooling of signs: the OR of their bits.

    Parameters
    ----------
    x : PackedSigns, logical shape (N, H, W, C) or (H, W, C)
    kernel_size : int or (rows, columns)
    stride : int or (rows, columns), optional
        ``kernel_size`` by default.
    padding : int, (rows, columns), ((top, bottom), (left, right)), "valid" or "same"
        What lies outside counts as -1.

    Returns
    -------
    PackedSigns, logical shape (N, Ho, Wo, C)

    Raises
    ------
    TypeError
        If ``x`` is not packed.
    ValueError
        If the window does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import pack_signs
    >>> pooled = binary_max_pool2d(pack_signs(np.array([[[-1.0], [2.0]]])), (1, 2))
    >>> pooled.unpack()
    array([[[1]]], dtype=int8)
    """
    operation = "binary_max_pool2d"
    if not isinstance(x, PackedSigns):
        raise TypeError(f"{operation}: x must be PackedSigns (see pack_signs), got {type(x).__name__}")
    backend = backend_of(operation, x.words)
    spec = pool_spec(operation, x.shape, kernel_size, kernel_size if stride is None else stride, padding)
    return PackedSigns(backend.plan(spec)(x.words), x.length)


@adapted
def binarize_residual(x: Any, bits: int, *, axis: int | None = None) -> list[tuple[Array, PackedSigns]]:
    """Approximate ``x`` by ``bits`` scaled sign tensors, each of what the ones before left over.

    Parameters
    ----------
    x : real array, shape (..., n)
    bits : int
        Number of terms, at least 1.
    axis : int, optional
        One scale per index of this axis; by default one for the whole array.

    Returns
    -------
    list of (scale, PackedSigns)
        ``x`` is about sum(scale * signs). Scales are float32 (float64 for float64 ``x``), of shape ()
        or (x.shape[axis],); signs are packed along the last axis.

    Raises
    ------
    TypeError
        For complex ``x``, or ``x`` of uint64, which is likely words.
    ValueError
        For ``bits`` below 1 or an axis out of bounds.

    Warns
    -----
    UserWarning
        For other unsigned integers, whose signs are all +1.

    Notes
    -----
    r = x; then repeatedly: scale = mean(abs(r)), summed in float64; signs = sign(r);
    r = r - scale * signs. The scheme of CNTK's multi-bit binary convolution.

    Examples
    --------
    >>> import numpy as np
    >>> for scale, signs in binarize_residual(np.array([1.0, -3.0]), 2):
    ...     print(scale, signs.unpack())
    2.0 [ 1 -1]
    1.0 [-1 -1]
    """
    operation = "binarize_residual"
    backend = backend_of(operation, x)
    x = real_array(operation, "x", x)
    if x.ndim == 0:
        raise ValueError(f"{operation}: x must have at least 1 dimension, got a scalar")
    bits = integer(operation, "bits", bits, 1)
    axis = None if axis is None else normalize_axis(operation, axis, x.ndim, "an integer or None")
    check_signs(operation, "x", x.dtype, cure="")
    terms = backend.plan(BinarizeResidual(x.shape, x.dtype, bits, axis))(x)
    return [(scale, PackedSigns(words, x.shape[-1])) for scale, words in terms]


def _packed(backend: Backend, weight: Array, zero: int = 1) -> PackedFilters:
    words, alpha = backend.plan(PackFilters(weight.shape, weight.dtype, zero))(weight)
    return PackedFilters(words, weight.shape[1], alpha)


def _given_out(found: Any, outcome: Outcome, filters: int) -> Any:
    """What the caller gets: words of signs as PackedSigns."""
    if not outcome.signs:
        return found
    if not outcome.numbers:
        return made_signs(found, filters)
    numbers, words = found
    return numbers, made_signs(words, filters)


def _words_of(*operands: Any) -> list[Any]:
    """What decides the namespace of packed operands: their words."""
    return [o.words if isinstance(o, (PackedSigns, PackedFilters)) else o for o in operands]


def _words(x: Any) -> Any:
    return x.words if isinstance(x, PackedSigns) else x


def _dtype(x: Any) -> Any:
    return None if isinstance(x, PackedSigns) else x.dtype


def _signs(operation: str, name: str, value: Any, *, cure: str | None = None) -> Any:
    """``value`` as PackedSigns or a real array, which :func:`check_signs` takes."""
    if isinstance(value, PackedSigns):
        return value
    if isinstance(value, PackedFilters):
        raise TypeError(f"{operation}: {name} must be a real array or PackedSigns, got PackedFilters")
    array = real_array(operation, name, value)
    if array.dtype.kind == "u":
        check_signs(operation, name, array.dtype, cure=cure)
    return array


def _parameter(operation: str, name: str, value: Any) -> Array:
    """A parameter of batch normalization, in float32."""
    given = real_array(operation, name, value)
    ranks = {"eps": (0,), "alpha": (0, 1), "bias": (0, 1)}.get(name, (1,))
    if given.ndim not in ranks:
        accepted = " or ".join(("a scalar", "of shape (O,)")[rank] for rank in ranks)
        raise ValueError(f"{operation}: {name} must be {accepted}, got shape {given.shape}")
    array = given.astype(np.float32)
    lowest = 0 if name in ("var", "eps") else -np.inf
    fits = np.isfinite(array) & (array >= lowest)
    if not fits.all():
        accepted = "finite" if lowest else "finite and not negative"
        raise ValueError(f"{operation}: {name} must be {accepted} in float32, got {given[~fits][0]}")
    return array
