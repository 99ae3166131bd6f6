"""The stand-ins for a GPU can be trusted: they compute what CUDA means, and mistakes in kernels fail.

Kernels here are called as the package calls its own, through the stand-in's RawModule.
"""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import needs_gpu_or_compiler

import fastconv
from checkout import SUPPORT
from cuda_on_host import cupy_stand_in as cupy
from cuda_on_host.guard import POISON
from fastconv import reference
from right_calls import Call, array, assert_agree, leaves, words

SAMPLES = (SUPPORT / "cuda_on_host" / "samples.cu").read_text(encoding="utf-8")
ELEMENTS = {"int": np.int32, "unsigned long long": np.uint64, "float": np.float32, "double": np.float64}
LANES = 32
FULL = np.uint32(0xFFFFFFFF)


@pytest.fixture(autouse=True, scope="module")
def _compiler(request):
    if request.config.getoption("-m") == "gpu":
        pytest.skip("the stand-ins are for machines without a GPU")
    needs_gpu_or_compiler(request.config)


def run(name, arguments, *, blocks=(1,), threads=(LANES,), shared=0, source=SAMPLES, element="int"):
    module = cupy.RawModule(code=source, options=("-std=c++17", f"-DELEMENT={element}"))
    module.get_function(name)(blocks, threads, arguments, shared_mem=shared)


def results(name, *inputs, count=LANES, dtype=np.uint32, **options):
    """The first argument of a kernel, ``count`` numbers, once it has run; ``inputs`` come after it."""
    out = cupy.empty(count, dtype)
    run(name, (out, *(cupy.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs)), **options)
    return cupy.asnumpy(out)


# What the twin computes


def test_indices_of_threads_and_blocks_count_as_in_cuda():
    found = results("indices", count=30 * 24, blocks=(5, 3, 2), threads=(2, 3, 4))
    assert found.tolist() == [block << 16 | thread for block in range(30) for thread in range(24)]


def test_a_barrier_lets_every_thread_see_what_the_others_stored():
    x = np.arange(4 * 96, dtype=np.int32)
    found = results("reversed", x, count=x.size, dtype=x.dtype, blocks=(4,), threads=(96,), shared=96 * 4)
    np.testing.assert_array_equal(found, x.reshape(4, 96)[:, ::-1].ravel())


def test_shared_memory_is_poisoned_anew_for_every_block():
    found = results("first_word", count=3, blocks=(3,), threads=(1,), shared=4)
    assert found.tolist() == [int.from_bytes([POISON] * 4, "little")] * 3


@pytest.mark.parametrize("mask", [FULL, np.uint32(0x0F0F00FF)])
def test_a_ballot_has_the_bit_of_every_lane_that_votes(mask):
    x = np.random.default_rng(0).integers(0, 3, 96).astype(np.int32)
    found = results("ballots", x, mask, count=96, threads=(96,))
    members = [lane for lane in range(LANES) if mask >> lane & 1]
    for votes, ballots in zip(x.reshape(3, LANES), found.reshape(3, LANES), strict=True):
        expected = sum(1 << lane for lane in members if votes[lane])
        assert {int(ballots[lane]) for lane in members} == {expected}


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_shuffle_reads_from_the_lane_it_names(element):
    x = (np.random.default_rng(0).standard_normal(LANES) * 1e6).astype(ELEMENTS[element])
    found = results("shuffles", x, count=4 * LANES, dtype=x.dtype, element=element).reshape(4, LANES)
    lanes = np.arange(LANES)
    sources = [lanes * 0 + 5, (lanes + 3) % LANES, lanes ^ 17, np.where(lanes < 24, lanes + 8, lanes)]
    for row, source in zip(found, sources, strict=True):
        np.testing.assert_array_equal(row, x[source])


def test_collectives_in_a_row_do_not_mix():
    expected = [sum(((v ^ 1) + i) * (31 - i) for i in range(7)) for v in range(LANES)]
    assert results("in_a_row").tolist() == expected


@pytest.mark.parametrize("element", ELEMENTS)
def test_atomic_sums_lose_nothing(element):
    total = cupy.asarray(np.zeros(1, ELEMENTS[element]))
    run("atomic_sum", (total,), blocks=(3,), threads=(64,), element=element)
    assert cupy.asnumpy(total)[0] == 3 * 64 * 65 // 2


