"""What a GPU adds: streams, no waiting, much memory, none left. ``pytest -m gpu`` runs these on one.

Without it they run on the stand-in for CuPy, as far as it goes: there, waiting for the device is an error
between ``begin_capture`` and ``end_capture``, as on a GPU.
"""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import needs_gpu_or_compiler, optional

import fastconv
from checkout import SUPPORT
from fastconv import reference
from right_calls import CALLS, assert_agree, leaves

pytestmark = pytest.mark.gpu
BEYOND = 2**31 + 4099
"""Elements that no 32-bit index reaches; odd, so that no tile or vector ends with them."""


WAITS = {
    "fold_batchnorm": "asks the device whether all parameters are finite",
    "correlate2d, separable": "takes the kernel to the host, to find its factors",
}
"""Calls that wait for the device, and why."""


@pytest.fixture(scope="module")
def cupy(request):
    needs_gpu_or_compiler(request.config)
    return optional("cupy")


@pytest.fixture
def is_real(request):
    return request.config.getoption("-m") == "gpu"


@pytest.fixture
def real_cupy(cupy, is_real):
    if not is_real:
        pytest.skip("only a GPU can show it: pytest -m gpu")
    return cupy


def host(cupy, result):
    return [cupy.asnumpy(leaf) for leaf in leaves(result)]


@pytest.mark.parametrize("name", CALLS)
def test_operation_neither_waits_nor_copies_and_its_work_can_be_replayed(cupy, is_real, name):
    if name in WAITS:
        pytest.skip(WAITS[name])
    case = CALLS[name]
    arrays = case.arrays()
    inputs = [cupy.asarray(x) for x in arrays]
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        case.call(fastconv, *inputs)  # compiles, and leaves memory of the right sizes in CuPy's pool
        stream.begin_capture()
        try:
            result = case.call(fastconv, *inputs)
        finally:
            graph = stream.end_capture()
        if is_real:
            arrays = case.arrays(seed=100)
            for x, changed in zip(inputs, arrays, strict=True):
                x[...] = cupy.asarray(changed)
            graph.launch()
        stream.synchronize()
    assert_agree(host(cupy, result), leaves(case.call(reference, *arrays)))


def test_work_waits_for_what_its_stream_is_doing(real_cupy):
    """The inputs come late: what ran on another stream would read them too early."""
    case = CALLS["xnor_conv2d, integers"]
    arrays = case.arrays()
    stream = real_cupy.cuda.Stream(non_blocking=True)
    inputs = [real_cupy.zeros(x.shape, x.dtype) for x in arrays]
    sources = [real_cupy.asarray(x) for x in arrays]
    busy = real_cupy.ones((4096, 4096), np.float32)
    case.call(fastconv, *sources)
    real_cupy.cuda.Device().synchronize()
    with stream:
        for _ in range(20):
            busy = busy @ busy * np.float32(0)
        for x, source in zip(inputs, sources, strict=True):
            real_cupy.copyto(x, source)
        result = case.call(fastconv, *inputs)
        stream.synchronize()
    assert_agree(host(real_cupy, result), leaves(case.call(reference, *arrays)))


def test_new_shapes_compile_nothing(cupy):
    from fastconv.cuda import compile as _compile

    rng = np.random.default_rng(0)

    def calls(size, k, channels):
        image = cupy.asarray(rng.standard_normal((2, channels, size, size + 3), np.float32))
        weight = cupy.asarray(rng.standard_normal((7, channels, k, k + 1), np.float32))
        fastconv.correlate2d(image[0, 0], weight[0, 0], "same", method="direct")
        fastconv.im2col(image, (k, k + 1), padding=1, stride=k % 2 + 1)
        fastconv.xnor_conv2d(image, weight, padding=k // 2, stride=k % 2 + 1)
        fastconv.pack_signs(image, axis=1)

    calls(20, 3, 5)
    calls(20, 3, 70)
    compiled = _compile._module.cache_info().misses
    for size, k, channels in ((20, 5, 5), (31, 2, 70), (26, 7, 66), (17, 1, 130)):
        calls(size, k, channels)
    assert _compile._module.cache_info().misses == compiled


def test_running_out_of_memory_leaves_the_device_usable(cupy):
    one = cupy.asarray(np.ones((1, 1, 1, 1), np.float32))
    huge = cupy.broadcast_to(one, (1 << 12, 1 << 12, 1 << 12, 1 << 12))  # in the memory of one number
    for operation in (lambda: fastconv.im2col(huge, 3), lambda: fastconv.popcount(huge.view(np.uint32))):
        with pytest.raises(MemoryError):
            operation()
    case = CALLS["xnor_conv2d, integers"]
    arrays = case.arrays()
    result = case.call(fastconv, *map(cupy.asarray, arrays))
    assert_agree(host(cupy, result), leaves(case.call(reference, *arrays)))


def bytes_pattern(cupy, n):
    """0, 1, 2, ... 250, 0, ...: a period that divides no power of two."""
    x = cupy.arange(n, dtype=np.uint8)
    x %= np.uint8(251)
    return x


LARGE = {
    "popcount": (2, lambda x: fastconv.popcount(x), lambda x: reference.popcount(x)),
    "packbits64": (2, lambda x: fastconv.packbits64(x), lambda x: reference.packbits64(x)),
    "pack_signs": (2, lambda x: fastconv.pack_signs(x).words, lambda x: reference.pack_signs(x).words),
    "im2col": (
        4,
        lambda x: fastconv.im2col(x.reshape(1, -1), (1, 2)),
        lambda x: reference.im2col(x.reshape(1, -1), (1, 2)),
    ),
    "correlate2d": (
        2,
        lambda x: fastconv.correlate2d(x.reshape(1, -1), x[1:4].reshape(1, 3), "valid", method="direct"),
        lambda x: reference.correlate2d(x.reshape(1, -1), np.array([[1, 2, 3]], np.uint8), "valid"),
    ),
}
"""Bytes of input and result for each element, the call, and its reference on a slice."""


@pytest.mark.parametrize("name", LARGE)
def test_indices_beyond_31_bits(real_cupy, name):
    room, call, expected = LARGE[name]
    gc.collect()
    real_cupy.get_default_memory_pool().free_all_blocks()
    free = real_cupy.cuda.runtime.memGetInfo()[0]
    if free < (room + 2) * BEYOND:
        pytest.skip(f"{free >> 30} GiB of the GPU's memory are free, {(room + 2) * BEYOND >> 30} are needed")
    x = bytes_pattern(real_cupy, BEYOND)
    result = call(x)
    for elements in (slice(0, 4096), slice(2**31 - 2**31 % 64 - 4096, None)):  # whole words
        piece = real_cupy.asnumpy(x[elements])
        wanted = expected(piece)
        if elements.start:
            found = real_cupy.asnumpy(result[..., -wanted.shape[-1] :])
            np.testing.assert_array_equal(found, wanted)
        else:
            length = wanted.shape[-1] - 1
            np.testing.assert_array_equal(real_cupy.asnumpy(result[..., :length]), wanted[..., :length])


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(real_cupy, tool):
    program = shutil.which("compute-sanitizer")
    if program is None:
        pytest.skip("compute-sanitizer, of the CUDA Toolkit, is not on the path")
    script = SUPPORT / "sanitized.py"
    command = [program, "--tool", tool, "--error-exitcode", "7", sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
