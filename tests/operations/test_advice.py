"""What errors advise can be done with what was given, and then the call is right."""

import re

import numpy as np
import pytest
from conftest import optional
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from fastconv import PackedFilters, PackedSigns, hamming_distance, unpackbits64
from strategies import laid_out, seeds, values

DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8")
LAYOUTS = ("C", "F", "strided", "byteswapped", "read-only", "columns", "broadcast", "offset")


def takes_words(x):
    """Every call that takes words of any shape."""
    return {
        "hamming_distance": lambda: hamming_distance(x, x),
        "unpackbits64": lambda: unpackbits64(x),
        "PackedSigns": lambda: PackedSigns(x, 64 * x.shape[-1] if hasattr(x, "shape") and x.shape else 64),
    }


def followed(x, call):
    """What becomes of ``x`` by the advice of the TypeError that ``call`` ends in."""
    with pytest.raises(TypeError) as caught:
        call()
    advice = re.search(r"; make words with (.*)$", str(caught.value))
    assert advice, str(caught.value)
    known = {name: optional(name) for name in ("torch", "cupy") if name in advice[1]}
    return eval(advice[1], {"x": x, "fastconv": fastconv, "numpy": np, **known})


def check_words(x, namespace):
    for name, call in takes_words(x).items():
        words = followed(x, call)
        assert type(words).__module__.partition(".")[0] == namespace
        takes_words(words)[name]()


def in_layout(x, layout):
    if layout == "columns":
        return np.concatenate([x, x], axis=-1)[..., x.shape[-1] // 2 :][..., : x.shape[-1]]
    if layout == "broadcast":
        return np.broadcast_to(x[:1], x.shape)
    if layout == "offset":
        return np.concatenate([x.ravel(), x.ravel()[:1]])[1:].reshape(x.shape)
    return laid_out(x, layout)


@given(
    shape=st.sampled_from([(8,), (3, 8), (2, 16), (3, 5), (7,), (2, 3, 12), (4, 1)]),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(LAYOUTS),
    seed=seeds,
)
def test_arrays_of_other_types_become_words_as_advised(backend, shape, dtype, layout, seed):
    x = in_layout(values(seed, shape, dtype), layout)
    if backend.namespace != "numpy" and layout == "broadcast":
        x = x.copy()
    check_words(backend.asarray(x), backend.namespace)


@pytest.mark.parametrize("dtype", ["i1", "u4", "i8"])
def test_single_numbers_become_words_as_advised(backend, dtype):
    check_words(backend.asarray(np.array(-1).astype(dtype)), backend.namespace)


LISTS = [
    [0, 1, 2],
    [[-1, 5], [2**62, 0]],
    [2**63, 1],
    [[2**64 - 1], [0]],
    (np.int64(3), np.int8(-1)),
    [np.arange(3), np.arange(3)],
    [True, False],
    [0.5, -1.5],
    [],
    5,
    -5,
    np.int32(-7),
    np.uint8(7),
]


@pytest.mark.parametrize("x", LISTS, ids=map(str, LISTS))
def test_numbers_become_words_as_advised(x):
    check_words(x, "numpy")


@pytest.mark.parametrize("x", [[[-1, 5]], [[2**63, 1]]], ids=str)
def test_lists_beside_tensors_become_words_as_advised(torch, x):
    words = torch.zeros(1, 2, dtype=torch.uint64)
    assert hamming_distance(words, followed(x, lambda: hamming_distance(words, x))).shape == (1,)


def test_memory_of_a_tensor_may_begin_anywhere(torch):
    check_words(torch.arange(33, dtype=torch.uint8)[1:].reshape(2, 16), "torch")
    check_words(torch.arange(64, dtype=torch.int16).reshape(2, 32).T, "torch")


def test_operators_advise_in_words_of_tensors(torch):
    from fastconv.nn import operators

    x = torch.arange(6).reshape(2, 3)
    words = followed(x, lambda: operators.unpack_signs(x, 150, torch.int8))
    assert operators.unpack_signs(words, 150, torch.int8).shape == (2, 150)


def test_filters_of_other_words_become_words_as_advised(backend):
    x, alpha = backend.asarray(np.ones((2, 3, 3, 16), np.uint8)), backend.asarray(np.ones(2, np.float32))
    words = followed(x, lambda: PackedFilters(x, 128, alpha))
    assert PackedFilters(words, 128, alpha).shape == (2, 128, 3, 3)


def converted(call, *given_by):
    """What the TypeError of ``call`` advises to convert with, done to each of the arrays it is meant for."""
    with pytest.raises(TypeError) as caught:
        call()
    ways = re.search(
        r"[Cc]onvert (?:one |them )?with (.*?)\.?$|pass (x\..*|one tensor, torch.*)$", str(caught.value)
    )
    ways = (ways[1] or ways[2].removeprefix("one tensor, ")).split(" and ")
    known = {name: optional(name) for name in ("torch", "cupy") if any(name in way for way in ways)}
    return [eval(way, {"x": x, **known}) for way, x in zip(ways, given_by, strict=True)]


TENSORS = {
    "bfloat16": lambda torch: torch.ones(3, 3).to(torch.bfloat16),
    "conjugate": lambda torch: torch.ones(3, 3, dtype=torch.complex64).conj(),
    "negative": lambda torch: torch.ones(3, 3, dtype=torch.complex64).conj().imag,
    "integers": lambda torch: torch.ones(3, 3, dtype=torch.int32),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_beside_arrays_are_converted_as_advised(torch, kind):
    x, kernel = TENSORS[kind](torch), np.ones((2, 2))
    for left, right in ((x, kernel), (kernel, x)):
        (array,) = converted(lambda left=left, right=right: fastconv.correlate2d(left, right), x)
        assert fastconv.correlate2d(array, kernel).shape == (4, 4)


@pytest.mark.parametrize("turned", [False, True])
def test_tensors_beside_arrays_of_a_gpu_are_converted_as_advised(torch, turned):
    cupy = optional("cupy")
    pair = [torch.ones(3, 3), cupy.ones((2, 2), np.float32)][:: -1 if turned else 1]
    arrays = converted(lambda: fastconv.correlate2d(*pair), *pair)
    assert fastconv.correlate2d(*arrays).shape == (4, 4)


REFUSED = {
    "sparse": lambda torch: torch.eye(4).to_sparse(),
    "rows": lambda torch: torch.eye(4).to_sparse_csr(),
    "half complex": lambda torch: torch.ones(4, 4, dtype=torch.complex32),
    "eighth": lambda torch: torch.ones(4, 4).to(torch.float8_e5m2),
    "quantized": lambda torch: torch.quantize_per_tensor(torch.ones(4, 4), 0.1, 0, torch.qint8),
    "nested": lambda torch: torch.nested.nested_tensor([torch.ones(2, 2), torch.ones(2, 3)]),
    "learning": lambda torch: torch.ones(4, 4, requires_grad=True),
    "sequence": lambda torch: [torch.ones(4), torch.zeros(4)],
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_tensors_that_cannot_be_lent_are_converted_as_advised(torch, kind):
    x = REFUSED[kind](torch)
    (tensor,) = converted(lambda: fastconv.im2col(x, 2), x)
    assert fastconv.im2col(tensor, 2).numel() > 0


def test_sequences_of_unlike_tensors_are_not_told_to_be_stacked(torch):
    for x in ([torch.ones(2), torch.ones(3)], [[torch.ones(2)], [torch.ones(2)]], [torch.ones(2), 1.0]):
        with pytest.raises(TypeError, match=r"pass one tensor$"):
            fastconv.pack_signs(x)
