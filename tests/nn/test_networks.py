"""Published networks, small: deployed, they give bit for bit what they gave, and little is left in floats."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from conftest import optional

torch = optional("torch")
from fastconv.nn import BinaryConv2d, BinaryLinear, deploy, load, save  # noqa: E402
from fastconv.nn.graph import PackedModule  # noqa: E402
from networks import by_operators  # noqa: E402
from peers.networks import NETWORKS  # noqa: E402
from peers.networks.catalogue import CLASS, MAKERS, ROW, made  # noqa: E402

FORMS = [(name, form) for name, maker in MAKERS.items() for form in maker.forms]
HEAD = {"AdaptiveAvgPool2d": 1, "Flatten": 1, "Linear": 1}
SMALLER = {"AvgPool2d": 1, "Conv2d": 1, "BatchNorm2d": 1}


@cache
def network_of(name):
    return made(name, small=True)


@pytest.fixture(scope="module", params=FORMS, ids=lambda pair: " ".join(pair).strip())
def deployment(request):
    """Name, trained and deployed network, report and images."""
    name, form = request.param
    network = network_of(name)
    x = torch.randn(3, *network.image, generator=torch.Generator().manual_seed(1))
    trained = network.trained[form]
    deployed, report = deploy(trained, x)
    return name, trained, deployed, report, x


def last(x):
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def test_deployed_network_equals_the_trained_one(deployment):
    _, trained, deployed, report, x = deployment
    with torch.no_grad():
        expected = trained(last(x))
        assert len(expected.unique()) > expected.numel() / 2
        for given in (deployed(x), deployed(x), deployed(last(x)), by_operators(deployed, x)):
            assert torch.equal(given, expected)
        assert torch.equal(deployed(x[:1]), trained(last(x[:1])))
    assert report.deviation == 0


def test_loaded_network_equals_the_trained_one(deployment, tmp_path):
    _, trained, deployed, _, x = deployment
    save(deployed, tmp_path / "network.safetensors")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "network.safetensors")(x), trained(last(x)))


def left_in_floats(deployed):
    """How many calls of a network compute with numbers, by what they call."""
    modules = [deployed._modules.get(call.target) for call in deployed.calls]
    return Counter(
        call.target if module is None else type(module).__name__
        for call, module in zip(deployed.calls, modules, strict=True)
        if not isinstance(module, PackedModule)
    )


def times(number, calls):
    return Counter({name: number * count for name, count in calls.items()})


NORMALIZED = {"Conv2d": 1, "BatchNorm2d": 1}
MOST_LEFT = {
    # the stem, what makes an image smaller around three blocks, the head
    "Bi-Real-18": Counter(NORMALIZED) + Counter(MaxPool2d=1) + times(3, SMALLER) + Counter(HEAD),
    # two blocks make images smaller; three double the channels, whose numbers lie side by side
    "ReActNet-A": Counter(NORMALIZED) + Counter(AvgPool2d=2) + times(3, {"torch.cat": 1}) + Counter(HEAD),
    # ReLU before a transition is a step of the layer before
    "QuickNet": times(3, NORMALIZED)
    + Counter(ReLU=1)
    + times(3, {"MaxPool2d": 1, "Conv2d": 2, "BatchNorm2d": 1})
    + Counter(HEAD),
    # all that was put side by side is put there once, for the transition and for the end, where the
    # normalization of each part may be a call
    "BinaryDenseNet-28": times(2, {"Conv2d": 1, "ReLU": 1, "MaxPool2d": 1, "torch.cat": 1})
    + Counter(BatchNorm2d=6, ReLU=1)
    + Counter(HEAD),
    # K takes numbers: normalizations and pooling stay, and what follows a binary layer does not
    "XNOR-AlexNet": Counter(NORMALIZED)
    + Counter(ReLU=1, MaxPool2d=3, BatchNorm2d=5, BatchNorm1d=2, Flatten=2, Dropout=1, Linear=1),
    "BinaryNet-VGG": Counter(Conv2d=1, LogSoftmax=1),
    "MLP of the XNOR-GEMM extension": Counter(Linear=3, LogSoftmax=1),
    "MLP with binary hidden layers": Counter(Linear=1, LogSoftmax=1),
    "U-Net": Counter(Conv2d=2),
}
"""What of the small networks may be left to PyTorch."""


def test_every_binary_layer_is_packed_and_nothing_that_could_be_part_of_it_is_left(deployment):
    name, trained, deployed, report, _ = deployment
    layers = [n for n, m in trained.named_modules() if isinstance(m, (BinaryConv2d, BinaryLinear))]
    became = {row.name: row.became for row in report.rows}
    assert all(became[layer].startswith("packed: ") for layer in layers)
    left = left_in_floats(deployed)
    left["LogSoftmax"] += left.pop("functional.log_softmax", 0)
    assert +left - MOST_LEFT[name] == Counter()


PASSED_ON = {
    "Bi-Real-18": (["numbers", "signs"], ["numbers"]),
    "BinaryNet-VGG": (["signs"], ["numbers"]),
    "MLP with binary hidden layers": (["signs"], ["numbers"]),
    "U-Net": (["signs"], ["numbers"]),
}
"""What every binary layer gives but the last, and the last, where all are alike."""


def test_layers_give_what_is_read(deployment):
    name, _, deployed, _, _ = deployment
    given = [module.gives for module in deployed if hasattr(module, "gives")]
    kinds = Counter(type(module).__name__ for module in deployed)
    assert kinds["UnpackSigns"] == 0
    if name in PASSED_ON:
        inner, outer = PASSED_ON[name]
        assert (given[:-1], given[-1]) == ([inner] * len(given[:-1]), outer)
        assert kinds["PackSigns"] <= 1


@pytest.mark.parametrize("name", [name for name, maker in MAKERS.items() if len(maker.forms) > 1])
def test_forms_of_a_network_become_the_same_calls(name):
    network = network_of(name)
    calls = {}
    for form in (CLASS, ROW):
        deployed, _ = deploy(network.trained[form])
        modules = [deployed._modules.get(call.target) for call in deployed.calls]
        calls[form] = [
            (repr(module) if module is not None else "LogSoftmax(dim=1)", call.args, call.results)
            for call, module in zip(deployed.calls, modules, strict=True)
        ]
    assert calls[CLASS] == calls[ROW]


@pytest.mark.parametrize("name", MAKERS)
def test_statistics_are_of_either_sign_and_some_are_0(name):
    network = network_of(name)
    for trained in network.trained.values():
        norms = [m for m in trained.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            if norm.affine:
                assert (norm.weight == 0).any()
                assert (norm.weight < 0).any()
                assert (norm.weight > 0).any()


@pytest.mark.parametrize("name", MAKERS)
def test_the_twin_has_the_layers_of_the_network_in_floats(name):
    network = network_of(name)
    (trained, *_), twin = network.trained.values(), network.twin
    assert not any(isinstance(module, (BinaryConv2d, BinaryLinear)) for module in twin.modules())
    shapes = [
        [tuple(p.shape) for n, p in model.named_parameters() if p.dim() in (2, 4) and n.endswith("weight")]
        for model in (trained, twin)
    ]
    assert shapes[0] == shapes[1]
    x = last(torch.zeros(2, *network.image))
    with torch.no_grad():
        assert twin(x).shape == trained(x).shape


def test_rows_and_networks_have_the_same_names():
    assert NETWORKS.keys() == MAKERS.keys()
