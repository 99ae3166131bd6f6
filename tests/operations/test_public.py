"""Every public name is whole: reference, docstring, test, benchmark, page; and ``out=`` behaves."""

import dataclasses
import inspect
import re
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from checkout import ROOT
from fastconv import Threshold, reference
from strategies import seeds, values

OPERATIONS = sorted(n for n in fastconv.__all__ if inspect.isfunction(getattr(fastconv, n)))
CLASSES = sorted(n for n in fastconv.__all__ if inspect.isclass(getattr(fastconv, n)))


def noun(name):
    return getattr(fastconv, name).__module__.rpartition(".")[2]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def calls(name, source):
    return re.search(rf"\b{name}", source) is not None


def test_public_names_are_operations_classes_and_the_reference():
    assert set(fastconv.__all__) == {*OPERATIONS, *CLASSES, "reference"}
    assert sorted(reference.__all__) == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_a_reference_of_the_same_signature(name):
    own = inspect.signature(getattr(fastconv, name)).parameters.values()
    twin = inspect.signature(getattr(reference, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in own] == [(p.name, p.kind, p.default) for p in twin]


@pytest.mark.parametrize("name", OPERATIONS)
def test_reference_points_to_the_operation(name):
    assert name in inspect.getdoc(getattr(reference, name))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_an_implementation_for_every_backend(name):
    for backend in fastconv._backends.BACKENDS.values():
        if backend.package:
            module = backend.module(noun(name))
            assert callable(module.plan)


@pytest.mark.parametrize("noun", ["bits", "correlation", "patches", "xnor"])
def test_every_backend_plans_every_spec(noun):
    specs = vars(import_module(f"fastconv._specs.{noun}")).values()
    named = {spec for spec in specs if getattr(spec, "_field_defaults", {}).get("noun") == noun}
    assert named
    for backend in fastconv._backends.BACKENDS.values():
        if backend.package:
            assert set(backend.module(noun).PLANNERS) == named


@pytest.mark.parametrize("name", [*OPERATIONS, *CLASSES])
def test_docstring_says_it_all_and_has_an_example(name):
    doc = inspect.getdoc(getattr(fastconv, name))
    sections = ["Parameters", "Examples"] + (["Returns", "Raises"] if name in OPERATIONS else [])
    for section in sections:
        assert f"\n{section}\n{'-' * len(section)}\n" in doc
    assert calls(f"{name}\\(", doc.partition("Examples\n")[2])


@pytest.mark.parametrize("name", OPERATIONS)
def test_docstring_describes_every_parameter(name):
    parameters = (
        inspect.getdoc(getattr(fastconv, name)).partition("Parameters\n")[2].partition("Returns\n")[0]
    )
    described = {
        n.strip()
        for line in re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", parameters, re.M)
        for n in line.split(",")
    }
    assert set(inspect.signature(getattr(fastconv, name)).parameters) <= described


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_test_benchmark_and_page(name):
    assert calls(name, text(f"tests/operations/test_{noun(name)}.py"))
    assert calls(name, text(f"asv_benchmarks/benchmarks/{noun(name)}.py"))
    assert calls(name, text(f"docs/{noun(name)}.md"))
    assert calls(name, text("README.md"))


def test_importing_fastconv_imports_no_compiler_and_no_other_array_library():
    code = "import sys, fastconv; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numba", "llvmlite", "scipy", "torch", "cupy", "dask", "matplotlib", "rich"} & set(
        loaded.split()
    )


