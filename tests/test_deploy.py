"""A deployed model gives what the trained one gives, on words of bits wherever that is exact."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from conftest import optional
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import seeds

torch = optional("torch")
nn = torch.nn
from fastconv.nn import BinaryConv2d, BinaryLinear, BinaryMaxPool2d, Sign, deploy  # noqa: E402

SCALES = st.sampled_from([None, "alpha", "learned"])
CHANNELS = st.sampled_from([1, 2, 6, 64, 65, 90])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def filled(model, seed):
    """``model`` with statistics and parameters that put numbers on either side of 0, and often on it."""
    generator = torch.Generator().manual_seed(seed)

    def choice(values, size):
        return torch.tensor(values)[torch.randint(len(values), size, generator=generator)]

    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            size = (module.num_features,)
            module.running_mean.copy_(torch.randint(-9, 10, size, generator=generator))
            module.running_var.copy_(choice([0.3, 1.0, 7.0], size))
            if module.affine:
                module.weight.data.copy_(choice([-1.5, -0.3, 0.0, 0.7, 1.0, 2.0], size))
                module.bias.data.copy_(choice([-1.1, -0.0, 0.0, 0.0, 0.6], size))
        elif isinstance(module, nn.PReLU):
            module.weight.data.copy_(choice([-0.5, 0.0, 0.25, 1.0], module.weight.shape))
        elif isinstance(module, (BinaryConv2d, BinaryLinear)):
            module.weight.data.copy_(torch.randn(module.weight.shape, generator=generator))
            if module.learned_scale is not None:
                module.learned_scale.data.copy_(choice([-0.8, 0.0, 0.1, 1.0], module.learned_scale.shape))
            if module.bias is not None:
                module.bias.data.copy_(choice([-3.0, 0.0, 0.5], module.bias.shape))
    return model.eval()


@st.composite
def channelwise(draw, channels, image):
    """Modules that may stand between a product and a sign."""
    norm = nn.BatchNorm2d if image else nn.BatchNorm1d
    make = {
        "norm": lambda: norm(channels),
        "plain norm": lambda: norm(channels, affine=False),
        "prelu": lambda: nn.PReLU(channels),
        "prelu of one": nn.PReLU,
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(0.1),
        "hardtanh": nn.Hardtanh,
        "dropout": nn.Dropout,
        "gelu": nn.GELU,
    }
    names = draw(st.lists(st.sampled_from(["norm", "norm", *make]), max_size=2))
    return [make[name]() for name in names]


@st.composite
def images_layers(draw, channels):
    """Some layers for images of ``channels``, and how many channels they give."""
    kind = draw(st.sampled_from(["binary"] * 6 + ["float", "average"]))
    if kind == "float":
        filters = draw(CHANNELS)
        return [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters)], filters
    if kind == "average":
        return [nn.AvgPool2d(2, 1, padding=1)], channels
    groups = draw(st.sampled_from([g for g in (1, 1, 2, 3, channels) if channels % g == 0]))
    filters = groups * draw(st.sampled_from([1, 3, 33, 65] if groups < 4 else [1, 2]))
    layer = BinaryConv2d(
        channels, filters, draw(st.sampled_from([1, 2, 3, (1, 3)])),
        stride=draw(st.sampled_from([1, 1, 2, (1, 2)])), padding=draw(st.sampled_from([1, (2, 1), "same"])),
        dilation=draw(st.sampled_from([1, 1, 2])), groups=groups, bias=draw(st.booleans()),
        pad_value=draw(st.sampled_from([0, 0, 1, -1])), scale=draw(SCALES),
    )  # fmt: skip
    layers = [layer, *draw(channelwise(filters, True))]
    if draw(st.booleans()):
        layers += [nn.MaxPool2d(draw(st.sampled_from([2, 3])), draw(st.sampled_from([1, 2])), padding=1)]
        layers += draw(channelwise(filters, True))
    if draw(st.booleans()):
        layers.append(Sign())
        if draw(st.booleans()):
            layers.append(BinaryMaxPool2d(2, 1, padding=draw(st.sampled_from([0, 1, "same"]))))
        if draw(st.booleans()):
            layers.append(nn.MaxPool2d(2, 1, padding=1))
    return layers, filters


@st.composite
def rows_layers(draw, features):
    filters = draw(CHANNELS)
    layer = BinaryLinear(features, filters, bias=draw(st.booleans()), scale=draw(SCALES))
    sign = [Sign()] if draw(st.booleans()) else []
    return [layer, *draw(channelwise(filters, False)), *sign], filters


@st.composite
def models(draw):
    """A chain of layers for images (2, C, 7, 9), some nested, and C."""
    channels = first = draw(CHANNELS)
    layers = draw(st.sampled_from([[], [Sign()], [Sign(), nn.MaxPool2d(2)]]))
    for _ in range(draw(st.integers(1, 3))):
        more, channels = draw(images_layers(channels))
        layers += [nn.Sequential(*more)] if draw(st.booleans()) else more
    if draw(st.booleans()):
        layers += [nn.Flatten(), *draw(st.sampled_from([[], [Sign()], [nn.ReLU()]]))]
        image = torch.zeros(2, first, 7, 9)
        features = nn.Sequential(*layers).eval()(image).shape[1]
        for _ in range(draw(st.integers(1, 2))):
            more, features = draw(rows_layers(features))
            layers += more
    return nn.Sequential(*layers), first


@settings(max_examples=100)
@given(models(), seeds)
def test_deployed_chain_equals_the_float_chain(made, seed):
    model, channels = made
    filled(model, seed % 1000)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, channels, 7, 9), np.float32))
    before = copy.deepcopy(model.state_dict())
    deployed, report = deploy(model, x)
    with torch.no_grad():
        assert torch.equal(deployed(x), model(x))
    assert report.deviation == 0
    assert report.before == sum(t.nbytes for t in before.values())
    assert report.after == sum(t.nbytes for t in deployed.state_dict().values())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
