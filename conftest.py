"""Hypothesis profiles, the ``backend`` fixture, and what a missing part means."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fastconv._dispatch import BACKENDS

_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=60, derandomize=True, **_CALM)
settings.register_profile("fuzz", max_examples=10_000, **_CALM)
settings.load_profile("quick")


@dataclass(frozen=True)
class TestedBackend:
    """One array library under test: how its arrays are made from NumPy's and read back."""

    namespace: str
    asarray: Callable[[Any], Any]
    asnumpy: Callable[[Any], Any]


_CONVERSIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "numpy": (np.asanyarray, np.asarray),
}


@pytest.fixture(scope="session", params=[name for name, b in BACKENDS.items() if b.package])
def backend(request: pytest.FixtureRequest) -> TestedBackend:
    """Every array library with an implementation, in turn."""
    asarray, asnumpy = _CONVERSIONS[request.param]
    return TestedBackend(request.param, asarray, asnumpy)


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
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing, and CI must test with it")
        pytest.skip(f"{name} is not installed")
