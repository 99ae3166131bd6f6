"""The float form of binary layers: equal to its formula in every mode and whatever was kept of the weight,
without work for gradients that nobody wants, and with a word about inputs that have no negative number."""

import contextlib
import copy
import pickle
import warnings

import pytest
from conftest import optional
from hypothesis import given
from hypothesis import strategies as st

from strategies import few, seeds, windows

torch = optional("torch")

from torch.nn import functional  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402

from fastconv import nn  # noqa: E402
from fastconv.nn import binary_layer, gradients, operators  # noqa: E402
from fastconv.nn.fakes import float_result  # noqa: E402
from fastconv.nn.layers import ONE_PIXEL  # noqa: E402
from layers import DTYPES, options_of_products, randomized, tensor  # noqa: E402

NO_NEGATIVE = "no number of a batch .* is negative"

pytestmark = [
    pytest.mark.usefixtures("torch"),  # on one thread
    pytest.mark.filterwarnings(f"ignore:.*{NO_NEGATIVE}"),
]

LAYOUTS = (torch.contiguous_format, torch.channels_last)
MODES = {
    "gradients": contextlib.nullcontext,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
}


@st.composite
def layers(draw):
    """A layer, and the shape of a batch that it takes."""
    options, batch = draw(options_of_products(most_bits=2)), draw(st.integers(1, 3))
    if draw(st.sampled_from([True, False, False])):
        features = draw(st.sampled_from([1, 3, 70]))
        return randomized(nn.BinaryLinear(features, 5, **options), draw(seeds)), (batch, features)
    groups, channels = draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([1, 2, 5, 16]))
    size, kernel, geometry = draw(windows(least=1, room=(3, 8)))
    if draw(st.booleans()):
        geometry |= {"padding": draw(st.integers(0, 2))}
        size = tuple(
            n + d * k for n, d, k in zip(size, both(geometry["dilation"]), both(kernel), strict=True)
        )
    options |= geometry | {"pad_value": draw(st.sampled_from([0, 0, 1, -1])), "groups": groups}
    layer = nn.BinaryConv2d(channels * groups, 4 * groups, kernel, **options)
    return randomized(layer, draw(seeds)), (batch, channels * groups, *size)


def both(pair):
    return (pair, pair) if isinstance(pair, int) else pair


def signs_of(x, dtype):
    return torch.where(x >= 0, 1.0, -1.0).to(dtype)


def residual_of(x, bits, dtype):
    scales, words = operators.binarize_residual(x.movedim(1, -1), bits)
    terms = operators.unpack_signs(words, x.shape[1], dtype)
    terms = terms * scales.to(dtype).reshape(bits, x.shape[0], *(1,) * (x.ndim - 1))
    return terms.sum(dim=0).movedim(-1, 1), scales.to(dtype).sum(dim=0)


