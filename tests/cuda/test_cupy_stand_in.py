"""The stand-in for CuPy has nothing that the real one lacks, and refuses what that refuses."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from conftest import needs_gpu_or_compiler

import real_cupy
from cuda_on_host import cupy_stand_in as cupy

CLASSES = (cupy.ndarray, cupy.Device, cupy.Event, cupy.Graph, cupy.RawModule, cupy.Stream)
OWN = {"__dict__", "__weakref__", "__getattr__", "__slotnames__"}
"""What a class in Python has, and one in Cython has not."""


@pytest.fixture(autouse=True, scope="module")
def _compiler(request):
    if request.config.getoption("-m") == "gpu":
        pytest.skip("the stand-in is for machines without a GPU")
    needs_gpu_or_compiler(request.config)


def test_arrays_do_not_become_numpy_s_by_themselves():
    x = cupy.asarray(np.arange(3))
    for convert in (np.asarray, np.array, lambda a: np.concatenate([a, a])):
        with pytest.raises(TypeError):
            convert(x)
    assert cupy.asnumpy(x).tolist() == [0, 1, 2]


def test_arrays_do_not_mix_with_numpy_s():
    x, y = cupy.asarray(np.arange(3.0)), np.arange(3.0)
    add = sys.modules["cupy"].add
    for operation in (lambda: x + y, lambda: x == y, lambda: add(x, y), lambda: np.add(x, y)):
        with pytest.raises(TypeError):
            operation()
    with pytest.raises(TypeError):
        x[0:3] = y


def test_kernels_take_arrays_of_the_device_and_numpy_s_scalars_only():
    f = cupy.RawModule(code='extern "C" __global__ void f(long long n) {}').get_function("f")
    for wrong in (3, 1.5, True, np.zeros(3), [1]):
        with pytest.raises(TypeError, match=r"kernels take|Only numpy.ndarrays of size one"):
            f((1,), (32,), (wrong,))


def test_waiting_for_work_that_is_captured_is_refused():
    x = cupy.asarray(np.zeros(()))
    stream = cupy.Stream()
    waits = (bool, int, float, cupy.asnumpy, lambda x: x.item(), lambda x: cupy.asarray([1]))
    for wait in waits:
        wait(x)
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="waits for the device"):
            wait(x)
        stream.end_capture()


def offered():
    """Dotted names of all that the stand-in has, and its classes' attributes among them."""
    names = []
    todo = [("", vars(sys.modules["cupy"]))]
    while todo:
        prefix, members = todo.pop()
        for name, value in members.items():
            if name.startswith("_"):
                continue
            names.append(prefix + name)
            if isinstance(value, types.SimpleNamespace) or value in (
                cupy.ndarray,
                cupy.Device,
                cupy.RawModule,
            ):
                todo.append((f"{prefix}{name}.", vars(value)))
    return sorted(names)


def test_the_real_cupy_has_every_name_of_the_stand_in():
    program = f"""
def missing(name):
    value = cupy
    for part in name.split("."):
        if not hasattr(value, part):
            return True
        value = getattr(value, part)
print(json.dumps([name for name in {offered()} if missing(name)]))"""
    assert len(offered()) > 50
    assert real_cupy.answer(program) == []


def test_arrays_of_the_stand_in_have_nothing_that_those_of_the_real_cupy_lack():
    real = set(real_cupy.answer("print(json.dumps(dir(cupy.ndarray)))"))
    x = cupy.asarray(np.zeros(3))
    assert [name for name in {*dir(np.ndarray), *vars(cupy.ndarray)} - real - OWN if hasattr(x, name)] == []
