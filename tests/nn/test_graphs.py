"""Networks of any shape are deployed as graphs, and give bit for bit what the trained ones give."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from conftest import optional
from hypothesis import given
from hypothesis import strategies as st

from strategies import seeds

torch = optional("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:deploy. the signs.* never change")  # of what is drawn
from fastconv.nn import BinaryConv2d, BinaryLinear, Sign, deploy, load, save  # noqa: E402
from fastconv.nn.graph import PackedGraph  # noqa: E402
from fastconv.nn.modules import PackedConv2d  # noqa: E402
from networks import by_operators, filled, in_layout  # noqa: E402

CHANNELS = (2, 6, 64, 65)
SIZE = (6, 4)


class Channelwise(nn.Module):
    """A tensor of the model added to, or multiplied by, what comes: as published layers write it."""

    def __init__(self, channels, times=False, expanded=False):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.times, self.expanded = times, expanded

    def forward(self, x):
        other = self.bias.expand_as(x) if self.expanded else self.bias
        return x * other if self.times else x + other


class Drawn(nn.Module):
    """A network of lines (kind, layer or None, indices of values); the last values are given."""

    def __init__(self, lines, given):
        super().__init__()
        self.kinds = [(kind, sources) for kind, _, sources in lines]
        self.layers = nn.ModuleList([nn.Identity() if layer is None else layer for _, layer, _ in lines])
        self.given = given

    def forward(self, x):
        values = [x]
        for (kind, sources), layer in zip(self.kinds, self.layers, strict=True):
            parts = [values[source] for source in sources]
            if kind == "add":
                values.append(parts[0] + parts[1])
            elif kind == "cat":
                values.append(torch.cat(parts, 1))
            elif kind == "interpolate":
                values.append(
                    nn.functional.interpolate(nn.functional.avg_pool2d(parts[0], 2), scale_factor=2)
                )
            elif kind == "relu":
                values.append(torch.relu(parts[0]))
            elif kind == "where":
                values.append(torch.where(parts[0] >= 0, 1.0, -1.0))
            elif kind == "strict":
                values.append(torch.where(parts[0] > 0, 1.0, -1.0))
            elif kind == "flatten":
                values.append(parts[0].reshape(parts[0].size(0), -1))
            else:
                values.append(layer(parts[0]))
        return tuple(values[given] for given in self.given)


def binary(draw, channels):
    groups = draw(st.sampled_from([g for g in (1, 1, 1, 2, channels) if channels % g == 0]))
    filters = draw(st.sampled_from([c for c in CHANNELS if c % groups == 0] or [groups]))
    return BinaryConv2d(
        channels, filters, draw(st.sampled_from([1, 3, (3, 1)])), padding="same", groups=groups,
        bias=draw(st.booleans()), pad_value=draw(st.sampled_from([0, 1, -1])),
        scale=draw(st.sampled_from([None, "alpha", "alpha", "learned"])),
    )  # fmt: skip


def line(draw, values):
    """Another line, and the channels of what it gives."""
    source = draw(st.sampled_from([len(values) - 1] * 3 + [*range(len(values))]))
    channels = values[source]
    same = [i for i, other in enumerate(values) if other == channels]
    kind = draw(st.sampled_from(["binary"] * 4 + ["norm"] * 2 + ["add"] * 3 + [
        "cat", "relu", "prelu", "hardtanh", "shift", "scale", "sign", "where", "strict", "pool", "float",
        "swish", "upsample", "interpolate", "idle",
    ]))  # fmt: skip
    if kind == "binary":
        layer = binary(draw, channels)
        return (kind, layer, [source]), layer.out_channels
    if kind == "float":
        return (kind, nn.Conv2d(channels, 6, 1), [source]), 6
    if kind == "add":
        return (kind, None, [source, draw(st.sampled_from(same))]), channels
    if kind == "cat":
        others = draw(st.lists(st.sampled_from(range(len(values))), min_size=1, max_size=2))
        parts = [source, *others]
        return (kind, None, parts), sum(values[part] for part in parts)
    layers = {
        "norm": lambda: nn.BatchNorm2d(channels),
        "prelu": lambda: nn.PReLU(channels),
        "hardtanh": nn.Hardtanh,
        "shift": lambda: Channelwise(channels, expanded=draw(st.booleans())),
        "scale": lambda: Channelwise(channels, times=True),
        "sign": Sign,
        "pool": lambda: nn.MaxPool2d(3, 1, 1),
        "swish": nn.Hardswish,
        "upsample": lambda: nn.Sequential(
            nn.Upsample(scale_factor=2), nn.BatchNorm2d(channels), Sign(), nn.MaxPool2d(2)
        ),
        "idle": draw(st.sampled_from([nn.Identity, nn.Dropout])),
    }
    return (kind, layers[kind]() if kind in layers else None, [source]), channels


@st.composite
def networks(draw):
    """A network for images of some channels."""
    first = draw(st.sampled_from(CHANNELS))
    values, lines = [first], []
    for _ in range(draw(st.integers(3, 9))):
        made, channels = line(draw, values)
        if channels <= 200:
            lines.append(made)
            values.append(channels)
    last = len(lines)
    given = [last]
    if draw(st.booleans()):
        given.append(draw(st.integers(1, last)))
    if draw(st.integers(0, 2)) == 0:
        features = values[last] * SIZE[0] * SIZE[1]
        lines.append(("flatten", None, [last]))
        lines.append(("linear", BinaryLinear(features, 9, bias=draw(st.booleans())), [last + 1]))
        lines += [("norm", nn.BatchNorm1d(9), [last + 2]), ("linear", BinaryLinear(9, 5), [last + 3])]
        given.append(last + 4)
    return Drawn(lines, given), first


@given(networks(), seeds, st.sampled_from(["channels_last", "as given"]))
def test_deployed_graph_equals_the_trained_network(tmp_path_factory, made, seed, layout):
    model, channels = made
    filled(model, seed % 1000)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(np.rint(8 * rng.standard_normal((2, channels, *SIZE))).astype(np.float32) / 8)
    deployed, report = deploy(model, x, layout=layout)
    assert type(deployed) is PackedGraph
    with torch.no_grad():
        trained = copy.deepcopy(model)
        if layout == "channels_last":
            trained = trained.to(memory_format=torch.channels_last)
        expected = trained(in_layout(x, layout))
        for given_back in (deployed(x), deployed(x), by_operators(deployed, x)):
            assert all(torch.equal(a, b) for a, b in zip(given_back, expected, strict=True))
    assert report.deviation == 0
    path = tmp_path_factory.mktemp("networks") / "network.safetensors"
    save(deployed, path)
    assert all(torch.equal(a, b) for a, b in zip(load(path)(x), deployed(x), strict=True))
    assert report.before == sum(t.nbytes for t in model.state_dict().values())


class Signs(nn.Module):
    """A user's sign, whose gradient is of no interest here."""

    def __init__(self, zero=1.0):
        super().__init__()
        self.zero = zero

    def forward(self, x):
        if x.sum() > 1e30:  # which cannot be traced
            return x
        signs = torch.where(x > 0, 1.0, -1.0)
        return torch.where(x == 0, self.zero, signs)


