"""What is an array to NumPy is one here, and gives NumPy's own; what would lose a meaning is refused."""

import array
import ctypes
import inspect
import mmap

import numpy as np
import pytest

import fastconv
from array_likes import REFUSED, TAKEN, Labelled, in_file
from bad_calls import CALLS as CALLS_BY_NAME
from fastconv import PackedFilters, PackedSigns, Threshold, reference
from right_calls import CALLS, assert_agree, call_by_name, leaves

ARRAYS = [(name, a) for name, args in CALLS_BY_NAME.items() for a in args if isinstance(args[a], np.ndarray)]
OUT = [
    (name, "out") for name in CALLS_BY_NAME if "out" in inspect.signature(getattr(fastconv, name)).parameters
]


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("case", CALLS)
def test_what_numpy_takes_is_taken(case, kind):
    arrays = CALLS[case].arrays()
    given = [TAKEN[kind](x) for x in arrays]
    for library in (fastconv, reference):
        results = leaves(CALLS[case].call(library, *given))
        assert {type(x) for x in results} <= {np.ndarray, np.float32}
        assert_agree(results, leaves(CALLS[case].call(library, *arrays)))


@pytest.mark.parametrize("case", CALLS)
def test_files_in_memory_are_taken_and_written(case, tmp_path):
    arrays = CALLS[case].arrays()
    expected = leaves(CALLS[case].call(fastconv, *arrays))
    given = []
    for k, x in enumerate(arrays):
        (tmp_path / str(k)).mkdir()
        given.append(in_file(x, tmp_path / str(k)))
    assert_agree(leaves(CALLS[case].call(fastconv, *given)), expected)
    if (CALLS[case].operation, "out") in OUT:
        out = in_file(np.zeros_like(expected[0]), tmp_path)
        assert leaves(CALLS[case].call(fastconv, *given, out=out))[0] is out
        np.testing.assert_array_equal(np.fromfile(tmp_path / "numbers", out.dtype), expected[0].ravel())


def test_buffers_and_ranges_are_taken():
    octets = bytes(range(256))
    expected = reference.popcount(np.arange(256, dtype=np.uint8))
    anonymous = mmap.mmap(-1, 256)
    anonymous.write(octets)
    for given in (bytearray(octets), array.array("B", octets), (ctypes.c_uint8 * 256)(*octets), anonymous):
        np.testing.assert_array_equal(fastconv.popcount(given), expected)
    np.testing.assert_array_equal(fastconv.popcount(range(256)), expected)
    np.testing.assert_array_equal(fastconv.popcount([memoryview(octets)] * 2), [expected] * 2)
    np.testing.assert_array_equal(fastconv.pack_signs([Labelled([1, -2])]).unpack(), [[1, -1]])


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_are_arrays():
    x = np.matrix([[1, -2, 3], [4, 5, -6]])
    y = fastconv.correlate2d(x, x, "same")
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, fastconv.correlate2d(np.asarray(x), np.asarray(x), "same"))


@pytest.mark.parametrize("kind", TAKEN)
def test_packed_values_hold_arrays(kind):
    made = TAKEN[kind]
    words = np.array([[5, 0]], np.uint64)
    signs = PackedSigns(made(words), 70)
    filters = PackedFilters(made(words.reshape(1, 1, 1, 2)), 70, made(np.ones(1, "f4")))
    step = Threshold(made(np.zeros(1, "i4")), made(np.zeros(1, bool)))
    np.testing.assert_array_equal(signs.unpack(), PackedSigns(words, 70).unpack())
    for value in (signs, filters, step):
        assert all(isinstance(x, np.ndarray) for x in value.arrays())
    assert fastconv.xnor_linear(signs, filters, threshold=step).words.tolist() == [[1]]


@pytest.mark.parametrize("conversion", REFUSED)
@pytest.mark.parametrize(("name", "argument"), ARRAYS + OUT)
def test_what_would_lose_a_meaning_is_refused(name, argument, conversion):
    value = CALLS_BY_NAME[name].get(argument, np.ones(3))
    given = REFUSED[conversion](np.array(value))
    with pytest.raises(TypeError) as caught:
        call_by_name(getattr(fastconv, name), CALLS_BY_NAME[name] | {argument: given})
    assert str(caught.value).startswith(f"{name}: arrays of ")
    assert str(caught.value).endswith(f"Convert with {conversion.removesuffix(', too')}.")


def test_meanings_are_looked_for_in_lists():
    for make in REFUSED.values():
        with pytest.raises(TypeError, match="popcount: arrays of "):
            fastconv.popcount([make(np.arange(3))])


@pytest.mark.parametrize(("name", "argument"), OUT)
@pytest.mark.parametrize("kind", ["labelled", "picture", "memory"])
def test_results_are_written_to_arrays_alone(name, argument, kind):
    out = np.full_like(leaves(call_by_name(getattr(fastconv, name), CALLS_BY_NAME[name]))[0], 77)
    with pytest.raises(TypeError, match=f"{name}: out must be an array, got "):
        call_by_name(getattr(fastconv, name), CALLS_BY_NAME[name] | {argument: TAKEN[kind](out)})
    assert (out == 77).all()


def test_beside_tensors_they_are_arrays_of_another_library(torch):
    with pytest.raises(TypeError, match="conv2d: got arrays of both"):
        fastconv.conv2d(torch.ones(1, 2, 5, 5), Labelled(np.ones((3, 2, 3, 3))))