IMAGE, KERNEL = ((2, 6, 8), "f4"), ((3, 3), "f4")
LAYER, WEIGHT = ((2, 3, 5, 6), "f4"), ((4, 3, 3, 3), "f4")
DEEP, FILTERS = ((2, 65, 5, 6), "f4"), ((4, 65, 3, 3), "f4")
STEP = Threshold(np.zeros(4, np.int32), np.zeros(4, np.bool_))
OUT_CASES = {
    "popcount": ([((7, 9), "u8")], {}),
    "popcount, signed": ([((7, 9), "i2")], {}),
    "popcount_sum": ([((7, 9), "u8")], {"axis": 0}),
    "packbits64": ([((7, 99), "u1")], {}),
    "unpackbits64": ([((7, 3), "u8")], {"axis": 0}),
    "correlate2d": ([IMAGE, KERNEL], {}),
    "correlate2d, separable": ([IMAGE, ((1, 5), "f4")], {"method": "separable", "boundary": "symm"}),
    "correlate2d, fft": ([IMAGE, KERNEL], {"method": "fft"}),
    "correlate2d, float16": ([((6, 8), "f2"), ((3, 3), "f2")], {}),
    "correlate2d, mirrored": ([((3, 3), "f4"), ((6, 8), "f4")], {"mode": "valid"}),
    "convolve2d": ([IMAGE, KERNEL], {"mode": "same", "boundary": "wrap"}),
    "conv2d": ([LAYER, WEIGHT, ((4,), "f4")], {"padding": 1}),
    "conv2d, NHWC": ([((2, 5, 6, 3), "f4"), WEIGHT], {"data_format": "NHWC"}),
    "im2col": ([LAYER], {"kernel_size": 2}),
    "col2im": ([((2, 12, 20), "f4")], {"output_size": (5, 6), "kernel_size": 2}),
    "xnor_matmul": ([((5, 70), "f4"), ((70, 9), "f4")], {}),
    "xnor_linear": ([((5, 70), "f4"), ((9, 70), "f4"), ((9,), "f4")], {"scale": "alpha"}),
    "xnor_linear, packed": ([((5, 70), "f4"), ((4, 70), "f4")], {"threshold": STEP}),
    "xnor_conv2d": ([DEEP, FILTERS], {"padding": 1}),
    "xnor_conv2d, few": ([LAYER, WEIGHT], {"padding": 1, "scale": "xnor"}),
    "xnor_conv2d, packed": ([DEEP, FILTERS], {"threshold": STEP}),
}


def prepared(case, seed, asarray=np.asarray):
    inputs, options = OUT_CASES[case]
    function = getattr(fastconv, case.partition(",")[0])
    arrays = [asarray(values(seed + i, shape, dtype)) for i, (shape, dtype) in enumerate(inputs)]
    if "threshold" in options:
        options = {"threshold": Threshold(asarray(STEP.tau), asarray(STEP.flip))}
    return lambda *a, **more: _array(function(*a, **options, **more)), arrays


def _array(result):
    return result.words if isinstance(result, fastconv.PackedSigns) else result


def test_every_operation_with_out_has_a_case():
    with_out = {n for n in OPERATIONS if "out" in inspect.signature(getattr(fastconv, n)).parameters}
    assert {case.partition(",")[0] for case in OUT_CASES} == with_out


@pytest.mark.parametrize("case", OUT_CASES)
def test_out_is_filled_and_returned(backend, case):
    call, arrays = prepared(case, 0, backend.asarray)
    expected = backend.asnumpy(call(*arrays))
    spread = np.full((*expected.shape, 2), 77, expected.dtype)
    for out in (np.full_like(expected, 77), spread[..., 0], np.full_like(expected, 77)[..., ::-1]):
        given_out = backend.asarray(out)
        assert call(*arrays, out=given_out) is given_out
        np.testing.assert_array_equal(backend.read(given_out), expected)
    assert (spread[..., 1] == 77).all()


@pytest.mark.parametrize("case", OUT_CASES)
@given(seed=seeds, shift=st.integers(0, 4000))
def test_out_may_overlap_an_input(case, seed, shift):
    call, arrays = prepared(case, seed)
    expected = call(*arrays)
    room = sum(a.nbytes + 16 for a in arrays)
    memory = np.zeros(room + expected.nbytes + 16, np.uint8)
    views, at = [], 0
    for a in arrays:
        view = memory[at : at + a.nbytes].view(a.dtype).reshape(a.shape)
        view[...] = a
        views.append(view)
        at += -(-a.nbytes // 16) * 16
    begin = shift % (room + 1) // expected.itemsize * expected.itemsize
    out = memory[begin : begin + expected.nbytes].view(expected.dtype).reshape(expected.shape)
    call(*views, out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", CLASSES)
def test_packed_types_cannot_be_changed(name):
    assert dataclasses.is_dataclass(getattr(fastconv, name))
    assert getattr(fastconv, name).__dataclass_params__.frozen