def block(channels=64, **options):
    return nn.Sequential(
        BinaryConv2d(channels, channels, 3, padding=1, scale="alpha", **options), nn.BatchNorm2d(channels)
    )


class Shortcut(nn.Module):
    """A block with a shortcut around it, whose input and output may be signs of the user's."""

    def __init__(self, sign=None, after=None):
        super().__init__()
        self.sign = nn.Identity() if sign is None else sign
        self.body = block()
        self.after = nn.Identity() if after is None else after

    def forward(self, x):
        return self.after(self.body(self.sign(x)) + x)


def deployed_equally(model, x, **options):
    """The deployed model and its report; bit for bit the trained one."""
    filled(model, 1)
    deployed, report = deploy(model, x, **options)
    assert report.deviation == 0
    return deployed, report


X = torch.randn(2, 64, 6, 5, generator=torch.Generator().manual_seed(0))


def test_a_block_with_a_shortcut_is_one_call():
    deployed, report = deployed_equally(nn.Sequential(Shortcut(), Shortcut(), nn.Conv2d(64, 3, 1)), X)
    first, second, last = deployed
    assert [type(first), type(second), type(last)] == [PackedConv2d, PackedConv2d, nn.Conv2d]
    assert (first.gives, second.gives) == (["numbers", "signs"], ["numbers"])
    assert first.steps == ["scale", "fused", "add"]
    assert len(deployed.calls) == 3
    assert {row.reason for row in report.rows} == {""}


