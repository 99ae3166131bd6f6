"""A deployed model gives what the trained one gives, on words of bits wherever that is exact."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import optional
from hypothesis import given
from hypothesis import strategies as st

from strategies import seeds

torch = optional("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:deploy. the signs.* never change")  # of what is drawn
from fastconv.nn import BinaryConv2d, BinaryLinear, BinaryMaxPool2d, Sign, deploy, operators  # noqa: E402
from fastconv.nn.deployment.fold import fold  # noqa: E402
from fastconv.nn.graph import PackedGraph  # noqa: E402
from fastconv.nn.modules import PackedConv2d, PackedLinear  # noqa: E402
from fastconv.nn.packing import PackSigns  # noqa: E402
from fastconv.nn.resizing import PackedMaxPool2d  # noqa: E402
from networks import Follower, by_operators, filled, in_layout  # noqa: E402

SCALES = st.sampled_from([None, "alpha", "learned"])
CHANNELS = st.sampled_from([1, 2, 6, 64, 65, 90])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


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
        "hardswish": nn.Hardswish,
    }
    names = draw(st.lists(st.sampled_from(["norm", "norm", *make]), max_size=2))
    return [make[name]() for name in names]


@st.composite
def images_layers(draw, channels):
    """Some layers for images of ``channels``, and how many channels they give."""
    kind = draw(st.sampled_from(["binary"] * 6 + ["float", "float", "average"]))
    if kind == "float":
        filters = draw(CHANNELS)
        layers = [nn.Conv2d(channels, filters, 3, padding=1), *draw(channelwise(filters, True))]
        if draw(st.booleans()):
            layers += [nn.MaxPool2d(3, 2, padding=1), *draw(channelwise(filters, True))]
        return [*layers, *draw(st.sampled_from([[], [nn.BatchNorm2d(filters)], [Sign()]]))], filters
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
    if draw(st.integers(0, 3)) == 0:
        return [nn.Linear(features, filters), *draw(channelwise(filters, False))], filters
    layer = BinaryLinear(features, filters, bias=draw(st.booleans()), scale=draw(SCALES))
    sign = [Sign()] if draw(st.booleans()) else []
    return [layer, *draw(channelwise(filters, False)), *sign], filters


def output(layers, channels):
    """What ``layers`` make of an image of the size that is tested; None if it is too small for them."""
    try:
        return nn.Sequential(*layers).eval()(torch.zeros(2, channels, 7, 9))
    except (RuntimeError, ValueError):  # of PyTorch's layers, and of ours
        return None


@st.composite
def models(draw):
    """A chain of layers for images (2, C, 7, 9), some nested, and C."""
    channels = first = draw(CHANNELS.filter(lambda n: n > 1))  # whose layout PyTorch can tell
    layers = draw(st.sampled_from([[], [Sign()], [Sign(), nn.MaxPool2d(2)]]))
    for _ in range(draw(st.integers(1, 3))):
        more, filters = draw(images_layers(channels))
        if output([*layers, *more], first) is not None:
            layers = [*layers, nn.Sequential(*more)] if draw(st.booleans()) else [*layers, *more]
            channels = filters
    if draw(st.booleans()):
        layers += [nn.Flatten(), *draw(st.sampled_from([[], [Sign()], [nn.ReLU()]]))]
        features = output(layers, first).shape[1]
        for _ in range(draw(st.integers(1, 2))):
            more, features = draw(rows_layers(features))
            layers += more
    return nn.Sequential(*layers), first


@given(models(), seeds, st.sampled_from(["channels_last", "as given"]), st.booleans())
def test_deployed_chain_equals_the_float_chain(made, seed, layout, last):
    model, channels = made
    filled(model, seed % 1000)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, channels, 7, 9), np.float32))
    x = in_layout(x, "channels_last") if last else x
    before = copy.deepcopy(model.state_dict())
    deployed, report = deploy(model, x, layout=layout)
    with torch.no_grad():
        trained = (
            model if layout == "as given" else copy.deepcopy(model).to(memory_format=torch.channels_last)
        )
        expected = trained(in_layout(x, layout))
        for _ in range(2):  # planned, then by the plans
            assert torch.equal(deployed(x), expected)
        assert torch.equal(by_operators(deployed, x), expected), "operator by operator"
    assert report.deviation == 0
    assert report.before == sum(t.nbytes for t in before.values())
    assert report.after == sum(t.nbytes for t in deployed.state_dict().values())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("n", [0, 1, 4])
@given(seed=seeds, pooled=st.booleans())
def test_a_chain_is_folded_if_and_only_if_a_comparison_gives_its_signs(n, seed, pooled):
    """Against tables of all functions: what is pooled, and what the sign is taken of."""
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(np.sort(rng.integers(-2, 3, 2 * n + 1), axis=0)[:: rng.choice([1, -1])].copy())
    if rng.random() < 0.7:
        values = torch.from_numpy(rng.integers(-2, 3, 2 * n + 1))
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], 5)).float()

    def before(y):
        return values[y.long() + n].float()

    def after(v):
        return signs[v.long() + 2]

    if pooled:
        folded = fold(before, [], [after], 1, False, n, torch.device("cpu"))
    else:
        folded = fold(lambda y: after(before(y)), [], None, 1, False, n, torch.device("cpu"))
    y = torch.arange(-n, n + 1)
    bits = after(before(y)) > 0
    windows = [(a, b) for a in y for b in y] if pooled else [(a, a) for a in y]
    largest = torch.tensor([bool(after(torch.maximum(before(a), before(b))) > 0) for a, b in windows])
    if folded is None:
        together = [(bits[a + n] | bits[b + n], bits[a + n] & bits[b + n]) for a, b in windows]
        by_or, by_and = (torch.tensor(part) for part in zip(*together, strict=True))
        is_step = (bits[1:] != bits[:-1]).sum() <= 1
        assert not (is_step and (torch.equal(largest, by_or) or torch.equal(largest, by_and)))
        return
    tau, flip, inverted = folded.threshold.tau, folded.threshold.flip, folded.inverted
    passed = [((a >= tau) ^ flip) | ((b >= tau) ^ flip) for a, b in windows]
    assert torch.equal(torch.cat(passed) ^ inverted, largest)


@given(seed=seeds, pooled=st.booleans(), image=st.booleans(), others=st.data())
def test_numbers_are_compared_where_their_sign_changes(seed, pooled, image, others):
    """At the threshold of each channel, beside it on both sides, and anywhere else."""
    norm = nn.BatchNorm2d if image else nn.BatchNorm1d
    chain = [norm(70), *others.draw(st.sampled_from([[], [nn.PReLU(70), norm(70)], [nn.ReLU6(), norm(70)]]))]
    if pooled and image:
        chain.insert(others.draw(st.integers(0, len(chain))), nn.MaxPool2d((1, 2)))
    filled(nn.Sequential(*chain), seed % 1000)
    for module in chain:
        if isinstance(module, nn.PReLU):
            module.weight.data.abs_()
    last = BinaryConv2d(70, 3, 1) if image else BinaryLinear(70, 3)
    deployed, _ = deploy(nn.Sequential(*chain, last))
    modules = [*deployed]
    tau = modules[0].tau.nan_to_num(0, 0, 0)
    kinds = [PackSigns, PackedMaxPool2d] if pooled and image else [PackSigns]
    assert [type(module) for module in modules][:-1] == kinds
    beside = [torch.nextafter(tau, tau + side) for side in (-1, 0, 1)]
    rng = np.random.default_rng(seed)
    far = torch.from_numpy(rng.standard_cauchy((8, 70)).astype(np.float32))
    x = torch.cat([torch.stack(beside), far, torch.full((1, 70), 1e19)])
    x = torch.stack([x, x[torch.from_numpy(rng.permutation(len(x)))]], dim=2)  # two columns
    x = x[:, :, None] if image else x[..., 0].contiguous()
    for given_x in (x, x.to(memory_format=torch.channels_last)) if image else (x,):
        words = nn.Sequential(*modules[:-1])(given_x)
        expected = Sign()(nn.Sequential(*chain)(given_x))
        found = operators.unpack_signs(words, 70, torch.float32)
        assert torch.equal(found.movedim(-1, 1) if image else found, expected)


def test_signs_stay_packed_from_layer_to_layer():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), Sign(), BinaryMaxPool2d(2),
        nn.Sequential(BinaryConv2d(64, 128, 3, scale="alpha"), nn.BatchNorm2d(128)),
        nn.Sequential(BinaryConv2d(128, 65, 3), nn.PReLU(65), nn.MaxPool2d(2), nn.BatchNorm2d(65)),
        nn.Dropout(),
        nn.Flatten(), BinaryLinear(65, 32, bias=True), nn.BatchNorm1d(32), Sign(), BinaryLinear(32, 10),
    )  # fmt: skip
    for prelu in (m for m in filled(model, 0).modules() if isinstance(m, nn.PReLU)):
        prelu.weight.data.abs_()
    deployed, report = deploy(model)
    kinds = []
    for layer in deployed:
        layer.register_forward_hook(lambda module, taken, given: kinds.append(given.dtype))
    x = torch.randn(2, 3, 14, 14).contiguous(memory_format=torch.channels_last)
    assert torch.equal(deployed(x), model(x))
    assert kinds == [torch.float32] + [torch.uint64] * (len(kinds) - 2) + [torch.float32]
    bits = {row.name: row for row in report.rows}["4.0"]
    assert (bits.before, bits.after) == (128 * 64 * 9 * 4, 128 * 64 * 9 // 8 + 128 * 5)
    assert str(report).count("folded into") == 7
    assert all(row.name in str(report) and row.layer in str(report) for row in report.rows)


@pytest.mark.parametrize(
    ("between", "stay"),
    [
        ([nn.GELU(), nn.BatchNorm2d(6)], 1),
        ([nn.BatchNorm2d(6, track_running_stats=False)], 1),
        ([nn.MaxPool2d(2, ceil_mode=True)], 1),
        ([nn.MaxPool2d(2), nn.MaxPool2d(2), nn.BatchNorm2d(6)], 1),
        ([nn.Softmax(dim=1)], 1),
    ],
)
def test_what_no_comparison_gives_stays_as_it_was(between, stay):
    model = nn.Sequential(BinaryConv2d(5, 6, 3), *between, Sign(), BinaryConv2d(6, 7, 1))
    filled(model, 0)
    x = torch.randn(2, 5, 9, 9)
    deployed, _ = deploy(model, layout="as given")
    assert [type(m) for m in deployed][1 : 1 + stay] == [type(m) for m in between[:stay]]
    assert (len(deployed) > 2 + stay) == (len(between) > stay)
    assert torch.equal(deployed(x), model(x))


def test_where_a_sign_changes_twice_numbers_are_compared_in_the_same_call():
    model = nn.Sequential(
        BinaryConv2d(5, 6, 3), nn.PReLU(init=-0.5), nn.BatchNorm2d(6), Sign(), BinaryConv2d(6, 7, 1)
    )
    filled(model, 0)
    model[1].weight.data.fill_(-0.5)
    model[2].running_mean.fill_(9)
    model[2].weight.data.fill_(1)
    x = torch.randn(2, 5, 9, 9)
    deployed, report = deploy(model, x)
    assert [type(m) for m in deployed] == [PackedConv2d, PackedConv2d]
    assert deployed[0].steps[1] == "prelu"
    assert deployed[0].gives == ["signs"]
    assert report.deviation == 0


class Residual(nn.Module):
    """A block that is no chain."""

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            BinaryConv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            BinaryConv2d(channels, channels, 3, padding=1),
        )
        self.shortcut = BinaryConv2d(channels, channels, 1, bias=True)
        self.nothing = None

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


def test_blocks_are_captured_and_packed_once():
    block = Residual(6)
    model = filled(nn.Sequential(nn.Conv2d(3, 6, 3), block, block, nn.ReLU(), BinaryConv2d(6, 2, 3)), 0)
    x = torch.randn(2, 3, 9, 9)
    deployed, report = deploy(model, x)
    assert report.deviation == 0
    kinds = [type(m) for m in deployed]
    assert kinds.count(nn.Conv2d) == 1
    assert set(kinds) <= {nn.Conv2d, PackedConv2d, PackSigns, nn.ReLU}
    names = [row.name for row in report.rows if row.layer not in ("", "+")]
    assert names == ["0", "1.body.0", "1.body.1", "1.body.2", "1.shortcut", "1.body.2", "3", "4"]
    lone, _ = deploy(model[-1])
    assert torch.equal(lone(x.repeat(1, 2, 1, 1)), model[-1](x.repeat(1, 2, 1, 1)))


class Slicing(nn.Module):
    """A module that does with its chains what only it knows."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            BinaryConv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), Sign(),
            nn.Sequential(BinaryConv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            BinaryConv2d(6, 6, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.body[:2](x) + self.body[3][0](x) + self.body[-1](x) * len(self.body)


def test_chains_inside_what_cannot_be_traced_keep_their_indices():
    model = filled(Slicing(), 0)
    x = torch.randn(2, 6, 9, 9)
    deployed, report = deploy(model, x)
    assert report.deviation == 0
    assert [type(m) for m in deployed.body] == [
        PackedGraph,
        nn.BatchNorm2d,
        Sign,
        nn.Sequential,
        PackedGraph,
    ]
    assert [type(m) for m in deployed.body[3]] == [PackedGraph, nn.BatchNorm2d, nn.ReLU]
    assert report.rows[0].became == "layer by layer"
    assert "test_deploy.py:" in report.rows[0].reason


class Results(nn.Module):
    """A model that gives what ``make`` makes of numbers."""

    def __init__(self, make):
        super().__init__()
        self.layer = BinaryLinear(6, 7, activation_bits=2)
        self.make = make

    def forward(self, x):
        return self.make(self.layer(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda y: (y.new_zeros(2), y),
        lambda y: {"all": [torch.arange(3), y, y.isnan()], "half": y[:0].half(), "label": "none"},
    ],
)
def test_models_that_give_several_tensors_are_compared(make):
    torch.manual_seed(0)
    model, x = Results(make).eval(), torch.randn(2, 6)
    deployed, report = deploy(model, x)
    difference = (model.layer(x) - deployed.layer(x)).abs().max()
    assert report.deviation == difference.item() < 1e-4


@pytest.mark.parametrize(
    "options", [{"scale": "xnor"}, {"activation_bits": 2}, {"weight_bits": 2, "bias": True}]
)
def test_layers_that_look_at_magnitudes_are_equal_or_within_rounding(options):
    layers = BinaryConv2d(6, 8, 3, padding=1, **options), BinaryLinear(5, 70, **options)
    model = nn.Sequential(Sign(), layers[0], Sign(), layers[1])
    x = torch.randn(2, 6, 5, 5)
    deployed, report = deploy(model.eval(), x)
    assert report.deviation < (1e-30 if options == {"scale": "xnor"} else 1e-4)
    assert {type(m) for m in deployed} >= {PackedConv2d, PackedLinear}


def test_unbatched_images_and_rows_of_more_axes():
    convolution = nn.Sequential(
        BinaryConv2d(6, 70, 3), nn.ReLU(), Sign(), BinaryMaxPool2d(2), BinaryConv2d(70, 3, 1, scale="alpha")
    )
    linear = nn.Sequential(BinaryLinear(6, 70, bias=True), nn.Hardtanh(), BinaryLinear(70, 3))
    for model in (convolution, linear):
        deployed, _ = deploy(model.eval())
        for shape in ((6, 5, 6), (2, 6, 5, 6)):
            x = torch.randn(shape)
            assert torch.equal(deployed(x), model(x))


def test_a_module_with_a_hook_is_called():
    model = filled(nn.Sequential(BinaryConv2d(5, 6, 3), nn.BatchNorm2d(6), Sign(), BinaryConv2d(6, 7, 1)), 0)
    calls = []
    model[1].register_forward_hook(lambda *given: calls.append(given))
    x = torch.randn(2, 5, 9, 9)
    deployed, _ = deploy(model)
    assert torch.equal(deployed(x), model(x))
    assert len(calls) == 2


@torch.inference_mode()
def chain_for_images():
    layers = [nn.Conv2d(3, 65, 3), nn.BatchNorm2d(65), nn.MaxPool2d(2), BinaryConv2d(65, 70, 3, padding=1)]
    return filled(nn.Sequential(*layers, nn.BatchNorm2d(70), Sign(), BinaryConv2d(70, 6, 3)), 3)


def test_what_follows_operators_sees_those_of_a_deployed_model():
    deployed, _ = deploy(chain_for_images())
    x = torch.randn(2, 3, 12, 12)
    with Follower() as follower:
        y = deployed(x)
    operators_seen = [name for name in follower.seen if name.startswith("fastconv.")]
    assert [name.split(".")[1] for name in operators_seen] == [
        *("compare", "binary_max_pool2d", "xnor_conv2d_steps", "xnor_conv2d_steps"),
    ]
    assert torch.equal(y, deployed(x))


def test_threads_may_share_a_deployed_model():
    deployed, _ = deploy(chain_for_images())
    images = torch.randn(8, 3, 20, 20).split(1)
    expected = [deployed(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            assert all(map(torch.equal, pool.map(deployed, images), expected))


def test_a_state_loaded_in_inference_mode_is_noticed():
    first, second = (nn.Sequential(BinaryLinear(70, 9), Sign(), BinaryLinear(9, 5)) for _ in range(2))
    x = torch.randn(20, 70)
    (deployed, _), (other, _) = deploy(first, x), deploy(second, x)
    assert not any(tensor.is_inference() for tensor in deployed.state_dict().values())
    assert torch.equal(deployed(x), first(x))
    deployed.load_state_dict(other.state_dict())
    assert torch.equal(deployed(x), second(x))
    assert not torch.equal(first(x), second(x))


def test_compilers_take_a_deployed_model():
    model = filled(
        nn.Sequential(
            nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5),
            BinaryConv2d(5, 70, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(70), nn.Flatten(),
            BinaryLinear(70 * 16, 6, bias=True), nn.ReLU(),
        ), 0,
    )  # fmt: skip
    deployed, _ = deploy(model)
    x = torch.randn(2, 3, 8, 8)
    assert any(isinstance(m, PackSigns) and m.flip.any() for m in deployed)
    assert any(isinstance(m, PackedMaxPool2d) and m.inverting for m in deployed)
    exported = torch.export.export(deployed, (x,)).module()
    compiled = torch.compile(deployed, backend="eager", fullgraph=True)
    for run in (exported, compiled):
        assert torch.equal(run(x), model(x))


def test_images_that_do_not_fit_are_refused():
    model = chain_for_images()[1:4]
    deployed, _ = deploy(model)
    for channels in (1, 64, 66, 128):
        with pytest.raises(
            ValueError, match=rf"must have shape \(N, 65, H, W\) here, got \(2, {channels}, 9, 9\)"
        ):
            deployed(torch.randn(2, channels, 9, 9))
        with pytest.raises(ValueError, match="tau and flip must have shape"):
            operators.compare(torch.randn(2, channels, 9, 9), 1, deployed[0].tau, deployed[0].flip)
    flat = nn.Sequential(BinaryConv2d(1, 3, 3, padding=1), Sign(), nn.Flatten(), BinaryLinear(48, 5))
    deployed, _ = deploy(flat)
    with pytest.raises(ValueError, match="images of 3 channels must have 48 numbers, got 4 rows of 5"):
        deployed(torch.randn(2, 1, 4, 5))


def test_no_images_give_no_numbers():
    chain = [
        nn.Conv2d(3, 8, 3),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(8),
        BinaryConv2d(8, 4, 3),
        Sign(),
        nn.MaxPool2d(2),
    ]
    model = filled(nn.Sequential(*chain, BinaryConv2d(4, 5, 1)), 0)
    deployed, _ = deploy(model)
    assert any(isinstance(m, PackedMaxPool2d) and m.inverting for m in deployed)
    x = torch.randn(2, 3, 12, 12)
    for images in (x, x[:0]):
        assert torch.equal(deployed(images), model(images))


def test_a_forward_of_its_own_is_called():
    model = nn.Sequential(BinaryConv2d(3, 4, 3), Sign(), BinaryConv2d(4, 5, 3))
    own = model[0].forward
    model[0].forward = lambda x: -own(x)
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(deploy(model)[0](x), model(x))


def test_gradients_and_casts_are_refused():
    deployed, _ = deploy(chain_for_images())
    x = torch.randn(2, 3, 12, 12, requires_grad=True)
    with pytest.raises(TypeError, match="no gradient flows through packed layers"):
        deployed(x)
    with torch.no_grad():
        deployed(x)
    assert deployed.to("meta")(x.to("meta")).shape == deploy(chain_for_images())[0](x.detach()).shape
    with pytest.raises(TypeError, match=r"tau must be float32, got torch\.float16"):
        deploy(chain_for_images())[0].half()(x.detach().half())


def test_what_cannot_be_deployed_is_refused():
    with pytest.raises(TypeError, match="got function"):
        deploy(lambda x: x)
    with pytest.raises(TypeError, match="must give a tensor, or tuples, lists or dicts of them, got str"):
        deploy(Results(str), torch.randn(2, 6))
    with pytest.raises(TypeError, match=r"float32, got torch.float16 in 1; use model.float\(\)"):
        deploy(nn.Sequential(nn.ReLU(), BinaryConv2d(5, 6, 3)).half())
    model = nn.Sequential(BinaryLinear(6, 7), nn.BatchNorm1d(7), BinaryLinear(7, 8))
    with pytest.raises(ValueError, match=r"must have shape \(N, in\) here, got \(2, 7, 6\)"):
        deploy(model)[0](torch.randn(2, 7, 6))
    model = nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7), BinaryLinear(7, 8))
    with pytest.raises(ValueError, match=r"must have shape \(N, 7\) here, got \(2, 7, 7\)"):
        deploy(model)[0](torch.randn(2, 7, 6))
