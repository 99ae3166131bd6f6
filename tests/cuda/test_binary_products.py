"""The kernels of binary products on CUDA: each of the three inner products, tile by tile, and its defects."""

import re

import numpy as np
import pytest
from conftest import needs_gpu_or_compiler, optional

from fastconv import Threshold, reference, xnor_conv2d, xnor_matmul
from fastconv._epilogue import PARAMETERS
from fastconv._shared.problem import FIELDS
from strategies import values

PRODUCTS = {"75": ("TENSOR_XOR",), "80": ("TENSOR_AND",), "90": ("TENSOR_AND",), "100": (), "120": ()}


@pytest.fixture
def cupy(request):
    """The stand-in, since a GPU cannot change what it is."""
    needs_gpu_or_compiler(request.config)
    return optional("cupy")


@pytest.fixture(params=["75", "90", "100"])
def product(request, cupy, monkeypatch):
    monkeypatch.setattr(cupy.cuda.Device, "compute_capability", request.param)


@pytest.mark.parametrize("capability", PRODUCTS)
def test_compute_capability_decides_the_product(cupy, monkeypatch, capability):
    from fastconv.cuda.compile import binary_product

    monkeypatch.setattr(cupy.cuda.Device, "compute_capability", capability)
    assert binary_product() == PRODUCTS[capability]


def test_problem_has_the_fields_of_its_structure():
    from fastconv.cuda.compile import source

    declared = re.search(r"struct Problem \{(.*?)\n\}", source("binary_problem.cuh"), re.S)[1]
    fields = re.sub(r"//.*|\bi64\b", "", declared)
    assert re.findall(r"\w+", fields) == FIELDS.split()


def test_kinds_of_steps_are_numbered_as_their_parameters_are():
    from fastconv.cuda.compile import source

    kinds = re.search(r"enum Kind \{(.*?)\}", source("binary_epilogue.cuh"))[1]
    assert re.findall(r"\w+", kinds.lower()) == list(PARAMETERS)


# images, channels of a group, filters of a group, groups, size, kernel, options
LAYERS = {
    "two tiles of pixels and of filters": (2, 64, 70, 1, (5, 8), (3, 3), {"padding": 1}),
    "pairs of words": (1, 256, 65, 1, (4, 4), (3, 3), {"padding": 1, "pad_value": 1}),
    "an odd number of words": (1, 130, 9, 1, (6, 5), (2, 3), {"padding": ((2, 0), (1, 3)), "pad_value": -1}),
    "many words of one tap": (1, 1100, 66, 1, (3, 3), (1, 1), {}),
    "groups that share words": (1, 66, 40, 3, (4, 3), (2, 2), {"dilation": 2, "padding": 2}),
    "groups of whole words": (
        2,
        128,
        64,
        2,
        (5, 4),
        (3, 2),
        {"stride": (2, 1), "pad_value": 1, "padding": 1},
    ),
    "nothing but padding": (1, 65, 9, 1, (1, 1), (2, 2), {"padding": 3, "stride": 2, "dilation": 3}),
}


def made(name):
    n, channels, filters, groups, size, kernel, options = LAYERS[name]
    x = values(1, (n, groups * channels, *size), "f4")
    w = values(2, (groups * filters, channels, *kernel), "f4")
    return x, w, {"groups": groups, **options}


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("name", LAYERS)
def test_every_product_equals_reference(cupy, name):
    x, w, options = made(name)
    given = cupy.asarray(x), cupy.asarray(w)
    expected = reference.xnor_conv2d(x, w, **options)
    np.testing.assert_array_equal(xnor_conv2d(*given, **options).get(), expected)


@pytest.mark.usefixtures("product")
@pytest.mark.parametrize("name", ["groups that share words", "two tiles of pixels and of filters"])
def test_every_product_packs_signs(cupy, name):
    x, w, options = made(name)
    rng = np.random.default_rng(3)
    tau, flip = rng.integers(-9, 9, len(w)).astype(np.int32), rng.random(len(w)) < 0.5
    step = Threshold(cupy.asarray(tau), cupy.asarray(flip))
    given = xnor_conv2d(cupy.asarray(x), cupy.asarray(w), threshold=step, **options)
    expected = reference.xnor_conv2d(x, w, threshold=Threshold(tau, flip), **options)
    np.testing.assert_array_equal(given.words.get(), expected.words)


@pytest.mark.usefixtures("product")
def test_every_product_scales(cupy):
    x, w, options = made("two tiles of pixels and of filters")
    bias = values(4, (len(w),), "f4")
    given = xnor_conv2d(cupy.asarray(x), cupy.asarray(w), scale="xnor", bias=cupy.asarray(bias), **options)
    expected = reference.xnor_conv2d(x, w, scale="xnor", bias=bias, **options)
    np.testing.assert_allclose(given.get(), expected, rtol=1e-6, atol=1e-3)


@pytest.mark.usefixtures("product")
def test_words_that_are_not_aligned_to_pairs(cupy):
    x, w = values(0, (40, 128), "f4"), values(1, (128, 70), "f4")
    packed = reference.pack_signs(x)
    shifted = cupy.empty(packed.words.size + 1, np.uint64)[1:].reshape(packed.words.shape)
    cupy.copyto(shifted, cupy.asarray(packed.words))
    given = xnor_matmul(type(packed)(shifted, 128), cupy.asarray(w))
    np.testing.assert_array_equal(given.get(), reference.xnor_matmul(x, w))


DEFECTS = {
    "a barrier removed": ("wait_copies<STAGES - 2>();\n    __syncthreads();", "wait_copies<STAGES - 2>();"),
    "a copy not waited for": ("wait_copies<STAGES - 2>();", "wait_copies<STAGES>();"),
    "a tap too few": ("pixel.first_row <= at.row", "pixel.first_row < at.row"),
    "a filter too few": ("line < r.filters", "line + 1 < r.filters"),
    "fragments of columns swapped": ("column + 8 * j + e]", "column + 8 * j + 1 - e]"),
    "ones of the wrong pixels": ("half ? a[0][2] : a[0][0]", "half ? a[0][0] : a[0][2]"),
    "ones of the wrong registers": ("upper[e] += __popc(a[0] & b[4])", "upper[e] += __popc(a[1] & b[4])"),
    "words of the wrong lanes": ("lanes[4 * (2 * t + e) + k];", "lanes[4 * (t + 4 * e) + k];"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_caught(cupy, monkeypatch, defect):
    from fastconv.cuda import compile as _compile

    right, wrong = DEFECTS[defect]
    code = _compile.source("binary_gemm.cu")
    assert right in code
    broken = cupy.RawModule(
        code=code.replace(right, wrong), options=("-std=c++17", "-DRESULT=int", "-DTENSOR_AND")
    )
    whole = _compile._module
    monkeypatch.setattr(
        _compile, "_module", lambda file, d: broken if file == "binary_gemm.cu" else whole(file, d)
    )
    with pytest.raises((AssertionError, RuntimeError)):
        test_every_product_equals_reference(cupy, "two tiles of pixels and of filters")