def test_a_users_own_sign_is_taken_for_one_if_it_is_named():
    model = nn.Sequential(Shortcut(Signs()), Shortcut(Signs()))
    deployed, _ = deployed_equally(model, X, signs=[Signs])
    assert [type(module) for module in deployed] == [PackedConv2d, PackedConv2d]
    with pytest.raises(
        ValueError, match=r"deploy: 0.sign, of signs, must give \+1 where x >= 0 .* not for 0"
    ):
        deploy(nn.Sequential(Shortcut(Signs(-1.0))), signs=[Signs])
    deployed, report = deployed_equally(model, X)
    assert "test_graphs.py:" in report.rows[0].reason
    assert [type(layer) for layer in deployed[0].body[0]] == [PackedConv2d]


def test_wrappers_are_looked_through_and_parametrizations_applied():
    parametrized = block()
    nn.utils.parametrize.register_parametrization(parametrized[0], "weight", nn.Tanh())
    averaged = torch.optim.swa_utils.AveragedModel(nn.Sequential(Shortcut(), parametrized))
    for model in (averaged, nn.Sequential(averaged, Shortcut()), nn.DataParallel(Shortcut())):
        deployed, _ = deployed_equally(model, X)
        assert {type(module) for module in deployed} == {PackedConv2d}


class Renamed(BinaryConv2d):
    """Nothing that is called is overridden."""

    def __init__(self, channels):
        super().__init__(channels, channels, 3, padding=1)


