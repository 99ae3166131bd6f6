"""Hypothesis profiles, the ``backend`` fixture, and what a missing part means."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from fastconv._backends import BACKENDS

sys.path.insert(0, str(Path(__file__).parent / "tests" / "support"))

_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=60, derandomize=True, **_CALM)
settings.register_profile("brief", max_examples=10, derandomize=True, **_CALM)
settings.register_profile("fuzz", max_examples=10_000, **_CALM)
settings.register_profile("mutants", max_examples=60, derandomize=True, phases=[Phase.generate], **_CALM)
settings.load_profile("quick")


NEED_TORCH = (
    "fastconv/nn", "adapters/torch_tensors.py", "docs/nn.md",
    "support/networks.py", "support/compiled_calls.py",
)  # fmt: skip
"""Modules and pages whose doctests take PyTorch, by a part of their paths."""


@dataclass(frozen=True)
class TestedBackend:
    """One array library under test: how its arrays are made from NumPy's and read back.

    ``asnumpy`` is for results, which are contiguous; ``read`` for any array.
    """

    namespace: str
    asarray: Callable[[Any], Any]
    asnumpy: Callable[[Any], Any]
    read: Callable[[Any], Any]


def pytest_configure(config: pytest.Config) -> None:
    """CuPy is the real one in ``pytest -m gpu``, and otherwise a stand-in that runs kernels on the CPU."""
    if config.getoption("-m") != "gpu":
        from cuda_on_host import cupy_stand_in

        cupy_stand_in.install()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Modules that cannot be imported here, in search of docstrings: of CUDA and of PyTorch.

    Importing ``fastconv.cuda`` fails without a GPU, and none of its docstrings is a test of one.
    """
    no_gpu = collection_path.parts[-2:] == ("fastconv", "cuda") and config.getoption("-m") == "gpu"
    no_torch = importlib.util.find_spec("torch") is None and not os.environ.get("CI")
    module = collection_path.suffix != ".md"
    if collection_path.name == "kernels_by_source.py":  # a plugin, which only runs with seeded faults load
        return True
    return no_gpu or (no_torch and module and needs_torch(collection_path)) or None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Pages whose examples take PyTorch."""
    if needs_torch(item.path):
        optional("torch")


def needs_torch(path: Path) -> bool:
    return any(f"/{part}/" in f"{path.as_posix()}/" for part in NEED_TORCH)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In ``pytest -m gpu``, every test of CuPy arrays is a test of the GPU."""
    if config.getoption("-m") == "gpu":
        for item in items:
            if getattr(item, "callspec", None) and item.callspec.params.get("backend") == "cupy":
                item.add_marker("gpu")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """After ``pytest -m mutants``, the table of what became of each."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    rows = [value for r in reports for name, value in r.user_properties if name == "mutant"]
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("file", "fault", "outcome", "time", title=f"{len(rows)} mutants")
    for row in rows:
        table.add_row(*row)
    Console(width=110, file=terminalreporter._tw._file).print(table)


def _to_gpu(x: Any) -> Any:
    """``x`` on the GPU, contiguous, transposed, reversed or strided as it is here."""
    cupy = optional("cupy")
    x = np.asanyarray(x)
    x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    backwards = tuple(slice(None, None, -1 if s < 0 else 1) for s in x.strides)
    forwards = x[backwards] if x.size else x
    if forwards.flags.c_contiguous:
        return cupy.asarray(forwards)[backwards]
    if forwards.flags.f_contiguous:
        return cupy.asarray(forwards.T).T[backwards]
    spread = cupy.zeros((*x.shape, 2), x.dtype)
    spread[..., 0] = cupy.asarray(np.ascontiguousarray(forwards))
    return spread[..., 0][backwards]


def _from_gpu(x: Any) -> Any:
    cupy = optional("cupy")
    assert isinstance(x, cupy.ndarray)
    assert x.flags.c_contiguous
    return cupy.asnumpy(x)


def _to_tensor(x: Any) -> Any:
    """``x`` as a tensor, transposed or strided as it is here; tensors have no negative strides."""
    torch = optional("torch")
    x = np.asanyarray(x)
    x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
    if any(s < 0 for s in x.strides) or not x.flags.writeable:
        x = x.copy()
    return torch.from_numpy(x)


def _from_tensor(x: Any) -> Any:
    torch = optional("torch")
    assert type(x) is torch.Tensor
    assert x.is_contiguous()
    return x.numpy().copy()


_CONVERSIONS: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "numpy": (np.asanyarray, np.asarray, np.asarray),
    "cupy": (_to_gpu, _from_gpu, lambda x: x.get()),
    "torch": (_to_tensor, _from_tensor, lambda x: x.numpy()),
}


@pytest.fixture(scope="session", params=[name for name, b in BACKENDS.items() if b.supported])
def backend(request: pytest.FixtureRequest) -> TestedBackend:
    """Every array library with an implementation, in turn."""
    if request.param == "cupy":
        needs_gpu_or_compiler(request.config)
    elif request.param != "numpy":
        optional(request.param)
    return TestedBackend(request.param, *_CONVERSIONS[request.param])


@pytest.fixture(autouse=True, scope="module")
def _small_calls_go_both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """In tests of operations, size does not decide whether one thread does a call or all of them do."""
    if request.path.parent.name != "operations":
        yield
        return
    from thread_bounds import EITHER_WAY, bounds

    with bounds(EITHER_WAY):
        yield


def needs_gpu_or_compiler(config: pytest.Config) -> None:
    """Skip, or in CI fail, where CUDA kernels can run neither on a GPU nor on the CPU."""
    if config.getoption("-m") == "gpu":
        if not optional("cupy").cuda.is_available():
            pytest.skip("there is no NVIDIA GPU")
    elif shutil.which("g++") is None:
        missing("g++, which compiles CUDA kernels for the CPU,")


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch as an independent peer, on one thread: its examples are too small to share."""
    module = optional("torch")
    module.set_num_threads(1)
    return module


def optional(name: str) -> ModuleType:
    """Import a part that a user may lack: a skip for them, a failure in CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        missing(name)


def missing(part: str) -> NoReturn:
    """A skip for a user, a failure in CI; of the whole module where that imports."""
    if os.environ.get("CI"):
        pytest.fail(f"{part} is missing, and CI must test with it")
    pytest.skip(f"{part} is not installed", allow_module_level=True)
