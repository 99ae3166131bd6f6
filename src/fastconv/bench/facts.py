"""What the table's header says of the machine and of the software."""

from __future__ import annotations

import importlib.metadata
import platform
from contextlib import suppress
from pathlib import Path

from fastconv.bench.ceilings import multiply_add_rate, popcount_rate, widest_registers
from fastconv.cpu._threads import threading_layer, threads

PACKAGES = ("fastconv", "numpy", "numba", "scipy", "torch", "opencv-python-headless", "openvino")


def facts() -> dict[str, str]:
    return {
        "CPU": _cpu(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "threads": f"{threads()} on each side, except where 1 is said ({threading_layer()})",
        "popcount bound": f"{popcount_rate() / 1e9:,.0f} billion sign products/s, measured in registers of "
        f"{widest_registers()} bits",
        "FMA peak": f"{multiply_add_rate() / 1e9:,.0f} billion float32 multiply-adds/s, measured",
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "not installed"