class Doubled(BinaryConv2d):
    """What is called is."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_subclasses_are_what_they_compute():
    deployed, _ = deployed_equally(nn.Sequential(Renamed(64), nn.BatchNorm2d(64), Sign(), Renamed(64)), X)
    assert [type(module) for module in deployed] == [PackedConv2d, PackedConv2d]
    deployed, _ = deployed_equally(nn.Sequential(Doubled(64, 64, 1), nn.BatchNorm2d(64)), X)
    assert not any(isinstance(module, PackedConv2d) for module in deployed.modules())


def test_a_norm_after_a_residual_is_a_step():
    model = nn.Sequential(Shortcut(after=nn.BatchNorm2d(64)), Shortcut())
    deployed, report = deployed_equally(model, X)
    assert [type(module) for module in deployed] == [PackedConv2d, PackedConv2d]
    assert deployed[0].steps == ["scale", "fused", "add", "fused"]
    assert {row.reason for row in report.rows} == {""}


def test_a_norm_that_is_no_multiply_add_is_folded_by_algebra_if_that_is_asked_for(monkeypatch):
    """As on devices that compute it otherwise."""
    monkeypatch.setattr("fastconv.nn.deployment.steps.multiply_add", lambda *_: None)
    model = filled(nn.Sequential(Shortcut(after=nn.BatchNorm2d(64)), Shortcut()), 1)
    deployed, report = deploy(model, X)
    (reason,) = {row.reason for row in report.rows} - {""}
    assert "exact=False" in reason
    assert report.deviation == 0
    assert sum(isinstance(module, nn.BatchNorm2d) for module in deployed) == 3
    deployed, report = deploy(model, X, exact=False)
    assert [type(module) for module in deployed] == [PackedConv2d, PackedConv2d]
    assert report.deviation < 1e-4
    assert {row.reason for row in report.rows} == {""}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: [block(), nn.GELU()], "no step of a kernel gives GELU; ReLU"),
        (lambda: [block()[0], nn.BatchNorm2d(64, track_running_stats=False)], "track_running_stats=False"),
        (lambda: [block(weight_bits=2)[0], block()], None),
    ],
)
def test_what_is_not_fused_has_a_reason(model, said):
    _, report = deploy(filled(nn.Sequential(*model()), 1), X)
    reasons = {row.reason for row in report.rows} - {""}
    assert (said is None and not reasons) or any(said in reason for reason in reasons)
    assert said is None or f"[1] {report.rows[-1].reason or next(iter(reasons), None)}" in str(report)


@pytest.mark.parametrize("between", [[], [nn.BatchNorm2d(64)]])
def test_signs_that_never_change_are_named(between):
    model = filled(nn.Sequential(nn.Conv2d(64, 64, 3), *between, nn.ReLU(), *block()), 1)
    with pytest.warns(UserWarning, match="the signs before 3 never change|the signs before 2 never change"):
        _, report = deploy(model)
    (row,) = [row for row in report.rows if row.became.startswith("warning")]
    assert row.reason.startswith("all of 64 channels have one sign for all inputs after")


@pytest.mark.filterwarnings("ignore")  # of compilers, about themselves
def test_compilers_take_blocks_with_shortcuts():
    model = filled(nn.Sequential(nn.Conv2d(64, 64, 1), Shortcut(), nn.MaxPool2d(2), Shortcut()), 1)
    deployed, _ = deploy(model)
    exported = torch.export.export(deployed, (X,)).module()
    compiled = torch.compile(deployed, backend="eager", fullgraph=True)
    for run in (exported, compiled, copy.deepcopy(deployed)):
        assert torch.equal(run(X), deployed(X))


def test_a_network_may_take_and_give_several_values():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = block()

        def forward(self, x, y):
            return {"sum": self.body(x) + y, "parts": [x, (self.body(y), y.shape)]}

    model = filled(Several(), 1)
    deployed, report = deploy(model, (X, X.flip(0)))
    assert report.deviation == 0
    for _ in range(2):
        given = deployed(X, X.flip(0))
        assert given["parts"][1][1] == X.shape
    assert torch.equal(deployed(X, y=X)["sum"], deployed(X, X)["sum"])
    with pytest.raises(TypeError, match=r"takes the inputs \['x', 'y'\], got 1 values"):
        deployed(X)


class Written(nn.Module):
    """A network whose ``forward`` is one of the functions below."""

    def __init__(self, run):
        super().__init__()
        self.run, self.body, self.norm = run, block(8), nn.BatchNorm2d(8)
        self.conv = BinaryConv2d(8, 8, 3, padding=1)
        self.relu, self.tanh = nn.ReLU(inplace=True), nn.Hardtanh(inplace=True)
        self.dense, self.few = BinaryLinear(8 * 30, 12), BinaryConv2d(8, 1, 1)
        self.output = nn.Linear(8 * 30, 4)
        self.shift, self.one = (nn.Parameter(torch.randn(1, n, 1, 1)) for n in (8, 1))
        self.part = nn.Module()
        self.part.map, self.part_map = (nn.Parameter(torch.randn(1, 8, 6, 5)) for _ in "ab")

    def forward(self, x):
        return self.run(self, x)


def discarded(net, x):
    y = net.body(x)
    nn.functional.relu(y, inplace=True)
    return y


def module_discarded(net, x):
    y = net.body(x)
    net.relu(y)
    return y + x


def method_discarded(net, x):
    y = net.body(x)
    y.clamp_(-1, 1)
    return net.conv(y) + y


def another_name(net, x):
    y = net.body(x)
    other = y
    y += net.conv(y)
    return net.conv(y) + other


def another_name_of_a_module(net, x):
    y = net.body(x)
    y += x
    other = y
    y = net.tanh(y)
    return net.conv(y) + other


def cloned(net, x):
    y = net.body(x)
    other = y.clone()
    y = y.mul_(2)
    return net.conv(y) + other * y


def viewed(net, x):
    y = net.body(x)
    rows = y.flatten(1)
    rows.relu_()
    return net.conv(y)


def by_keyword(net, x):
    return net.tanh(input=net.conv(x=net.body(x)))


def shared_layer(net, x):
    return net.conv(net.norm(net.conv(x) + x)) + net.conv(net.body[1](net.conv(-x) + x))


def heads(net, x):
    return net.dense(net.body(x).flatten(1)).view(-1, 4)


def clips(net, x):
    return net.body(x).mean((2, 3)).view(x.flatten(0, 1).size(0), -1)


def named_as_a_network_names(net, x):
    return net.output(net.body(x).view(x.size(0), -1))


def maps_of_like_names(net, x):
    return net.conv(x) * net.part.map + net.part_map


def shuffled(net, x):
    y = net.conv(x)
    n, c, h, w = y.shape
    return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shifted_as_one(net, x):
    return net.dense((net.conv(x) + x + net.one).flatten(1))


def one_channel_shifted(net, x):
    return net.conv(net.few(x) + net.shift)


def residual_number(net, x):
    return net.conv(x) + x.mean()


def residual_of_more_images(net, x):
    return net.conv(x[:1]) + x


def added_to_sizes(net, x):
    n = x.size(0)
    m = n
    n += 1
    return net.body(x).reshape(m, -1) * n


FORWARDS = [
    discarded, module_discarded, method_discarded, another_name, another_name_of_a_module, cloned, viewed,
    by_keyword, shared_layer, heads, clips, named_as_a_network_names, maps_of_like_names, shuffled,
    shifted_as_one, one_channel_shifted, residual_number, residual_of_more_images, added_to_sizes,
]  # fmt: skip


@pytest.mark.parametrize("run", FORWARDS, ids=lambda run: run.__name__)
def test_what_a_models_code_does_is_kept(run):
    torch.manual_seed(0)
    model = filled(Written(run), 3)
    x = torch.randn(2, 8, 6, 5)
    deployed, report = deploy(model, layout="as given")
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(deployed(x.clone()), model(x.clone()))
    assert report.before == sum(t.nbytes for t in model.state_dict().values())


class CalledWithMore(nn.Module):
    """Layers that are called with several values, or with constants besides."""

    def __init__(self):
        super().__init__()
        self.conv, self.larger = BinaryConv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 3, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.larger(self.conv(x), output_size=[9, 10])
        rows = x.flatten(2).transpose(1, 2)
        return self.attention(rows, rows, value=rows, need_weights=False)[0]


def test_layers_may_be_called_with_more_than_a_value():
    deployed, report = deployed_equally(CalledWithMore(), torch.randn(2, 8, 6, 6))
    assert type(deployed[0]) is PackedConv2d
    assert [row.name for row in report.rows if row.became == "as it was"][:2] == ["larger", "attention"]
    assert report.before == sum(t.nbytes for t in CalledWithMore().state_dict().values())


def test_tensors_are_counted_whatever_name_was_free_for_them():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.calls = BinaryConv2d(3, 2, 3), nn.Parameter(torch.ones(4, 4))

        def forward(self, x):
            return self.conv(x) @ self.calls

    deployed, report = deploy(Mixed(), torch.ones(1, 3, 6, 6))
    assert report.deviation == 0
    assert report.after == sum(t.nbytes for t in deployed.state_dict().values())


def test_arguments_with_defaults_are_not_forgotten():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = block(8)

        def forward(self, x, scale=2.0, unused=None):
            return self.body(x) * scale

    model, x = filled(Scaled(), 1), torch.randn(2, 8, 6, 5)
    deployed, report = deploy(model, layout="as given")
    assert "the argument scale has a default" in report.rows[0].reason
    with torch.no_grad():
        assert torch.equal(deployed(x), model(x))
        assert torch.equal(deployed(x, scale=3.0), model(x, scale=3.0))