def test_atomics_return_what_was_there():
    bits = cupy.asarray(np.array([8], np.uint32))
    assert results("atomic_bits", bits).tolist() == [int(lane == 3) for lane in range(LANES)]
    assert cupy.asnumpy(bits)[0] == FULL


def test_bit_functions_count_and_reverse():
    x = np.random.default_rng(0).integers(0, 2**64, LANES, np.uint64)
    x[:2] = 0, 2**64 - 1
    low, all_of_it, backwards = results("bit_functions", x, count=3 * LANES, dtype=x.dtype).reshape(3, LANES)
    assert low.tolist() == [(int(v) & 0xFFFFFFFF).bit_count() for v in x]
    assert all_of_it.tolist() == [int(v).bit_count() for v in x]
    assert backwards.tolist() == [int(f"{v:064b}"[::-1], 2) for v in x]


# What the package wraps


@pytest.fixture(scope="module")
def wrappers():
    from fastconv.cuda.compile import source

    return source(str(SUPPORT / "cuda_on_host" / "wrappers.cu"))


def test_halves_widen_and_narrow_as_numpy_s(wrappers):
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    y = np.random.default_rng(0).integers(0, 2**32, x.size, np.uint32).view(np.float32)
    y[:4096] = x[16384:20480] * np.float32(1 + 2**-11)  # ties, and what lies beside them
    y[4096:8192] = x[:4096] + np.float32(2**-25)
    narrow = cupy.empty(x.size, np.float16)
    wide = results(
        "halves",
        narrow,
        cupy.asarray(x),
        y,
        np.int64(x.size),
        count=x.size,
        dtype=np.float32,
        source=wrappers,
    )
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(wide, x.astype(np.float32))
        np.testing.assert_array_equal(cupy.asnumpy(narrow), y.astype(np.float16))


def test_copies_are_there_when_waited_for_and_no_sooner(wrappers):
    x = np.arange(128, dtype=np.uint32) + 100
    late = cupy.empty(128, np.uint32)
    early = results("copies", late, x, count=128, source=wrappers)
    assert (early == 7).all()
    expected = np.where(np.arange(128) // 4 % 2, 0, x)
    np.testing.assert_array_equal(cupy.asnumpy(late), expected)


def test_a_copy_that_nobody_waits_for_is_not_there_and_does_not_come_later(wrappers):
    x = np.arange(LANES, dtype=np.uint32) + 100
    assert (results("forgotten", x, source=wrappers) == 7).all()
    test_copies_are_there_when_waited_for_and_no_sooner(wrappers)


# Mistakes in kernels


def test_a_missing_barrier_fails():
    x = np.arange(LANES, dtype=np.int32)
    with pytest.raises(RuntimeError, match="depends on the order in which threads run"):
        results("without_barrier", x, dtype=x.dtype, shared=x.nbytes)


def test_two_threads_that_write_to_one_place_fail():
    with pytest.raises(RuntimeError, match="depends on the order in which threads run"):
        results("last_writer")


@pytest.mark.parametrize("name", ["half_a_barrier", "half_a_ballot", "two_barriers"])
def test_a_barrier_that_some_threads_never_reach_fails_and_the_next_launch_works(name):
    with pytest.raises(RuntimeError, match="deadlock"):
        results(name)
    test_a_barrier_lets_every_thread_see_what_the_others_stored()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threads": (1025,)}, "bad block size"),
        ({"threads": (0,)}, "bad block size"),
        ({"blocks": (0,)}, "bad grid size"),
        ({"blocks": (1, 65536)}, "bad grid size"),
        ({"shared": (48 << 10) + 1}, "48 KiB"),
    ],
)
def test_launches_that_a_gpu_refuses_are_refused(options, reason):
    with pytest.raises(RuntimeError, match=reason):
        results("indices", **options)


def test_a_wrong_number_of_arguments_is_refused():
    with pytest.raises(RuntimeError, match="wrong number of arguments"):
        results("indices", np.zeros(1))


def popcount_source():
    from fastconv.cuda.compile import source

    return source("popcount.cu")


