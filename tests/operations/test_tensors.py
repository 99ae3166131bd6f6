"""PyTorch's tensors: lent without a copy, bfloat16 included, and refused where that cannot be.

That every operation gives on tensors what it gives on arrays is tested with each operation, by ``backend``.
"""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given

import fastconv
from fastconv import PackedFilters, PackedSigns, Threshold
from right_calls import CALLS, leaves
from strategies import seeds, values


@pytest.fixture(autouse=True)
def _needs_torch(torch):
    """All of these do."""


def bfloat16(torch, seed, shape):
    return torch.from_numpy(values(seed, shape, "f4")).to(torch.bfloat16)


def test_tensors_are_lent_without_a_copy(torch):
    from fastconv.adapters.torch_tensors import to_array, to_tensor

    tensor = torch.arange(12.0).reshape(3, 4).T
    assert np.shares_memory(to_array(tensor), tensor.numpy())
    assert to_tensor(to_array(tensor)).data_ptr() == tensor.data_ptr()


@given(seeds)
def test_bfloat16_is_float32_rounded_once(torch, seed):
    x, w, bias = (bfloat16(torch, seed + i, s) for i, s in enumerate(((2, 4, 9, 9), (6, 2, 3, 3), (6,))))
    calls = {
        "conv2d": ((x, w, bias), {"padding": 1, "groups": 2}),
        "correlate2d": ((x, w[0, 0]), {"mode": "same", "boundary": "symm"}),
        "im2col": ((x, 3), {"padding": 1}),
        "col2im": ((x.reshape(2, 4, 81), (10, 10), 2), {}),
    }
    for name, (args, options) in calls.items():
        function = getattr(fastconv, name)
        wide = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
        expected = function(*wide, **options).to(torch.bfloat16)
        actual = function(*args, **options)
        assert actual.dtype == torch.bfloat16
        assert torch.equal(actual, expected)
        out = torch.full_like(expected, 77)
        assert function(*args, **options, out=out) is out
        assert torch.equal(out, expected)


def test_bfloat16_beside_a_wider_type_gives_the_wider(torch):
    x, w = bfloat16(torch, 0, (1, 2, 5, 5)), torch.ones(3, 2, 3, 3)
    assert fastconv.conv2d(x, w).dtype == torch.float32
    assert (
        fastconv.correlate2d(x[0, 0], w[0, 0].to(torch.bfloat16), dtype=torch.float64).dtype == torch.float64
    )


def test_signs_of_bfloat16_equal_those_of_float32(torch):
    x = bfloat16(torch, 0, (5, 70))
    x[0, :4] = torch.tensor([0.0, -0.0, float("nan"), float("-inf")])
    assert torch.equal(fastconv.pack_signs(x).words, fastconv.pack_signs(x.float()).words)
    assert fastconv.pack_signs(x).unpack(torch.bfloat16).dtype == torch.bfloat16
    assert fastconv.xnor_linear(x, torch.ones(3, 70), scale="alpha").dtype == torch.float32


@pytest.mark.parametrize("wrong", ["dtype", "shape"])
def test_wrong_out_for_bfloat16_is_refused_unwritten(torch, wrong):
    x, w = bfloat16(torch, 0, (5, 5)), bfloat16(torch, 1, (3, 3))
    kind = torch.float32 if wrong == "dtype" else torch.bfloat16
    out = torch.full((7, 7) if wrong == "dtype" else (6, 7), 77, dtype=kind)
    with pytest.raises(
        TypeError if wrong == "dtype" else ValueError, match=rf"correlate2d: out must have {wrong}"
    ):
        fastconv.correlate2d(x, w, out=out)
    assert (out == 77).all()


def test_a_tensor_that_requires_grad_is_sent_to_the_layers(torch):
    weight = torch.ones(2, 3, 3, 3, requires_grad=True)
    with pytest.raises(TypeError, match=r"xnor_conv2d: .*fastconv\.nn.*x\.detach\(\)"):
        fastconv.xnor_conv2d(torch.ones(1, 3, 5, 5), weight)
    assert fastconv.xnor_conv2d(torch.ones(1, 3, 5, 5), weight.detach()).shape == (1, 2, 3, 3)


def parameter(torch, x):
    """``x`` as what a module holds, which requires gradients if it can."""
    tensor = torch.as_tensor(x).clone()
    return torch.nn.Parameter(tensor, tensor.is_floating_point() or tensor.is_complex())


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
@pytest.mark.parametrize("case", CALLS)
def test_where_no_gradients_are_wanted_parameters_are_tensors(torch, case, mode):
    arrays = CALLS[case].arrays()
    expected = leaves(CALLS[case].call(fastconv, *map(torch.from_numpy, map(np.array, arrays))))
    with getattr(torch, mode)():
        actual = leaves(CALLS[case].call(fastconv, *(parameter(torch, x) for x in arrays)))
    for mine, theirs in zip(actual, expected, strict=True):
        assert type(mine) is torch.Tensor
        assert not mine.requires_grad
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_parameters_may_be_packed_written_and_bfloat16(torch, mode):
    weight = torch.randn(3, 70)
    with getattr(torch, mode)():
        filters = fastconv.pack_filters(parameter(torch, weight)[..., None, None])
        filters = PackedFilters(filters.words, 70, parameter(torch, filters.alpha))
        y = fastconv.xnor_linear(weight, filters, scale="alpha", bias=parameter(torch, np.ones(3, "f4")))
        out = parameter(torch, np.zeros((3, 3), "f4"))
        assert fastconv.xnor_linear(weight, filters, scale="alpha", bias=torch.ones(3), out=out) is out
        assert torch.equal(out, y)
        half = parameter(torch, weight).to(torch.bfloat16)
        wide = fastconv.correlate2d(half.float(), half.float()[:2, :2])
        place = torch.nn.Parameter(torch.zeros_like(wide, dtype=torch.bfloat16))
        fastconv.correlate2d(half, torch.nn.Parameter(half[:2, :2]), out=place)
        assert torch.equal(place, wide.to(torch.bfloat16))


