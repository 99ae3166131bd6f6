"""Every reason that a report can give is given for some model, in words that a page explains."""

from __future__ import annotations

import math
import re

import pytest
from conftest import optional

torch = optional("torch")
nn = torch.nn

from checkout import ROOT  # noqa: E402
from fastconv.nn import BinaryConv2d, BinaryLinear, Sign, deploy  # noqa: E402
from fastconv.nn.deployment import reasons  # noqa: E402

REASONS = {name: text for name, text in vars(reasons).items() if name.isupper()}
IMAGES, ROWS = torch.randn(2, 8, 6, 5), torch.randn(2, 5, 8)


def conv(**options):
    return BinaryConv2d(8, 8, 3, padding=1, **options)


def norm(**numbers):
    """A batch normalization with some numbers for all channels."""
    made = nn.BatchNorm2d(8, eps=0)
    for name, number in numbers.items():
        getattr(made, name).data.fill_(number)
    return made


def falling():
    """Numbers that fall and rise, and are below 0 in between."""
    slope = nn.PReLU(8)
    slope.weight.data.fill_(-0.5)
    return slope, norm(running_mean=1.5), conv()


def hooked(layer):
    layer.register_forward_hook(lambda module, given, result: result + 1)
    return layer


class Own(BinaryConv2d):
    """With another scale."""

    def alpha(self):
        return 2 * super().alpha()


class Written(nn.Module):
    """A convolution, and ``run``, with code of its own."""

    def __init__(self, run):
        super().__init__()
        self.conv, self.run = conv(), run

    def forward(self, x):
        return self.run(self.conv(x), x)


class Optional(nn.Module):
    """An argument with a default, which is read."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x, scale=2.0):
        return self.conv(x) * scale


def looks(y, x):
    return y if x.sum() > 0 else x


def to_out(y, x):
    return torch.add(y, x, out=torch.empty_like(x))


def copied(y, x):
    y.copy_(x)
    return y


def shared(y, x):
    flat = y.view(-1)
    y.relu_()
    return flat


CASES = {
    "SIGN_CHANGES": lambda: [conv(), *falling()],
    "NO_COMPARISON": lambda: [nn.Conv2d(8, 8, 3), *falling()],
    "SEVERAL_BITS_OF_K": lambda: [conv(scale="xnor", weight_bits=2)],
    "NOT_A_STEP": lambda: [conv(), nn.SiLU()],
    "BATCH_STATISTICS": lambda: [conv(), nn.BatchNorm2d(8, track_running_stats=False)],
    "OTHER_CHANNELS": lambda: [BinaryLinear(8, 6), nn.BatchNorm1d(5)],
    "NO_MULTIPLY_ADD": lambda: [conv(), norm(running_mean=1, running_var=0)],
    "HOOKED": lambda: [hooked(conv())],
    "OVERRIDDEN": lambda: [Own(8, 8, 3, scale="alpha")],
    "NO_GRAPH": lambda: [Written(looks)],
    "WRITES_TO_OUT": lambda: [Written(to_out)],
    "WRITES_IN_PLACE": lambda: [Written(copied)],
    "WRITES_TO_SHARED": lambda: [Written(shared)],
    "HAS_DEFAULT": lambda: [Optional()],
    "ONE_SIGN": lambda: [nn.Conv2d(8, 8, 1), norm(weight=0, bias=1), conv()],
}


def test_every_reason_has_a_model():
    assert CASES.keys() == REASONS.keys()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:deploy. the signs before")
def test_a_reason_is_given_and_nothing_changed(name):
    """The names that are filled in may be any. What is left as it was gives what it gave."""
    modules = CASES[name]()
    model = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    x = ROWS if name == "OTHER_CHANNELS" else IMAGES
    _, report = deploy(model.eval(), x, layout="as given")
    said = re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(REASONS[name])))
    assert [row for row in report.rows if said.fullmatch(row.reason)]
    assert report.deviation == 0 or (name == "NO_MULTIPLY_ADD" and math.isnan(report.deviation))
    assert said.search(str(report))


def test_what_some_channels_never_change_is_no_warning():
    model = nn.Sequential(conv(), norm(), Sign(), conv()).eval()
    model[1].weight.data[:3] = 0
    _, report = deploy(model)
    (row,) = (row for row in report.rows if row.became == "warning before 3")
    assert row.reason.startswith("3 of 8 channels have one sign for all inputs after BatchNorm2d; ")


def test_every_reason_is_on_the_page():
    page = (ROOT / "docs" / "nn.md").read_text("utf-8")
    for text in REASONS.values():
        sentence = re.split("[;:]", text.replace("it cannot be a graph, since ", ""))[0]
        longest = max(re.split(r"{\w+}", sentence), key=len).strip(" ,")
        assert longest in page
