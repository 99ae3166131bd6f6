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
from fastconv import reference
from right_calls import CALLS, leaves
from strategies import seeds

OPERATIONS = sorted(n for n in fastconv.__all__ if inspect.isfunction(getattr(fastconv, n)))
CLASSES = sorted(n for n in fastconv.__all__ if inspect.isclass(getattr(fastconv, n)))


def noun(name):
    return getattr(fastconv, name).__module__.rpartition(".")[2]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def names(name, source):
    """Whether ``source`` has this very name, and not one that it is a part of."""
    return re.search(rf"\b{name}\b", source) is not None


def calls(name, source):
    return re.search(rf"\b{name}\(", source) is not None


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
    assert calls(name, doc.partition("Examples\n")[2])


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
    tests = (ROOT / "tests" / "operations").glob(f"test_{noun(name)}*.py")
    assert any(names(name, path.read_text(encoding="utf-8")) for path in tests)
    for page in (f"asv_benchmarks/benchmarks/{noun(name)}.py", f"docs/{noun(name)}.md", "README.md"):
        assert names(name, text(page)), page


def test_importing_fastconv_imports_no_compiler_and_no_other_array_library():
    code = "import sys, fastconv; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numba", "llvmlite", "scipy", "torch", "cupy", "dask", "matplotlib", "rich"} & set(
        loaded.split()
    )


WITH_OUT = {n for n in OPERATIONS if "out" in inspect.signature(getattr(fastconv, n)).parameters}
OUT_CASES = [name for name, call in CALLS.items() if call.operation in WITH_OUT]


def filled(name, arrays, **out):
    """The array that a call gives, or the first one, which is what ``out`` is for."""
    return leaves(CALLS[name].call(fastconv, *arrays, **out))[0]


def test_every_operation_has_a_right_call():
    assert {call.operation for call in CALLS.values()} == set(OPERATIONS)
    assert set(OPERATIONS) <= set(CALLS)


@pytest.mark.parametrize("case", OUT_CASES)
def test_out_is_filled_and_returned(backend, case):
    arrays = [backend.asarray(x) for x in CALLS[case].arrays()]
    expected = backend.asnumpy(filled(case, arrays))
    spread = np.full((*expected.shape, 2), 77, expected.dtype)
    for out in (np.full_like(expected, 77), spread[..., 0], np.full_like(expected, 77)[..., ::-1]):
        given_out = backend.asarray(out)
        assert filled(case, arrays, out=given_out) is given_out
        np.testing.assert_array_equal(backend.read(given_out), expected)
    assert (spread[..., 1] == 77).all()


@pytest.mark.parametrize("case", OUT_CASES)
def test_nothing_is_written_beside_out(case):
    arrays = CALLS[case].arrays()
    expected = filled(case, arrays)
    memory = np.full(expected.size + 128, 77, expected.dtype)
    out = memory[64:-64].reshape(expected.shape)
    filled(case, arrays, out=out)
    np.testing.assert_array_equal(out, expected)
    assert (memory[:64] == 77).all()
    assert (memory[-64:] == 77).all()


@pytest.mark.parametrize("case", OUT_CASES)
@given(seed=seeds, shift=st.integers(0, 4000))
def test_out_may_overlap_an_input(case, seed, shift):
    arrays = CALLS[case].arrays(seed)
    expected = filled(case, arrays)
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
    filled(case, views, out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", CLASSES)
def test_packed_types_cannot_be_changed(name):
    assert dataclasses.is_dataclass(getattr(fastconv, name))
    assert getattr(fastconv, name).__dataclass_params__.frozen
