"""No GPU, or two: what CuPy arrays get told."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import needs_gpu_or_compiler

import fastconv
import real_cupy

ARRAY_WITHOUT_A_GPU = """
import ctypes, numpy
memory = numpy.arange(4, dtype=numpy.uint8)  # CuPy may take it for a device's, as long as nothing reads it
unowned = cupy.cuda.UnownedMemory(memory.ctypes.data, memory.nbytes, memory, 0)
x = cupy.ndarray(memory.shape, memory.dtype, cupy.cuda.MemoryPointer(unowned, 0))
"""
USED = """
import fastconv
try:
    cupy.cuda.runtime.getDeviceCount()
    print("null")
except cupy.cuda.runtime.CUDARuntimeError as error:
    driver = str(error)
    said = []
    for call in (lambda: fastconv.popcount(x), lambda: fastconv.xnor_conv2d(x, x)):
        for _ in range(2):
            try:
                call()
            except Exception as failure:
                said.append([type(failure).__name__, str(failure)])
    print(json.dumps([driver, said, fastconv.popcount(memory).tolist()]))
"""


def test_the_real_cupy_without_a_gpu_gets_a_clear_error_and_numpy_goes_on():
    found = real_cupy.answer(ARRAY_WITHOUT_A_GPU + USED)
    if found is None:
        pytest.skip("there is a GPU")
    driver, said, counts = found
    assert len(said) == 4
    for kind, message in said:
        assert kind == "RuntimeError"
        assert message.startswith("fastconv.cuda: CuPy ")
        assert driver in message
        assert "compute capability 7.5 or later" in message
    assert counts == [0, 1, 1, 2]


def test_info_says_why_there_is_no_gpu():
    program = "import contextlib, io; from fastconv.cli import _report; print(json.dumps(_report()))"
    report = real_cupy.answer(program)
    assert report["versions"]["cupy"] != "not installed"
    if "none" not in report["gpus"]:
        pytest.skip("there is a GPU")
    assert "can use no GPU here" in report["gpus"]["none"]
    assert report["namespaces"]["cupy"] == {"supported": False, "why": report["gpus"]["none"]}


@pytest.fixture
def cupy(request):
    needs_gpu_or_compiler(request.config)
    module = sys.modules["cupy"]
    if module.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is only one GPU")
    return module


def on_device(cupy, number, x):
    with cupy.cuda.Device(number):
        return cupy.asarray(x)


X = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.gpu
def test_arrays_on_two_devices_are_refused(cupy):
    here, there = (on_device(cupy, number, X) for number in (0, 1))
    with pytest.raises(TypeError, match=r"popcount: got arrays on the devices 0, 1; .*Device\(0\)"):
        fastconv.popcount(here, out=there)


@pytest.mark.gpu
def test_arrays_on_another_device_than_the_current_one_are_refused_until_it_is(cupy):
    there = on_device(cupy, 1, X)
    with pytest.raises(ValueError, match=r"popcount: got arrays on device 1, but the current device is 0"):
        fastconv.popcount(there)
    with cupy.cuda.Device(1):
        counts = fastconv.popcount(there)
        assert counts.device == there.device
        np.testing.assert_array_equal(cupy.asnumpy(counts), np.bitwise_count(X))


@pytest.mark.gpu
def test_no_usable_gpu_is_an_error_that_names_what_was_found(cupy, monkeypatch):
    from fastconv.cuda.devices import check_usable

    def none():
        raise cupy.cuda.runtime.CUDARuntimeError(100)

    check_usable()
    for count, found in ((lambda: 0, "there is none"), (none, "100|cudaErrorNoDevice")):
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", count)
        with pytest.raises(RuntimeError, match=found):
            check_usable()
