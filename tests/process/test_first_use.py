"""What ``fastconv`` has at first use, and what it says where an optional library is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest
from conftest import optional

import fastconv
from checkout import ROOT
from fastconv import _later


def said(*lines, **settings):
    """What a process prints, and the last line of its errors."""
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=os.environ | settings, capture_output=True, text=True
    )
    return done.stdout + (done.stderr.splitlines() or [""])[-1]


def test_layers_are_found_without_an_import_of_pytorch():
    optional("torch")
    lines = (
        "import sys, fastconv",
        "assert 'torch' not in sys.modules and 'nn' in dir(fastconv) and 'torch' not in sys.modules",
        "assert fastconv.nn.Sign and fastconv.nn is sys.modules['fastconv.nn']",
        "import inspect; inspect.getmembers(fastconv); print('nn' in vars(fastconv))",
    )
    assert said(*lines) == "True\n"


MISSING = 'fastconv.nn: torch is not installed; pip install "fastconv[torch]"'


@pytest.mark.parametrize(
    "statement",
    [
        "from fastconv import nn", "import fastconv.nn", "import fastconv; fastconv.nn",
        "import fastconv.nn.operators", "from fastconv.nn.layers import BinaryConv2d",
    ],
)  # fmt: skip
def test_layers_without_pytorch_name_the_extra(statement):
    lines = "import sys; sys.modules['torch'] = None", "try:", f"    {statement}", "except ImportError: raise"
    assert said(*lines) == f"ModuleNotFoundError: {MISSING}"


def test_without_pytorch_there_are_no_layers_to_list():
    lines = (
        "import sys; sys.modules['torch'] = None",
        "import inspect, fastconv; inspect.getmembers(fastconv); print('nn' in dir(fastconv))",
    )
    assert said(*lines) == "False\n"


def test_a_pytorch_that_cannot_be_loaded_speaks_for_itself(tmp_path):
    (tmp_path / "torch.py").write_text("import libraries_of_torch")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    assert "No module named 'libraries_of_torch'" in said("import fastconv.nn", PYTHONPATH=path)


@pytest.mark.parametrize(
    "call", ["save(torch.nn.Sequential(torch.nn.ReLU()), {path!r})", "load({path!r})"], ids=["save", "load"]
)
def test_files_without_safetensors_name_the_extra(call, tmp_path):
    optional("torch")
    lines = (
        "import sys; sys.modules['safetensors'] = sys.modules['safetensors.torch'] = None",
        f"import torch; from fastconv.nn import load, save; {call.format(path=str(tmp_path / 'model'))}",
    )
    name = call.partition("(")[0]
    expected = f'ModuleNotFoundError: {name}: safetensors is not installed; pip install "fastconv[torch]"'
    assert said(*lines) == expected


def test_tensors_on_cuda_without_cupy_name_the_extras(monkeypatch):
    torch = optional("torch")
    from fastconv.adapters import torch_tensors

    on_cuda = SimpleNamespace(
        dtype=torch.float32, requires_grad=False, is_cuda=True,
        resolve_conj=lambda: on_cuda, resolve_neg=lambda: on_cuda,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "cupy", None)
    install = r'pip install "fastconv\[cuda13x\]" or pip install "fastconv\[cuda12x\]"'
    with pytest.raises(ModuleNotFoundError, match=f"tensors on CUDA: cupy is not installed; {install}"):
        torch_tensors.to_array(on_cuda)


CALL = "import numpy as np, fastconv; print(*fastconv.popcount(np.arange(3)))"


def test_without_compilation_kernels_name_the_variable_that_forbids_it():
    forbidden = said(CALL, NUMBA_DISABLE_JIT="1")
    assert forbidden.startswith("RuntimeError: fastconv: ")
    assert "NUMBA_DISABLE_JIT" in forbidden
    assert said(CALL, NUMBA_DISABLE_JIT="0") == "0 1 1\n"


def test_compilation_that_is_forbidden_later_is_named_too():
    lines = CALL, "import numba; numba.config.DISABLE_JIT = True", "fastconv.popcount_sum(np.arange(3))"
    assert "NUMBA_DISABLE_JIT" in said(*lines)


def test_without_compilation_there_are_the_reference_and_its_values():
    lines = (
        "import numpy as np, fastconv",
        "signs = fastconv.reference.pack_signs(np.array([1.0, -1.0]))",
        "print(*fastconv.reference.popcount(signs.words), fastconv.__version__)",
    )
    assert said(*lines, NUMBA_DISABLE_JIT="1") == f"1 {fastconv.__version__}\n"


def test_without_compilation_info_still_informs():
    report = said("from fastconv.cli import main; main(['info'])", NUMBA_DISABLE_JIT="1")
    assert "NUMBA_DISABLE_JIT" in report
    assert "versions" in report


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert fastconv.__version__ == project["version"]
    assert "__version__" in dir(fastconv)


def test_the_version_of_an_installed_copy_is_that_it_was_installed_as(tmp_path, monkeypatch):
    monkeypatch.setattr(_later.importlib.metadata, "version", lambda name: "1.2.3")
    assert _later.version(tmp_path) == "1.2.3"
    for other in ('[project]\nname = "other"\nversion = "7"\n', "[tool]\n", "no table"):
        (tmp_path / "pyproject.toml").write_text(other)
        assert _later.version(tmp_path) == "1.2.3"


def test_a_copy_that_nobody_installed_has_no_known_version(tmp_path, monkeypatch):
    monkeypatch.setattr(_later.importlib.metadata, "version", not_installed)
    assert _later.version(tmp_path) == "0+unknown"


def not_installed(name):
    raise _later.importlib.metadata.PackageNotFoundError(name)


def test_unknown_names_stay_unknown():
    assert not hasattr(fastconv, "popcnt")
    with pytest.raises(AttributeError, match="module 'fastconv' has no attribute 'popcnt'"):
        _ = fastconv.popcnt