@torch.no_grad()
def formula(layer, x):
    """What a layer computes, written down step by step."""
    dtype, weight = float_result(x.dtype), layer.weight
    image = isinstance(layer, nn.BinaryConv2d)
    one_bit = layer.activation_bits == 1
    if one_bit:
        signs, outside = signs_of(x, dtype), 1.0
    else:
        signs, outside = residual_of(x, layer.activation_bits, dtype)
        outside = outside.reshape(-1, 1, 1, 1)
    factors = (
        signs_of(weight, dtype)
        if layer.weight_bits == 1
        else residual_of(weight, layer.weight_bits, dtype)[0]
    )
    k = None
    if image:
        sides = layer._sides_around(x)
        around = sides[2], sides[3], sides[0], sides[1]
        if any(sides):
            inside = functional.pad(torch.ones(x.shape[2:], dtype=torch.bool), around)
            signs = torch.where(inside, functional.pad(signs, around), layer.pad_value * outside).to(dtype)
        y = functional.conv2d(signs, factors, None, layer.stride, 0, layer.dilation, layer.groups)
        if layer.scale == "xnor":
            geometry = layer.stride, (0, 0), layer.dilation, layer.groups
            k = gradients.activation_scale(x, layer.kernel_size, sides, geometry)
            k = k.repeat_interleave(layer.out_channels // layer.groups, dim=1) if layer.groups > 1 else k
    else:
        y = functional.linear(signs, factors)
        if layer.scale == "xnor":
            k = gradients.activation_scale(x[..., None, None], (1, 1), [0] * 4, ONE_PIXEL).flatten(1)

    def each(v):
        return v.to(dtype).reshape(-1, *(1,) * (y.ndim - 2))

    if one_bit and layer.weight_bits == 1:
        y = y.round()
    if layer.weight_bits == 1 and layer.scale in ("alpha", "xnor"):
        factor = each(weight.flatten(1).abs().mean(dim=1, dtype=torch.float64).float())
        y = y * factor if k is None else y * factor * k
    elif k is not None:
        y = y * k
    y = y if layer.learned_scale is None else y * each(layer.learned_scale)
    y = y if layer.bias is None else y + each(layer.bias)
    return y.to(x.dtype)


def assert_same(actual, expected):
    """Equal as numbers, dtypes and shapes, NaN included."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@given(
    st.data(),
    layers(),
    st.sampled_from(list(DTYPES)),
    st.sampled_from(LAYOUTS),
    st.sampled_from(list(MODES)),
    st.booleans(),
    st.booleans(),
)
def test_numbers_are_those_of_the_formula_in_every_mode(data, drawn, dtype, layout, mode, training, learning):
    layer, shape = drawn
    layer.train(training)
    plain = layer.activation_bits == layer.weight_bits == 1
    x = tensor(data.draw(seeds), shape, dtype, special=plain)
    x = x.contiguous(memory_format=layout) if x.ndim == 4 else x
    expected = formula(layer, x)
    x.requires_grad_(learning)
    layer.weight.requires_grad_(data.draw(st.booleans()))
    with MODES[mode]():
        for _ in range(2):  # the second time with what the first may have kept
            y = layer(x)
            assert_same(y.detach(), expected)
    told = x.ndim == 4 and x.is_contiguous(memory_format=layout) and x.shape[1] > 1 and x[0, 0].numel() > 1
    assert not (plain and told) or y.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_dtype", DTYPES)
def test_signs_of_numbers_that_are_hard_to_compare(dtype, weight_dtype):
    kinds = DTYPES[dtype], DTYPES[weight_dtype]
    smallest = torch.finfo(kinds[1]).smallest_normal / 2
    numbers = [0.0, -0.0, smallest, -smallest, torch.inf, -torch.inf, torch.nan, -torch.nan, 1.0, -1.0]
    x = torch.tensor(numbers, dtype=kinds[1])
    assert gradients.sign(x, kinds[0]).tolist() == [1, 1, 1, -1, 1, -1, -1, -1, 1, -1]
    assert gradients.sign(x, kinds[0]).dtype == kinds[0]


@few
@given(seeds, st.sampled_from([0.3, 1.0]), st.sampled_from([torch.float32, torch.float64]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_that_passes_a_sign_is_exact(dtype, seed, clip, wide):
    x = tensor(seed, (60,), dtype, special=True).requires_grad_()
    grad = tensor(seed + 1, (60,), special=True).to(wide)
    gradients.StraightThrough.apply(x, wide, clip).backward(grad)
    assert_same(x.grad, (grad * (x.detach().abs() <= clip)).to(x.dtype))


@given(layers(), seeds)
def test_gradients_do_not_hang_on_who_else_wants_one(drawn, seed):
    layer, shape = drawn
    found = {}
    for wanted in ("both", "x", "weight"):
        x = tensor(seed, shape).requires_grad_(wanted != "weight")
        layer.weight.requires_grad_(wanted != "x")
        y = layer(x)
        layer.weight.grad = None
        if y.requires_grad:
            y.backward(tensor(seed + 1, tuple(y.shape)))
        found[wanted] = x.grad, layer.weight.grad
    for wanted, at in (("x", 0), ("weight", 1)):
        assert found[wanted][1 - at] is None
        torch.testing.assert_close(found[wanted][at], found["both"][at])


# What is kept of the weight


def small(scale="alpha", **options):
    layer = nn.BinaryConv2d(3, 4, 3, padding=1, scale=scale, **options)
    return randomized(layer, 3).eval()


IMAGES = tensor(5, (2, 3, 6, 6))


def new_weight(layer):
    """Another weight for ``layer``, with other signs and magnitudes."""
    return tensor(77, tuple(layer.weight.shape)).to(layer.weight.dtype) * 3 - 0.1


@torch.no_grad()
def written(layer):
    layer.weight.copy_(new_weight(layer))


def written_in_inference_mode(layer):
    with torch.inference_mode():
        layer.weight.copy_(new_weight(layer))


def one_element_written(layer):
    with torch.no_grad():
        layer.weight[1, 2, 0, 1] = -4 * layer.weight[1, 2, 0, 1].sign() - 1


def data_put_in(layer):
    layer.weight.data = new_weight(layer)


def data_put_in_twice(layer):
    """Where the second may come to lie where the first weight was."""
    for number in (1.0, -1.0):
        layer.weight.data = torch.full_like(layer.weight, number)


def another_parameter_of_the_same_memory(layer):
    """Whose versions count from 0: it is written to until they are as far as those of the first."""
    version = layer.weight._version
    layer.weight = torch.nn.Parameter(layer.weight.data)
    while layer.weight._version < version:
        written(layer)


def state_loaded(layer):
    layer.load_state_dict({"weight": new_weight(layer)})


def state_assigned(layer):
    layer.load_state_dict({"weight": new_weight(layer)}, assign=True)


def transposed_in_place(layer):
    layer.weight.data = layer.weight.data.transpose(2, 3)


def trained(make, layer):
    optimizer = make(layer.parameters())
    layer(IMAGES).sum().backward()
    layer.weight.grad = new_weight(layer)
    optimizer.step()
    optimizer.zero_grad()


def trained_by_sgd(layer):
    trained(lambda p: torch.optim.SGD(p, 0.9), layer)


def trained_by_foreach(layer):
    trained(lambda p: torch.optim.Adam(p, 0.9, foreach=True), layer)


def trained_by_fused(layer):
    trained(lambda p: torch.optim.Adam(p, 0.9, fused=True), layer)


def trained_by_fused_with_looks_in_between(layer):
    """PyTorch's fused optimizers do not count what they write."""
    optimizer = torch.optim.SGD(layer.parameters(), 0.9, fused=True)
    layer(IMAGES).sum().backward()
    layer.weight.grad = new_weight(layer)
    with torch.no_grad():
        layer(IMAGES)
    optimizer.step()


def written_past_the_version_between_modes(layer):
    layer.weight.data.copy_(new_weight(layer))
    layer.train()
    layer.eval()


def parametrized(layer):
    class Opposite(torch.nn.Module):
        def forward(self, weight):
            return 1 - weight

    parametrize.register_parametrization(layer, "weight", Opposite())


@torch.no_grad()
def pruned(layer):
    prune.random_unstructured(layer, "weight", 0.8)
    layer(IMAGES)


@torch.no_grad()
def weight_shared_with_other_processes(layer):
    layer.weight.share_memory_()
    layer(IMAGES)
    layer.weight.data.copy_(new_weight(layer))  # as another process does, whose versions are its own


def swapped(layer):
    torch.utils.swap_tensors(layer.weight, torch.nn.Parameter(new_weight(layer)))


def made_in_inference_mode(layer):
    """Of which no gradient can be wanted."""
    with torch.inference_mode():
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        layer(IMAGES)
        layer.weight.copy_(new_weight(layer))


def scaled_otherwise(layer):
    layer.scale = None


CHANGES = [
    written, written_in_inference_mode, one_element_written, data_put_in, data_put_in_twice,
    another_parameter_of_the_same_memory, state_loaded, state_assigned, transposed_in_place, trained_by_sgd,
    trained_by_foreach, trained_by_fused, trained_by_fused_with_looks_in_between,
    written_past_the_version_between_modes, parametrized, pruned, weight_shared_with_other_processes, swapped,
    made_in_inference_mode, scaled_otherwise,
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_the_weight_is_noticed(change, mode):
    layer = small()
    with MODES[mode]():
        before = layer(IMAGES).detach().clone()
    change(layer)
    for _ in range(2):
        with MODES[mode]():
            after = layer(IMAGES).detach().clone()
        assert_same(after, formula(layer, IMAGES))
        assert not torch.equal(before, after)


@torch.no_grad()
@pytest.mark.parametrize("cast", [torch.float64, torch.float16, torch.bfloat16])
def test_casts_and_layouts_of_a_layer_are_noticed(cast):
    layer = small()
    layer(IMAGES)
    for changed in (layer.to(cast), layer.to(memory_format=torch.channels_last), layer.float()):
        for x in (IMAGES, IMAGES.double(), IMAGES.half()):
            assert_same(changed(x), formula(layer, x))


@pytest.mark.parametrize("bits", [1, 2])
def test_what_is_made_of_the_weight_is_made_once_in_eval(bits, monkeypatch):
    made = []
    name = "sign" if bits == 1 else "residual"
    original = getattr(binary_layer, name)
    monkeypatch.setattr(binary_layer, name, lambda w, *a: made.append(w.shape) or original(w, *a))
    layer = small(weight_bits=bits).requires_grad_(False)
    for mode in reversed(MODES.values()):  # signs that came in inference mode serve in all
        with mode():
            layer(IMAGES)
    x = IMAGES.clone().requires_grad_()
    layer(x).sum().backward()
    assert x.grad.any()
    assert made == [layer.weight.shape]
    for _ in range(3):
        layer.train()(IMAGES)
    assert made == 4 * [layer.weight.shape]


def test_copies_and_files_do_without_what_was_kept():
    layer = small()
    size, state = len(pickle.dumps(layer)), set(layer.state_dict())
    with torch.no_grad():
        expected = layer(IMAGES)
    assert layer._kept is not None
    for twin in (copy.deepcopy(layer), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin._kept is None
        with torch.no_grad():
            assert torch.equal(twin(IMAGES), expected)
    twin = copy.deepcopy(layer)
    written(twin)
    assert_same(layer(IMAGES).detach(), expected)
    assert_same(twin(IMAGES).detach(), formula(twin, IMAGES))
    assert len(pickle.dumps(layer)) == size
    assert set(layer.state_dict()) == state == {"weight"}
    layer.train()
    assert layer._kept is None  # training holds no signs in memory


def test_replicas_of_a_layer_have_weights_of_their_own():
    layer = small()
    with torch.no_grad():
        expected = layer(IMAGES)
        replica = layer._replicate_for_data_parallel()
        replica.weight = new_weight(layer)
        for _ in range(2):
            assert_same(replica(IMAGES), formula(replica, IMAGES))
            assert replica._kept is layer._kept  # a replica lasts for one call
            assert_same(layer(IMAGES), expected)
            replica.weight.neg_()


def test_weights_given_for_one_call_are_those_of_the_call():
    layer = small()
    with torch.no_grad():
        expected = layer(IMAGES)
        for number in (1.0, -1.0):
            given_weight = torch.full_like(layer.weight, number)
            y = torch.func.functional_call(layer, {"weight": given_weight}, (IMAGES,))
            other = small()
            other.weight.copy_(given_weight)
            assert_same(y, formula(other, IMAGES))
        assert_same(layer(IMAGES), expected)


# No work for gradients that nobody wants


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_done_for_gradients_that_nobody_wants(training, bits, monkeypatch):
    def refuse(*_):
        raise AssertionError("a gradient is prepared for")

    for function in (gradients.StraightThrough, gradients.Residual, gradients.SignProduct):
        monkeypatch.setattr(function, "apply", refuse)
    images = [nn.BinaryConv2d(3, 4, 3, scale=s, weight_bits=bits) for s in (None, "alpha", "xnor")]
    several = [nn.BinaryConv2d(3, 4, 3, activation_bits=2, weight_bits=bits), nn.Sign()]
    for layer in (layer.train(training) for layer in (*images, *several)):
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                layer(IMAGES)
        assert layer.requires_grad_(False)(IMAGES).grad_fn is None
        with pytest.raises(AssertionError, match="is prepared for"):
            layer(IMAGES.clone().requires_grad_())


@pytest.mark.filterwarnings("ignore:.*is deprecated")  # of PyTorch, about itself
@pytest.mark.parametrize("frozen", [True, False])
def test_tangents_are_refused_rather_than_lost(frozen):
    forward_ad = torch.autograd.forward_ad
    for layer in (small(), small(weight_bits=2), nn.Sign()):
        layer.requires_grad_(not frozen)
        for mode in (torch.no_grad, contextlib.nullcontext):
            with forward_ad.dual_level(), mode(), pytest.raises(NotImplementedError, match="jvp"):
                layer(forward_ad.make_dual(IMAGES, torch.ones_like(IMAGES)))
        with pytest.raises(RuntimeError, match="setup_context"):
            torch.func.grad(lambda x, layer=layer: layer(x).sum())(IMAGES)


# Followers of operators


@pytest.mark.filterwarnings("ignore")  # of compilers, about themselves
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("follower", ["aot_eager", "inductor", "export", "trace", "make_fx", "fx"])
def test_graphs_are_of_the_weight_and_not_of_what_was_kept(follower, gradient, training):
    layer = small(scale="xnor", bias=True).train(training)
    with contextlib.nullcontext() if gradient else torch.no_grad():
        layer(IMAGES)
        if follower == "export":
            module = torch.export.export(layer, (IMAGES,)).module()
            held = next(p for n, p in module.named_parameters() if n == "weight")
        elif follower == "trace":
            module, held = torch.jit.trace(layer, IMAGES), layer.weight
        elif follower == "make_fx":
            module, held = torch.fx.experimental.proxy_tensor.make_fx(layer)(IMAGES), layer.weight
        elif follower == "fx":
            tracer, model = torch.fx.Tracer(), torch.nn.Sequential(layer)
            tracer.is_leaf_module = lambda m, _: m is layer
            module, held = torch.fx.GraphModule(model, tracer.trace(model)), layer.weight
        else:
            torch.compiler.reset()
            module, held = torch.compile(layer, fullgraph=True, backend=follower), layer.weight
        tolerance = {"rtol": 1e-6, "atol": 1e-6} if follower == "inductor" else {"rtol": 0, "atol": 0}
        for _ in range(2):
            torch.testing.assert_close(module(IMAGES).detach(), formula(layer, IMAGES), **tolerance)
            written(layer)
            with torch.no_grad():
                held.copy_(layer.weight)


def test_a_sign_is_traced_symbolically():
    traced = torch.fx.symbolic_trace(torch.nn.Sequential(nn.Sign(), torch.nn.ReLU()))
    assert_same(traced(IMAGES), nn.Sign()(IMAGES).relu())


# A batch without a negative number


LAYERS = {
    "convolution": (lambda **options: nn.BinaryConv2d(3, 4, 3, **options), (2, 3, 6, 6)),
    "one image": (lambda **options: nn.BinaryConv2d(3, 4, 3, **options), (3, 6, 6)),
    "linear": (lambda **options: nn.BinaryLinear(6, 4, **options), (2, 6)),
    "sequences": (lambda **options: nn.BinaryLinear(6, 4, **options), (2, 3, 6)),
}


def warned(layer, *batches):
    """What layers say of batches, in turn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for x in batches:
            layer(x)
    return [str(one.message) for one in caught if issubclass(one.category, UserWarning)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"scale": "xnor"}, {"activation_bits": 2}], ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_batch_without_a_negative_number_is_named_once(kind, options, dtype):
    make, shape = LAYERS[kind]
    negative = tensor(0, shape, dtype) - 0.5
    positive = negative.relu()
    positive.view(-1)[0] = -0.0
    layer = make(**options)
    (message,) = warned(layer, positive, positive, negative, positive)
    assert message.startswith(type(layer).__name__)
    assert "ReLU" in message
    assert warned(make(**options).eval(), positive) == []
    assert warned(make(**options), negative, positive) == []
    nan = positive.clone()
    nan.view(-1)[-1] = torch.nan  # whose sign is -1
    assert warned(make(**options), nan) == [] or options == {"activation_bits": 2}
    if kind != "one image":
        assert warned(make(**options), positive[:0], negative) == []
    with torch.no_grad():
        assert len(warned(make(**options), positive)) == 1


def test_a_batch_is_looked_at_once(monkeypatch):
    looks = []
    original = torch.Tensor.all
    monkeypatch.setattr(torch.Tensor, "all", lambda x: looks.append(x.shape) or original(x))
    layer = nn.BinaryConv2d(3, 4, 3)
    for _ in range(3):
        layer(IMAGES)
        replica = layer._replicate_for_data_parallel()
        replica.weight = layer.weight
        replica(IMAGES)
        copy.deepcopy(layer)(IMAGES)
    assert looks == [IMAGES.shape]


def test_the_warning_is_of_the_line_that_calls_the_layer():
    with pytest.warns(UserWarning, match=NO_NEGATIVE) as caught:
        nn.BinaryConv2d(3, 4, 3)(IMAGES.abs())
    assert caught[0].filename == __file__


def test_followers_do_not_look_at_batches():
    positive = IMAGES.abs()
    for followed in (
        lambda layer: torch.compile(layer, fullgraph=True, backend="eager"),
        lambda layer: lambda x: torch.export.export(layer, (x,)),
        lambda layer: torch.fx.experimental.proxy_tensor.make_fx(layer),
    ):
        layer = nn.BinaryConv2d(3, 4, 3)
        assert not [said for said in warned(followed(layer), positive) if "is negative" in said]
        assert len(warned(layer, positive)) == 1
