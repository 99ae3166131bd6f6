"""What the caller has set for himself changes nothing that layers and deployed models compute."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from conftest import optional

torch = optional("torch")
nn = torch.nn
from fastconv.nn import BinaryConv2d, BinaryLinear, BinaryMaxPool2d, Sign, deploy, operators  # noqa: E402


@contextmanager
def set_to(setter, value, default):
    setter(value)
    try:
        yield
    finally:
        setter(default)


WORLDS = {
    "errors": lambda: np.errstate(all="raise"),
    "float64": lambda: set_to(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: set_to(torch.set_default_dtype, torch.float16, torch.float32),
    "device": lambda: set_to(torch.set_default_device, "meta", None),
    "deterministic": lambda: set_to(torch.use_deterministic_algorithms, True, False),
}


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.ReLU6(),
        BinaryConv2d(3, 70, 3, padding=1, scale="alpha"),
        nn.BatchNorm2d(70),
        nn.PReLU(70),
        BinaryConv2d(70, 16, 3, stride=2, padding="same", pad_value=-1, scale="xnor"),
        Sign(),
        BinaryMaxPool2d(2),
        nn.Flatten(),
        BinaryLinear(16 * 9, 10, bias=True, activation_bits=2, weight_bits=2),
    )
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def images():
    """Between subnormal and the largest, with what is no number."""
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    exponents = torch.arange(x.numel()).reshape(x.shape) % 80 - 44
    x = torch.where(exponents % 2 == 0, x, x * 10.0**exponents)
    x[0, 0, 0, :4] = torch.tensor([torch.inf, torch.nan, -0.0, 1e-45])
    return x


def computed(model, x):
    """What a model, its layers and its deployed twin, asked twice, make of images."""
    deployed, _ = deploy(model)
    first, pool = model[2], model[7]
    tau = torch.tensor([1e-45, 3e38, -0.0], dtype=torch.float32, device="cpu")
    flip = torch.tensor([False, True, False], device="cpu")
    found = [
        deployed(x), deployed(x), first.binary_forward(x), first(x), pool.binary_forward(Sign()(x)),
        operators.compare(x, 1, tau, flip), *operators.binarize_residual(x, 3),
    ]  # fmt: skip
    wanted = x.clone().requires_grad_(True)
    first(wanted).sum().backward()
    return [*found, wanted.grad]


@pytest.mark.filterwarnings("ignore:deploy. the signs before 2 never change")
@pytest.mark.parametrize("world", WORLDS)
def test_layers_and_deployed_models_give_the_same_in_every_world(world):
    model, x = network(), images()
    with WORLDS[world]():
        actual = computed(model, x)  # the first call, of which much is remembered
    expected = computed(model, x)
    assert len(actual) == len(expected)
    for given, wanted in zip(actual, expected, strict=True):
        assert given.dtype == wanted.dtype
        assert given.detach().numpy().tobytes() == wanted.detach().numpy().tobytes()


def takes_numbers():
    """What takes the signs of a tensor of images, by the operation that it names."""
    torch.manual_seed(0)
    filters = BinaryConv2d(3, 8, 3).packed().words
    conv, _ = deploy(nn.Sequential(BinaryConv2d(3, 8, 3), Sign(), BinaryConv2d(8, 4, 3)))
    several, _ = deploy(nn.Sequential(BinaryConv2d(3, 8, 3, activation_bits=2)))
    pooled, _ = deploy(nn.Sequential(nn.Conv2d(3, 3, 1), Sign(), BinaryMaxPool2d(2), BinaryConv2d(3, 4, 3)))
    rows, _ = deploy(nn.Sequential(BinaryLinear(12, 4, scale="xnor")))
    options = [1, 1], [0, 0, 0, 0], [1, 1], 1, 0
    return {
        "xnor_conv2d": conv,
        "xnor_conv2d, in a model": nn.Sequential(conv),
        "xnor_conv2d, followed": conv[0],
        "binarize_residual": several,
        "pack_signs": nn.Sequential(*[*pooled][1:]),
        "xnor_linear": rows,
        "Sign": Sign(),
        "pack_signs, operator": lambda x: operators.pack_signs(x, 1),
        "binarize_residual, operator": lambda x: operators.binarize_residual(x, 2),
        "xnor_conv2d, operator": lambda x: operators.xnor_conv2d(x, filters, 3, *options),
    }


NUMBERS = takes_numbers()


@pytest.mark.parametrize("name", NUMBERS)
def test_unsigned_tensors_are_warned_of_in_every_call(name):
    x = torch.randint(0, 255, (2, 3, 12, 12), dtype=torch.uint8)
    operation = name.partition(",")[0]
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"^{operation}: all signs of x are .1") as caught:
            NUMBERS[name](x)
        assert [warning.filename for warning in caught] == [__file__]
        with pytest.raises(UserWarning, match=f"^{operation}: all signs"):
            NUMBERS[name](x)


def test_nothing_is_said_of_comparisons_with_numbers():
    model, _ = deploy(nn.Sequential(nn.BatchNorm2d(3), BinaryConv2d(3, 4, 3)).eval())
    x = torch.randint(0, 255, (2, 3, 12, 12), dtype=torch.uint8)
    assert torch.equal(model(x), model(x.float()))
