"""Layers for PyTorch: the float form against the binary one, gradients against their formulas, compilers."""

import copy
import math

import numpy as np
import pytest
from conftest import optional
from hypothesis import given
from hypothesis import strategies as st

import fastconv
from strategies import pairs, seeds, windows

torch = optional("torch")

from torch.nn import functional  # noqa: E402

from fastconv import nn  # noqa: E402
from fastconv.nn import gradients, operators  # noqa: E402
from fastconv.nn.arrays import KEPT  # noqa: E402
from fastconv.nn.fakes import float_result  # noqa: E402
from fastconv.nn.products import SAME  # noqa: E402
from layers import DTYPES, options_of_products, randomized, tensor  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("torch"),  # on one thread
    pytest.mark.filterwarnings("ignore:.*no number of a batch .* is negative"),  # what is drawn may have none
]


@st.composite
def convolutions(draw, sizes=(1, 2, 3, 5, 63, 64, 65)):
    """A layer, and the size of the images it takes."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = draw(st.sampled_from(sizes)), draw(st.sampled_from([1, 2, 9]))
    size, kernel, geometry = draw(windows(least=1, room=(8, 40) if channels <= 5 else (3, 5)))
    options = geometry | draw(options_of_products()) | {"pad_value": draw(st.sampled_from([0, 1, -1]))}
    layer = nn.BinaryConv2d(channels * groups, filters * groups, kernel, groups=groups, **options)
    return randomized(layer, draw(seeds)), (channels * groups, *size)


def assert_forms_agree(layer, x):
    """Whole numbers and what is made of them by one rounding after another are equal; sums nearly."""
    trained, binary = layer(x), layer.binary_forward(x)
    assert trained.dtype == binary.dtype == x.dtype
    assert trained.shape == binary.shape
    if layer.activation_bits == layer.weight_bits == 1 and layer.scale != "xnor":
        torch.testing.assert_close(trained, binary, rtol=0, atol=0, equal_nan=True)
        return
    terms = layer.weight[0].numel()
    if layer.activation_bits == layer.weight_bits == 1:
        assert_products_agree(layer, trained, binary, terms)
        return
    rows = x.detach().double().nan_to_num(0, 0, 0).abs()
    largest = rows.max() if rows.numel() else 0  # of K, and of the sum of the scales of several bits
    bound = 4 * math.sqrt(terms) * terms * largest * layer.weight.detach().abs().max()
    bound *= layer.activation_bits * layer.weight_bits
    bound *= 1 if layer.learned_scale is None else layer.learned_scale.detach().abs().max()
    bound += 1 if layer.bias is None else layer.bias.detach().abs().max()
    eps = torch.finfo(float_result(x.dtype)).eps
    narrow = torch.finfo(x.dtype).eps if x.dtype.itemsize == 2 else 0
    torch.testing.assert_close(trained, binary, rtol=narrow, atol=float(eps * bound), equal_nan=True)


def assert_products_agree(layer, trained, binary, terms):
    """Both are alpha * K * y + bias of the same whole y: each number has a bound of its own."""
    narrow = torch.finfo(trained.dtype).eps if trained.dtype.itemsize == 2 else 0
    eps = torch.finfo(float_result(trained.dtype)).eps
    trained, binary = trained.detach().double(), binary.detach().double()
    size = binary.abs()
    if layer.bias is not None:
        bias = layer.bias.detach().double().abs()
        size = size + 2 * (bias[:, None, None] if isinstance(layer, nn.BinaryConv2d) else bias)
    bound = ((4 * math.sqrt(terms) + 6) * eps + narrow) * size
    finite = binary.isfinite()
    torch.testing.assert_close(trained[~finite], binary[~finite], equal_nan=True)
    assert bool(((trained - binary).abs() <= bound)[finite].all())


@given(st.data(), convolutions(), st.integers(1, 2), st.sampled_from(list(DTYPES)))
def test_convolution_in_floats_equals_that_on_bits(data, drawn, images, dtype):
    layer, size = drawn
    special = layer.activation_bits == layer.weight_bits == 1 and data.draw(st.booleans())
    x = tensor(data.draw(seeds), (images, *size), dtype, special)
    assert_forms_agree(layer, x)
    assert_forms_agree(layer, x[0])


@given(st.data(), options_of_products(), st.sampled_from([1, 3, 64, 130]), st.sampled_from(list(DTYPES)))
def test_linear_layer_in_floats_equals_that_on_bits(data, options, features, dtype):
    layer = randomized(nn.BinaryLinear(features, 7, **options), data.draw(seeds))
    batch = data.draw(st.sampled_from([(), (1,), (5,), (2, 3)]))
    special = options["activation_bits"] == options["weight_bits"] == 1 and data.draw(st.booleans())
    assert_forms_agree(layer, tensor(data.draw(seeds), (*batch, features), dtype, special))


@given(st.data(), pairs(1, 3), st.none() | pairs(1, 3), pairs(0, 2) | st.just("same"))
def test_pooling_in_floats_equals_that_on_bits(data, kernel, stride, padding):
    pool = nn.BinaryMaxPool2d(kernel, stride, padding)
    shape = (data.draw(st.integers(1, 2)), data.draw(st.sampled_from([1, 3, 64, 65])), 6, 7)
    signs = nn.Sign()(tensor(data.draw(seeds), shape, special=True))
    torch.testing.assert_close(pool(signs), pool.binary_forward(signs), rtol=0, atol=0)
    torch.testing.assert_close(pool(signs[0]), pool.binary_forward(signs[0]), rtol=0, atol=0)


@pytest.mark.empties
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_images_and_no_rows_agree(dtype):
    layers = [
        (nn.BinaryConv2d(3, 4, 3, padding=1, scale="alpha"), (0, 3, 6, 7)),
        (nn.BinaryLinear(70, 7), (0, 70)),
    ]
    for layer, shape in layers:
        assert_forms_agree(randomized(layer, 0), tensor(0, shape, dtype))
    signs = nn.Sign()(tensor(0, (0, 3, 6, 7)))
    pool = nn.BinaryMaxPool2d(2)
    assert pool(signs).shape == pool.binary_forward(signs).shape == (0, 3, 3, 3)


@given(seeds, st.sampled_from([0, 1, -1]), st.integers(1, 3), st.integers(1, 3))
def test_several_bits_are_a_sum_of_products_of_residual_terms(seed, pad_value, activation_bits, weight_bits):
    bits = {"activation_bits": activation_bits, "weight_bits": weight_bits}
    layer = nn.BinaryConv2d(5, 4, 3, padding=1, pad_value=pad_value, scale="alpha", **bits)
    layer = randomized(layer, seed)
    x, weight = tensor(seed + 9, (2, 5, 6, 7)).numpy(), layer.weight.detach().numpy()
    expected = 0
    activations = fastconv.binarize_residual(x.transpose(0, 2, 3, 1), activation_bits, axis=0)
    for m, b in [(np.ones(2), x.transpose(0, 2, 3, 1) >= 0)] if activation_bits == 1 else activations:
        signs = np.where(b, 1.0, -1.0) if activation_bits == 1 else b.unpack(np.float64)
        padded = np.pad(
            signs.transpose(0, 3, 1, 2), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=pad_value
        )
        for alpha, w in fastconv.binarize_residual(weight.transpose(0, 2, 3, 1), weight_bits, axis=0):
            y = fastconv.conv2d(padded, w.unpack(np.float64).transpose(0, 3, 1, 2))
            expected = expected + m[:, None, None, None] * alpha[:, None, None] * y
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [1, 2])
def test_an_image_does_not_depend_on_those_beside_it(bits):
    layer = nn.BinaryConv2d(5, 4, 3, activation_bits=bits)
    x = tensor(0, (3, 5, 6, 7))
    terms, largest = 5 * 3 * 3, sum(float(m) for m, _ in fastconv.binarize_residual(x[1].numpy(), bits))
    size = terms * largest  # at least the sum of abs(a) * abs(b) of an element
    bound = 4 * math.sqrt(terms) * torch.finfo(torch.float32).eps * size
    for form in (layer, layer.binary_forward):
        torch.testing.assert_close(form(x)[1], form(x[1]), rtol=0, atol=bound)


def test_sums_are_whole_even_of_a_convolution_that_rounds(monkeypatch):
    exact = functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda *a: exact(*a) + 1e-3)
    layer, x = nn.BinaryConv2d(4, 3, 3), tensor(0, (2, 4, 6, 7))
    torch.testing.assert_close(layer(x), layer.binary_forward(x), rtol=0, atol=0)


def test_autocast_leaves_the_sums_whole():
    layer = nn.BinaryLinear(5000, 3)
    with torch.no_grad():
        layer.weight.fill_(1)
    x = torch.ones(1, 5000)
    x[0, :3] = -1
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).tolist() == [[4994.0] * 3]


# Gradients


@given(seeds, st.sampled_from([0.25, 1.0, math.inf]))
def test_gradient_of_sign_passes_within_the_clip(seed, clip):
    x = tensor(seed, (50,), special=True).requires_grad_()
    grad = tensor(seed + 1, (50,))
    signs = nn.Sign(clip)(x)
    signs.backward(grad)
    np.testing.assert_array_equal(signs.detach(), np.where(x.detach().numpy() >= 0, 1, -1))
    np.testing.assert_array_equal(x.grad, np.where(np.abs(x.detach().numpy()) <= clip, grad, 0))


def formula(layer, x, grad):
    """Gradients with respect to ``x`` and the weight, from those of a real layer, as the papers write them.

    The real layer's input and weight are leaves that hold what the binary one multiplies.
    """
    weight = layer.weight.detach()
    n, alpha = weight[0].numel(), weight.abs().flatten(1).mean(dim=1)
    each = alpha.reshape(-1, *(1,) * (weight.ndim - 1))
    scaled = layer.scale in ("alpha", "xnor")
    signs = torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)
    real_weight = (each * signs if scaled else signs).requires_grad_()
    signs_of_x = torch.where(x >= 0, 1.0, -1.0).to(x.dtype).requires_grad_()
    magnitudes = x.clone().requires_grad_()
    if isinstance(layer, nn.BinaryLinear):
        y = functional.linear(signs_of_x, real_weight)
        k = magnitudes.abs().mean(dim=1, keepdim=True)
    else:
        padded = functional.pad(signs_of_x, (1,) * 4, value=layer.pad_value)
        y = functional.conv2d(padded, real_weight, None, layer.stride, 0, layer.dilation, layer.groups)
        mean = torch.full((layer.out_channels, *weight.shape[1:]), 1 / n, dtype=x.dtype)
        outside = functional.pad(magnitudes.abs(), (1,) * 4)
        k = functional.conv2d(outside, mean, None, layer.stride, 0, layer.dilation, layer.groups)
    if layer.scale == "xnor":
        y = y * k
    y.backward(grad)
    grad_x = signs_of_x.grad * (x.abs() <= layer.clip)
    if layer.scale == "xnor":
        grad_x = grad_x + magnitudes.grad
    passes = (weight.abs() <= layer.clip).to(weight.dtype)
    return grad_x, real_weight.grad * (1 / n + each * passes if scaled else passes)


@given(
    seeds,
    st.sampled_from([None, "alpha", "xnor"]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1, -1]),
)
def test_gradients_of_a_convolution_are_those_of_the_formula(seed, scale, clip, groups, pad_value):
    options = {"stride": (1, 2), "padding": 1, "dilation": (2, 1), "groups": groups, "pad_value": pad_value}
    layer = nn.BinaryConv2d(6, 4, (2, 3), scale=scale, clip=clip, **options).double()
    check_gradients(randomized(layer, seed), tensor(seed + 7, (2, 6, 5, 8), "f8"), seed)


@given(seeds, st.sampled_from([None, "alpha", "xnor"]), st.sampled_from([0.5, 1.0]))
def test_gradients_of_a_linear_layer_are_those_of_the_formula(seed, scale, clip):
    layer = nn.BinaryLinear(9, 4, scale=scale, clip=clip).double()
    check_gradients(randomized(layer, seed), tensor(seed + 7, (5, 9), "f8"), seed)


def check_gradients(layer, x, seed):
    with torch.no_grad():
        layer.weight[0] = 0  # alpha is 0, and the gradient is not
    x = x.requires_grad_()
    y = layer(x)
    grad = tensor(seed + 5, tuple(y.shape), "f8")
    y.backward(grad)
    grad_x, grad_weight = formula(layer, x.detach(), grad)
    # alpha is a float32 number
    torch.testing.assert_close(x.grad, grad_x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer.weight.grad, grad_weight, rtol=1e-6, atol=1e-6)


@given(seeds, st.sampled_from([0.5, 1.0]))
def test_gradients_of_several_bits_are_those_of_their_sum(seed, clip):
    layer = nn.BinaryConv2d(3, 4, 3, clip=clip, activation_bits=2, weight_bits=2).double()
    randomized(layer, seed)
    x = tensor(seed + 7, (2, 3, 5, 6), "f8").requires_grad_()
    y = layer(x)
    grad = tensor(seed + 5, tuple(y.shape), "f8")
    y.backward(grad)
    with torch.no_grad():
        sums = [gradients.Residual.apply(v, 2, torch.float64, clip)[0] for v in (x, layer.weight)]
    sums = [s.requires_grad_() for s in sums]
    functional.conv2d(*sums).backward(grad)
    for given_value, its_sum in zip((x, layer.weight), sums, strict=True):
        expected = its_sum.grad * (given_value.detach().abs() <= clip)
        torch.testing.assert_close(given_value.grad, expected)


@pytest.mark.parametrize("weight_bits", [1, 2])
def test_gradients_of_bias_and_learned_scale_are_numeric_ones(weight_bits):
    layer = nn.BinaryConv2d(3, 4, 3, bias=True, scale="learned", weight_bits=weight_bits).double()
    x = tensor(0, (2, 3, 5, 6), "f8")
    names = ("bias", "learned_scale")

    def call(*parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, [getattr(layer, name).detach().requires_grad_() for name in names])


def test_gradient_of_k_is_the_numeric_one():
    x = tensor(0, (2, 4, 5, 6), "f8").requires_grad_()
    with torch.no_grad():
        x += 0.1 * (x >= 0)  # away from the kink of abs

    def k(x):
        return gradients.activation_scale(x, (2, 3), [1, 0, 2, 1], ((1, 2), (0, 0), (2, 1), 2))

    assert torch.autograd.gradcheck(k, [x])
    expected = fastconv.activation_scale(
        x.detach(), (2, 3), padding=((1, 0), (2, 1)), stride=(1, 2), dilation=(2, 1), groups=2
    )
    torch.testing.assert_close(k(x).detach(), expected)


# Training


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3),
        torch.nn.BatchNorm2d(8),
        nn.BinaryConv2d(8, 8, 3, padding=1, scale="xnor"),
        torch.nn.BatchNorm2d(8),
        nn.Sign(),
        nn.BinaryMaxPool2d(2),
        nn.BinaryConv2d(8, 8, 3, padding="same", pad_value=1, scale="alpha", groups=2),
        torch.nn.BatchNorm2d(8),
        nn.BinaryConv2d(8, 8, 3, activation_bits=2, weight_bits=2),
        torch.nn.Flatten(),
        nn.BinaryLinear(8 * 2 * 2, 2, bias=True, scale="learned"),
    )


def trained(seed):
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(40):
        label = torch.randint(2, (32,))
        x = torch.randn(32, 1, 2, 5, 10)
        x[torch.arange(32), 0, label] += 1  # one half of the image is brighter
        x = x.flatten(2, 3)
        loss = functional.cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def test_training_learns_and_one_seed_gives_one_network():
    model, losses = trained(0)
    again, same = trained(0)
    assert losses == same
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_layer_copies_saves_and_prints():
    layer = nn.BinaryConv2d(3, 4, 3, scale="learned", bias=True)
    other = nn.BinaryConv2d(3, 4, 3, scale="learned", bias=True)
    other.load_state_dict(layer.state_dict())
    x = tensor(0, (1, 3, 5, 5))
    for twin in (other, copy.deepcopy(layer)):
        assert torch.equal(twin(x), layer(x))
    assert repr(layer) == (
        "BinaryConv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=0, dilation=(1, 1), groups=1, "
        "pad_value=0, bias=True, scale='learned', clip=1, activation_bits=1, weight_bits=1)"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"scale": "beta"},
        {"scale": "xnor", "activation_bits": 2},
        {"clip": 0},
        {"clip": math.nan},
        {"weight_bits": 0},
        {"groups": 2},
        {"pad_value": 2},
        {"padding": "full"},
        {"padding": -1},
        {"stride": 0},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match="BinaryConv2d: "):
        nn.BinaryConv2d(3, 4, 3, **options)


@pytest.mark.parametrize("shape", [(3,), (2, 5, 6, 6), (1, 2, 3, 6, 6)])
def test_inputs_that_do_not_fit_are_refused(shape):
    for layer in (nn.BinaryConv2d(3, 4, 3), nn.BinaryLinear(4, 2)):
        for form in (layer, layer.binary_forward):
            with pytest.raises(ValueError, match=type(layer).__name__):
                form(torch.zeros(shape))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BinaryConv2d(3, 4, 3),
        nn.BinaryConv2d(3, 4, 2, dilation=2, scale="xnor"),
        nn.BinaryConv2d(3, 4, 2, dilation=2, activation_bits=2),
        nn.BinaryMaxPool2d(3),
    ],
    ids=str,
)
def test_images_smaller_than_the_window_are_refused(layer):
    for form in (layer, layer.binary_forward):
        assert form(torch.ones(3, 3, 3)).shape[1:] == (1, 1)
        for shape in ((2, 3, 2, 9), (3, 9, 2), (1, 3, 0, 5)):
            with pytest.raises(ValueError, match=rf"{type(layer).__name__}: kernel_size .* does not fit"):
                form(torch.ones(shape))


@pytest.mark.parametrize("clip", ["a", None, (1,), 1j])
def test_a_clip_that_is_no_number_is_named(clip):
    for make in (nn.Sign, lambda clip: nn.BinaryLinear(3, 4, clip=clip)):
        with pytest.raises(TypeError, match=r"(Sign|BinaryLinear): clip must be a number, got"):
            make(clip)


# Operators


class Packed(torch.nn.Module):
    """A network of operators alone, as one that was deployed."""

    def __init__(self):
        super().__init__()
        for name, shape in {
            "first": (70, 66, 3, 3),
            "second": (40, 35, 3, 3),
            "last": (10, 640, 1, 1),
        }.items():
            filters = fastconv.pack_filters(tensor(len(name), shape))
            self.register_buffer(name, filters.words)
            self.register_buffer(f"{name}_alpha", filters.alpha)
        self.register_buffer("tau", torch.arange(70, dtype=torch.int32) - 35)
        self.register_buffer("flip", torch.arange(70) % 2 == 0)

    def forward(self, x):
        geometry = [1, 1], SAME, [1, 1], 1, 0
        (words,) = operators.xnor_conv2d_steps(
            x, self.first, 66, *geometry, [], None, None, self.tau, self.flip, False
        )
        words = operators.binary_max_pool2d(words, [2, 2], [2, 2], [0, 0, 0, 0])
        y = operators.xnor_conv2d(
            words, self.second, 35, [1, 1], [1, 1, 1, 1], [1, 1], 2, 1, self.second_alpha
        )
        return operators.xnor_linear(y.flatten(1), self.last, 640, self.last_alpha, True)


@pytest.mark.filterwarnings("ignore")  # of compilers, about themselves
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_a_packed_network_compiles_whole(compiler):
    model, x = Packed(), tensor(0, (2, 66, 8, 8))
    compiled = torch.compile(model, fullgraph=True, backend=compiler)
    for n in (2, 3):
        x = tensor(n, (n, 66, 8, 8))
        torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_a_packed_network_exports_for_any_batch(tmp_path):
    model, x = Packed(), tensor(0, (2, 66, 8, 8))
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("images")},))
    torch.export.save(exported, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for n in (2, 5):
        x = tensor(n, (n, 66, 8, 8))
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_training_compiles_whole():
    layer = nn.BinaryConv2d(3, 4, 3, padding=1, scale="xnor", bias=True)
    x = tensor(0, (2, 3, 5, 6))
    found = []
    for form in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager")):
        layer.zero_grad()
        form(x).square().sum().backward()
        found.append(layer.weight.grad.clone())
    torch.testing.assert_close(*found)


def calls():
    """Arguments of every operator."""
    x, words = tensor(0, (2, 70, 6, 7)), operators.pack_signs(tensor(1, (2, 70, 6, 7)), 1)
    conv = fastconv.pack_filters(tensor(2, (6, 35, 3, 2)))
    linear = fastconv.pack_filters(tensor(3, (6, 70, 1, 1)))
    rows, bias = tensor(4, (3, 2, 70)), tensor(5, (6,))
    tau, flip = torch.zeros(6, dtype=torch.int32), torch.zeros(6, dtype=torch.bool)
    geometry = [1, 2], [1, 0, 2, 1], [2, 1], 2, -1
    constants, residual = tensor(6, (2, 6)), tensor(7, (2, 6, 3, 5))
    steps = ["fused", "add", "relu"]
    two, last = tensor(8, (2, 70)), x.contiguous(memory_format=torch.channels_last)
    return [
        ("pack_signs", (x, -3)),
        ("compare", (x, 1, tensor(6, (70,)), tensor(7, (70,)) > 0)),
        ("unpack_signs", (words, 70, torch.float16)),
        ("binarize_residual", (x, 3)),
        ("xnor_conv2d", (x, conv.words, 35, *geometry)),
        ("xnor_conv2d", (x, conv.words, 35, [2, 3], [], [1, 1], 2, 1, conv.alpha, True, bias)),
        ("xnor_conv2d", (words, conv.words, 35, *geometry, None, False, bias)),
        ("xnor_conv2d_steps", (words, conv.words, 35, *geometry, [], None, None, tau, flip, False)),
        ("xnor_conv2d_steps", (x, conv.words, 35, *geometry, steps, constants, residual, bias, flip, True)),
        ("xnor_linear", (rows, linear.words, 70)),
        ("xnor_linear", (rows.double(), linear.words, 70, linear.alpha, True, bias)),
        ("xnor_linear_steps", (rows, linear.words, 70, [], None, None, tau, flip, False)),
        ("xnor_linear_steps", (rows, linear.words, 70, ["fused"], constants, None, bias, flip, True)),
        ("channelwise", (x, -3, [], ["relu"], None, tensor(6, (2, 70)), tensor(7, (2, 70)) > 0, True)),
        ("channelwise", (last, -3, [3, 2, 2, 1, 1, 0, 0, 1, 1], ["fused"], two, None, None, True)),
        ("channelwise", (rows, -1, [], [], None, tensor(6, (1, 70)), tensor(7, (1, 70)) > 0, False)),
        ("channelwise", (tensor(4, (3, 70, 2)), 1, [], ["fused"], two, None, None, True)),
        ("activation_scale", (x, [3, 2], *geometry[:4])),
        ("binary_max_pool2d", (words, [2, 3], [1, 2], [1, 0, 0, 1])),
    ]


@pytest.mark.parametrize("case", range(len(calls())))
def test_operator_keeps_pytorchs_rules(case):
    name, arguments = calls()[case]
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(getattr(torch.ops.fastconv, name).default, arguments, test_utils=checks)


def test_every_operator_has_a_case():
    defined = {
        name for name, value in vars(operators).items() if isinstance(value, torch.library.CustomOpDef)
    }
    assert defined == {name for name, _ in calls()}


def test_filters_changed_in_place_are_noticed():
    x, words = tensor(0, (2, 70)), operators.pack_signs(tensor(1, (5, 1, 1, 70)), 3)
    before = operators.xnor_linear(x, words, 70)
    words.copy_(operators.pack_signs(-tensor(1, (5, 1, 1, 70)) - 1e-3, 3))
    after = operators.xnor_linear(x, words, 70)
    fresh = operators.xnor_linear(x, words.clone(), 70)
    assert torch.equal(after, fresh)
    assert not torch.equal(before, after)


def test_thresholds_changed_in_place_are_noticed():
    x, words = tensor(0, (2, 70)), operators.pack_signs(tensor(1, (64, 1, 1, 70)), 3)
    tau, flip = torch.full((64,), -(2**31), dtype=torch.int32), torch.zeros(64, dtype=torch.bool)
    ending = [], None, None, tau, flip, False
    (ones,) = operators.xnor_linear_steps(x, words, 70, *ending)
    flip.logical_not_()
    (zeros,) = operators.xnor_linear_steps(x, words, 70, *ending)
    tau.fill_(2**31 - 1)
    assert torch.equal(operators.xnor_linear_steps(x, words, 70, *ending)[0], ones)
    assert operators.unpack_signs(ones, 64, torch.int8).eq(1).all()
    assert operators.unpack_signs(zeros, 64, torch.int8).eq(-1).all()


def test_filters_of_inference_mode_changed_in_place_are_noticed():
    x = tensor(0, (2, 70))
    with torch.inference_mode():
        words, others = (operators.pack_signs(tensor(seed, (5, 1, 1, 70)), 3) for seed in (1, 2))
        alphas = torch.ones(5), torch.full((5,), 2.0)
        expected = [operators.xnor_linear(x, words, 70), operators.xnor_linear(x, others, 70)]
        words.copy_(others)
        assert torch.equal(operators.xnor_linear(x, words, 70), expected[1])
    kept, alpha = operators.pack_signs(tensor(1, (5, 1, 1, 70)), 3), alphas[0]
    one = operators.xnor_linear(x, kept, 70, alpha, True)
    with torch.inference_mode():
        alpha.copy_(alphas[1])
    assert torch.equal(operators.xnor_linear(x, kept, 70, alpha, True), 2 * one)
    assert not torch.equal(*expected)


def test_scales_that_come_and_go_are_noticed():
    x, words = tensor(0, (2, 70)), operators.pack_signs(tensor(1, (5, 1, 1, 70)), 3)
    for dtype in (torch.float32, torch.float64):
        one = operators.xnor_linear(x, words, 70, torch.ones(5, dtype=dtype), True)
        two = operators.xnor_linear(x, words, 70, torch.full((5,), 2.0, dtype=dtype), True)
        assert torch.equal(two, 2 * one)


def test_filters_are_kept_while_they_live():
    x, words = tensor(0, (2, 70)), operators.pack_signs(tensor(1, (5, 1, 1, 70)), 3)
    known = len(KEPT)
    for _ in range(2):
        operators.xnor_linear(x, words, 70)
    assert len(KEPT) == known + 1
    del words
    assert len(KEPT) == known


def test_no_gradient_flows_through_an_operator():
    x = tensor(0, (2, 70)).requires_grad_()
    y = operators.xnor_linear(x, operators.pack_signs(tensor(1, (5, 1, 1, 70)), 3), 70, tensor(2, (5,)))
    with pytest.raises(RuntimeError, match="backward"):
        y.sum().backward()
