"""However a model spells what it computes, its deployed network computes that, bit for bit."""

from __future__ import annotations

import copy
import operator

import pytest
from conftest import optional

torch = optional("torch")
nn = torch.nn
from torch.nn import functional  # noqa: E402

from fastconv.nn import BinaryConv2d, BinaryLinear, deploy, save  # noqa: E402
from fastconv.nn.graph import PackedGraph  # noqa: E402
from networks import filled  # noqa: E402

X = torch.randn(2, 16, 6, 6, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """Layers, and ``run``, which is what a model's own code does with them and its inputs."""

    def __init__(self, run, channels=16):
        super().__init__()
        self.conv, self.other = (BinaryConv2d(16, channels, 3, padding=1, scale="alpha") for _ in range(2))
        self.norm, self.lines = nn.BatchNorm2d(channels), nn.BatchNorm1d(channels)
        self.pixels, self.smaller = nn.Conv2d(1, 1, 1), nn.Conv2d(16, 1, 1)
        self.rows = BinaryLinear(16, 16, scale="alpha")
        self.p = nn.Parameter(torch.randn(1, channels, 1, 1))
        self.run = run

    def forward(self, x):
        return self.run(self, x)


class WrittenOfTwo(Written):
    def forward(self, a, b):
        return self.run(self, a, b)


def deployed_equally(model, *x, channels_last=True):
    model = filled(model, 1)
    deployed, report = deploy(model, x)
    trained = copy.deepcopy(model)
    if channels_last:
        trained = trained.to(memory_format=torch.channels_last)
        x = [part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part for part in x]
    with torch.no_grad():
        expected = trained(*x)
        for _ in range(2):
            assert torch.equal(deployed(*x), expected)
    assert report.deviation == 0
    return deployed, report


OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "torch.add": torch.add,
    "torch.sub": torch.sub,
    "torch.mul": torch.mul,
    ".add": lambda x, p: x.add(p),
    ".sub": lambda x, p: x.sub(p),
    ".mul": lambda x, p: x.mul(p),
    ".sub_": lambda x, p: x.sub_(p),
    "p +": lambda x, p: p + x,
    "p -": lambda x, p: p - x,
    "p *": lambda x, p: p * x,
}


@pytest.mark.parametrize("spelling", OPERATIONS)
@pytest.mark.parametrize("last", ["numbers", "signs"])
def test_arithmetic_of_channels(spelling, last):
    operation = OPERATIONS[spelling]
    ends = {
        "numbers": lambda m, x: operation(m.norm(m.conv(x)), m.p),
        "signs": lambda m, x: m.other(operation(m.norm(m.conv(x)), m.p)),
    }
    deployed_equally(Written(ends[last]), X)


CODES = {
    "where like ones": lambda m, x: m.other(torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))),
    "no sign": lambda m, x: m.other(torch.sub(2 * (x >= 0).float(), 1, alpha=3)),
    "flattened after a write": lambda m, x: torch.flatten(m.norm(m.conv(x)).clamp_(-1, 1), 1),
    "a pooled product added": lambda m, x: m.conv(nn.functional.adaptive_avg_pool2d(x, 1)) + x,
    "a product that a larger image is added to": lambda m, x: m.other(
        m.conv(functional.avg_pool2d(x, 6)) + x
    ),
    "channels of one": lambda m, x: m.norm(m.smaller(x) + m.p),
    "turned lines": lambda m, x: torch.relu(m.lines(m.rows(x.flatten(2).transpose(1, 2)).transpose(1, 2))),
    "rows": lambda m, x: m.rows(m.lines(m.rows(x[:, :, 0, 0])) + x[:, :, 1, 1]),
    "rows twice": lambda m, x: m.rows(m.rows(x.mean((2, 3))) + x.mean((2, 3))),
}


@pytest.mark.parametrize("code", CODES)
def test_code(code):
    deployed, _ = deployed_equally(Written(CODES[code]), X)
    assert type(deployed) is PackedGraph


@pytest.mark.parametrize("inplace", [True, False])
def test_rows_of_what_is_written_in_place(inplace):
    """As torchvision's networks have it between their halves."""
    layers = BinaryConv2d(16, 16, 3), nn.BatchNorm2d(16), nn.Hardtanh(inplace=inplace)
    model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), BinaryLinear(64, 5))
    deployed, _ = deployed_equally(model, X)
    assert type(deployed) is PackedGraph


@pytest.mark.parametrize("code", ["traced", "not traced"])
def test_views_that_want_the_numbers_of_a_channel_side_by_side(code):
    def run(m, x):
        x = m.conv(x) if code == "traced" or x.sum() > -1e9 else x
        return functional.adaptive_max_pool2d(x, 2).view(x.size(0), -1)

    deployed, _ = deployed_equally(Written(run), X, channels_last=False)
    assert (type(deployed) is PackedGraph) == (code == "traced")


def test_two_inputs_of_different_numbers_of_images():
    deployed_equally(WrittenOfTwo(lambda m, a, b: m.conv(a) + (a + b)), X[:1], X)


def test_shortcuts_of_rows_are_steps():
    model = Written(lambda m, x: m.rows(m.lines(m.rows(x)) + m.lines(m.rows(x))))
    deployed_equally(model, X[:, :, 0, 0].contiguous())


def test_what_is_called_twice_and_packed_twice_is_counted_twice():
    model = Written(lambda m, x: m.conv(m.conv(x)) + x)
    deployed, report = deployed_equally(model, X)
    assert report.after == sum(tensor.nbytes for tensor in deployed.state_dict().values())


def test_a_file_refuses_keys_that_it_would_change(tmp_path):
    deployed, _ = deploy(Written(lambda m, x: {4: m.conv(x)}).eval())
    with pytest.raises(TypeError, match="keys are str"):
        save(deployed, tmp_path / "network")
