"""Float modules that work channel by channel are one pass in a deployed network, equal bit for bit."""

from __future__ import annotations

import copy

import pytest
from conftest import optional

torch = optional("torch")
nn = torch.nn
from fastconv.nn import BinaryConv2d, BinaryLinear, deploy, load, save  # noqa: E402
from fastconv.nn.channelwise import Channelwise  # noqa: E402
from fastconv.nn.deployment.norms import multiply_add  # noqa: E402
from fastconv.nn.graph import PackedGraph  # noqa: E402
from networks import by_operators, filled  # noqa: E402

IMAGES = torch.randn(2, 3, 19, 16, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """What a stem gives, and a binary layer around which it goes."""

    def __init__(self, *stem, channels=70):
        super().__init__()
        self.stem = nn.Sequential(*stem)
        self.layer = BinaryConv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return self.layer(x) + x


def deployed_equally(model, x):
    model = filled(model, 1)
    deployed, report = deploy(model, x)
    assert type(deployed) is PackedGraph
    trained = copy.deepcopy(model).to(memory_format=torch.channels_last)
    last = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
    with torch.no_grad():
        expected = trained(last)
        for given in (deployed(x), deployed(x)):
            assert torch.equal(given.isnan(), expected.isnan())
            assert torch.equal(given.nan_to_num(7), expected.nan_to_num(7))
    assert report.deviation == 0 or expected.isnan().any()
    return deployed, report


STEMS = {
    "norm and pool": [nn.BatchNorm2d(70), nn.MaxPool2d(3, 2, 1)],
    "norm, activation, pool, norm": [nn.BatchNorm2d(70), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(70)],
    "pool first": [nn.MaxPool2d((3, 2), (2, 1)), nn.BatchNorm2d(70), nn.PReLU(70)],
    "no pool": [nn.BatchNorm2d(70, affine=False), nn.Hardtanh(), nn.Dropout(), nn.LeakyReLU(-0.5)],
}


@pytest.mark.parametrize("stem", STEMS)
def test_a_stem_is_one_pass_that_gives_numbers_and_signs(stem, tmp_path):
    deployed, report = deployed_equally(Residual(nn.Conv2d(3, 70, 3), *STEMS[stem]), IMAGES)
    convolution, one, layer = deployed
    assert [type(convolution), type(one)] == [nn.Conv2d, Channelwise]
    assert (one.numbers, one.comparisons) == (True, 1)
    assert layer.overwrites
    assert {row.became for row in report.rows if "BatchNorm" in row.layer} <= {
        "one pass",
        "in one pass with stem_3",
    } | {row.became for row in report.rows if row.became.startswith("in one pass")}
    save(deployed, tmp_path / "network")
    assert torch.equal(load(tmp_path / "network")(IMAGES), deployed(IMAGES))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_none_go_the_same_way(number):
    x = IMAGES.clone()
    x[0, 1, 5, 5] = number
    deployed_equally(Residual(nn.Conv2d(3, 70, 3), *STEMS["norm and pool"]), x)


def test_signs_of_several_comparisons_come_from_one_pass():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU6())
            self.norms = nn.ModuleList([nn.BatchNorm2d(64) for _ in range(2)])
            self.layers = nn.ModuleList([BinaryConv2d(64, 8, 1) for _ in range(2)])

        def forward(self, x):
            x = self.stem(x)
            first, second = (layer(norm(x)) for layer, norm in zip(self.layers, self.norms, strict=True))
            return first + second + x.mean()

    deployed, _ = deployed_equally(Both(), IMAGES)
    (one,) = [module for module in deployed if isinstance(module, Channelwise)]
    assert (one.numbers, one.comparisons) == (True, 2)


