"""The error state that the caller has set for NumPy neither changes a result nor is changed."""

import numpy as np
import pytest

import fastconv
from fastconv import reference
from plans import planned_anew
from right_calls import CALLS, leaves
from strategies import MANY, values

ERRORS = {"all": "raise"}
MAGNITUDES = 10.0 ** np.array([-320, -160, -44, -30, -6, 0, 0, 0, 6, 30, 38, 160, 300])
"""Between numbers that are subnormal and such whose products overflow, in each type."""


def wild(array, seed):
    """Numbers like those of ``array``, far apart, NaN and infinities among them."""
    if array.dtype.kind != "f":
        return array
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        x = values(seed, array.shape, "f8", special=MANY * rng.integers(2))
        return (x * rng.choice(MAGNITUDES, array.shape[-1:])).astype(array.dtype)


def outcome(library, call, arrays, read):
    """The arrays that a call gives, read as NumPy's bytes, or what it says to arguments that it refuses."""
    try:
        return [read(leaf).tobytes() for leaf in leaves(call.call(library, *arrays))]
    except ValueError as refusal:
        return str(refusal)


@pytest.mark.parametrize("case", CALLS)
def test_error_states_change_no_result(backend, case):
    """Of first calls and later ones: not even where no number of the result says what happened on the way."""
    for seed in range(6):
        arrays = [wild(x, seed) if seed else x for x in CALLS[case].arrays(seed)]
        given = [backend.asarray(x) for x in arrays]
        with planned_anew(), np.errstate(all="ignore"):
            expected = outcome(fastconv, CALLS[case], given, backend.read)
        with planned_anew(), np.errstate(**ERRORS):
            for _ in range(2):
                assert outcome(fastconv, CALLS[case], given, backend.read) == expected
            assert set(np.geterr().values()) == {"raise"}


@pytest.mark.parametrize("case", CALLS)
def test_error_states_change_no_result_of_the_reference(case):
    for seed in range(6):
        arrays = [wild(x, seed) if seed else x for x in CALLS[case].arrays(seed)]
        with np.errstate(all="ignore"):
            expected = outcome(reference, CALLS[case], arrays, np.asarray)
        with np.errstate(**ERRORS):
            assert outcome(reference, CALLS[case], arrays, np.asarray) == expected