def test_what_is_written_counts_as_changed(torch):
    out = torch.zeros(3, dtype=torch.uint8)
    before = out._version
    fastconv.popcount(torch.arange(3), out=out)
    assert out._version > before


REFUSED = {
    r"strided.*to_dense": lambda torch: torch.eye(4).to_sparse(),
    r"on the CPU or a CUDA device, got meta": lambda torch: torch.ones(4, 4, device="meta"),
    r"tensors of torch\.complex32 are not supported": lambda torch: torch.ones(4, 4, dtype=torch.complex32),
    r"tensors of torch\.float8_e5m2 are not supported": lambda torch: torch.ones(4, 4).to(torch.float8_e5m2),
    r"numbers cannot be read where they lie \(masked, ": lambda torch: masked(torch),
    r"numbers cannot be read where they lie .* vmap": lambda torch: torch.vmap(fastconv.pack_signs)(
        torch.eye(4)
    ),
    r"sequence of tensors.*torch\.stack": lambda torch: [torch.ones(4), torch.ones(4)],
}


def masked(torch):
    return torch.masked.masked_tensor(torch.ones(4), torch.arange(4) > 1)


@pytest.mark.filterwarnings("ignore:ComplexHalf", "ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("message", REFUSED)
def test_tensors_that_cannot_be_lent_are_refused(torch, message):
    with pytest.raises(TypeError, match=f"^pack_signs: .*{message}"):
        fastconv.pack_signs(REFUSED[message](torch))


def test_conjugate_views_are_resolved(torch):
    x = torch.complex(torch.eye(4), torch.ones(4, 4)).conj()
    expected = fastconv.correlate2d(x.resolve_conj().numpy(), np.ones((2, 2)))
    np.testing.assert_array_equal(
        fastconv.correlate2d(x, torch.ones(2, 2, dtype=torch.float64)).numpy(), expected
    )


@pytest.mark.parametrize("view", ["conj", "neg"])
def test_out_may_be_a_conjugate_or_negative_view(torch, view):
    x = torch.complex(torch.eye(4), torch.ones(4, 4))
    x, w = (x, x[:2, :2]) if view == "conj" else (x.real, x.imag[:2, :2].contiguous())
    place = torch.zeros(5, 5, dtype=torch.complex64).conj()
    out = place if view == "conj" else place.imag
    expected = fastconv.correlate2d(x, w)
    assert fastconv.correlate2d(x, w, out=out) is out
    assert torch.equal(out.resolve_conj().resolve_neg(), expected)


@pytest.mark.parametrize("dtype", ["f4", np.float32, "torch"])
def test_the_dtype_asked_for_decides(torch, dtype):
    x, w = bfloat16(torch, 0, (5, 5)), bfloat16(torch, 1, (3, 3))
    dtype = torch.float32 if dtype == "torch" else dtype
    out = torch.zeros(7, 7)
    assert fastconv.correlate2d(x, w, dtype=dtype, out=out).dtype == torch.float32
    assert torch.equal(fastconv.correlate2d(x, w, dtype=dtype), out)


@pytest.mark.parametrize("integers", ["int8", "int32", "int64"])
def test_bfloat16_beside_integers_gives_bfloat16(torch, integers):
    x, w = bfloat16(torch, 0, (5, 5)), torch.ones(3, 3, dtype=getattr(torch, integers))
    out = torch.zeros(7, 7, dtype=torch.bfloat16)
    assert fastconv.correlate2d(x, w, out=out) is out
    assert torch.equal(fastconv.correlate2d(x, w), out)


def test_bfloat16_out_for_other_results_is_refused_unwritten(torch):
    x, w = torch.randn(1, 4, 5, 5), torch.randn(3, 4, 3, 3)
    calls = [
        lambda out: fastconv.conv2d(x, w, out=out),
        lambda out: fastconv.xnor_conv2d(x.to(torch.bfloat16), w, scale="alpha", out=out),
    ]
    for call in calls:
        out = torch.full((1, 3, 3, 3), 77, dtype=torch.bfloat16)
        with pytest.raises(TypeError, match="out must have dtype that of the result"):
            call(out)
        assert (out == 77).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_packed_values_of_tensors_can_be_copied(torch, copied):
    signs = copied(fastconv.pack_signs(torch.randn(3, 70)))
    filters = copied(fastconv.pack_filters(torch.randn(4, 70, 1, 1)))
    step = copied(Threshold(torch.zeros(4, dtype=torch.int32), torch.zeros(4, dtype=torch.bool)))
    assert isinstance(signs, PackedSigns)
    assert isinstance(filters, PackedFilters)
    result = fastconv.xnor_linear(signs, filters, threshold=step)
    assert isinstance(result.words, torch.Tensor)


def test_a_result_in_words_is_the_tensor_given_for_it(torch):
    step = Threshold(torch.zeros(4, dtype=torch.int32), torch.zeros(4, dtype=torch.bool))
    out = torch.zeros(3, 1, dtype=torch.uint64)
    signs = fastconv.xnor_linear(torch.randn(3, 70), torch.randn(4, 70), threshold=step, out=out)
    assert signs.words is out
