"""Wrong calls raise the exact type, say what is wrong and what is accepted, and write nothing.

That they warn of nothing either is pytest's ``filterwarnings``.
"""

import functools
import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse

import fastconv
from bad_calls import CALLS, WRONG, signs
from fastconv._backends import BACKENDS
from right_calls import call_by_name

WITH_OUT = [name for name in CALLS if "out" in inspect.signature(getattr(fastconv, name)).parameters]
ARRAYS = [(name, a) for name in CALLS for a, value in CALLS[name].items() if isinstance(value, np.ndarray)]
INTEGERS = [(name, a) for name in CALLS for a, value in CALLS[name].items() if type(value) is int]
ROWS = [
    pytest.param(name, *row, id=f"{name}: {row[1]}".encode("ascii", "replace").decode())
    for name, rows in WRONG.items()
    for row in rows
]


def call(name, **changes):
    return call_by_name(getattr(fastconv, name), CALLS[name] | changes)


@functools.cache
def right_result(name):
    return call(name)


def blank(name):
    """``out`` as the right call wants it, filled so that any write shows."""
    return np.full_like(right_result(name), 77)


def check_refusal(name, error, expected, changes):
    out = changes.get("out")
    before = out.tobytes() if isinstance(out, np.ndarray) else None
    with pytest.raises(error) as caught:
        call(name, **changes)
    assert type(caught.value) is error
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    for part in expected.split("; "):
        assert part in message
    assert before is None or out.tobytes() == before


def test_every_public_name_has_rows():
    assert set(WRONG) == set(CALLS) == set(fastconv.__all__) - {"reference"}


@pytest.mark.parametrize(("name", "error", "expected", "changes"), ROWS)
def test_wrong_argument(name, error, expected, changes):
    out = {"out": blank(name)} if name in WITH_OUT else {}
    check_refusal(name, error, expected, out | changes)


def read_only(out):
    out.flags.writeable = False
    return out


WRONG_OUT = {
    "list": (TypeError, "out must be an array; list", lambda out: out.tolist()),
    "scalar": (TypeError, "out must be an array; int", lambda out: np.int64(0)),
    "packed": (TypeError, "PackedSigns; supported: numpy", lambda out: signs(3)),
    "shape": (ValueError, "out must have shape; got", lambda out: out[..., None]),
    "dtype": (TypeError, "out must have dtype; complex64", lambda out: out.astype("c8")),
    "read-only": (ValueError, "out must be writable; read-only", read_only),
}


@pytest.mark.parametrize("name", WITH_OUT)
@pytest.mark.parametrize("kind", WRONG_OUT)
def test_wrong_out(name, kind):
    error, expected, made_from = WRONG_OUT[kind]
    check_refusal(name, error, expected, {"out": made_from(blank(name))})


FOREIGN = {
    "numpy.ma": np.ma.ones((3, 70)),
    "scipy.sparse": scipy.sparse.eye_array(3),
    "builtins.object": object(),
}


@pytest.mark.parametrize("namespace", FOREIGN)
@pytest.mark.parametrize(("name", "argument"), ARRAYS + [(name, "out") for name in WITH_OUT])
def test_array_of_another_library_beside_numpy(name, argument, namespace):
    conversion = BACKENDS[namespace].conversion if namespace in BACKENDS else "numpy.asarray(x)"
    expected = f"{namespace}; supported: numpy; Convert with {conversion}"
    check_refusal(name, TypeError, expected, {argument: FOREIGN[namespace]})


BESIDE = [(name, a) for name, a in ARRAYS if [n for n, _ in ARRAYS].count(name) > 1]


@pytest.mark.parametrize(("name", "argument"), BESIDE + [(name, "out") for name in WITH_OUT])
def test_tensor_beside_numpy(torch, name, argument):
    expected = f"both; numpy; torch; Convert one with {BACKENDS['torch'].conversion}"
    check_refusal(name, TypeError, expected, {argument: torch.ones(3, 70)})


@pytest.mark.parametrize("dtype", [bool, np.uint8, "U2", "nonsense"])
def test_unpack_into_a_type_without_minus_one(dtype):
    with pytest.raises(TypeError, match=r"^PackedSigns\.unpack: dtype must .*, got "):
        signs(3, 70).unpack(dtype)


@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.array])
@pytest.mark.parametrize(("name", "argument"), INTEGERS)
def test_any_integer_is_an_integer(name, argument, kind):
    actual = call(name, **{argument: kind(CALLS[name][argument])})
    assert pickle.dumps(actual) == pickle.dumps(right_result(name))
