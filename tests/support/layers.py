"""Layers for the tests of PyTorch: numbers for them, and options that convolutions and linear layers take."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from strategies import MANY, values

DTYPES = {"f2": torch.float16, "bf2": torch.bfloat16, "f4": torch.float32, "f8": torch.float64}
SCALES = (None, "alpha", "xnor", "learned")


def tensor(seed, shape, dtype="f4", special=False):
    """Numbers with zeros among them; NaN, infinities and -0.0 if ``special``."""
    x = values(seed, shape, "f4" if dtype == "bf2" else dtype, magnitude=1.0, special=MANY * special)
    return torch.from_numpy(x).to(DTYPES[dtype])


def randomized(layer, seed):
    """``layer`` with parameters of a seed: zeros, numbers beyond the clip and -0.0 among them."""
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            parameter.copy_(tensor(seed + i, tuple(parameter.shape)))
        layer.weight.view(-1)[::5] *= -0.0
    return layer


@st.composite
def options_of_products(draw, most_bits=3):
    """Options that both layers take."""
    scale, bits = draw(st.sampled_from(SCALES)), st.sampled_from([1, 1, 1, *range(2, most_bits + 1)])
    return {
        "bias": draw(st.booleans()),
        "scale": scale,
        "activation_bits": 1 if scale == "xnor" else draw(bits),
        "weight_bits": draw(bits),
    }
