"""Wrong calls of every public name, and what they must be told.

``CALLS`` holds a right call of each with every argument given. A row of ``WRONG`` is the error, words of its
message after the operation's name, and the arguments that make that call wrong.
"""

import numpy as np

import right_calls
from fastconv import PackedFilters, PackedSigns, Threshold


def array(*shape, dtype="f4", value=1):
    """Any shape in the memory of one element."""
    return np.broadcast_to(np.array(value, dtype), shape)


def words(*shape):
    return array(*shape, dtype="u8", value=0)


def signs(*shape):
    return PackedSigns(words(*shape[:-1], -(-shape[-1] // 64)), shape[-1])


def step(channels):
    return Threshold(np.zeros(channels, "i4"), np.zeros(channels, "?"))


FILTERS = PackedFilters(words(8, 3, 3, 1), 2, np.ones(8, "f4"))
IMAGE, KERNEL = array(2, 6, 7, dtype="i2"), array(3, 3, dtype="i2")
FOUR_AND_THREE = {"in1": array(2, 6, 7, 2, dtype="i2"), "in2": array(2, 3, 3, dtype="i2"), "out": None}
X, WEIGHT = array(2, 4, 6, 7), array(8, 2, 3, 3)

CALLS = {
    name: call.arguments(*call.arrays()) for name, call in right_calls.CALLS.items() if "," not in name
} | {
    "PackedSigns": {"words": words(3, 2), "length": 70, "check": False},
    "PackedFilters": {"words": words(8, 3, 3, 1), "channels": 2, "alpha": array(8)},
    "Threshold": {"tau": array(5, dtype="i4"), "flip": array(5, dtype="?")},
}

LONG = 2**31
HUGE = 2**61
SIZES = "must be an integer or a pair of integers"
PADS = "padding must be an integer, (rows, columns), ((top, bottom), (left, right)), 'valid' or 'same'"
REAL = "must be bool, integer or float16/32/64 (real)"
UNSCALED = {"scale": None, "bias": None, "residual": None, "activation": None}
STEPS = "activation must be 'relu', ('clamp', lo, hi), ('prelu', slope), ('shift', b), or a list of these, "
STEPS += "or None"
DEEP = {"x": array(1, 2**28, 6, 7), "weight": array(8, 2**28, 3, 3), "groups": 1}
MIXED = {"in1": [[[0, 0]], [[2**40, 0]]], "in2": [[2**20]], "out": np.full((2, 1, 2), 77)}

WRONG = {
    "popcount": [
        (TypeError, "x must be bool or integer; float32", {"x": array(3)}),
        (TypeError, "x must be bool or integer; complex128", {"x": 1j}),
        (TypeError, "x must be bool or integer; object", {"x": None}),
        (TypeError, "x must be bool or integer; object", {"x": np.array([1, None])}),
        (TypeError, "x must be bool or integer; <U21", {"x": [1, "a"]}),
        (TypeError, "x must be bool or integer; <U1", {"x": "a"}),
        (TypeError, "x must be bool or integer; datetime64", {"x": np.array(["2026"], "M8[s]")}),
        (ValueError, "x must be an array or evenly nested; [[1], [1, 2]]", {"x": [[1], [1, 2]]}),
        (TypeError, "numpy.ma; supported: numpy; x.filled(0)", {"x": [np.ma.ones(3, int)]}),
        (TypeError, "PackedSigns; supported: numpy; x.unpack()", {"x": signs(3)}),
        (TypeError, "PackedFilters; supported: numpy; PackedSigns(x.words", {"x": FILTERS}),
    ],
    "popcount_sum": [
        (TypeError, "x must be bool or integer; float32", {"x": array(3, 4)}),
        (ValueError, "axis 2; out of bounds; 2 dimensions", {"axis": 2}),
        (ValueError, "axis 0; out of bounds; 0 dimensions", {"x": 3, "axis": 0}),
        (ValueError, "axis (0, -2); twice", {"axis": (0, -2)}),
        (TypeError, "axis must be an integer, a tuple of integers or None; [0, 1]", {"axis": [0, 1]}),
        (TypeError, "axis must be an integer; 1.0", {"axis": 1.0}),
        (TypeError, "keepdims must be True or False; array([1, 1])", {"keepdims": np.ones(2, int)}),
    ],
    "packbits64": [
        (TypeError, "x must be bool or integer; float32", {"x": array(3, 70)}),
        (ValueError, "axis 2; out of bounds; 2 dimensions", {"axis": 2}),
        (TypeError, "axis must be an integer or None; (0, 1)", {"axis": (0, 1)}),
        (ValueError, "bitorder must be one of 'little', 'big'; 'middle'", {"bitorder": "middle"}),
        (ValueError, "bitorder must be one of 'little', 'big'; None", {"bitorder": None}),
        (TypeError, "out must have dtype uint64; >u8", {"out": np.full((3, 2), 77, ">u8")}),
    ],
    "unpackbits64": [
        (TypeError, "words must be an array of uint64; int64; view", {"words": array(3, 2, dtype="i8")}),
        (ValueError, "count must be at most 128; 129", {"count": 129}),
        (ValueError, "count must be at least 0; -1", {"count": -1}),
        (TypeError, "count must be an integer or None; 70.0", {"count": 70.0}),
        (TypeError, "axis must be an integer or None; 1.0", {"axis": 1.0}),
        (ValueError, "bitorder must be one of 'little', 'big'; 'BIG'", {"bitorder": "BIG"}),
        (ValueError, "axis -3; out of bounds", {"axis": -3}),
        (ValueError, "shape; more than memory", {"words": words(2**57), "axis": 0, "count": None}),
    ],
    "pack_signs": [
        (TypeError, f"x {REAL}; complex64", {"x": array(3, 70, dtype="c8")}),
        (ValueError, "x must have at least 1 dimension; scalar", {"x": 1.5, "threshold": 0}),
        (TypeError, "axis must be an integer; None", {"axis": None}),
        (ValueError, "zero must be one of 1, -1; 0", {"zero": 0}),
        (TypeError, "zero must be one of 1, -1; '1'", {"zero": "1"}),
        (ValueError, "threshold must not be NaN", {"threshold": [[0.0], [np.nan], [0.0]]}),
        (ValueError, "threshold; (4, 1); does not broadcast; (3, 70)", {"threshold": array(4, 1)}),
        (ValueError, "threshold; (2, 3, 70); does not broadcast", {"threshold": array(2, 3, 70)}),
        (TypeError, f"threshold {REAL}; complex128", {"threshold": 1j}),
    ],
    "hamming_distance": [
        (TypeError, "a must be an array of uint64; uint32; view", {"a": array(3, 2, dtype="u4")}),
        (TypeError, "both be PackedSigns; PackedSigns and ndarray", {"a": signs(3, 70)}),
        (ValueError, "lengths 70 and 71", {"a": signs(3, 70), "b": signs(3, 71)}),
        (ValueError, "2 and 3 words", {"b": words(3)}),
        (ValueError, "(3,) and (4,); broadcast", {"b": words(4, 2)}),
        (ValueError, "b must have at least 1 dimension; scalar", {"b": np.uint64(3)}),
        (TypeError, "dtype must be one of integers; float32", {"dtype": "f4"}),
        (TypeError, "dtype must be one of integers; bool", {"dtype": bool}),
        (TypeError, "dtype must be a NumPy dtype; 'small'", {"dtype": "small"}),
        (ValueError, "2 words can be 128 bits apart; int8; 127; at least int16", {"dtype": "i1"}),
        (
            ValueError,
            "4 words can be 256 bits apart; uint8; 255; at least uint16",
            {"a": words(3, 4), "b": words(4), "dtype": "u1"},
        ),
        (
            ValueError,
            "1024 words can be 65536 bits apart; uint16; 65535; at least uint32",
            {"a": words(3, 1024), "b": words(1024), "dtype": "u2"},
        ),
        (TypeError, "out must have dtype int32; int64", {"out": np.zeros(3, "i8")}),
        (ValueError, "out must have shape (3,); (2,)", {"out": np.zeros(2, "i4")}),
        (ValueError, "out must be writable", {"out": array(3, dtype="i4")}),
    ],
    "correlate2d": [
        (ValueError, "in1 and in2; (..., H, W); (7,)", {"in1": array(7, dtype="i2")}),
        (ValueError, "in1 and in2; (..., H, W); ()", {"in2": 3}),
        (TypeError, "in1 must be integers, float; object", {"in1": IMAGE.astype(object)}),
        (TypeError, "in2 must be integers, float; <U1", {"in2": [["a"]]}),
        (TypeError, "bool; dtype=", {"in1": IMAGE > 0, "in2": KERNEL > 0}),
        (ValueError, "in1; evenly nested", {"in1": [[1, 2], [3]]}),
        (ValueError, "mode must be one of 'full', 'valid', 'same'; 'Full'", {"mode": "Full"}),
        (ValueError, "mode must be one of 'full'; ['full']", {"mode": ["full"]}),
        (ValueError, "mode must be one of 'full'; array(['full'", {"mode": np.array(["full", "same"])}),
        (ValueError, "boundary must be one of 'fill', 'pad', 'wrap'; 2", {"boundary": 2}),
        (ValueError, "method must be one of 'auto', 'direct', 'separable'; 'FFT'", {"method": "FFT"}),
        (ValueError, "'valid'; as large as; (6, 7) and (7, 3)", {"mode": "valid", "in2": array(7, 3)}),
        (ValueError, "(2,) and (3,); broadcast", {"in2": array(3, 3, 3)}),
        (ValueError, "'separable'; in2 of rank 1", {"method": "separable", "in2": np.eye(3, dtype="i2")}),
        (ValueError, "'fft'; exact; method='direct'", {"method": "fft", **MIXED}),
        (ValueError, "boundary 'wrap'; empty", {"boundary": "wrap", "in1": IMAGE[:, :0], "out": None}),
        (TypeError, "out must have dtype int16; >i2", {"out": np.full((2, 8, 9), 77, ">i2")}),
        (ValueError, "fillvalue; nan; int16", {"fillvalue": np.nan}),
        (ValueError, "fillvalue; 32768; int16", {"fillvalue": 2**15}),
        (ValueError, "fillvalue; 1j; int16", {"fillvalue": 1j}),
        (ValueError, "fillvalue must be one number; [1, 2]", {"fillvalue": [1, 2]}),
        (ValueError, "fillvalue must be one number; None", {"fillvalue": None}),
        (TypeError, "complex64; do not cast; float32", {"in1": IMAGE.astype("c8"), "dtype": "f4"}),
        (ValueError, "axes must be a pair of different axes; (0, 1, 2)", {"axes": (0, 1, 2)}),
        (
            ValueError,
            "axes must be a pair of different axes of in1; 3 dimensions; (1, -2)",
            {"axes": (1, -2)},
        ),
        (ValueError, "axes must be a pair; of in1; 3 dimensions; (1, 3)", {"axes": (1, 3)}),
        (ValueError, "axes must be a pair; of in2; 3; (0, 3)", {"axes": (0, 3), **FOUR_AND_THREE}),
        (TypeError, "axes must be a pair of different axes; 1.0", {"axes": (0, 1.0)}),
        (
            ValueError,
            "out must have shape (8, 9, 2); (2, 8, 9)",
            {"axes": (0, 1), "in1": IMAGE.transpose(1, 2, 0)},
        ),
        (TypeError, "dtype must be a NumPy dtype; 'number'", {"dtype": "number"}),
        (TypeError, "cannot compute in dtype bool", {"dtype": bool, "in1": IMAGE > 0, "in2": KERNEL > 0}),
    ],
    "convolve2d": [
        (ValueError, "mode must be one of 'full', 'valid', 'same'; None", {"mode": None}),
        (ValueError, "boundary must be one of 'fill'; 'reflect'", {"boundary": "reflect"}),
        (ValueError, "'separable'; in2 of rank 1", {"method": "separable", "in2": np.eye(3, dtype="i2")}),
        (ValueError, "'fft'; exact; method='direct'", {"method": "fft", **MIXED}),
        (TypeError, "int16; do not cast; uint8", {"dtype": "u1"}),
        (ValueError, "fillvalue; evenly nested", {"fillvalue": [[1], [1, 2]]}),
    ],
    "conv2d": [
        (ValueError, "x must have 3 to 4 dimensions; (6, 7)", {"x": array(6, 7)}),
        (ValueError, "weight must have shape (O, C / groups, kh, kw); (8, 2)", {"weight": array(8, 2)}),
        (ValueError, "weight must have 2 channels; 4", {"weight": array(8, 4, 3, 3)}),
        (ValueError, "groups 3; divide; 4 input channels; 8 filters", {"groups": 3}),
        (ValueError, "groups 4; divide; 9 filters", {"groups": 4, "weight": array(9, 1, 3, 3)}),
        (ValueError, "groups must be at least 1; 0", {"groups": 0}),
        (ValueError, "bias must have shape (8,); ()", {"bias": 1.0}),
        (TypeError, "bias must be integers, float; object", {"bias": np.ones(8, object)}),
        (TypeError, "dtype bool; convert the inputs", {"x": X > 0, "weight": WEIGHT > 0, "bias": None}),
        (ValueError, "stride must be at least 1; 0", {"stride": 0}),
        (ValueError, "dilation must be at least 1; -1", {"dilation": (1, -1)}),
        (ValueError, f"stride {SIZES}; (1, 2, 3)", {"stride": (1, 2, 3)}),
        (TypeError, f"stride {SIZES}; 1.0", {"stride": 1.0}),
        (TypeError, f"dilation {SIZES}; '1'", {"dilation": "1"}),
        (ValueError, f"{PADS}; 'SAME'", {"padding": "SAME"}),
        (ValueError, f"{PADS}; ((1, 1), 2)", {"padding": ((1, 1), 2)}),
        (TypeError, f"{PADS}; array([1, 1])", {"padding": np.array([1, 1])}),
        (ValueError, "padding must be at least 0; -1", {"padding": -1}),
        (ValueError, f"padding; at most; {HUGE}", {"padding": HUGE}),
        (ValueError, "dilation; does not fit; (6, 7)", {"dilation": 2**70}),
        (ValueError, "data_format must be one of 'NCHW', 'NHWC'; 'CHWN'", {"data_format": "CHWN"}),
    ],
    "im2col": [
        (TypeError, "x must be bool, integer, float, complex or a date; object", {"x": X.astype(object)}),
        (ValueError, "x must have shape (..., C, H, W) or (H, W); (7,)", {"x": array(7)}),
        (ValueError, "kernel_size must be at least 1; 0", {"kernel_size": (3, 0)}),
        (TypeError, f"kernel_size {SIZES}; None", {"kernel_size": None}),
        (ValueError, "kernel_size (9, 9); does not fit; (6, 7)", {"kernel_size": 9}),
        (ValueError, f"{PADS}; (3,)", {"padding": ((1, 2), (3,))}),
        (ValueError, "padding; at most", {"padding": 2**70, "stride": 2**70}),
        (ValueError, "shape; more than memory can address", {"x": array(2**54, 6, 7)}),
    ],
    "col2im": [
        (TypeError, "cols must be bool, integer, float or complex; object", {"cols": X.astype(object)}),
        (ValueError, "cols must have shape (..., C * 9, 42); (35, 42)", {"cols": array(35, 42)}),
        (ValueError, "cols must have shape (..., C * 9, 42); (36, 41)", {"cols": array(36, 41)}),
        (ValueError, "cols must have shape (..., C * 9, 42); (36,)", {"cols": array(36)}),
        (ValueError, f"output_size {SIZES}; (2, 6, 7)", {"output_size": (2, 6, 7)}),
        (ValueError, "output_size must be at least 0; -6", {"output_size": (-6, 7)}),
        (ValueError, "stride must be at least 1; 0", {"stride": 0}),
    ],
    "xnor_matmul": [
        (TypeError, f"a {REAL}; complex64", {"a": array(3, 70, dtype="c8")}),
        (ValueError, "70 columns; 71 rows", {"b": array(71, 5)}),
        (ValueError, "70 columns; 71 rows", {"b": signs(5, 71)}),
        (ValueError, "a and b must have at least 1 dimension; scalar", {"a": 1.0}),
        (ValueError, "(2,) and (3,); broadcast", {"a": array(2, 3, 70), "b": array(3, 70, 5)}),
        (TypeError, "b must be a real array or PackedSigns; PackedFilters", {"b": FILTERS}),
        (ValueError, f"terms; {LONG - 1}; {LONG}", {"a": array(3, LONG), "b": array(LONG, 5)}),
        (ValueError, f"terms; {LONG - 1}; {LONG}", {"a": signs(3, LONG), "b": signs(5, LONG)}),
        (ValueError, "shape; more than memory can address", {"a": array(2**40, 3), "b": array(3, 2**40)}),
    ],
    "xnor_linear": [
        (TypeError, f"x {REAL}; complex64", {"x": array(3, 70, dtype="c8")}),
        (ValueError, "x must have shape (..., 70); (3, 71)", {"x": array(3, 71)}),
        (ValueError, "x must have shape (..., 70); (3, 71)", {"x": signs(3, 71)}),
        (ValueError, "weight must have shape (out, in); (70,)", {"weight": array(70)}),
        (ValueError, "weight must have shape (out, in, 1, 1); (8, 2, 3, 3)", {"weight": FILTERS}),
        (
            ValueError,
            "scale must be one of 'alpha', 'xnor', an array (5,) or None; 'beta'",
            {"scale": "beta"},
        ),
        (ValueError, "'alpha'; magnitudes; PackedSigns", {"scale": "alpha", "weight": signs(5, 70)}),
        (ValueError, "'xnor'; magnitudes; PackedSigns", {"scale": "xnor", "x": signs(3, 70)}),
        (ValueError, "scale must have shape (5,); ()", {"scale": 2.0}),
        (ValueError, "bias must have shape (5,); (4,)", {"bias": array(4)}),
        (TypeError, f"bias {REAL}; complex64", {"bias": array(5, dtype="c8")}),
        (TypeError, "threshold must be a Threshold or None; ndarray", {"threshold": array(5)}),
        (ValueError, "threshold excludes scale and bias", {"threshold": step(5)}),
        (
            ValueError,
            "threshold excludes residual, activation and signs; signs=(tau, flip)",
            {"threshold": step(5), **UNSCALED, "activation": "relu"},
        ),
        (ValueError, "residual must have the result's shape (3, 5); (5,)", {"residual": array(5)}),
        (TypeError, f"residual {REAL}; complex64", {"residual": array(3, 5, dtype="c8")}),
        (ValueError, f"{STEPS}; got 'gelu'", {"activation": "gelu"}),
        (
            ValueError,
            "slope of activation 'prelu' must be a number or have shape (5,); (4,)",
            {"activation": ("prelu", array(4))},
        ),
        (ValueError, "signs must be a number or have shape (5,); (3, 5)", {"signs": array(3, 5)}),
        (TypeError, "signs must be tau or (tau, flip), flip of bool; float64", {"signs": (0.0, 1.0)}),
        (
            ValueError,
            "flip of signs must be a bool or have shape (5,); (4,)",
            {"signs": (0, array(4, dtype="?"))},
        ),
        (ValueError, f"terms; {LONG - 1}; {LONG}", {"x": array(3, LONG), "weight": array(5, LONG)}),
    ],
    "pack_filters": [
        (TypeError, f"weight {REAL}; complex64", {"weight": array(8, 2, 3, 3, dtype="c8")}),
        (ValueError, "weight must have shape (O, C / groups, kh, kw); (2, 3, 3)", {"weight": array(2, 3, 3)}),
        (ValueError, "zero must be one of 1, -1; 2", {"zero": 2}),
        (TypeError, "PackedFilters; supported: numpy", {"weight": FILTERS}),
    ],
    "xnor_conv2d": [
        (TypeError, f"x {REAL}; complex64", {"x": X.astype("c8")}),
        (TypeError, f"weight {REAL}; complex64", {"weight": WEIGHT.astype("c8")}),
        (TypeError, "x must be a real array or PackedSigns; PackedFilters", {"x": FILTERS}),
        (TypeError, "weight must be a real array or PackedFilters; PackedSigns", {"weight": signs(8)}),
        (ValueError, "x must have 2 to 4 dimensions; (7,)", {"x": array(7)}),
        (ValueError, "x must have 3 to 4 dimensions; (7, 4)", {"x": signs(7, 4)}),
        (ValueError, "weight must have shape (O, C / groups, kh, kw); (3, 3)", {"weight": array(3, 3)}),
        (ValueError, "weight must have 2 channels; 3", {"weight": array(8, 3, 3, 3)}),
        (ValueError, "one image (H, W) takes one filter; 8", {"x": array(6, 7)}),
        (ValueError, "groups 3; divide; 4 input channels; 8 filters", {"groups": 3}),
        (TypeError, "groups must be an integer; 2.0", {"groups": 2.0}),
        (ValueError, "pad_value must be one of 0, 1, -1; 2", {"pad_value": 2}),
        (TypeError, "pad_value must be one of 0, 1, -1; 0.0", {"pad_value": 0.0}),
        (ValueError, "scale must be one of 'alpha', 'xnor', an array (8,) or None; 'K'", {"scale": "K"}),
        (ValueError, "'xnor'; magnitudes of x; PackedSigns", {"scale": "xnor", "x": signs(2, 6, 7, 4)}),
        (ValueError, "bias must have shape (8,); (8, 1, 1)", {"bias": array(8, 1, 1)}),
        (TypeError, "threshold must be a Threshold; float", {"threshold": 0.5, **UNSCALED}),
        (ValueError, "threshold must have 8 channels; 4", {"threshold": step(4), **UNSCALED}),
        (ValueError, "threshold excludes scale and bias", {"threshold": step(8), "bias": None}),
        (ValueError, "threshold excludes scale and bias", {"threshold": step(8), "scale": None}),
        (
            ValueError,
            "threshold excludes residual, activation and signs; signs=(tau, flip)",
            {"threshold": step(8), **UNSCALED, "signs": 0.0},
        ),
        (
            ValueError,
            "residual must have the result's shape (2, 8, 6, 7); (2, 6, 7, 8)",
            {"residual": array(2, 6, 7, 8)},
        ),
        (ValueError, "residual must have the result's shape (2, 8, 6, 7); ()", {"residual": 1.0}),
        (TypeError, f"residual {REAL}; <U1", {"residual": "x"}),
        (ValueError, f"{STEPS}; got ('relu', 1)", {"activation": ("relu", 1)}),
        (ValueError, f"{STEPS}; got ('clamp', 0)", {"activation": ["relu", ("clamp", 0)]}),
        (ValueError, f"{STEPS}; got 6", {"activation": 6}),
        (ValueError, f"{STEPS}; got ()", {"activation": ()}),
        (TypeError, f"b of activation 'shift' {REAL}; complex128", {"activation": ("shift", 1j)}),
        (
            ValueError,
            "hi of activation 'clamp' must be a number or have shape (8,); (7,)",
            {"activation": ("clamp", 0, array(7))},
        ),
        (TypeError, f"signs {REAL}; <U1", {"signs": "x"}),
        (TypeError, f"signs {REAL}; complex128", {"signs": (1j, False), **UNSCALED}),
        (TypeError, "signs must be tau or a tuple (tau, flip); (1.0, 2.0, 3.0)", {"signs": (1.0, 2.0, 3.0)}),
        (TypeError, "flip of bool; int64", {"signs": (0.0, array(8, dtype="i8"))}),
        (ValueError, f"{PADS}; (1, 2, 3)", {"padding": (1, 2, 3)}),
        (ValueError, f"padding; at most; {HUGE}", {"padding": HUGE, "stride": HUGE}),
        (ValueError, "data_format must be one of 'NCHW', 'NHWC'; 'nchw'", {"data_format": "nchw"}),
        (ValueError, f"terms; {LONG - 1}; {9 * 2**28}", DEEP),
    ],
    "activation_scale": [
        (TypeError, f"x {REAL}; complex64", {"x": X.astype("c8")}),
        (TypeError, "PackedSigns; supported: numpy; x.unpack()", {"x": signs(2, 6, 7, 4)}),
        (ValueError, "x must have 2 to 4 dimensions; (1, 2, 4, 6, 7)", {"x": X[None]}),
        (ValueError, "groups 3; divide; 4 channels", {"groups": 3}),
        (ValueError, f"padding; at most; {HUGE}", {"padding": HUGE}),
        (ValueError, f"{PADS}; 'full'", {"padding": "full"}),
    ],
    "fold_batchnorm": [
        (TypeError, f"gamma {REAL}; complex64", {"gamma": array(5, dtype="c8")}),
        (ValueError, "beta must be of shape (O,); (1, 5)", {"beta": array(1, 5)}),
        (ValueError, "mean must be of shape (O,); ()", {"mean": 0.0}),
        (ValueError, "same shape (O,); 'alpha': (4,)", {"alpha": array(4)}),
        (ValueError, "var must be finite and not negative; -1.0", {"var": array(5, value=-1)}),
        (ValueError, "bias must be finite; nan", {"bias": np.nan}),
        (ValueError, "gamma must be finite in float32; 1e+300", {"gamma": array(5, dtype="f8", value=1e300)}),
        (ValueError, "eps must be finite and not negative; -1.0", {"eps": -1.0}),
        (ValueError, "eps must be a scalar; (5,)", {"eps": array(5)}),
        (TypeError, f"eps {REAL}; <U4", {"eps": "1e-5"}),
        (ValueError, "var + eps must be positive; 0", {"var": array(5, value=0), "eps": 0}),
        (ValueError, "overflows float32; [-9, 9]", {"gamma": array(5, value=3e38), "var": array(5, value=0)}),
        (ValueError, "n must be at least 0; -1", {"n": -1}),
        (TypeError, "n must be an integer; 9.0", {"n": 9.0}),
        (ValueError, f"terms; {LONG - 1}; {LONG}", {"n": LONG}),
    ],
    "binary_max_pool2d": [
        (TypeError, "x must be PackedSigns (see pack_signs); ndarray", {"x": X}),
        (TypeError, "x must be PackedSigns (see pack_signs); PackedFilters", {"x": FILTERS}),
        (ValueError, "x must have 3 to 4 dimensions; (7, 70)", {"x": signs(7, 70)}),
        (ValueError, "kernel_size must be at least 1; 0", {"kernel_size": 0}),
        (ValueError, "stride must be at least 1; -2", {"stride": -2}),
        (ValueError, f"padding; at most; {HUGE}", {"padding": HUGE}),
        (ValueError, "shape; more than memory can address", {"x": signs(2**52, 6, 7, 70), "padding": 3}),
    ],
    "binarize_residual": [
        (TypeError, f"x {REAL}; complex64", {"x": array(3, 70, dtype="c8")}),
        (ValueError, "x must have at least 1 dimension; scalar", {"x": 1.0}),
        (ValueError, "bits must be at least 1; 0", {"bits": 0}),
        (TypeError, "bits must be an integer; 2.0", {"bits": 2.0}),
        (ValueError, "axis 2; out of bounds; 2 dimensions", {"axis": 2}),
        (TypeError, "axis must be an integer or None; 1.0", {"axis": 1.0}),
    ],
    "PackedSigns": [
        (TypeError, "words must be an array of uint64; list", {"words": [[0, 0]]}),
        (TypeError, "words must be an array of uint64; int64", {"words": array(3, 2, dtype="i8")}),
        (ValueError, "words must have at least 1 dimensions; ()", {"words": np.array(3, "u8")}),
        (ValueError, "129 signs; 3 words; (3, 2)", {"length": 129}),
        (ValueError, "length must be at least 0; -1", {"length": -1}),
        (TypeError, "length must be an integer; 70.0", {"length": 70.0}),
        (ValueError, "bits beyond length 70 must be 0", {"words": ~words(3, 2), "check": True}),
        (TypeError, "check must be True or False; None", {"check": None}),
    ],
    "PackedFilters": [
        (TypeError, "words must be an array of uint64; float32", {"words": array(8, 3, 3, 1)}),
        (ValueError, "words; at least 4 dimensions; (8, 9)", {"words": words(8, 9)}),
        (ValueError, "words must have shape (O, kh, kw, 2); 65 channels", {"channels": 65}),
        (TypeError, "alpha must be an array of float32; float64", {"alpha": array(8, dtype="f8")}),
        (ValueError, "alpha must have shape (8,); (9,)", {"alpha": array(9)}),
    ],
    "Threshold": [
        (TypeError, "tau must be an array of int32; float32", {"tau": array(5)}),
        (TypeError, "flip must be an array of bool; bool", {"flip": False}),
        (ValueError, "shape (O,); (5,) and (4,)", {"flip": array(4, dtype="?")}),
    ],
}
