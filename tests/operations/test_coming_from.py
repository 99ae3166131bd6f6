"""What docs/coming-from.md says of other libraries is true for strides greater than 1, too."""

import doctest
from itertools import product

import numpy as np
import pytest

import fastconv
from checkout import ROOT
from strategies import values


def page_function(name):
    """A function that an example of the page defines."""
    examples = doctest.DocTestParser().get_examples((ROOT / "docs" / "coming-from.md").read_text("utf-8"))
    (source,) = (example.source for example in examples if example.source.startswith(f"def {name}("))
    defined = {}
    exec(source, defined)
    return defined[name]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_pairs_put_windows_where_cntk_puts_them(stride):
    """The outermost centers as far from both edges, to a pixel, and a pixel nearer to the first."""
    pad = page_function("pad_like_cntk")
    for n, k in product(range(1, 14), range(1, 7)):
        before, after = pad(n, k, stride)
        centers = np.arange(-(-n // stride)) * stride - before + (k - 1) // 2
        assert 0 <= (n - 1 - centers[-1]) - centers[0] <= 1
        assert centers[-1] - centers[0] + k == n + before + after
        if stride == 1:
            assert (before, after) == ((k - 1) // 2, k // 2)
        if min(before, after) < 0:
            continue
        x, w = values(n, (1, 3, n, n), "f4"), values(k, (2, 3, k, k), "f4")
        signs, filters = np.where(x >= 0, 1, -1), np.where(w >= 0, 1, -1)
        around = np.pad(signs, [(0, 0), (0, 0), (k, k), (k, k)])
        begins = centers - (k - 1) // 2 + k
        expected = [
            [(around[0, :, i : i + k, j : j + k] * filters).sum((1, 2, 3)) for j in begins] for i in begins
        ]
        actual = fastconv.xnor_conv2d(x, w, stride=stride, padding=((before, after),) * 2)
        np.testing.assert_array_equal(np.moveaxis(actual[0], 0, -1), expected)
        if stride == 1:
            np.testing.assert_array_equal(actual, fastconv.xnor_conv2d(x, w, padding="same"))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_pytorchs_rows(torch, stride, padding):
    functional = torch.nn.functional
    x, w = torch.from_numpy(values(0, (2, 6, 11, 9), "f8")), torch.from_numpy(values(1, (6, 5, 3, 3), "f8"))
    there = functional.conv_transpose2d(x, w, None, stride, padding)
    columns = w.reshape(6, -1).T @ x.reshape(2, 6, -1)
    here = fastconv.col2im(columns, tuple(there.shape[2:]), 3, 1, padding, stride)
    torch.testing.assert_close(here, there)
    there = functional.unfold(x, 3, 2, padding, stride)
    assert torch.equal(fastconv.im2col(x, 3, 2, padding, stride), there)
    torch.testing.assert_close(
        fastconv.col2im(there, (11, 9), 3, 2, padding, stride),
        functional.fold(there, (11, 9), 3, 2, padding, stride),
    )
    signs = torch.where(x >= 0, 1.0, -1.0)
    pooled = fastconv.binary_max_pool2d(fastconv.pack_signs(x, axis=1), 3, stride=stride, padding=padding)
    there = functional.max_pool2d(signs, 3, stride, padding)
    assert torch.equal(pooled.unpack(torch.float32).movedim(-1, 1), there)
    weight = torch.from_numpy(values(2, (4, 6, 3, 3), "f4"))
    filters = torch.where(weight >= 0, 1.0, -1.0)
    for value in (0, 1):
        around = functional.pad(signs, (padding,) * 4, value=value)
        here = fastconv.xnor_conv2d(x, weight, stride=stride, padding=padding, pad_value=value)
        assert torch.equal(here, functional.conv2d(around, filters, stride=stride).int())


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_same_is_tensorflows_rule(stride):
    """Larq's rows: the total of ⌈n / stride⌉ windows is split in half, the odd one after."""
    for n, k in product(range(1, 12), range(1, 6)):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        x, w = values(n, (1, 3, n, n), "f4"), values(k, (2, 3, k, k), "f4")
        pairs = ((total // 2, total - total // 2),) * 2
        for pad_value in (0, 1):
            options = {"stride": stride, "pad_value": pad_value}
            expected = fastconv.xnor_conv2d(x, w, padding=pairs, **options)
            np.testing.assert_array_equal(fastconv.xnor_conv2d(x, w, padding="same", **options), expected)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_clip_of_the_number_of_bits_gives_cntks_gradient(torch, bits):
    from fastconv.nn import BinaryConv2d

    torch.manual_seed(0)
    layer = BinaryConv2d(3, 4, 3, stride=2, activation_bits=bits, weight_bits=bits, clip=bits)
    layer.weight.data.normal_(std=2)
    x = torch.randn(2, 3, 9, 9) * 3
    x.requires_grad_(True)
    layer(x).square().sum().backward()
    for v in (x, layer.weight):
        passed, beyond = v.grad[v.abs() <= bits], v.grad[v.abs() > bits]
        assert beyond.numel() > 0
        assert (beyond == 0).all()
        assert (passed != 0).float().mean() > 0.9