def mutated(source, old, new):
    assert old in source
    return source.replace(old, new)


def test_what_a_kernel_forgets_to_write_stays_poisoned():
    source = mutated(popcount_source(), "i < n; i += step) counts", "i < n - 1; i += step) counts")
    counts = cupy.empty(21, np.uint8)
    x = cupy.asarray(np.zeros(21, np.uint8))
    run("popcount", (x, counts, np.int64(21)), source=source, element="u8")
    assert cupy.asnumpy(counts).tolist() == [0] * 20 + [POISON]


@pytest.fixture
def mistake(monkeypatch):
    """``mistake(file, old, new, n)`` changes the n-th ``old`` in the source of a kernel of the package."""
    from fastconv.cuda import compile as _compile

    def make(file, old, new, n):
        parts = _compile.source(file).split(old)
        wrong = old.join(parts[: n + 1]) + new + old.join(parts[n + 1 :])
        monkeypatch.setattr(_compile, "source", lambda name: wrong if name == file else right(name))
        _compile._module.cache_clear()

    right = _compile.source
    yield make
    _compile._module.cache_clear()


def agrees(name):
    """Whether a call on the stand-in gives what its reference gives."""
    call = MORE_CALLS[name]
    arrays = call.arrays()
    found = leaves(call.call(fastconv, *map(cupy.asarray, arrays)))
    assert_agree([cupy.asnumpy(leaf) for leaf in found], leaves(call.call(reference, *arrays)))


MORE_CALLS = {
    "xnor_matmul": Call("xnor_matmul", {"a": array(66, 1700), "b": array(1700, 66)}),
    "correlate2d": Call("correlate2d", {"in1": array(90, 180), "in2": array(19, 18)}, {"mode": "same"}),
    "popcount_sum": Call("popcount_sum", {"x": words(40, 700, 5)}, {"axis": 1}),
}
"""Problems of several tiles, chunks and stages."""
BARRIER = "__syncthreads();"
MISTAKES = [
    *(("xnor_matmul", "binary_gemm.cu", BARRIER, "", n) for n in range(4)),
    *(("correlate2d", "correlate.cu", BARRIER, "", n) for n in range(2)),
    ("correlate2d", "correlate.cu", "wait_copies<0>();", "", 0),
    *(("popcount_sum", "popcount.cu", BARRIER, "", n) for n in range(2)),
]


@pytest.mark.parametrize("name", MORE_CALLS)
def test_the_package_s_kernels_are_right_as_they_are(name):
    agrees(name)


@pytest.mark.parametrize(("name", "file", "old", "new", "n"), MISTAKES)
def test_a_mistake_in_a_kernel_of_the_package_fails(mistake, name, file, old, new, n):
    mistake(file, old, new, n)
    with pytest.raises((RuntimeError, AssertionError)):
        agrees(name)


BEYOND = f"""
import sys
sys.path.insert(0, {str(SUPPORT)!r})
import numpy as np
from cuda_on_host import cupy_stand_in
cupy = cupy_stand_in.install()
from fastconv.cuda.compile import source
text = source("popcount.cu")
old, new = sys.argv[1:]
assert old in text
f = cupy.RawModule(code=text.replace(old, new), options=("-DELEMENT=u8",)).get_function("popcount")
f((1,), (32,), (cupy.asarray(np.zeros(21, np.uint8)), cupy.empty(21, np.uint8), np.int64(21)))
print("survived")
"""


@pytest.mark.parametrize(
    ("old", "new", "survives"),
    [
        ("i < n; i += step) counts", "i < n; i += step) counts", True),
        (
            "i < n; i += step) counts",
            "i < n + 1; i += step) counts",
            False,
        ),  # writes, and reads, past the end
        ("= ones(x[i])", "= ones(x[i + 1])", False),  # reads one element past the end
        ("= ones(x[i])", "= ones(x[i - 4096])", False),  # reads from the page before the first
    ],
)
def test_an_index_out_of_bounds_kills_the_process(old, new, survives):
    done = subprocess.run([sys.executable, "-c", BEYOND, old, new], capture_output=True, text=True)
    if survives:
        assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr
    else:
        assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS), done.stdout + done.stderr
