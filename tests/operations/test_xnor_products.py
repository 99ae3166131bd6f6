"""Binary products and linear layers: against the reference and NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_calls import (
    CHANNELS,
    FILTERS,
    OUTPUTS,
    WEIGHTS,
    assert_result,
    by_windows,
    expected_of_linear,
    outputs_of,
    to_backend,
)
from fastconv import reference, xnor_linear, xnor_matmul
from strategies import MANY, SIGNED, arrays, few, seeds, shapes, values

STACKS = {
    "rows": ([()], [()]),
    "one matrix": ([(), (3,), (2, 3)], [(), (1,)]),
    "a stack of each": ([(3,), (2, 3), (2, 1)], [(3,), (2, 3), (1, 3)]),
    "a stack of matrices": ([(), (1,)], [(3,), (2, 3)]),
}
"""Leading dimensions of the operands, which broadcast."""


@st.composite
def products(draw, stacks):
    """Operands of a product of signs, possibly 1-D, stacked or packed."""
    m, k, n = (draw(st.sampled_from([1, 2, 5, 13, 64, 65, 130])) for _ in range(3))
    one, other = ((*draw(st.sampled_from(leading)),) for leading in STACKS[stacks])
    flat = draw(st.sampled_from(["a", "b", "both"])) if stacks == "rows" else ""
    a = draw(arrays((k,) if flat in ("a", "both") else (*one, m, k), SIGNED, special=MANY))
    b = draw(arrays((k,) if flat in ("b", "both") else (*other, k, n), SIGNED, special=MANY))
    pack_a, pack_b = draw(st.booleans()), draw(st.booleans())
    return (
        reference.pack_signs(a) if pack_a else a,
        reference.pack_signs(b, axis=-2 if b.ndim > 1 else -1) if pack_b else b,
    )


@pytest.mark.parametrize("stacks", STACKS)
@few
@given(st.data())
def test_matmul_equals_reference(backend, stacks, data):
    a, b = data.draw(products(stacks))
    actual = xnor_matmul(to_backend(backend, a), to_backend(backend, b))
    assert_result(backend, actual, reference.xnor_matmul(a, b))


@given(seeds, st.integers(1, 70), st.integers(1, 200), st.integers(1, 70))
def test_matmul_equals_the_product_in_floats(backend, seed, m, k, n):
    a, b = values(seed, (m, k), "f4"), values(seed + 1, (k, n), "f4")
    expected = np.where(a >= 0, 1.0, -1.0) @ np.where(b >= 0, 1.0, -1.0)
    actual = xnor_matmul(backend.asarray(a), backend.asarray(b))
    np.testing.assert_array_equal(backend.asnumpy(actual), expected)


@pytest.mark.parametrize("output", OUTPUTS)
@few
@given(st.data())
def test_linear_equals_reference(backend, output, data):
    features, outputs = data.draw(st.sampled_from(CHANNELS)), data.draw(st.sampled_from(FILTERS))
    x = data.draw(arrays((*data.draw(shapes(0, 2, (1, 2, 7))), features), SIGNED))
    w = data.draw(arrays((outputs, features), WEIGHTS, magnitude=1.0))
    output = data.draw(outputs_of(outputs, features, (output,)))
    if data.draw(st.booleans()) and not by_windows(output):
        x = reference.pack_signs(x)
    weights = [w, reference.pack_filters(w[:, :, None, None])]
    if not isinstance(output.get("scale"), str):
        weights.append(reference.pack_signs(w))
    w = data.draw(st.sampled_from(weights))
    arguments = {name: to_backend(backend, value) for name, value in output.items()}
    actual = xnor_linear(to_backend(backend, x), to_backend(backend, w), **arguments)
    assert_result(backend, actual, *expected_of_linear(x, w, output, features))
