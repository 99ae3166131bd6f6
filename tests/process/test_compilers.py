"""Every public operation works inside ``torch.compile``, which breaks its graph there; first calls, too."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import optional

import fastconv
from checkout import SUPPORT
from fastconv import PackedFilters, PackedSigns, Threshold
from right_calls import CALLS

torch = optional("torch")

OPERATIONS = sorted({call.operation for call in CALLS.values()})


def compiled(function):
    torch.compiler.reset()
    return torch.compile(function, backend="eager")


@pytest.mark.parametrize(
    ("first", "kind", "cases"),
    [("fastconv", "tensors", CALLS), ("torch", "arrays", OPERATIONS), ("torch", "reference", OPERATIONS)],
    ids=["tensors", "arrays", "reference"],
)
def test_every_first_call_may_be_inside_a_compiler(first, kind, cases):
    assert run(first, kind, *cases) == ""


def test_nothing_need_be_compiled_before(tmp_path):
    assert run("torch", "tensors", "popcount_sum", NUMBA_CACHE_DIR=str(tmp_path)) == ""


def run(*arguments, **settings):
    done = subprocess.run(
        [sys.executable, SUPPORT / "compiled_calls.py", *arguments],
        env=os.environ | settings, capture_output=True, text=True,
    )  # fmt: skip
    return done.stderr if done.returncode else ""


def test_one_function_may_call_operations_more_often_than_compilers_compile():
    def several(x):
        signs = fastconv.pack_signs(x)
        return fastconv.xnor_matmul(signs, signs) + fastconv.popcount_sum(signs.words)

    step = compiled(several)
    for rows in range(1, 30):
        x = torch.randn(rows, 70)
        assert torch.equal(step(x), several(x))


def test_packed_values_are_made_and_read_inside():
    def inside(x):
        words = fastconv.packbits64((x > 0).to(torch.uint8))
        signs = PackedSigns(words, 70, check=True)
        filters = PackedFilters(words.reshape(3, 1, 1, 2), 70, torch.ones(3))
        step = Threshold(torch.zeros(3, dtype=torch.int32), torch.zeros(3, dtype=torch.bool))
        found = fastconv.xnor_linear(signs, filters, threshold=step)
        return found.unpack(torch.float32) * signs.shape[-1] + len(repr(signs)) + found.nbytes

    x = torch.randn(3, 70)
    assert torch.equal(compiled(inside)(x), inside(x))


def test_results_go_where_they_shall():
    def into(x):
        out = torch.full(x.shape, 77, dtype=torch.uint8)
        fastconv.popcount(x, out=out)
        return out + 1

    x = torch.arange(12).reshape(3, 4)
    assert torch.equal(compiled(into)(x), into(x))


def test_errors_are_those_of_other_calls():
    with pytest.raises(TypeError, match="popcount: x must be bool or integer, got dtype float32"):
        compiled(lambda x: fastconv.popcount(x) + 1)(torch.ones(3))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_parameters_are_tensors_without_gradients(mode):
    layer = torch.nn.Conv2d(6, 4, 3)
    x = torch.randn(2, 6, 8, 8)
    with mode():
        y = compiled(lambda x: fastconv.conv2d(x, layer.weight, layer.bias) * 2)(x)
    np.testing.assert_allclose(y.numpy(), 2 * layer(x).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_nothing_of_compilers_is_loaded_for_tensors_alone():
    code = (
        "import sys, torch, fastconv; fastconv.popcount(torch.arange(3)); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