class Lines(nn.Module):
    """Rows, or lines of channels along axis 1."""

    def __init__(self, axis_1):
        super().__init__()
        self.axis_1 = axis_1
        self.first = nn.Conv1d(5, 9, 1) if axis_1 else nn.Linear(5, 9)
        self.rest = nn.Sequential(nn.BatchNorm1d(9), nn.Hardtanh())
        self.last = BinaryLinear(9, 4)

    def forward(self, x):
        x = self.rest(self.first(x))
        return self.last(x.transpose(1, -1) if self.axis_1 else x).sum() + x


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_rows_and_lines_are_passes_too(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    deployed, _ = deployed_equally(Lines(len(shape) == 3), x)
    assert any(isinstance(module, Channelwise) for module in deployed)


def test_one_image_without_a_batch_is_as_good():
    model = filled(Residual(nn.Conv2d(3, 70, 3), nn.Hardtanh(), nn.MaxPool2d(2)), 1)
    deployed, _ = deploy(model)
    with torch.no_grad():
        expected = model.to(memory_format=torch.channels_last)(
            IMAGES[:1].contiguous(memory_format=torch.channels_last)
        )
    assert torch.equal(deployed(IMAGES[0]), expected[0])


def test_a_module_with_a_hook_stays():
    model = filled(Residual(nn.Conv2d(3, 70, 3), nn.BatchNorm2d(70), nn.ReLU6(), nn.BatchNorm2d(70)), 1)
    seen = []
    model.stem[1].register_forward_hook(lambda module, given, result: seen.append(result.shape))
    deployed, _ = deploy(model)
    deployed(IMAGES)
    assert seen
    assert any(isinstance(module, nn.BatchNorm2d) for module in deployed)
    assert any(isinstance(module, Channelwise) for module in deployed)


def test_layouts_are_kept_if_that_is_asked_for():
    deployed, _ = deploy(filled(Residual(nn.Conv2d(3, 70, 3), *STEMS["norm and pool"]), 1), layout="as given")
    assert not any(isinstance(module, Channelwise) for module in deployed)


def test_a_value_that_is_read_again_is_not_written_over():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Residual(nn.Conv2d(3, 70, 3), nn.BatchNorm2d(70), nn.Hardtanh())
            self.layers = nn.ModuleList([BinaryConv2d(70, 70, 3, padding=1) for _ in range(3)])

        def forward(self, x):
            x = self.first(x)
            y = self.layers[0](x) + x
            z = self.layers[1](y) + y
            return self.layers[2](z) + x

    deployed_equally(Twice(), IMAGES)


def test_what_a_hook_has_kept_stays_as_it_was():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Residual(nn.Conv2d(3, 70, 3), nn.BatchNorm2d(70), nn.Hardtanh())
            self.beside = nn.Conv2d(70, 1, 1)
            self.last = BinaryConv2d(70, 70, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            beside = self.beside(x)
            return (self.last(x) + x).sum() + beside

    deployed, _ = deployed_equally(Beside(), IMAGES)
    kept = []
    deployed.beside.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    deployed(IMAGES)
    by_operators(deployed, IMAGES)
    assert torch.equal(*kept)


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_is_a_multiply_add_of_any_number(image, affine):
    norm = (nn.BatchNorm2d if image else nn.BatchNorm1d)(33, affine=affine)
    model = filled(nn.Sequential(norm), 1)
    norm.running_mean[3], norm.running_var[4], norm.running_var[5] = 1e6, 1e-12, 1e12
    found = multiply_add(model[0], image)
    x = torch.randn(5, 33, *((7, 3) if image else ()), generator=torch.Generator().manual_seed(0)) * 1e3
    numbers = x.movedim(1, -1).reshape(-1, 33)
    assert torch.equal(found(numbers), norm(x).movedim(1, -1).reshape(-1, 33))
    assert multiply_add(norm, image, lambda: [numbers]).fused == found.fused


def test_what_is_no_multiply_add_is_none():
    class Other(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) * 1.5

    norm = filled(nn.Sequential(Other(8)), 1)[0]
    with torch.no_grad():
        norm.running_mean.fill_(0.1)
    assert multiply_add(norm, True) is None
